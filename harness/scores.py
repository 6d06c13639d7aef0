"""Scores of one evaluation from its verdicts: of each problem, of a split of a suite, of its families.

Files of older versions hold verdicts without some of the fields; what needs them is None then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.base import Problem, Verdict
from benchmarks.graders.answers import number
from harness.stats import avg_at_k, clustered_standard_error, cons_at_k, pass_at_k

KS = (1, 2, 4, 8, 16, 32, 64)
SPEAKING = 16  # tokens from which on equal independent samples are remarkable: short answers are often the same

Row = dict[str, Any]


def verdict_row(problem: Problem, generation: Row, verdict: Verdict) -> Row:
    """What is stored of one graded sample. A score that is no finite number is none: the grader failed."""
    details = asdict(verdict)
    if verdict.score is not None and not math.isfinite(verdict.score):
        details |= {"status": "infra", "score": None}
    return {
        "problem": generation["problem"],
        "sample": generation["sample"],
        "status": details.pop("status"),
        "score": details.pop("score"),
        "family": problem.family,
        "level": problem.level,
        "split": problem.split or "eval",
        "truncated": generation["finish"] == "length",
        "n_tokens": generation["n_tokens"],
        **details,
    }


@dataclass(frozen=True)
class ProblemScore:
    """One problem. `scored` samples of `samples` have a score; `avg` and `cons` are None without one.

    avg: mean score; passed: scored samples that are right; cons: cons@k; mean_tokens: length of the responses.
    """

    problem: str
    split: str
    family: str
    level: int
    samples: int
    scored: int
    avg: float | None
    passed: int
    cons: float | None
    truncated: int
    no_answer: int
    mean_tokens: float | None
    statuses: dict[str, int]


def vote(row: Row) -> Hashable | None:
    """What a sample votes for in cons@k; None: it has no answer.

    Right answers are one answer, since the grader holds each of them equal to the gold one. Other answers are the same
    if they are the same number, or the same text but for white space; the grader is not asked about pairs of wrong
    answers, so that a wrong one written in two ways may lose a vote it should win. Programs are the same only if their
    texts are: that they pass the same tests is no vote that could be held without the tests.
    """
    text = "".join(str(row.get("extracted") or "").split())
    if not text or row["status"] == "no_answer":
        return None
    if row["status"] == "pass" and not row.get("sandbox"):
        return "pass", ""
    value = number(text)
    return ("text", text) if value is None else ("number", value)


def by_problem(verdicts: Sequence[Row], split: str) -> list[ProblemScore]:
    """The problems of a split in the order of their first samples. The last verdict of a sample holds."""
    rows: dict[str, dict[int, Row]] = {}
    for row in verdicts:
        if row.get("split", "eval") == split:
            rows.setdefault(row["problem"], {})[row["sample"]] = row
    return [_score(list(samples.values()), split) for samples in rows.values()]


def _score(rows: list[Row], split: str) -> ProblemScore:
    known = [row for row in rows if row["score"] is not None]
    scores = [float(row["score"]) for row in known]
    lengths = [row.get("n_tokens") for row in rows]
    return ProblemScore(
        problem=rows[0]["problem"],
        split=split,
        family=rows[0].get("family", ""),
        level=rows[0].get("level", 0),
        samples=len(rows),
        scored=len(known),
        avg=_mean(scores),
        passed=sum(score > 0.5 for score in scores),
        cons=cons_at_k([vote(row) for row in known], scores) if known else None,
        truncated=sum(bool(row.get("truncated")) for row in rows),
        no_answer=sum(row["status"] == "no_answer" for row in rows),
        mean_tokens=None if None in lengths else _mean(lengths),
        statuses=dict(sorted(Counter(row["status"] for row in rows).items())),
    )


def summarise(verdicts: Sequence[Row], split: str, k: int) -> dict[str, Any]:
    """avg@k, pass@k and cons@k over the problems of a split, with standard errors, and the rates of what went wrong.

    Standard errors (se, pass_se, cons_se) are clustered by problem: the spread of the values of problems. A problem
    without a scored sample has no part in scores; pass@k needs k scored samples of every other one. Rates are shares of
    all samples; mean_tokens is the mean length of responses.
    """
    problems = by_problem(verdicts, split)
    scored = [problem for problem in problems if problem.scored]
    samples = sum(problem.samples for problem in problems)
    statuses: Counter[str] = sum((Counter(problem.statuses) for problem in problems), Counter())
    lengths = [problem.mean_tokens and problem.mean_tokens * problem.samples for problem in problems]
    passes = {
        str(size): [pass_at_k(problem.scored, problem.passed, size) for problem in scored] for size in KS if size <= k
    }
    means = [problem.avg for problem in scored if problem.avg is not None]
    votes = [problem.cons for problem in scored if problem.cons is not None]
    return {
        "n": len(problems),
        "k": k,
        "samples": samples,
        "avg_at_k": avg_at_k([[mean] for mean in means]) if means else None,
        "se": _error(means),
        "pass_at_k": {size: _clean(_mean(values)) for size, values in passes.items()},
        "pass_se": {size: _error(values) for size, values in passes.items()},
        "cons_at_k": _mean(votes),
        "cons_se": _error(votes),
        "truncated": sum(problem.truncated for problem in problems) / samples,
        "no_answer": statuses["no_answer"] / samples,
        "infra": statuses["infra"] / samples,
        "mean_tokens": None if None in lengths else sum(value for value in lengths if value is not None) / samples,
        "statuses": dict(sorted(statuses.items())),
    }


@dataclass(frozen=True)
class Repetition:
    """Problems whose samples are not independent draws. `problems`: those with several samples.

    seeds: two samples have the same seed; texts: all samples are one text of `SPEAKING` tokens or more; repeated: one
    of the two; short: all samples are one shorter text, which says nothing.
    """

    problems: int
    seeds: int
    texts: int
    repeated: int
    short: int

    @property
    def share(self) -> float | None:
        return self.repeated / self.problems if self.problems else None

    @property
    def suspicious(self) -> bool:
        """Whether seeds occur twice, or every problem that can tell has one text only."""
        return self.seeds > 0 or 0 < self.texts == self.problems - self.short


def repetition(generations: Sequence[Row]) -> Repetition:
    """Of stored samples, which were drawn at a temperature above 0."""
    rows: dict[str, dict[int, Row]] = {}
    for row in generations:
        rows.setdefault(row["problem"], {})[row["sample"]] = row
    several = [list(samples.values()) for samples in rows.values() if len(samples) > 1]
    same_seed = [len({row["seed"] for row in samples}) < len(samples) for samples in several]
    one_text = [len({row["text"] for row in samples}) == 1 for samples in several]
    long = [min(row["n_tokens"] for row in samples) >= SPEAKING for samples in several]
    texts = [one and speaking for one, speaking in zip(one_text, long, strict=True)]
    repeated = sum(seed or text for seed, text in zip(same_seed, texts, strict=True))
    return Repetition(len(several), sum(same_seed), sum(texts), repeated, sum(one_text) - sum(texts))


def by_family(verdicts: Sequence[Row], split: str, macro: bool) -> dict[str, Any]:
    """n, avg@k and standard error of each family where there are several; their mean and its error if `macro`."""
    families: dict[str, list[float]] = {}
    for problem in by_problem(verdicts, split):
        if problem.avg is not None:
            families.setdefault(problem.family, []).append(problem.avg)
    if len(families) < 2:
        return {}
    found = {
        family: {"n": len(means), "avg_at_k": avg_at_k([[mean] for mean in means]), "se": _error(means)}
        for family, means in sorted(families.items())
    }
    if not macro:
        return {"families": found}
    errors = [values["se"] for values in found.values()]
    se = None if None in errors else math.sqrt(sum(error**2 for error in errors)) / len(errors)
    return {"families": found, "macro": {"avg_at_k": _mean([v["avg_at_k"] for v in found.values()]), "se": se}}


def _error(values: Sequence[float]) -> float | None:
    """Standard error of the mean of one value a problem; None where it or one of the values is undefined."""
    if not values or any(math.isnan(value) for value in values):
        return None
    return _clean(clustered_standard_error([[value] for value in values]))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _clean(value: float | None) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if value is None or math.isnan(value) else value
