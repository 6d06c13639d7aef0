"""Verdicts without a condensed form, or that may be damaged: checked against their summary, and condensed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import problem_scores, run_steps
from harness.problem_scores import Questions


def fits(asked: Questions, scores: Mapping[str, Any], summary: Mapping[str, Any]) -> bool:
    """Whether condensed scores are of as many problems and samples as the entry in evaluation.json says."""
    n, k = _asked(summary)
    return n in (0, len(asked.ids)) and k in (None, scores["k"])


def _asked(summary: Mapping[str, Any]) -> tuple[int, int | None]:
    """(problems, samples of each) that an evaluation had; 0 and None where that is not recorded."""
    harder = summary.get("ood", {})
    return sum(block["n"] for block in (summary, harder) if "n" in block), summary.get("k") or harder.get("k")


def read(file: Path, summary: Mapping[str, Any], shared: dict[bytes, Questions]) -> tuple[Questions, dict[str, Any]]:
    """Condensed scores of a file of verdicts/; ValueError in one sentence where it is damaged or incomplete."""
    # A re-graded sample is appended again: the last verdict of a sample holds.
    rows = list({(row["problem"], row["sample"]): row for row in run_steps.records(file)}.values())
    if not rows:
        raise ValueError(f"{file} is empty; evaluate the run again.")
    _check_complete(file, rows, summary)
    line, scores = problem_scores.condense(rows)
    return problem_scores.questions(line, shared), scores


def _check_complete(file: Path, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    """ValueError unless there are k samples of each of the n problems of the summary, with scores that are numbers."""
    samples = Counter(row["problem"] for row in rows)
    expected, k = _asked(summary)
    if expected and len(samples) != expected:
        raise ValueError(
            f"{file} has verdicts on {len(samples)} different problems, but {expected} were evaluated: problem ids are "
            "missing or duplicated, so evaluate the run again."
        )
    k = k or next(iter(samples.values()))
    wrong = next((problem for problem, count in samples.items() if count != k), None)
    if wrong is not None:
        raise ValueError(
            f"{file} has {samples[wrong]} samples of problem {wrong} instead of {k}: samples are missing or its id is "
            "duplicated, so evaluate the run again."
        )
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["problem"], set()).add(row.get("split", "eval"))
    for problem, own in splits.items():
        if len(own) > 1:
            raise ValueError(
                f"{file} has problem {problem} in the splits {' and '.join(sorted(own))}: the id is duplicated."
            )
    for row in rows:
        if row["score"] is not None and not math.isfinite(row["score"]):
            raise ValueError(f"{file} has the score {row['score']} for problem {row['problem']}: rescore the run.")
