"""Tables of one run: its scores suite by suite, and what it had spent at each evaluation and at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.compare_load import Evaluation, Run
from harness.ledger import COUNTERS
from harness.table_formats import PLUS_MINUS
from harness.terminal import duration

PHASES = (("rollout", "of these rollouts"), ("update", "of these updates"), ("controller", "of these the controller"))
MEMORY = (("memory_mb", "peak memory"), ("device_memory_mb", "peak memory of the device"))


def scores(run: Run) -> dict[str, Any]:
    """`head` and `rows` of texts: every suite and split at the first and last evaluation that it had."""
    single = len(run.fractions) == 1
    head = ["suite", "split", "problems", "k"]
    head += ["avg@k"] if single else ["first avg@k", "last avg@k", "gain"]
    head += ["pass@k", "verdicts (all splits)"]
    rows = []
    for suite in sorted({suite for suite, _ in run.evaluations}):
        results = [run.evaluations[suite, at] for at in run.fractions if (suite, at) in run.evaluations]
        for split in sorted({split for result in results for split in result.questions.splits}, key=_eval_first):
            asked = [result for result in results if len(result.questions.places(split))]
            verdicts = ", ".join(f"{status} {count:,}" for status, count in asked[-1].statuses.items())
            rows.append([suite, split, *_row(asked, split, single), verdicts])
    return {"head": head, "rows": rows}


def _eval_first(split: str) -> tuple[bool, str]:
    return split != "eval", split


def of_split(result: Evaluation, split: str) -> np.ndarray:
    """Mean scores of the problems of a split that have one."""
    found = result.score[result.questions.places(split)]
    return found[~np.isnan(found)]


def _row(results: Sequence[Evaluation], split: str, single: bool) -> list[str]:
    first, last = results[0], results[-1]
    places = last.questions.places(split)
    moments = [_percent(of_split(last, split))]
    if not single:
        again = len(results) > 1
        moments = [_percent(of_split(first, split)) if again else "-", *moments]
        moments.append(_percent(_gains(first, last, split), "+") if again else "-")
    solved = 100 * (last.passed[places] > 0).mean()
    return [f"{len(places):,}", str(last.scored[places].max()), *moments, f"{solved:.1f}"]


def _gains(first: Evaluation, last: Evaluation, split: str) -> np.ndarray:
    """Differences of the problems that both have."""
    before = dict(zip(first.questions.ids, first.score, strict=True))
    places = last.questions.places(split)
    asked = [last.questions.ids[place] for place in places]
    gains = last.score[places] - np.array([before.get(name, math.nan) for name in asked])
    return gains[~np.isnan(gains)]


def _percent(values: np.ndarray, sign: str = "") -> str:
    """Mean with its standard error over problems, in percent."""
    if not len(values):
        return "-"
    # adding zero turns a rounded -0.0 into 0.0
    text = f"{round(100 * float(values.mean()), 1) + 0.0:{sign}.1f}"
    if len(values) < 2:
        return text
    return f"{text} {PLUS_MINUS} {100 * values.std(ddof=1) / math.sqrt(len(values)):.1f}"


def mean_score(run: Run, split: str = "eval") -> float | None:
    """Unweighted mean over suites of the last evaluation of the split; None where there is none."""
    found: dict[str, float] = {}
    for suite, at in sorted(run.evaluations, key=lambda pair: float(pair[1])):
        values = of_split(run.evaluations[suite, at], split)
        if len(values):
            found[suite] = float(values.mean())
    return sum(found.values()) / len(found) if found else None


def cost(run: Run) -> dict[str, Any]:
    """`head` and `rows` of texts: counters of the ledger at the evaluations and after the last update, then seconds."""
    ledgers = {at: result.ledger for (_, at), result in run.evaluations.items() if result.ledger}
    moments = {f"at {100 * float(at):g}% of the budget": ledgers[at] for at in sorted(ledgers, key=float)}
    end = spent(run)
    if end:
        moments["after the last update"] = end
    names = [key for key in (*COUNTERS, "flops", "seconds") if any(key in ledger for ledger in moments.values())]
    rows = [[key.replace("_", " "), *(_amount(key, ledger.get(key)) for ledger in moments.values())] for key in names]
    if end:
        timing = run.steps[1]
        blank = ["-"] * (len(moments) - 1)
        seconds = {name: timing.known(key)[1] for key, name in PHASES}
        memory = {name: timing.known(key)[1] for key, name in MEMORY}
        rows += [
            [name, *blank, _amount("seconds", float(found.sum()))] for name, found in seconds.items() if len(found)
        ]
        rows += [[name, *blank, f"{found.max():,.0f} MB"] for name, found in memory.items() if len(found)]
    return {"head": ["counter", *moments], "rows": rows}


def spent(run: Run) -> dict[str, float]:
    """The ledger after the last update."""
    metrics, timing = run.steps
    found = {key: metrics.known(key)[1] for key in (*COUNTERS, "flops")}
    found["seconds"] = timing.known("cumulative_seconds")[1]
    return {key: float(values[-1]) for key, values in found.items() if len(values)}


def _amount(key: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if key == "seconds":
        return duration(value)
    return f"{value:.3e}" if key.startswith("flops") and value else f"{value:,.0f}"
