"""A run's files as named numbers at optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.catalog import mean_score
from harness.store import RunDir, read_json, read_lines

# of a suite's summary: the same at every evaluation, or told by others
LEFT_OUT = {"at", "n", "k", "samples", "statuses"}


@dataclass(frozen=True)
class Record:
    """`time`: Unix time as if nothing but training took time. `evaluation`: its key; None for an optimiser step."""

    step: int
    values: dict[str, float]
    time: float
    evaluation: str | None = None


def of_step(line: Mapping[str, Any], timing: Mapping[str, Any], began: float) -> Record:
    """Of one line of metrics.jsonl and of timing.jsonl; what was not measured is left out."""
    values = dict(_numbers("train", {k: v for k, v in line.items() if k != "step"}))
    values |= _numbers("timing", {k: v for k, v in timing.items() if k != "step"})
    return Record(line["step"], values, began + timing.get("cumulative_seconds", 0.0))


def of_evaluation(key: str, suites: Mapping[str, Any], began: float) -> Record:
    """Of one entry of evaluation.json. eval/avg_at_k is the unweighted mean over suites."""
    values = {"eval/fraction": float(key)}
    mean = mean_score(dict(suites))
    if mean is not None:
        values["eval/avg_at_k"] = mean
    for suite, summary in suites.items():
        values |= _numbers(f"eval/{suite}", {k: v for k, v in summary.items() if k != "ood"})
        values |= _numbers(f"ood/{suite}", summary.get("ood") or {})
    at = next(iter(suites.values()))["at"]
    return Record(at["step"], values, began + at["seconds"], key)


def stored(directory: RunDir, began: float) -> list[Record]:
    """All that the files of a run hold, in the order in which it came about."""
    timing = {line["step"]: line for line in read_lines(directory.timing)}
    steps = [of_step(line, timing.get(line["step"], {}), began) for line in read_lines(directory.metrics)]
    found = read_json(directory.evaluation) if directory.evaluation.exists() else {}
    evaluations = [of_evaluation(key, found[key], began) for key in sorted(found, key=float)]
    return sorted(steps + evaluations, key=lambda record: (record.step, record.evaluation is not None))


def _numbers(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in table.items():
        if key in LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}/{key}", value)
        elif isinstance(value, (int, float)) and math.isfinite(value):
            yield f"{prefix}/{key}", float(value)
