"""Rows of a comparison: runs grouped by setting, labelled by what differs, and the estimates made for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.compare_load import Run
from harness.statistics.intervals import Estimate


@dataclass
class Scores:
    """Estimates of one row on one split, at its last evaluation. Keys of the dicts are suite names.

    `mean` is the unweighted mean over `suites`; `gain` is against fraction 0 of the same runs; `difference` is against
    the baseline row, paired by problem and seed. `holm` and `suite_holm` are p-values adjusted over all rows, and over
    all rows and suites. `dropped` counts problems left out because some seed has no scored sample of them.
    """

    by_suite: dict[str, Estimate]
    mean: Estimate
    gain: Estimate | None = None
    difference: Estimate | None = None
    suite_difference: dict[str, Estimate] = field(default_factory=dict)
    holm: float = float("nan")
    suite_holm: dict[str, float] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """Mean over suites at one evaluated fraction, and the mean ledger over seeds at that moment."""

    fraction: str
    ledger: dict[str, float]
    score: Estimate


@dataclass(eq=False)
class Row:
    """One setting: all finished runs that differ in nothing but the seed, sorted by seed."""

    label: str
    strategy: str
    settings: dict[str, str]
    runs: list[Run]
    baseline: Row | None = None
    scores: dict[str, Scores] = field(default_factory=dict)
    levels: dict[str, dict[int, Estimate]] = field(default_factory=dict)
    mean_levels: dict[int, Estimate] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, float] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The arm's name in its matrix, if all runs have the same; else the strategy's."""
        arms = {run.arm for run in self.runs}
        return arms.pop() or self.strategy if len(arms) == 1 else self.strategy

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @cached_property
    def last(self) -> str:
        """The last fraction that all runs of the row evaluated."""
        shared = set.intersection(*(set(run.fractions) for run in self.runs))
        if not shared:
            raise ValueError(f"The runs of {self.label} share no evaluated fraction; evaluate them alike.")
        return max(shared, key=float)


def flatten(spec: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested specification as dotted keys and text values; the budget's kind and limit become one key."""
    flat = {}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if {"budget.kind", "budget.limit"} <= flat.keys():
        flat["budget"] = f"{flat.pop('budget.limit')} {flat.pop('budget.kind')}"
    return flat


def group_runs(runs: Sequence[Run]) -> list[Row]:
    """One row for all runs that differ in nothing but the seed (and how they were executed), in label order.

    A label is the strategy, or the name that a matrix gave to the arm, with the settings that differ between the rows
    of that name, and with the experiment, model and budget where these differ between any rows.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        settings = {key: value for key, value in run.spec.items() if key not in ("seed", "runtime")}
        groups.setdefault(json.dumps([settings, run.experiment], sort_keys=True), []).append(run)
    rows = []
    for members in groups.values():
        first = members[0]
        settings = flatten({key: value for key, value in first.spec.items() if key not in ("seed", "runtime")})
        settings["experiment"] = first.experiment
        ordered = sorted(members, key=lambda run: (run.seed, run.run_id))
        rows.append(Row("", first.strategy, dict(sorted(settings.items())), ordered))
    shared = {key for key in ("experiment", "model", "budget") if len({row.settings.get(key) for row in rows}) > 1}
    peers: dict[str, list[Row]] = {}
    for row in rows:
        peers.setdefault(row.name, []).append(row)
    for group in peers.values():
        known = {key for row in group for key in row.settings}
        keys = shared | {key for key in known if len({row.settings.get(key) for row in group}) > 1}
        short = {key: _short(key, keys) for key in sorted(keys)}
        for row in group:
            parts = [f"{name}={row.settings.get(key, 'unset')}" for key, name in short.items()]
            row.label = f"{row.name} ({', '.join(parts)})" if parts else row.name
    return sorted(rows, key=lambda row: row.label)


def _short(key: str, keys: set[str]) -> str:
    """The last part of a dotted key, or the whole key where two keys end alike."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in keys) > 1 else last


def set_baselines(rows: Sequence[Row], baseline: str) -> None:
    """Gives every row the row that `baseline` (label or strategy name) means for it: the one nearest in settings.

    That is the one that differs in the fewest settings. Raises ValueError where nothing matches or two are equally
    near.
    """
    named = [place for place, row in enumerate(rows) if row.label == baseline]
    candidates = named or [place for place, row in enumerate(rows) if row.strategy == baseline]
    if not candidates:
        labels = ", ".join(sorted({row.strategy for row in rows}))
        raise ValueError(f"There is no finished run of the baseline {baseline!r}; choose one of: {labels}.")
    codes, chosen = _codes(rows), set(candidates)
    for place, row in enumerate(rows):
        if place in chosen:
            row.baseline = row
            continue
        distances = (codes[candidates] != codes[place]).sum(axis=1)
        nearest = np.flatnonzero(distances == distances.min())
        if len(nearest) > 1:
            labels = "; ".join(few([rows[candidates[i]].label for i in nearest]))
            raise ValueError(
                f"The baseline {baseline!r} is ambiguous for {row.label}; give the label of one: {labels}."
            )
        row.baseline = rows[candidates[nearest[0]]]


def _codes(rows: Sequence[Row]) -> np.ndarray:
    """Settings as numbers [rows, settings]; equal ones are equal settings."""
    keys = sorted({key for row in rows for key in row.settings})
    codes = np.empty((len(rows), len(keys)), dtype=int)
    for column, key in enumerate(keys):
        numbers: dict[str | None, int] = {}
        codes[:, column] = [numbers.setdefault(row.settings.get(key), len(numbers)) for row in rows]
    return codes


def few(names: Sequence[str], limit: int = 8) -> list[str]:
    """The first names, and how many there are beside them: a sentence must stay one that is read."""
    if len(names) <= limit + 1:
        return list(names)
    return [*names[:limit], f"{len(names) - limit:,} more"]
