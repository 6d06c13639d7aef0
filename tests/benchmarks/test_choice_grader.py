"""Multiple choice and short labels: what counts as an answer, and what does not."""

from __future__ import annotations

import pytest

from benchmarks.base import Problem
from benchmarks.graders.choice import CONFLICT, extract_choice, grade_choices, letter_of
from benchmarks.graders.labels import KINDS, grade_labels, read_label

OPTIONS = ("Rome", "London", "Paris", "Bonn")
# response, letter in strict and in lenient mode ("" and None: no answer)
LETTERS = [
    ("The answer is (C)", "C", "C"),
    ("The answer is (C).", "C", "C"),
    ("the answer is (c).", "C", "C"),
    ("The correct answer is option C.", "C", "C"),
    ("The correct answer is: C", "C", "C"),
    ("The answer is C because A is wrong.", "C", "C"),
    ("The answer is (C), not (A).", "C", "C"),
    ("The answer is C) Paris", "C", "C"),
    ("The answer is [C].", "C", "C"),
    ('The answer is "C"', "C", "C"),
    ("The answer is \uff08C\uff09", "C", "C"),  # full-width brackets
    ("Answer: C", "C", "C"),
    ("answer: c", "C", "C"),
    ("**Answer:** (C) Paris", "C", "C"),
    ("Answer:\n**C**", "C", "C"),
    ("Final Answer: The final answer is $C$. I hope it is correct.", "C", "C"),
    (r"\boxed{C}", "C", "C"),
    (r"\boxed{(c)}", "C", "C"),
    (r"\boxed{\text{C. Paris}}", "C", "C"),
    (r"\boxed{\mathbf{C}}", "C", "C"),
    (r"The answer is $\boxed{C}$.", "C", "C"),
    ("#### C", "C", "C"),
    ("C.", None, "C"),
    ("**C**", None, "C"),
    ("C", None, "C"),
    ("(C)", None, "C"),
    ("Let me see.\nC) Paris", None, "C"),
    ("Paris", None, "C"),
    # the last one wins
    ("(A) is wrong. The answer is (B). Wait, the answer is (C)", "C", "C"),
    (r"\boxed{A} hmm. The answer is (C)", "C", "C"),
    (r"The answer is (A). No: \boxed{C}", "C", "C"),
    ("The answer is (C). I hope the answer is clear.", "C", "C"),
    ("<think>The answer is (A)</think> The answer is (C)", "C", "C"),
    # the exact text of an option
    ("The answer is Paris.", "C", "C"),
    (r"\boxed{\text{paris}}", "C", "C"),
    (r"\boxed{Pari}", "", ""),
    (r"\boxed{Paris, France}", "", ""),
    # several, or a letter with the text of another
    ("The answer is (A) and (B)", CONFLICT, CONFLICT),
    ("The answer is A or B", CONFLICT, CONFLICT),
    ("The answer is C/D", CONFLICT, CONFLICT),
    ("Answer: C, A", CONFLICT, CONFLICT),
    (r"\boxed{A, B}", CONFLICT, CONFLICT),
    (r"\boxed{\text{A and B}}", CONFLICT, CONFLICT),
    (r"\boxed{C} or \boxed{D}", CONFLICT, CONFLICT),
    (r"\boxed{C: London}", CONFLICT, CONFLICT),
    # no letters out of prose
    ("A plant needs light.", None, None),
    ("I think it is C", None, None),
    ("The answer is A good idea", "", ""),
    ("The answer is a", "", ""),
    ("The answer is I think 5", "", ""),
    ("The answer is CO2", "", ""),
    ("The answer is C's fault", "", ""),
    ("The answer is not A", "", ""),
    ("The answer is unclear", "", ""),
    ("", None, None),
    ("<think>The answer is (C)", None, None),
    (r"<think>\boxed{C}</think>", None, None),
    (r"\boxed{C", None, None),
    ("```\nThe answer is (C)\n```", None, None),
    ("> The answer is (C)", None, None),
]


@pytest.mark.parametrize(("response", "strict", "lenient"), LETTERS, ids=lambda v: ascii(v)[1:40])
def test_letters(response, strict, lenient):
    for mode, expected in ((False, strict), (True, lenient)):
        found = extract_choice(response, OPTIONS, mode)
        assert (found[0] if found else None) == expected
        (verdict,) = grade_choices([Problem("i", "s", "p", "C")], [response], lenient=mode, options=[OPTIONS])
        status = "pass" if expected == "C" else "fail" if expected else "no_answer"
        assert (verdict.status, verdict.score) == (status, float(status == "pass"))


def test_options_whose_texts_look_like_labels():
    assert extract_choice(r"\boxed{A}", ("B", "C", "A", "D"))[0] == "A"  # a letter is a label first
    assert extract_choice(r"\boxed{2}", ("1", "2", "3", "4"))[0] == "B"
    assert extract_choice(r"\boxed{2}", ("2", "4", "6", "8"))[0] == "A"
    assert extract_choice(r"\boxed{2}", OPTIONS)[0] == ""
    assert extract_choice("The answer is A and B", ("A", "B", "A and B"))[0] == "C"
    assert extract_choice(r"\boxed{x}", ("x", "y", "x", "z"))[0] == CONFLICT
    assert extract_choice(r"\boxed{x}", ("x", "y", "w", "z"))[0] == "A"
    assert extract_choice(r"\boxed{AB}", ("A", "B", "AB", "O"))[0] == "C"
    assert extract_choice(r"\boxed{same}", ("same", "y", "same", "z"))[0] == CONFLICT


def test_numeric_labels():
    options = ("fog", "rain", "drought", "tornado")
    assert [letter_of(label) for label in ("1", "4", "(b)", "D", "c.", 0, 25)] == ["A", "D", "B", "D", "C", "A", "Z"]
    (verdict,) = grade_choices([Problem("i", "s", "p", "3")], ["The answer is (3)."], options=[options], numeric=True)
    assert verdict.status == "pass"
    (verdict,) = grade_choices([Problem("i", "s", "p", "3")], ["The answer is C."], options=[options])
    assert verdict.status == "pass"
    (verdict,) = grade_choices([Problem("i", "s", "p", "3")], ["The answer is (3)."], options=[options])
    assert verdict.status == "no_answer"  # the options of this prompt had letters


@pytest.mark.parametrize("label", ["", "AB", "12", "0", "Paris", None, True, -1, 26, 1.0])
def test_what_is_no_label(label):
    with pytest.raises(ValueError, match="no label"):
        letter_of(label)


def test_more_options_than_four():
    options = tuple(f"thing {i}" for i in range(18))
    for letter in "EJKR":
        (verdict,) = grade_choices([Problem("i", "s", "p", letter)], [f"The answer is ({letter})."], options=[options])
        assert verdict.status == "pass"
    with pytest.raises(ValueError, match="18 options"):
        grade_choices([Problem("i", "s", "p", "S")], ["A"], options=[options])
    assert grade_choices([Problem("i", "s", "p", "A")], [r"\boxed{Z}"], options=[OPTIONS])[0].status == "fail"


def test_graders_are_named_and_ordered():
    golds = [Problem("i", "s", "p", letter) for letter in "AB"]
    strict, lenient = (grade_choices(golds, [r"\boxed{A}", "B"], lenient=mode) for mode in (False, True))
    assert [v.status for v in strict] == ["pass", "no_answer"] and [v.status for v in lenient] == ["pass", "pass"]
    assert {v.grader for v in (*strict, *lenient)} == {"choice", "choice-lenient"}
    with pytest.raises(ValueError):
        grade_choices(golds, ["A"])


LABELS = [
    # kind, gold, response, status
    ("yes_no", "Yes", "The answer is Yes.", "pass"),
    ("yes_no", "yes", r"\boxed{\text{YES}}", "pass"),
    ("yes_no", "No", "So the answer is no, because it is late.", "pass"),
    ("yes_no", "No", "The answer is yes or no.", "fail"),
    ("yes_no", "No", "The answer is no, yes.", "fail"),
    ("yes_no", "No", "The answer is not sure.", "fail"),
    ("yes_no", "No", "No.", "no_answer"),
    ("yes_no", "No", "<think>The answer is No.", "no_answer"),
    ("true_false", "True", "The answer is True.", "pass"),
    ("true_false", "True", "The answer is Treu.", "fail"),
    ("true_false", "True", r"\boxed{T}", "fail"),
    ("true_false", "False", "#### false", "pass"),
    ("truth", "Uncertain", r"\boxed{Unknown}", "pass"),
    ("truth", "Unknown", "The answer is Uncertain.", "pass"),
    ("truth", "Uncertain", "The answer is False.", "fail"),
    ("truth", "True", r"\boxed{True} or \boxed{False}", "fail"),
    ("validity", "invalid", "The answer is invalid.", "pass"),
    ("validity", "invalid", "The answer is valid.", "fail"),
    ("validity", "valid", "The answer is invalid.", "fail"),
    ("words", "syndrome therefrom", r"\boxed{syndrome, therefrom}", "pass"),
    ("words", "syndrome therefrom", "The answer is syndrome therefrom.", "pass"),
    ("words", "syndrome therefrom", r"\boxed{therefrom syndrome}", "fail"),
    ("words", "guru it&t", r"\boxed{\text{guru it\&t}}", "pass"),
    ("words", "o'connell you've", "#### o'connell you've", "pass"),
    ("brackets", "] ) }", r"\boxed{] ) \}}", "pass"),
    ("brackets", "] ) }", r"\boxed{] ) }}", "pass"),
    ("brackets", "] ) }", "The answer is ] ) }.", "pass"),
    ("brackets", "] ) }", r"The answer is $\boxed{])\}}$.", "pass"),
    ("brackets", "] ) }", r"\boxed{] )}", "fail"),
    ("brackets", "] )", r"\boxed{) ]}", "fail"),
    ("brackets", "> >", "#### > >", "pass"),
    ("brackets", "] )", "The answer is a bracket.", "fail"),
    ("number", "-35", "So the answer is -35.", "pass"),
    ("number", "8", r"\boxed{8.0}", "pass"),
    ("number", "8", r"\boxed{4+4}", "fail"),
    ("number", "8", r"\boxed{8, 9}", "fail"),
    ("text", "alice", r"\boxed{Alice}", "pass"),
    ("text", "12/25/1937", "The answer is 12/25/1937.", "pass"),
    ("text", "12/25/1937", "The answer is 25/12/1937.", "fail"),
]


@pytest.mark.parametrize(("kind", "gold", "response", "status"), LABELS, ids=lambda v: ascii(v)[1:40])
def test_labels(kind, gold, response, status):
    (verdict,) = grade_labels([Problem("i", "s", "p", gold)], [response], kind=kind)
    assert (verdict.status, verdict.score) == (status, float(status == "pass"))
    assert verdict.grader == "label" and verdict.grader_version


def test_lenient_labels():
    golds = [Problem("i", "s", "p", gold) for gold in ("Yes", "5", "] )")]
    verdicts = grade_labels(golds, ["Hm.\n**Yes.**", "5", "] )"], kind=["yes_no", "number", "brackets"], lenient=True)
    assert [v.status for v in verdicts] == ["pass"] * 3 and verdicts[0].grader == "label-lenient"


def test_wrong_kinds_and_golds():
    with pytest.raises(ValueError, match="choose from"):
        grade_labels([Problem("i", "s", "p", "Yes")], ["x"], kind="mood")
    for kind, gold in (("yes_no", "perhaps"), ("number", "x"), ("brackets", "()a"), ("words", ""), ("text", " ")):
        with pytest.raises(ValueError, match="gold answer"):
            grade_labels([Problem("i", "s", "p", gold)], ["x"], kind=kind)
    assert all(read_label("!?", kind) is None for kind in KINDS if kind not in ("words", "text"))
