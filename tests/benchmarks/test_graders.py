"""Verdicts on written answers."""

from __future__ import annotations

import pytest

from benchmarks.base import Problem
from benchmarks.graders.answers import extract, grade_numbers, grade_quantities, grade_strings, number
from benchmarks.graders.programs import grade_programs

NUMBERS = [
    # gold, response, status
    ("42", "6*7=42#42", "pass"),
    ("42", "42", "no_answer"),
    ("42", "#", "no_answer"),
    ("42", "# \n\t", "no_answer"),
    ("42", "", "no_answer"),
    ("42", "#41#42", "pass"),
    ("42", "#42#41", "fail"),
    ("42", "#42#", "no_answer"),
    ("42", "\n#### 42\n", "pass"),
    ("42", "#42.0", "pass"),
    ("42", "#+42", "pass"),
    ("42", "#042", "pass"),
    ("42", "#$42", "pass"),
    ("42", "#42 dollars", "fail"),
    ("42", "#4 2", "fail"),
    ("42", "#42\n43", "fail"),
    ("42", "#42.", "fail"),
    ("42", "#4,2", "fail"),
    ("42", "#42,", "fail"),
    ("42", "#0x2a", "fail"),
    ("42", "#4.2e1", "fail"),
    ("42", "#21*2", "fail"),
    ("42", "#\u0664\u0662", "fail"),  # Arabic-Indic digits
    ("42", "#\uff14\uff12", "fail"),  # full-width digits
    ("42", "#4\u00b2", "fail"),
    ("-3", "#-3", "pass"),
    ("-3", "#\u22123", "fail"),  # a minus sign that is no hyphen
    ("-3", "#3", "fail"),
    ("0", "#-0", "pass"),
    ("1234", "#1,234", "pass"),
    ("1234", "#12,34", "fail"),
    ("1234", "#,1234", "fail"),
    ("1,234", "#1234", "pass"),
    ("1234567", "#1,234,567", "pass"),
    ("1234567", "#$1,234,567.00", "pass"),
    ("1234567", "#1234,567", "fail"),
    ("35", "#3,5", "fail"),  # a decimal comma is no 35
    ("3.5", "#3.50", "pass"),
    ("3.5", "#3,5", "fail"),
    ("123456789012345678901234567890", "#123456789012345678901234567890", "pass"),
    ("123456789012345678901234567890", "#123456789012345678901234567891", "fail"),
    ("1", "#" + "1" * 5000, "fail"),
    ("1", "#1." + "0" * 5000, "fail"),
    ("1", "#1" + "0" * 29 + ".5", "fail"),
    ("1", "#inf", "fail"),
    ("1", "#NaN", "fail"),
]  # fmt: skip

QUANTITIES = [
    ("9.8N", "#9.8N", "pass"),
    ("9.8N", "#9.8 N", "pass"),
    ("9.8N", "#9.80N", "pass"),
    ("9.8N", "#9.8", "fail"),
    ("9.8N", "#9.8J", "fail"),
    ("9.8N", "#9.8n", "fail"),
    ("9.8N", "#N", "fail"),
    ("9.8N", "#9.8NN", "fail"),
    ("9.8N", "#9.8N or so", "fail"),
    ("9.8N", "9.8N", "no_answer"),
    ("9.8N", "#", "no_answer"),
    ("9.8N", "#\u0669.\u0668N", "fail"),
    ("1000000m", "#1000001m", "pass"),  # relative 1e-6
    ("1000000m", "#999999m", "pass"),
    ("1000000m", "#1000002m", "fail"),
    ("5m", "#5.000005m", "pass"),
    ("5m", "#5.000006m", "fail"),
    ("5m", "#-5m", "fail"),
    ("12m/s2", "#12m/s2", "pass"),
    ("12m/s2", "#12m/s", "fail"),
    ("12kgm/s", "#12 kgm/s", "pass"),
    ("273.15K", "#273.15K", "pass"),
    ("273.15K", "#273K", "fail"),
    ("18g/mol", "#18g", "fail"),
    ("18g", "#18 g\n", "pass"),
    ("18g", "#" + "9" * 5000 + "g", "fail"),
]

STRINGS = [
    ("bca", "abc,bac,bca#bca", "pass"),
    ("bca", "# bca \n", "pass"),
    ("bca", "#BCA", "fail"),
    ("bca", "#b c a", "fail"),
    ("0110", "#110", "fail"),
    ("0110", "#0110", "pass"),
    ("bca", "bca", "no_answer"),
]


def problem(gold: str, **more: object) -> Problem:
    return Problem("id", "suite", "prompt", gold, **more)


@pytest.mark.parametrize(
    ("grade", "gold", "response", "status"),
    [(grade, *row) for grade, rows in
     ((grade_numbers, NUMBERS), (grade_quantities, QUANTITIES), (grade_strings, STRINGS)) for row in rows],
    ids=lambda value: ascii(value)[:30] if isinstance(value, str) else value.__name__,
)  # fmt: skip
def test_verdicts(grade, gold, response, status):
    (verdict,) = grade([problem(gold)], [response])
    assert verdict.status == status
    assert verdict.score == float(status == "pass")
    assert verdict.grader and verdict.grader_version


def test_verdicts_are_in_order_and_one_each():
    golds = [problem("1"), problem("2"), problem("3")]
    assert [v.score for v in grade_numbers(golds, ["#1", "#0", "#3"])] == [1.0, 0.0, 1.0]
    with pytest.raises(ValueError):
        grade_numbers(golds, ["#1"])
    assert grade_numbers([], []) == []


def test_extraction():
    assert extract("a#b#c") == "c"
    assert extract("a # b c ") == "b c"
    assert extract("abc") is None and extract("#") is None and extract("a# ") is None


def test_numbers_are_exact():
    assert str(number("1,000.50")) == "1000.50"
    assert number("0.1") + number("0.2") == number("0.3")
    assert number("") is None and number("-") is None and number("1,00") is None and number("1e3") is None


TESTS = (((2,), 5), ((3,), 7), ((-4,), -7))
PROGRAMS = [
    ("2*x+1", "pass"),
    ("x+x+1 ", "pass"),
    ("(lambda y: 2*y+1)(x)", "pass"),
    ("2*x", "fail"),
    ("2.0*x+1", "pass"),  # 5.0 == 5
    ("str(2*x+1)", "fail"),
    ("1/0", "fail"),
    ("2*x+", "fail"),
    ("y", "fail"),
    ("None", "fail"),
    ("5 if x==2 else 7", "fail"),
    ("exec('raise SystemExit')", "fail"),
    ("__import__('os')._exit(0)", "fail"),
    ("[5,7,-7]", "fail"),
]


def test_programs_are_executed():
    golds = [problem("2*x+1", tests=TESTS)] * len(PROGRAMS)
    verdicts = grade_programs(golds, [f"why#{program}" for program, _ in PROGRAMS], ["x"] * len(PROGRAMS))
    assert [(p, v.status) for (p, _), v in zip(PROGRAMS, verdicts, strict=True)] == PROGRAMS
    assert [v.score for v in verdicts] == [float(status == "pass") for _, status in PROGRAMS]
    assert all(v.sandbox for v in verdicts)
    (none,) = grade_programs(golds[:1], ["2*x+1"], ["x"])
    assert (none.status, none.score) == ("no_answer", 0.0)


def test_a_program_that_does_not_end():
    (verdict,) = grade_programs([problem("x", tests=TESTS)], ["#[x for _ in iter(int, 1)]"], ["x"])
    assert verdict.status in ("timeout", "fail") and verdict.score == 0.0


def test_equal_programs_of_different_problems_are_told_apart():
    other = Problem("other", "suite", "prompt", "", tests=(((1,), 99),))
    verdicts = grade_programs([problem("", tests=TESTS), other, problem("", tests=TESTS)], ["#2*x+1"] * 3, ["x"] * 3)
    assert [v.score for v in verdicts] == [1.0, 0.0, 1.0]
