"""How runs were steered: cost of the controller, drift from the start policy, moves of mu, and what its signals knew.

Made of metrics.jsonl and timing.jsonl alone, so that runs of any method, finished or not, can be read. A number that
a run's records do not hold is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness import compare_load, pack_load
from harness.compare_rows import group_runs
from harness.store import find_runs, read_json, read_lines

PROXIES = ("sigma_r2", "sigma_s2", "delta_g2")  # metrics of estimates; the exact value of each is `true_NAME`


@dataclass(frozen=True)
class Settings:
    """What is counted: moves of mu above each threshold, and KL above a target (nats per token)."""

    thresholds: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01)
    kl_target: float = 0.02

    def __post_init__(self) -> None:
        if not self.thresholds or not all(math.isfinite(value) and value >= 0 for value in self.thresholds):
            raise ValueError(f"thresholds must be numbers >= 0, not {list(self.thresholds)}")
        if not (math.isfinite(self.kl_target) and self.kl_target >= 0):
            raise ValueError(f"the KL target must be a number >= 0, not {self.kl_target}")


@dataclass(frozen=True)
class Steered:
    """One run and its `measure`."""

    path: Path
    spec: Mapping[str, Any]
    arm: str | None  # as the matrix that made the run calls it, with the values of its axes
    values: dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed, and the means over them."""

    label: str
    runs: list[Steered]
    values: dict[str, Any]


@dataclass(frozen=True)
class Report:
    arms: list[Arm]
    left_out: list[str] = field(default_factory=list)  # a sentence on each run that could not be read


# ---- one run


def measure(
    metrics: Iterable[Mapping[str, Any]], timing: Iterable[Mapping[str, Any]], settings: Settings
) -> dict[str, Any]:
    """Every number of one run, from its records; a step that was done again counts once, as it was done last."""
    lines, times = (list({row["step"]: row for row in rows}.values()) for rows in (metrics, timing))
    mus = _column(lines, "mu")
    moves = [abs(after - before) for before, after in pairwise(mus)]
    points = [(float(row["step"]), row["kl"]) for row in lines if row.get("kl") is not None]
    probed = [row["gradient_probe"] for row in times if "gradient_probe" in row]
    seconds = sum(row["seconds"] for row in times)
    controller = sum(row.get("controller") or 0.0 for row in times)
    return {
        "steps": len(lines),
        "seconds": seconds,
        "controller_seconds": controller,
        "controller_share": controller / seconds if seconds else None,
        "kl_drift_area": drift_area(points) if points else None,
        "kl_drift_above_target": drift_area(points, settings.kl_target) if points else None,
        "events": {f"{bound:g}": sum(move > bound for move in moves) for bound in settings.thresholds} if mus else None,
        "estimator_share": _mean(_column(lines, "estimator_share")),
        "mu_sensitivity": _mean(_column(lines, "mu_sensitivity")),
        "mu": course(mus),
        "effective_mix": course(_column(lines, "effective_mix")),
        "probe": probe(lines, probed),
    }


def drift_area(points: Sequence[tuple[float, float]], above: float = 0.0) -> float:
    """Integral over steps of max(KL - above, 0), KL being linear between the `points` (step, KL) and 0 at step 0."""
    area = 0.0
    for (begin, first), (end, last) in pairwise([(0.0, 0.0), *points]):
        low, high = sorted((first - above, last - above))
        if low >= 0:
            area += 0.5 * (low + high) * (end - begin)
        elif high > 0:  # a triangle over the share of the time after, or before, the crossing
            area += 0.5 * high * high / (high - low) * (end - begin)
    return area


def course(values: Sequence[float]) -> dict[str, float] | None:
    """First value, mean and last value."""
    if not values:
        return None
    return {"first": values[0], "mean": sum(values) / len(values), "last": values[-1]}


def probe(lines: Sequence[Mapping[str, Any]], seconds: Sequence[float]) -> dict[str, Any] | None:
    """What the exact gradients say of the estimates; None for a run that has not measured them.

    For each proxy: its correlation over steps with the true value, as estimated on the step (`NAME_raw`, where the run
    records it) and as the controller smoothed it (`NAME`). Regret: how far the mean squared error of the applied mu is
    above that of the best one.
    """
    if not seconds and not any(name.startswith("true_") for row in lines for name in row):
        return None
    found: dict[str, Any] = {}
    for name in PROXIES:
        for kind, column in (("estimated", f"{name}_raw"), ("smoothed", name)):
            pairs = [
                (row[column], row[f"true_{name}"])
                for row in lines
                if row.get(column) is not None and row.get(f"true_{name}") is not None
            ]
            if pairs:
                found.setdefault(name, {})[kind] = correlation(*zip(*pairs, strict=True))
    return {
        "proxies": found,
        "cosine": _mean(_column(lines, "true_cosine")),
        "mu_optimal": _mean(_column(lines, "mu_optimal")),
        "mu_regret": _mean(_column(lines, "mu_regret")),
        "error_optimal": _mean(_column(lines, "error_optimal")),
        "measured": len(_column(lines, "true_delta_g2")),
        "seconds": sum(seconds),
    }


def correlation(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Pearson's and Spearman's coefficient over n pairs; None for fewer than three or where one side is constant."""
    return {"n": len(x), "pearson": _pearson(np.array(x), np.array(y)), "spearman": _pearson(_ranks(x), _ranks(y))}


def _pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / math.sqrt(float(x @ x) * float(y @ y)))


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


def _column(lines: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return [row[name] for row in lines if row.get(name) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


# ---- runs and arms


def average(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of numbers by key, through nested tables, over the records that have them; numbers of pairs `n` add up."""
    result: dict[str, Any] = {}
    for key in dict.fromkeys(key for record in records for key in record):
        values = [record[key] for record in records if record.get(key) is not None]
        if values and isinstance(values[0], Mapping):
            result[key] = average(values)
        else:
            result[key] = sum(values) if key == "n" else _mean(values)
    return result


def report(paths: Sequence[Path], settings: Settings) -> Report:
    """All training runs at or below `paths`, packed ones as well. ValueError if there are none with a step."""
    found = {run.path.resolve(): run for path in paths for run in find_runs(path)}
    steered, left_out = [], []
    for run in found.values():
        try:
            spec = run.manifest.get("spec") or {}
            metrics, timing = read_lines(run.metrics), read_lines(run.timing)
        except ValueError as problem:
            left_out.append(str(problem))
            continue
        if metrics and {"strategy", "seed"} <= spec.keys():
            steered.append(Steered(run.path, spec, _arm_of(run.path), measure(metrics, timing, settings)))
        else:
            left_out.append(f"{run.path} has no steps yet" if spec else f"{run.path} has no specification")
    for pack in dict.fromkeys(pack for path in paths for pack in compare_load.find_packs(path)):
        for run in pack_load.load(pack, {}):
            metrics, timing = (steps.rows() for steps in run.steps)
            path = pack / run.run_id
            steered.append(Steered(path, run.spec, _arm_of(path), measure(metrics, timing, settings)))
    if not steered:
        places = ", ".join(str(path) for path in paths)
        raise ValueError(f"no run with a step under {places}: name run directories or a results directory")
    return Report(arms_of(steered), left_out)


def arms_of(runs: Sequence[Steered]) -> list[Arm]:
    """Runs that differ only in the seed together, by label: the matrix's name for them, else what sets them apart."""
    loaded = []
    for run in runs:
        path = run.path.resolve()
        loaded.append(compare_load.Run(path.parent.name, path.name, compare_load.completed(dict(run.spec)), {}))
    steered = {id(one): run for one, run in zip(loaded, runs, strict=True)}
    rows = [(row.label, [steered[id(run)] for run in row.runs]) for row in group_runs(loaded)]
    named = Counter(arm for _, members in rows for arm in {run.arm for run in members})
    arms = []
    for label, members in rows:
        names = {run.arm for run in members}
        own = names.pop() if len(names) == 1 else None
        label = own if own is not None and named[own] == 1 else label
        arms.append(Arm(label, members, average([run.values for run in members])))
    return arms


def _arm_of(path: Path) -> str | None:
    """Name and axes, but the seed, of the run's cell in a matrix file beside it, or in its pack."""
    path = path.resolve()
    for file in sorted(path.parent.glob("*.matrix.json")):
        cell = read_json(file).get("cells", {}).get(path.name)
        if cell is not None:
            axes = [f"{key}={value}" for key, value in cell["axes"].items() if key not in ("seed", "strategy")]
            return " ".join([cell["arm"], *axes]) if cell["arm"] else None
    return None
