"""lm-eval both ways: its tasks on our engines (`evaluation`), and our suites as its tasks (`export`, `grading`)."""
