"""The steps of a run as columns, and their totals: what it spent, and what happened inside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LEDGER = ("prompts", "generated_tokens", "trained_tokens_rollout", "trained_tokens_demo", "flops")
COSTS = ("updates", *LEDGER, "seconds")  # keys of `cost`


@dataclass(frozen=True, eq=False)
class Steps:
    """Records of optimiser steps, ascending. A column has one number a step, NaN where the record has none."""

    index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: str) -> bool:
        return key in self.columns

    def known(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) where the column has a number."""
        values = self.columns.get(key)
        if values is None:
            return np.empty(0, dtype=int), np.empty(0)
        there = ~np.isnan(values)
        return self.index[there], values[there]

    def rows(self) -> list[dict[str, float]]:
        """One record a step, as in the files, with what is known of it."""
        columns = {key: values.tolist() for key, values in self.columns.items()}
        return [
            {"step": step, **{key: values[i] for key, values in columns.items() if not math.isnan(values[i])}}
            for i, step in enumerate(self.index.tolist())
        ]

    def frame(self) -> pd.DataFrame:
        """As a table with the steps as index."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns), index=pd.Index(self.index, name="step"))


def of_records(records: Iterable[Mapping[str, Any]]) -> Steps:
    """Numbers only; a step that was done again counts once, as it was done last."""
    rows = {row["step"]: row for row in records}
    order = sorted(rows)
    names = dict.fromkeys(key for step in order for key in rows[step] if key != "step")
    return of_columns(order, {key: [rows[step].get(key) for step in order] for key in names})


def of_columns(index: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> Steps:
    """Columns without any number are left out, and so is every value that is none."""
    found = {}
    for key, values in columns.items():
        numbers = [value if isinstance(value, int | float) else math.nan for value in values]
        if any(isinstance(value, int | float) for value in values):
            found[key] = np.array(numbers, dtype=float)
    return Steps(np.array(index, dtype=int), found)


def read(path: Path) -> Steps:
    """Of metrics.jsonl or timing.jsonl; no steps for a missing file. ValueError in one sentence for a damaged one.

    A last line without its line end was torn by a kill and is skipped.
    """
    return of_records(records(path)) if path.is_file() else Steps()


def records(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file that is whole but for a torn last line."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        # one call for the whole file is twice as fast as one a line
        rows = json.loads(f"[{','.join(lines)}]")
        if len(rows) == len(lines):
            return rows
    except json.JSONDecodeError:
        pass  # which line it is, the loop finds
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} line {number} is not valid JSON ({error}); the run is damaged.") from None
    return rows


def cost(metrics: Steps, timing: Steps) -> dict[str, float]:
    """What was spent up to the last update: ledger, updates and seconds. Unknown keys are absent."""
    found = {"updates": float(metrics.index[-1])} if len(metrics) else {}
    found |= {key: _last(metrics, key) for key in LEDGER}
    found["seconds"] = _last(timing, "cumulative_seconds")
    return {key: value for key, value in found.items() if not math.isnan(value)}


def reasons(metrics: Steps, timing: Steps) -> dict[str, float]:
    """What happened: means over the first and last quarter of steps, end values, the controller's share of time."""
    quarter = max(1, len(metrics) // 4)
    first, last, whole = slice(None, quarter), slice(-quarter, None), slice(None)
    found = {
        "effective_mix_first": _mean(metrics, "effective_mix", first),
        "effective_mix_last": _mean(metrics, "effective_mix", last),
        "mu_last": _last(metrics, "mu"),
        "large_dmu_events": _last(metrics, "large_dmu_events"),
        "kl_last": _last(metrics, "kl"),
        "kl_drift_area": _last(metrics, "kl_drift_area"),
        "entropy_first": _mean(metrics, "entropy", first),
        "entropy_last": _mean(metrics, "entropy", last),
        "response_length_last": _mean(metrics, "response_length", last),
        "truncated_last": _mean(metrics, "truncated", last),
        "reward_last": _mean(metrics, "reward", last),
        "grad_norm": _mean(metrics, "grad_norm", whole),
        "mismatch": _mean(metrics, "mismatch", whole),
    }
    if "controller" in timing and "seconds" in timing and (total := np.nansum(timing.columns["seconds"])) > 0:
        found["controller_share"] = float(np.nansum(timing.columns["controller"]) / total)
    return {key: value for key, value in found.items() if not math.isnan(value)}


def _last(steps: Steps, key: str) -> float:
    _, values = steps.known(key)
    return float(values[-1]) if len(values) else math.nan


def _mean(steps: Steps, key: str, part: slice) -> float:
    if key not in steps:
        return math.nan
    values = steps.columns[key][part]
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
