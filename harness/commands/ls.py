"""`harness ls`"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from harness import terminal
from harness.catalog import Entry, entries

EXAMPLE = """harness ls
  harness ls --results results/published --experiment noise"""
LONGEST_MODEL = 24  # characters of a model's name; of a path the end is shown
HEADERS = ("experiment", "run", "strategy", "model", "seed", "state", "updates", "score %", "seconds", "started")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=Path("results"), help="results directory; default ./results")
    parser.add_argument("--experiment", help="only runs of this experiment")


def run(options: argparse.Namespace) -> int:
    found = entries(options.results)
    if options.experiment is not None:
        known = sorted({entry.experiment for entry in found})
        found = [entry for entry in found if entry.experiment == options.experiment]
        if not found:
            there = ", ".join(known)
            raise ValueError(f"no experiment {options.experiment!r} under {options.results}: there is {there}")
    notes = ["score: mean over suites of avg@k, first -> last evaluation; seconds: rollouts and updates"]
    rows, right, whole = [_row(entry) for entry in found], frozenset({4, 6, 7, 8}), frozenset({1, 7})
    terminal.show(terminal.Grid(HEADERS, rows, right, notes=notes, whole=whole))
    return 0


def _row(entry: Entry) -> list[str]:
    spec = entry.spec
    model = str(spec.get("model", "-"))
    score = "-" if entry.first is None else terminal.percent(entry.first)
    if entry.last is not None:
        score += f" -> {terminal.percent(entry.last)}"
    return [
        entry.experiment,
        entry.run.path.name,
        str(spec.get("strategy", "-")),
        model if len(model) <= LONGEST_MODEL else "..." + model[3 - LONGEST_MODEL :],
        str(spec.get("seed", "-")),
        entry.state,
        f"{entry.updates:,}",
        score,
        "-" if entry.seconds is None else f"{entry.seconds:,.0f}",
        "-" if entry.started is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.started)),
    ]
