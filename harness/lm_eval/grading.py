"""What exported tasks call inside lm-eval: problems from their file, and scores by the suite's own grader."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import registry
from benchmarks.base import Problem

if TYPE_CHECKING:
    from datasets import Dataset

_FIELDS = tuple(field.name for field in fields(Problem) if field.name != "demonstrations")


def encode(problem: Problem) -> str:
    """The problem, without demonstrations, as a Python literal: JSON would turn tuples into lists.

    ValueError if it holds a value that is no literal.
    """
    text = repr({name: getattr(problem, name) for name in _FIELDS})
    try:
        same = ast.literal_eval(text) == {name: getattr(problem, name) for name in _FIELDS}
    except (SyntaxError, ValueError):
        same = False
    if not same:
        raise ValueError(f"problem {problem.id} holds values that cannot be written to a file: it cannot be exported")
    return text


def decode(text: str) -> Problem:
    """The problem that `encode` wrote."""
    return Problem(**ast.literal_eval(text))


def read(path: Path) -> dict[str, Dataset]:
    """The rows of an exported file as the split "test"."""
    from datasets import Dataset

    return {"test": Dataset.from_list([json.loads(line) for line in path.read_text().split("\n") if line])}


def scores(doc: dict[str, Any], results: Sequence[Sequence[str]]) -> dict[str, Any]:
    """lm-eval's `process_results`: avg@k and pass@k of one problem's responses, and the share that was not scored.

    A problem without any scored response is left out of the first two. `results` holds the list of its responses.
    Values of a suite whose score is the mean over families come with the family, for `macro_mean`.
    """
    (responses,) = results
    problem = decode(doc["problem"])
    suite = registry.get(problem.suite)
    verdicts = suite.grade([problem] * len(responses), responses)
    known = [verdict.score for verdict in verdicts if verdict.score is not None]
    found: dict[str, Any] = {"infra": 1 - len(known) / len(verdicts)}
    if known:
        found["avg_at_k"] = sum(known) / len(known)
        found["pass_at_k"] = float(any(score > 0.5 for score in known))
    if suite.macro:
        found |= {name: (problem.family, found[name]) for name in ("avg_at_k", "pass_at_k") if name in found}
    return found


def macro_mean(items: Sequence[tuple[str, float]]) -> float:
    """The mean over families of the mean over their problems."""
    families: dict[str, list[float]] = {}
    for family, value in items:
        families.setdefault(family, []).append(value)
    return sum(sum(values) / len(values) for values in families.values()) / len(families)
