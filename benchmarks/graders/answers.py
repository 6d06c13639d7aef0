"""Final answers after the last '#': extraction, and exact comparison of strings, numbers and quantities with units."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from benchmarks.base import Problem, Verdict

VERSION = "1"
MARK = "#"
_NUMBER = re.compile(r"([-+]?)\$?(\d{1,30}|\d{1,3}(?:,\d{3}){1,9})(\.\d{1,30})?", re.ASCII)
_QUANTITY = re.compile(r"([-+]?\d{1,30}(?:\.\d{1,30})?)\s*([A-Za-z/0-9^.]*)", re.ASCII)
RELATIVE_TOLERANCE = Decimal("1e-6")


def extract(response: str) -> str | None:
    """The text after the last '#', stripped; None when there is no mark or nothing after it."""
    _, mark, answer = response.rpartition(MARK)
    answer = answer.strip()
    return answer if mark and answer else None


def number(text: str) -> Decimal | None:
    """A plain decimal number, with a dollar sign before it and thousands commas if any; None for anything else."""
    found = _NUMBER.fullmatch(text.strip())
    return Decimal(found[1] + found[2].replace(",", "") + (found[3] or "")) if found else None


def _same_string(gold: str, answer: str) -> bool:
    return gold == answer


def _same_number(gold: str, answer: str) -> bool:
    value = number(answer)
    return value is not None and value == number(gold)


def _same_quantity(gold: str, answer: str) -> bool:
    want, got = _QUANTITY.fullmatch(gold), _QUANTITY.fullmatch(answer)
    assert want is not None, f"gold answer {gold!r} is not a quantity"
    if got is None or want[2] != got[2]:
        return False
    a, b = Decimal(want[1]), Decimal(got[1])
    return abs(a - b) <= RELATIVE_TOLERANCE * abs(a)


def _grade(
    name: str, same: Callable[[str, str], bool], problems: Sequence[Problem], responses: Sequence[str]
) -> list[Verdict]:
    verdicts = []
    for problem, response in zip(problems, responses, strict=True):
        answer = extract(response)
        if answer is None:
            verdicts.append(Verdict("no_answer", 0.0, "", name, VERSION))
        else:
            right = same(problem.answer, answer)
            verdicts.append(Verdict("pass" if right else "fail", float(right), answer, name, VERSION))
    return verdicts


def grade_strings(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """Equal as strings."""
    return _grade("string", _same_string, problems, responses)


def grade_numbers(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """Equal as decimal numbers."""
    return _grade("number", _same_number, problems, responses)


def grade_quantities(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """Same unit, and numbers within a relative 1e-6."""
    return _grade("quantity", _same_quantity, problems, responses)
