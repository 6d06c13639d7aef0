"""Rows of multiple-choice questions. The options become part of the prompt, the answer is a letter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from benchmarks.base import Problem, digest
from benchmarks.row_fields import Row, optional, text, texts

_OPTION = re.compile(r"^\(([A-Z])\) ?(.*)$", re.MULTILINE)
_LETTER = re.compile(r"\(([A-Z])\)")
MMLU_PRO_WRONG_INDEX = "3983"  # its letter is right, its index is not


def _problem(identity: str, question: str, choices: Sequence[str], right: int, family: str = "") -> Problem:
    if not 0 <= right < len(choices):
        raise ValueError(f"names option {right} of {len(choices)}")
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    params = (("choices", tuple(choices)),)
    return Problem(identity, "", f"{question}\n\n{listed}", ascii_uppercase[right], family, params=params)


def arc(row: Row) -> Problem:
    """AI2 ARC: choices = {"text", "label"}, answerKey. Labels that are digits become letters by their place."""
    choices = row.get("choices")
    if not isinstance(choices, dict):
        raise ValueError("has no field choices")
    labels, options = texts(choices, "label"), texts(choices, "text")
    key = text(row, "answerKey")
    if len(labels) != len(options) or key not in labels:
        raise ValueError(f"has the answer {key}, which is none of its labels {', '.join(labels)}")
    return _problem(text(row, "id"), text(row, "question"), options, labels.index(key))


def mmlu(row: Row) -> Problem:
    """MMLU: choices, answer = index from 0, subject (or type)."""
    answer = row.get("answer")
    if not isinstance(answer, int):
        raise ValueError("has no index in the field answer")
    return _problem("", text(row, "question"), texts(row, "choices"), answer, text(row, "type", "subject"))


def mmlu_pro(row: Row) -> Problem:
    """MMLU-Pro: 3 to 10 options; the letter counts, and the index must say the same."""
    letter, identity = text(row, "answer"), text(row, "question_id")
    right = ascii_uppercase.find(letter)
    index = row.get("answer_index")
    if index is not None and index != right and identity != MMLU_PRO_WRONG_INDEX:
        raise ValueError(f"has the answer {letter} but the index {index}")
    return _problem(identity, text(row, "question"), texts(row, "options"), right, text(row, "category"))


def gpqa(row: Row) -> Problem:
    """GPQA: one right and three wrong answers, in an order that depends on the record's id alone."""
    identity = text(row, "Record ID")
    answers = [text(row, "Correct Answer"), *(text(row, f"Incorrect Answer {i}") for i in (1, 2, 3))]
    order = sorted(range(len(answers)), key=lambda i: digest("gpqa", identity, i))
    choices = [answers[i] for i in order]
    return _problem(identity, text(row, "Question"), choices, order.index(0), optional(row, "High-level domain"))


def bbh(row: Row) -> Problem | None:
    """BIG-Bench Hard with options inside the input. Rows whose target is no letter are left out: they have none."""
    question, target = text(row, "input"), text(row, "target")
    found = _LETTER.fullmatch(target)
    if found is None:
        return None
    options = _OPTION.findall(question.rpartition("Options:")[2])
    letters = [letter for letter, _ in options]
    if letters != list(ascii_uppercase[: len(letters)]) or found[1] not in letters:
        raise ValueError(f"has the target {target}, which is none of its options")
    choices = tuple(choice.strip() for _, choice in options)
    return Problem("", "", question, found[1], params=(("choices", choices),))


def bbh_any(row: Row) -> Problem | None:
    """BIG-Bench Hard, with options or with a number as the target."""
    if "Options:" in text(row, "input"):
        return bbh(row)
    return Problem("", "", text(row, "input"), text(row, "target"))
