"""Row formats of data that may not be redistributed, on rows made up in the same form; and rows of other forms."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import grading, rows
from benchmarks.base import Problem
from benchmarks.graders.roles import grade_roles, read_roles


def parsed(name: str, row: dict[str, Any]) -> Problem:
    found = rows.named(rows.FORMATS, name, "format")(row)
    assert found is not None
    return found


def statuses(grader: str, problem: Problem, *responses: str) -> list[str]:
    return [verdict.status for verdict in grading.grader(grader)([problem] * len(responses), responses)]


def test_competition_rows() -> None:
    """MATH-500, AIME of either year, AMC (decimal answers), Minerva, OlymMATH."""
    math500 = {
        "problem": "What is $1+1$?", "solution": "It is $\\boxed{2}$.", "answer": "2", "subject": "Algebra", "level": 3,
        "unique_id": "test/algebra/1.json",
    }  # fmt: skip
    found = parsed("math", math500)
    assert (found.id, found.answer, found.family, found.level) == ("test/algebra/1.json", "2", "Algebra", 3)
    assert found.demonstrations == ()  # of test problems none
    assert parsed("math", {"id": 60, "problem": "Find $m+n$.", "answer": "033", "solution": "-"}).answer == "033"
    assert parsed("math", {"id": "0", "problem": "Find $m+n$.", "answer": "70"}).answer == "70"
    amc = parsed("math", {"id": 0, "question": "How many hours?", "answer": 27.0, "url": "-"})
    assert (amc.id, amc.answer) == ("0", "27")
    assert parsed("math", {"question": "What is the ratio?", "answer": "\\frac{1}{3}"}).id == ""
    assert statuses("math_strict", amc, r"\boxed{27}", r"\boxed{28}", "27") == ["pass", "fail", "no_answer"]


def test_olympiadbench_rows() -> None:
    row = {
        "id": 7, "question": "Find all $n$.", "context": None, "final_answer": ["$1,3,5$"], "answer_type": "Numerical",
        "is_multiple_answer": True, "unit": None, "error": None, "subfield": "Algebra",
    }  # fmt: skip
    several = parsed("olympiadbench", row)
    assert statuses("math_strict", several, r"\boxed{5,1,3}", r"\boxed{1,3}") == ["pass", "fail"]
    percent = parsed(
        "olympiadbench", row | {"final_answer": ["4.2"], "is_multiple_answer": False, "unit": "%", "error": "1e-1"}
    )
    assert statuses("math_strict", percent, r"\boxed{4.25}", r"\boxed{4.2\%}", r"\boxed{5}") == ["pass", "pass", "fail"]
    unit = parsed("olympiadbench", row | {"final_answer": ["$166$"], "is_multiple_answer": False, "unit": "$cm^2$"})
    assert statuses("math_strict", unit, r"\boxed{166}", r"\boxed{166\text{ cm}^2}") == ["pass", "pass"]
    with_context = parsed("olympiadbench", row | {"context": "Let $n>0$."})
    assert with_context.prompt == "Let $n>0$.\n\nFind all $n$."


def test_theoremqa_rows() -> None:
    row = {"Question": "How many?", "Answer": 12, "Answer_type": "integer", "Picture": None, "id": "a/b.json"}
    read = rows.named(rows.FORMATS, "theoremqa", "format")
    assert read(row | {"Picture": "images/a.png"}) is None
    assert parsed("theoremqa", row | {"Answer": "12"}) == parsed("theoremqa", row)  # the hub keeps texts
    whole = parsed("theoremqa", row)
    assert statuses("math_strict", whole, r"\boxed{12}", r"\boxed{12.3}") == ["pass", "fail"]
    real = parsed("theoremqa", row | {"Answer": 2.0, "Answer_type": "float"})
    assert statuses("math_strict", real, r"\boxed{2.05}", r"\boxed{2.2}") == ["pass", "fail"]
    truth = parsed("theoremqa", row | {"Answer": False, "Answer_type": "bool"})
    assert statuses("math_strict", truth, r"\boxed{False}", r"\boxed{True}") == ["pass", "fail"]
    path = parsed("theoremqa", row | {"Answer": [4, 1, 2], "Answer_type": "list of integer"})
    assert statuses("math_strict", path, r"\boxed{[4, 1, 2]}", r"\boxed{[1, 4, 2]}") == ["pass", "fail"]
    option = parsed("theoremqa", row | {"Answer": "(b)", "Answer_type": "option"})
    assert statuses("math_strict", option, r"\boxed{(b)}", r"\boxed{(c)}") == ["pass", "fail"]


def test_scibench_rows() -> None:
    row = {
        "problem_text": "What is the pressure?", "answer_number": "50.7", "unit": "$\\mathrm{atm}$ ",
        "source": "atkins", "problemid": " e1.17(a)(a)", "answer_latex": " 50.7", "comment": " ", "solution": "",
    }  # fmt: skip
    found = parsed("scibench", row)
    assert found.id == "atkins-e1.17(a)(a)" and "atm" in found.prompt and found.family == "atkins"
    assert statuses("math_strict", found, r"\boxed{50.7}", r"\boxed{52}", r"\boxed{60}") == ["pass", "pass", "fail"]
    assert parsed("scibench", row | {"unit": " "}).prompt == "What is the pressure?"


def test_gpqa_rows_are_shuffled_by_their_id_alone() -> None:
    row = {
        "Record ID": "rec1", "Question": "Which one?", "Correct Answer": " right ", "Incorrect Answer 1": "one",
        "Incorrect Answer 2": "two", "Incorrect Answer 3": "three", "High-level domain": "Physics",
    }  # fmt: skip
    found = parsed("gpqa", row)
    assert found == parsed("gpqa", dict(reversed(row.items())))
    choices = dict(found.params)["choices"]
    assert choices["ABCD".index(found.answer)] == "right" and f"({found.answer}) right" in found.prompt
    letters = {parsed("gpqa", row | {"Record ID": f"rec{i}"}).answer for i in range(40)}
    assert letters == set("ABCD")
    assert statuses("choice", found, f"The answer is ({found.answer}).", "right?") == ["pass", "no_answer"]


def test_arc_labels_that_are_digits_become_letters() -> None:
    row = {
        "id": "x",
        "question": "Which?",
        "choices": {"text": ["a1", "b1", "c1"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    }
    assert parsed("arc", row).answer == "B"
    with pytest.raises(ValueError, match="none of its labels"):
        parsed("arc", row | {"answerKey": "D"})


def test_mmlu_rows_of_either_source() -> None:
    local = {"question": "Which?", "type": "astronomy", "choices": ["a", "b", "c", "d"], "answer": 3}
    hub = {"question": "Which?", "subject": "astronomy", "choices": ["a", "b", "c", "d"], "answer": 3}
    assert parsed("mmlu", local) == parsed("mmlu", hub)
    pro = {
        "question_id": 5,
        "question": "Q",
        "options": ["x", "y", "z"],
        "answer": "C",
        "answer_index": 2,
        "category": "math",
    }
    assert parsed("mmlu_pro", pro).answer == "C"
    with pytest.raises(ValueError, match="index"):
        parsed("mmlu_pro", pro | {"answer_index": 1})
    assert parsed("mmlu_pro", pro | {"answer_index": 1, "question_id": 3983}).answer == "C"
    with pytest.raises(ValueError, match="option"):
        parsed("mmlu_pro", pro | {"answer": "F", "answer_index": 5})


@pytest.mark.parametrize("name", list(rows.FORMATS))
def test_rows_of_another_form_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        rows.named(rows.FORMATS, name, "format")({"text": "something else"})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="gsm8k"):
        rows.named(rows.FORMATS, "gsm9k", "format")
    for name in ("maths", "label", "label:colour", "choice:x", "code:rust"):
        with pytest.raises(ValueError, match="unknown"):
            grading.check(name)


KNIGHTS = Problem("k", "s", "?", "", params=(("names", ("Zoey", "Aria")), ("knights", (True, False))))


@pytest.mark.parametrize(
    ("response", "status"),
    [
        ("(1) Zoey is a knight\n(2) Aria is a knave", "pass"),
        ("1. **Zoey** is a knight.\n2. **Aria** is a knave.", "pass"),
        ("So the answer is: Zoey is a knight, and Aria is a knave.", "pass"),
        ("\\boxed{Zoey is a knight, Aria is a knave}", "pass"),
        ("- Zoey: knight\n- Aria: knave", "pass"),
        ("<think>Zoey is a knave\nAria is a knave</think>\nZoey is a knight\nAria is a knave", "pass"),
        ("Zoey is a knave\nAria is a knight\n\nNo:\nZoey is a knight\nAria is a knave", "pass"),
        ("(1) Zoey is a knight\n(2) Aria is a knight", "fail"),
        ("Zoey is a knight, Zoey is a knave, and Aria is a knave.", "no_answer"),
        ("(1) Zoey is a knight", "no_answer"),
        ("If Zoey is a knight then Aria is a knave.", "no_answer"),
        ("Zoey is a knight or Aria is a knave", "no_answer"),
        ("<think>Zoey is a knight\nAria is a knave", "no_answer"),
        ("", "no_answer"),
    ],
)
def test_roles(response: str, status: str) -> None:
    (verdict,) = grade_roles([KNIGHTS], [response])
    assert (verdict.status, verdict.score) == (status, float(status == "pass"))


def test_roles_are_read_by_name() -> None:
    assert read_roles("Aria is a knave and Zoey is a knight") == {"aria": False, "zoey": True}
