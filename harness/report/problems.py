"""Scores problem by problem of a comparison's rows: what tables and figures on single problems are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_load import Run
    from harness.compare_rows import Row


def row_named(comparison: Comparison, name: str) -> Row:
    """The row of that label, arm or strategy; ValueError where none or several have it."""
    for key in ("label", "name", "strategy"):
        found = [row for row in comparison.rows if getattr(row, key) == name]
        if len(found) == 1:
            return found[0]
        if found:
            labels = "; ".join(row.label for row in found)
            raise ValueError(f"{name!r} names several rows; give the label of one: {labels}.")
    labels = "; ".join(row.label for row in comparison.rows)
    raise ValueError(f"There is no row {name!r}; the rows are: {labels}.")


def suites_of(comparison: Comparison, split: str, wanted: Sequence[str] = ()) -> list[str]:
    """The suites of the split, or those `wanted` of them; ValueError for a split or a suite that was not evaluated."""
    known = comparison.suites.get(split)
    if not known:
        splits = ", ".join(sorted(comparison.suites))
        raise ValueError(f"No suite was evaluated on the split {split!r}; the evaluated splits are: {splits}.")
    unknown = [suite for suite in wanted if suite not in known]
    if unknown:
        raise ValueError(f"The suite {unknown[0]!r} was not evaluated on {split} by all rows; these were: {known}.")
    return list(wanted) or list(known)


def by_seed(row: Row, other: Row | None = None) -> list[Run]:
    """The row's runs, one a seed, ascending; only those with a seed that `other` has too."""
    runs = {run.seed: run for run in row.runs}
    kept = runs.keys() if other is None else runs.keys() & {run.seed for run in other.runs}
    return [runs[seed] for seed in sorted(kept)]


def table(runs: Sequence[Run], suite: str, fraction: str, split: str, column: str) -> pd.DataFrame:
    """One column of the runs' problems, shape [seeds, problems], index seed; NaN where a run lacks the problem.

    `column`: score (mean over scored samples), scored (their number) or passed (those of score 1).
    """
    frames = [run.evaluations[suite, fraction].problems for run in runs]
    columns = [frame.loc[frame["split"] == split, column] for frame in frames]
    joined = pd.concat(columns, axis=1).T.sort_index(axis="columns")
    joined.index = pd.Index([run.seed for run in runs], name="seed")
    return joined


def levels(runs: Sequence[Run], suite: str, fraction: str, split: str) -> pd.Series:
    """Difficulty level of each problem that any of the runs has; NaN where it has none."""
    frames = [run.evaluations[suite, fraction].problems for run in runs]
    found = pd.concat([frame.loc[frame["split"] == split, "level"] for frame in frames])
    return pd.to_numeric(found[~found.index.duplicated()]).astype(float).sort_index()
