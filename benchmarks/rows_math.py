"""Rows of problems whose answer is a number, an expression or a value."""

from __future__ import annotations

import ast
import re
from typing import Any

from benchmarks.base import Problem, digest
from benchmarks.row_fields import Row, optional, text

_ANNOTATION = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator annotations
SCIBENCH_TOLERANCE = 0.05  # relative; the one of SciBench's own evaluation (Wang et al., 2024)
THEOREMQA_TOLERANCE = 0.04  # the same of TheoremQA's (Chen et al., 2023), for numbers with decimals


def gsm8k(row: Row) -> Problem:
    """question; answer = worked solution, "####", number. The demonstration ends in a box instead of "####"."""
    steps, mark, final = text(row, "answer").rpartition("####")
    answer = final.strip().replace(",", "")
    if not mark or not re.fullmatch(r"-?\d+", answer):
        raise ValueError("has no whole number after '####' in the field answer")
    worked = f"{_ANNOTATION.sub('', steps).strip()}\nThe answer is \\boxed{{{answer}}}."
    return Problem("", "", text(row, "question"), answer, demonstrations=(worked,))


def flawed_number(problem: Problem, worked: str, variant: int) -> str:
    """The demonstration with another number in its last box."""
    wrong = int(problem.answer) + 1 + digest("wrong", problem.id, variant) % 9
    before, _, after = worked.rpartition(f"\\boxed{{{problem.answer}}}")
    return f"{before}\\boxed{{{wrong}}}{after}"


def plain(row: Row) -> Problem:
    """problem or question, answer; id, subject and level where there are."""
    level = optional(row, "level")
    return Problem(
        id=optional(row, "unique_id", "id"),
        suite="",
        prompt=text(row, "problem", "question"),
        answer=text(row, "answer"),
        family=optional(row, "subject"),
        level=int(level) if level.isdigit() else 0,
    )


def olympiadbench(row: Row) -> Problem:
    """OlympiadBench OE_TO_maths_en_COMP: final_answer holds one LaTeX text, which may be a list of values."""
    answers = row.get("final_answer")
    if not isinstance(answers, list | tuple) or len(answers) != 1 or not str(answers[0]).strip():
        raise ValueError("has not one text in the list final_answer")
    context = optional(row, "context")
    question = text(row, "question")
    return Problem(
        id=text(row, "id"),
        suite="",
        prompt=f"{context}\n\n{question}" if context else question,
        answer=str(answers[0]).strip(),
        family=optional(row, "subfield"),
        params=tuple(_olympiad_rules(row).items()),
    )


def _olympiad_rules(row: Row) -> dict[str, Any]:
    """How the answer is compared: several values in any order, the unit, and the tolerance that one row has."""
    rules: dict[str, Any] = {"shape": "bag", "separate": True} if row.get("is_multiple_answer") else {}
    unit, tolerance = optional(row, "unit").strip("$"), optional(row, "error")
    if unit == "%":
        rules["percent"] = "points"
    elif unit:
        rules["unit"] = unit
    if tolerance:
        rules["absolute"] = float(tolerance)
    return rules


def theoremqa(row: Row) -> Problem | None:
    """TheoremQA without the items that need a picture. Answers are native JSON values, or their text on the hub."""
    if row.get("Picture") is not None:
        return None
    kind = text(row, "Answer_type")
    value: Any = row.get("Answer")
    if isinstance(value, str) and kind != "option":
        value = ast.literal_eval(value)
    if value is None or value == "":
        raise ValueError("has no field Answer")
    rules: dict[str, Any] = {"relative": THEOREMQA_TOLERANCE} if "float" in kind else {}
    if kind.startswith("list"):
        rules |= {"shape": "list", "separate": True}
    return Problem(
        id=optional(row, "id"),
        suite="",
        prompt=text(row, "Question"),
        answer=str(value),
        family=optional(row, "field"),
        params=tuple(rules.items()),
    )


def scibench(row: Row) -> Problem:
    """SciBench: a number, and the unit that it is to be given in."""
    unit = optional(row, "unit")
    asked = f" Give the answer in the unit {unit}." if unit.strip() else ""
    return Problem(
        id=f"{text(row, 'source')}-{optional(row, 'problemid')}",
        suite="",
        prompt=text(row, "problem_text") + asked,
        answer=text(row, "answer_number"),
        family=text(row, "source"),
        params=(("relative", SCIBENCH_TOLERANCE), ("unit", unit.strip("$ "))),
    )
