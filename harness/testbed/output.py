"""Tables of the testbed: terminal, Markdown, CSV (tidy) and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.statistics.intervals import Estimate
from harness.terminal import Grid
from harness.testbed.arms import ORACLE, ORACLES, Arm
from harness.testbed.measures import (
    COMPARATORS,
    JUDGED,
    MARGIN,
    MEASURES,
    SIGNIFICANT,
    Result,
    Verdict,
    kinds,
    measure,
    shown,
)
from harness.testbed.scenarios import Settings
from harness.testbed.simulate import Trace

DRAWN = 8
WORDS = ("beats", "ties", "loses")
TITLES = {"regret": "squared error of the gradient (regret)", "mean_j": "suboptimality (mean J)"}


@dataclass(frozen=True)
class Outcome:
    """Everything that a run of the testbed showed."""

    settings: Settings
    arms: Sequence[Arm]
    kind: dict[str, str]
    results: Sequence[Result]
    notes: Sequence[str]
    drawn: Sequence[str]  # arms of the figure

    @classmethod
    def of(
        cls,
        settings: Settings,
        arms: Sequence[Arm],
        traces: Sequence[Trace],
        notes: Sequence[str] = (),
        figure: Sequence[str] = (),
        baseline: str | None = None,
    ) -> Outcome:
        """Measures everything. `figure`: arms to draw, where they take part; default the first ones."""
        kind = kinds(arms, traces)
        drawn = [name for name in figure if name in kind] or list(kind)[:DRAWN]
        return cls(settings, arms, kind, [measure(trace, arms, kind, baseline) for trace in traces], notes, drawn)


def summary(outcome: Outcome) -> list[Grid]:
    """Over all scenarios: mean J of every arm, and how often it beats, ties and loses."""
    names = [*ORACLES, *(arm.name for arm in outcome.arms)]
    heads = [result.trace.scenario.name for result in outcome.results]
    grids = []
    for key in JUDGED:
        rows = [
            [name, _kind(outcome, name)] + [_mean(result, name, key) for result in outcome.results] for name in names
        ]
        best = [f"{result.intervals[result.best_fixed[key], key].mean:.3f}" for result in outcome.results]
        weights = [result.best_fixed[key] for result in outcome.results]
        rows.insert(len(ORACLES), ["best fixed", "fixed", *(f"{b} ({w})" for b, w in zip(best, weights, strict=True))])
        grids.append(
            Grid(
                ["arm", "kind", *heads],
                rows,
                frozenset(range(2, 2 + len(heads))),
                f"Mean {TITLES[key]}: less is better",
            )
        )
    against = {verdict.comparator: verdict.against for verdict in outcome.results[0].verdicts}
    used = [name for name in COMPARATORS if name in against]
    heads = [f"{name} {against[name]}" if name == "baseline" else name for name in used]
    for key in JUDGED:
        rows = [
            [arm.name, outcome.kind[arm.name], *(_tally(outcome, arm.name, key, name) for name in used)]
            for arm in outcome.arms
        ]
        title = f"{TITLES[key][0].upper()}{TITLES[key][1:]}: scenarios in which an arm beats / ties / loses to ..."
        grids.append(Grid(["arm", "kind", *heads], rows, frozenset(range(2, 2 + len(used))), title))
    return grids


def _kind(outcome: Outcome, name: str) -> str:
    return outcome.kind.get(name, "oracle" if name in ORACLES else "fixed")


def _mean(result: Result, name: str, key: str) -> str:
    return f"{result.intervals[name, key].mean:.3f}"


def _tally(outcome: Outcome, arm: str, key: str, comparator: str) -> str:
    found = [
        verdict.word
        for result in outcome.results
        for verdict in result.verdicts
        if (verdict.arm, verdict.measure, verdict.comparator) == (arm, key, comparator)
    ]
    return " / ".join(str(found.count(word)) for word in WORDS) if found else "-"


def scenario_grids(outcome: Outcome, result: Result) -> list[Grid]:
    """Measures of one scenario with 95% intervals, then the verdicts."""
    keys = ("regret", "regret_direction", "mean_j", "excess_schedule", "final_j")
    heads = ("E(mu) - E(mu*)", "same, true direction", "mean J", "mean J - schedule's", "final J")
    rows = [
        [name, _kind(outcome, name), *(_estimate(result.intervals[name, key]) for key in keys)]
        for name in shown(outcome.arms, result)
    ]
    scenario = result.trace.scenario
    grids = [Grid(["arm", "kind", *heads], rows, frozenset(range(2, 7)), f"{scenario.name}: {scenario.summary}")]
    for key in JUDGED:
        by = {(verdict.arm, verdict.comparator): verdict for verdict in result.verdicts if verdict.measure == key}
        against = {verdict.comparator: verdict.against for verdict in by.values()}
        used = [name for name in COMPARATORS if name in against]
        rows = [[arm.name, *(_verdict(by.get((arm.name, name))) for name in used)] for arm in outcome.arms]
        heads = [f"{name} ({against[name]})" for name in used]
        grids.append(Grid(["arm", *heads], rows, title=f"{scenario.name}: verdicts on {TITLES[key]}"))
    return grids


def _estimate(interval: Estimate) -> str:
    half = "" if math.isnan(interval.half_width) else f" +/- {interval.half_width:.4f}"
    return f"{interval.mean:.4f}{half}"


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    sure = "" if math.isnan(verdict.p) else f", p {_p(verdict.p)}"
    ratio = 1.0 + verdict.relative
    size = f"{100 * verdict.relative:+.1f}%" if not ratio >= 10.0 else f"{ratio:,.0f} times"
    return f"{verdict.word} ({size}{sure})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def markdown(outcome: Outcome, figure: str) -> str:
    """The whole report."""
    settings = outcome.settings
    lines = ["# Testbed", ""]
    lines.append(
        f"{settings.seeds} seeds, {settings.steps} steps, dimension {settings.dimension}, learning rate "
        f"{settings.learning_rate:g}, alpha {settings.alpha:g}, {settings.rl_rows} RL rows and {settings.sft_rows} "
        f"demonstrations a step, proxy `{settings.proxy}`. Means over seeds, +/- half-width of the 95% t interval."
    )
    lines += ["", *(f"- `{key}`: {text}" for key, text in MEASURES.items())]
    lines.append(
        f"- A verdict is `ties` unless the paired difference has a Holm-adjusted p < {SIGNIFICANT} (over all tests of "
        f"its scenario and measure) and is at least {100 * MARGIN:g}% of the comparator's mean. `best` is best in "
        "hindsight, by the mean over these seeds."
    )
    lines += ["- J is 1 at the start; E is in units of |grad J|^2 at the start.", ""]
    lines += [f"- {note}" for note in outcome.notes] + ([""] if outcome.notes else [])
    lines += [f"![mixing weights, regrets and suboptimality]({figure})", ""]
    for grid in summary(outcome):
        lines += [f"## {grid.title}", "", *_pipes(grid), ""]
    for result in outcome.results:
        first, *verdicts = scenario_grids(outcome, result)
        lines += [f"## {first.title}", "", *_pipes(first), ""]
        for grid in verdicts:
            lines += [f"### {grid.title}", "", *_pipes(grid), ""]
    lines += ["## What the controllers were told", "", *_pipes(_told(outcome)), ""]
    arms = [
        [arm.name, arm.strategy, json.dumps(dict(arm.options)), ", ".join(sorted(arm.read)) or "-"]
        for arm in outcome.arms
    ]
    lines += ["## Arms", "", *_pipes(Grid(["arm", "strategy", "options", "statistics read"], arms)), ""]
    return "\n".join(lines)


def _told(outcome: Outcome) -> Grid:
    rows = [
        [result.trace.scenario.name, name, f"{estimate:.4f}", f"{truth:.4f}"]
        for result in outcome.results
        for name, (estimate, truth) in result.trace.told.items()
    ]
    return Grid(["scenario", "statistic", "mean told", "mean truth"], rows, frozenset({2, 3}))


def _pipes(grid: Grid) -> list[str]:
    rule = "|".join("--:" if i in grid.right else "---" for i in range(len(grid.headers)))
    rows = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (grid.headers, *grid.rows)]
    return [rows[0], f"|{rule}|", *rows[1:]]


def measures_csv(outcome: Outcome) -> str:
    """One line a scenario, arm and measure."""
    rows = [
        (result.trace.scenario.name, name, _kind(outcome, name), key, *_bounds(result.intervals[name, key]))
        for result in outcome.results
        for name in result.trace.names
        for key in MEASURES
    ]
    return _csv(("scenario", "arm", "kind", "measure", "mean", "low", "high"), rows)


def verdicts_csv(outcome: Outcome) -> str:
    """One line a scenario, measure, arm and comparator."""
    rows = [
        (
            result.trace.scenario.name, verdict.measure, verdict.arm, outcome.kind[verdict.arm], verdict.comparator,
            verdict.against, *_bounds(verdict.difference), _round(verdict.relative), _round(verdict.p), verdict.word,
        )
        for result in outcome.results
        for verdict in result.verdicts
    ]  # fmt: skip
    head = ("scenario", "measure", "arm", "kind", "comparator", "against", "difference", "low", "high")
    return _csv((*head, "relative", "p_holm", "verdict"), rows)


def document(outcome: Outcome) -> dict[str, Any]:
    """All of it as plain values: what was run, courses of mu (means over seeds), measures of every seed."""
    courses = [*ORACLES, *(arm.name for arm in outcome.arms)]
    scenarios = {}
    for result in outcome.results:
        trace = result.trace
        scenarios[trace.scenario.name] = {
            "definition": asdict(trace.scenario),
            "told": {name: {"estimate": _round(a), "truth": _round(b)} for name, (a, b) in trace.told.items()},
            "mu": {name: _rounded(trace.mu[:, :, trace.of(name)].mean(1)) for name in courses},
            "mu_star": _rounded(trace.best[:, :, trace.of(ORACLE)].mean(1)),
            "per_seed": {
                key: {name: _rounded(result.values[name, key]) for name in trace.names} for key in MEASURES
            },
        }  # fmt: skip
    return {
        "settings": asdict(outcome.settings),
        "measures": MEASURES,
        "arms": {
            arm.name: {"strategy": arm.strategy, "options": dict(arm.options), "kind": outcome.kind[arm.name]}
            for arm in outcome.arms
        },
        "notes": list(outcome.notes),
        "scenarios": scenarios,
    }


def write(outcome: Outcome, out: Path) -> list[Path]:
    """testbed.md, testbed.json, measures.csv, verdicts.csv and the figure; returns the paths."""
    from harness.testbed import figure

    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "testbed.md": markdown(outcome, "testbed.png"),
        "testbed.json": json.dumps(document(outcome), separators=(",", ":"), allow_nan=False) + "\n",
        "measures.csv": measures_csv(outcome),
        "verdicts.csv": verdicts_csv(outcome),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
    return [*(out / name for name in texts), *figure.write(outcome, out)]


def _bounds(interval: Estimate) -> tuple[float | None, ...]:
    return tuple(_round(value) for value in (interval.mean, interval.low, interval.high))


def _round(value: float) -> float | None:
    """Six digits: what lies below differs between machines."""
    return None if math.isnan(value) else float(f"{value:.6g}")


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue()
