"""Rows of a comparison: runs grouped by setting, labelled by what differs, and the estimates made for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.compare_load import Run
from harness.stats import Interval


@dataclass
class Scores:
    """Estimates of one row on one split, at its last evaluation. Keys of the dicts are suite names.

    `mean` is the unweighted mean over `suites`; `gain` is against fraction 0 of the same runs; `difference` is against
    the baseline row, paired by problem and seed. `holm` and `suite_holm` are p-values adjusted over all rows, and over
    all rows and suites. `dropped` counts problems left out because some seed has no scored sample of them.
    """

    by_suite: dict[str, Interval]
    mean: Interval
    gain: Interval | None = None
    difference: Interval | None = None
    suite_difference: dict[str, Interval] = field(default_factory=dict)
    holm: float = float("nan")
    suite_holm: dict[str, float] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """Mean over suites at one evaluated fraction, and the mean ledger over seeds at that moment."""

    fraction: str
    ledger: dict[str, float]
    score: Interval


@dataclass(eq=False)
class Row:
    """One setting: all finished runs that differ in nothing but the seed, sorted by seed."""

    label: str
    strategy: str
    settings: dict[str, str]
    runs: list[Run]
    baseline: Row | None = None
    scores: dict[str, Scores] = field(default_factory=dict)
    levels: dict[str, dict[int, Interval]] = field(default_factory=dict)
    mean_levels: dict[int, Interval] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The arm's name in its matrix, if all runs have the same; else the strategy's."""
        arms = {run.arm for run in self.runs}
        return arms.pop() or self.strategy if len(arms) == 1 else self.strategy

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @property
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
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        settings = flatten({key: value for key, value in run.spec.items() if key not in ("seed", "runtime")})
        settings["experiment"] = run.experiment
        groups.setdefault(tuple(sorted(settings.items())), []).append(run)
    rows = [
        Row("", members[0].strategy, dict(key), sorted(members, key=lambda run: (run.seed, run.run_id)))
        for key, members in groups.items()
    ]
    shared = {key for key in ("experiment", "model", "budget") if len({row.settings.get(key) for row in rows}) > 1}
    for row in rows:
        peers = [peer.settings for peer in rows if peer.name == row.name]
        keys = shared | {key for peer in peers for key in peer if len({other.get(key) for other in peers}) > 1}
        parts = [f"{_short(key, keys)}={row.settings.get(key, 'unset')}" for key in sorted(keys)]
        row.label = f"{row.name} ({', '.join(parts)})" if parts else row.name
    return sorted(rows, key=lambda row: row.label)


def _short(key: str, keys: set[str]) -> str:
    """The last part of a dotted key, or the whole key where two keys end alike."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in keys) > 1 else last


def nearest_baseline(rows: Sequence[Row], row: Row, baseline: str) -> Row:
    """The row that `baseline` (label or strategy name) means for `row`: the one that differs in the fewest settings.

    Raises ValueError where nothing matches or two rows are equally near.
    """
    named = [other for other in rows if other.label == baseline]
    candidates = named or [other for other in rows if other.strategy == baseline]
    if not candidates:
        labels = ", ".join(sorted({other.strategy for other in rows}))
        raise ValueError(f"There is no finished run of the baseline {baseline!r}; choose one of: {labels}.")
    if row in candidates:
        return row
    distances = [_distance(row, other) for other in candidates]
    nearest = [other for other, distance in zip(candidates, distances, strict=True) if distance == min(distances)]
    if len(nearest) > 1:
        labels = "; ".join(other.label for other in nearest)
        raise ValueError(f"The baseline {baseline!r} is ambiguous for {row.label}; give the label of one: {labels}.")
    return nearest[0]


def _distance(a: Row, b: Row) -> int:
    return sum(a.settings.get(key) != b.settings.get(key) for key in a.settings.keys() | b.settings.keys())
