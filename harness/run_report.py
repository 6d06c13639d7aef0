"""What one run did, from its directory: scores before and after, course of training, cost, samples."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from benchmarks.base import Problem
from harness import spec as specification
from harness.store import RunDir, read_json, read_lines

CURVES = ("reward", "mu", "effective_mix", "kl", "entropy", "response_length", "grad_norm")


@dataclass(frozen=True)
class Score:
    """avg@k of one suite and split with its clustered standard error; `gain` and its error are paired by problem."""

    suite: str
    split: str
    n: int
    first: float | None
    first_se: float | None
    last: float | None
    last_se: float | None
    gain: float | None
    gain_se: float | None
    levels: dict[int, tuple[float | None, float | None]]  # level -> (first, last)


def evaluations(run: RunDir) -> dict[str, Any]:
    """Fraction -> suite -> summary, ascending; empty before the first evaluation."""
    found = read_json(run.evaluation) if run.evaluation.exists() else {}
    return {key: found[key] for key in sorted(found, key=float)}


def problem_means(run: RunDir, suite: str, key: str, split: str) -> dict[str, tuple[int, float]]:
    """Problem -> (level, mean score of its scored samples) of one evaluation."""
    scores: dict[str, list[float]] = defaultdict(list)
    levels: dict[str, int] = {}
    for row in read_lines(run.verdicts(suite, float(key))):
        if row["split"] == split and row["score"] is not None:
            scores[row["problem"]].append(row["score"])
            levels[row["problem"]] = row["level"]
    return {problem: (levels[problem], _mean(values)) for problem, values in scores.items()}


def scores(run: RunDir) -> list[Score]:
    """Every suite and split at the first and last evaluation so far, in the evaluation's order."""
    found = evaluations(run)
    if not found:
        return []
    keys = list(found)
    first, last = keys[0], keys[-1] if len(keys) > 1 else None
    rows = []
    for split in ("eval", "ood"):
        for suite, summary in found[first].items():
            before = _block(summary, split)
            after = _block(found[last].get(suite), split) if last else None
            if before is None and after is None:
                continue
            rows.append(_score(run, suite, split, first, last, before, after))
    return rows


def _block(summary: dict[str, Any] | None, split: str) -> dict[str, Any] | None:
    if summary is None:
        return None
    return summary.get("ood") if split == "ood" else summary


def _score(
    run: RunDir,
    suite: str,
    split: str,
    first: str,
    last: str | None,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> Score:
    start = problem_means(run, suite, first, split) if before else {}
    end = problem_means(run, suite, last, split) if after and last else {}
    differences = [end[problem][1] - start[problem][1] for problem in start.keys() & end.keys()]
    levels = sorted({level for level, _ in (*start.values(), *end.values())})

    def at(means: dict[str, tuple[int, float]], level: int) -> float | None:
        values = [mean for own, mean in means.values() if own == level]
        return _mean(values) if values else None

    return Score(
        suite=suite,
        split=split,
        n=(before or after or {}).get("n", 0),
        first=before["avg_at_k"] if before else None,
        first_se=before["se"] if before else None,
        last=after["avg_at_k"] if after else None,
        last_se=after["se"] if after else None,
        gain=_mean(differences) if differences else None,
        gain_se=_standard_error(differences),
        levels={level: (at(start, level), at(end, level)) for level in levels},
    )


def overall(rows: list[Score]) -> Score | None:
    """The unweighted mean over suites, suites being independent; None for fewer than two or with scores missing."""
    if len(rows) < 2 or any(row.first is None for row in rows):
        return None

    def error(values: list[float | None]) -> float | None:
        return None if None in values else math.sqrt(sum(v**2 for v in values if v is not None)) / len(values)

    def mean(values: list[float | None]) -> float | None:
        return None if None in values else sum(v for v in values if v is not None) / len(values)

    shared = sorted(set.intersection(*(set(row.levels) for row in rows)))
    return Score(
        suite="mean",
        split=rows[0].split,
        n=sum(row.n for row in rows),
        first=mean([row.first for row in rows]),
        first_se=error([row.first_se for row in rows]),
        last=mean([row.last for row in rows]),
        last_se=error([row.last_se for row in rows]),
        gain=mean([row.gain for row in rows]),
        gain_se=error([row.gain_se for row in rows]),
        levels={
            level: (mean([row.levels[level][0] for row in rows]), mean([row.levels[level][1] for row in rows]))
            for level in shared
        },
    )


def curves(run: RunDir) -> dict[str, tuple[list[int], list[float]]]:
    """Name -> (steps, values) of the metrics in `CURVES` that the run has."""
    metrics = read_lines(run.metrics)
    found = {}
    for name in CURVES:
        points = [(row["step"], row[name]) for row in metrics if row.get(name) is not None]
        if points:
            found[name] = ([step for step, _ in points], [value for _, value in points])
    return found


def cost(run: RunDir) -> dict[str, Any]:
    """Counters of the last step, seconds by phase, peak memory (MB) and the controller's share of step time."""
    metrics, timing = read_lines(run.metrics), read_lines(run.timing)
    if not metrics or not timing:
        return {}
    last = metrics[-1]
    seconds = sum(row["seconds"] for row in timing)
    device = [row["device_memory_mb"] for row in timing if "device_memory_mb" in row]
    names = ("updates", "prompts", "generated_tokens", "trained_tokens_rollout", "trained_tokens_demo", "flops")
    return {
        **{name: last[name] for name in names},
        "flops_generate": last["flops_generate"],
        "seconds": seconds,
        "rollout": sum(row["rollout"] for row in timing),
        "update": sum(row["update"] for row in timing),
        "controller_share": sum(row["controller"] for row in timing) / seconds if seconds else 0.0,
        "memory_mb": max(row["memory_mb"] for row in timing),
        "device_memory_mb": max(device) if device else None,
    }


@dataclass(frozen=True)
class Sample:
    """One evaluated generation. `problem` is None where the suite's data are not at hand."""

    suite: str
    text: str
    verdict: dict[str, Any]
    problem: Problem | None


def samples(run: RunDir, key: str, wanted: int, only: str | None) -> list[Sample]:
    """Up to `wanted` generations of one evaluation: suites in turn, passes and failures in turn.

    ValueError if the run was not evaluated on the suite `only`.
    """
    names = list(evaluations(run)[key])
    if only is not None and only not in names:
        raise ValueError(f"{run.path.name} was not evaluated on {only!r}: choose from {', '.join(names)}")
    problems = _problems(run)
    queues = []
    for i, name in enumerate([only] if only else names):
        texts = {(row["problem"], row["sample"]): row["text"] for row in read_lines(run.generations(name, float(key)))}
        rows = [row for row in read_lines(run.verdicts(name, float(key))) if (row["problem"], row["sample"]) in texts]
        good = [row for row in rows if row["status"] == "pass"]
        bad = [row for row in rows if row["status"] != "pass"]
        # every second suite starts with a failure, so that few samples show both
        pair = (bad, good) if i % 2 else (good, bad)
        turns = [row for both in zip(*pair, strict=False) for row in both]
        shorter = min(len(good), len(bad))
        turns += good[shorter:] + bad[shorter:]
        queues.append(
            [Sample(name, texts[row["problem"], row["sample"]], row, problems.get(row["problem"])) for row in turns]
        )
    return [sample for turn in zip_longest(*queues) for sample in turn if sample is not None][:wanted]


def _problems(run: RunDir) -> dict[str, Problem]:
    """Evaluated problems by id; empty where the run's data are not on this machine."""
    from harness.data import evaluation_suites
    from harness.evaluation_plan import plan_for

    try:
        spec = specification.build(run.manifest["spec"])
        return {
            problem.id: problem
            for suite in evaluation_suites(spec.data, spec.eval)
            for split, n in (("eval", plan_for(spec.eval, suite).problems), ("ood", spec.eval.ood_problems))
            for problem in (suite.problems(split, n, spec.eval.seed) if n else [])
        }
    except ValueError:
        return {}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _standard_error(values: list[float]) -> float | None:
    """Of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) * (len(values) - 1)))
