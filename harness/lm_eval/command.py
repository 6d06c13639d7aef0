"""What `harness eval` needs for suites named lm_eval:TASK."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import terminal
from harness.store import RunDir, read_json

if TYPE_CHECKING:
    from harness.evaluation_run import Report, Target

PREFIX = "lm_eval:"
HEADERS = ("task", "version", "shots", "n", "filter", "metric", "value", "+- SE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lm-eval-include", type=Path, metavar="DIR", help="folder with more tasks for lm_eval:TASK")
    parser.add_argument("--lm-eval-shots", type=int, metavar="N", help="examples in prompts of lm_eval:TASK")


def separate(names: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
    """(tasks of lm-eval, suites of ours or None) among the names of --suite."""
    tasks = [name.removeprefix(PREFIX) for name in names or () if name.startswith(PREFIX)]
    return tasks, [name for name in names or () if not name.startswith(PREFIX)] or None


def run(tasks: Sequence[str], chosen: Target, options: argparse.Namespace, report: Report) -> list[RunDir]:
    """Runs the tasks one after the other. ValueError for options that they cannot have.

    `--problems` is the number of documents of each task, the first ones. A piece of work that outlasts the deadline
    ends the process with its stacks.
    """
    from harness.lm_eval import evaluation
    from harness.watchdog import Watchdog

    for name, given in (("--k", options.k is not None), ("--data", options.data), ("--split", options.split != "eval")):
        if given:
            raise ValueError(f"{name} does not go with lm_eval:{tasks[0]}: leave it out, the task decides that")
    wanted = evaluation.Options(
        limit=options.problems,
        shots=options.lm_eval_shots,
        chat=options.style == "chat",
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        include=options.lm_eval_include,
    )
    assert sys.__stderr__ is not None
    guard = Watchdog(chosen.spec.runtime.deadline, sys.__stderr__).phase
    return [evaluation.run(chosen, task, wanted, options.results, report, guard) for task in tasks]


def show(title: str, directories: Sequence[RunDir]) -> None:
    """The scores of each evaluation, and where it is."""
    for directory in directories:
        (summaries,) = read_json(directory.evaluation).values()
        _table(title, summaries)
        print(directory.path)


def _table(title: str, summaries: dict[str, Any]) -> None:
    rows = [
        (
            task,
            _text(summary.get("version")),
            _text(summary.get("shots")),
            _text(summary.get("n")),
            found["filter"],
            found["metric"],
            _text(found["value"]),
            _text(found["se"]),
        )
        for task, summary in summaries.items()
        for found in summary["metrics"]
    ]
    terminal.show(terminal.Grid(HEADERS, rows, frozenset((3, 6, 7)), title=title, notes=["scores are lm-eval's own"]))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
