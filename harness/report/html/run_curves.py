"""Curves of one run: scores at its evaluations and metrics of its updates, thinned to what a small plot can show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.compare_load import Run
from harness.report.html.run_tables import of_split
from harness.run_figure import PANELS

DIGITS = 4  # of a point


def charts(run: Run, points: int) -> list[dict[str, Any]]:
    """One entry a plot: title, unit, name of the x axis, series with x and y; plots without data are left out.

    A series of more than `points` updates becomes the means of equal numbers of neighbours, which `mean_of` says.
    """
    found = [_scores(run)]
    metrics = run.steps[0]
    for title, unit, keys in PANELS:
        series = [(key, *_finite(*metrics.known(key))) for key in keys]
        series = [line for line in series if len(line[1])]
        if not series:
            continue
        width = max(-(-len(steps) // points) for _, steps, _ in series)
        lines = [_line(key.replace("_", " "), *_thinned(steps, values, width)) for key, steps, values in series]
        found.append({"title": title, "unit": unit, "x": "updates", "mean_of": width, "series": lines})
    return [chart for chart in found if chart["series"]]


def _scores(run: Run) -> dict[str, Any]:
    """Mean score in percent of each suite, and of all suites, at every evaluation."""
    ledgers = {fraction: ledger for (_, fraction), result in run.evaluations.items() if (ledger := result.ledger)}
    counted = all("updates" in ledgers.get(fraction, {}) for fraction in run.fractions)
    place = {fraction: ledgers[fraction]["updates"] if counted else 100 * float(fraction) for fraction in run.fractions}
    suites: dict[str, dict[str, float]] = {}
    for suite, fraction in sorted(run.evaluations):
        scores = of_split(run.evaluations[suite, fraction], "eval")
        if len(scores):
            suites.setdefault(suite, {})[fraction] = 100 * float(scores.mean())
    series = [_line(suite, [place[at] for at in by], list(by.values())) for suite, by in suites.items()]
    shared = [at for at in run.fractions if all(at in by for by in suites.values())]
    if len(suites) > 1 and shared:
        means = [sum(by[at] for by in suites.values()) / len(suites) for at in shared]
        series.insert(0, {**_line("mean of suites", [place[at] for at in shared], means), "main": True})
    axis = "updates" if counted else "% of the budget"
    return {"title": "Score", "unit": "avg@k in percent", "x": axis, "mean_of": 1, "marks": True, "series": series}


def _finite(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = np.isfinite(values)
    return steps[there], values[there]


def _thinned(steps: np.ndarray, values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of `width` neighbours, at the mean of their updates; the last ones may be fewer."""
    starts = np.arange(0, len(values), width)
    sizes = np.diff(starts, append=len(values))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


def _line(name: str, x: Iterable[float], y: Iterable[float]) -> dict[str, Any]:
    return {"name": name, "x": [_short(value, 8) for value in x], "y": [_short(value, DIGITS) for value in y]}


def _short(value: float, digits: int) -> float:
    """Rounded to significant digits; whole numbers without a fraction, which JSON writes shorter."""
    rounded = float(f"{float(value):.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
