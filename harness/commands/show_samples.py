"""The part of `harness show` that looks at single samples and problems, of training runs and evaluations alike."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import sample_view, samples, terminal
from harness.samples import Sample
from harness.store import RunDir, read_lines

if TYPE_CHECKING:
    from harness.scores import ProblemScore

PAGE = 10  # samples
COLUMNS = (
    "suite", "split", "problem", "family", "level", "samples", "scored", "avg", "passed", "cons", "truncated",
    "no_answer", "mean_tokens", "statuses",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("single samples and problems (also of directories that `harness eval` made)")
    group.add_argument("--failed", action="store_true", help="samples that did not pass")
    group.add_argument("--status", metavar="STATUS", help="samples of one status: fail, no_answer, timeout, ...")
    group.add_argument("--problem", metavar="ID", help="samples of one problem; a part of its id is enough")
    group.add_argument("--at", type=float, metavar="FRACTION", help="evaluation at this fraction; default the last")
    group.add_argument("--page", type=int, metavar="N", help=f"page N of {PAGE} samples each")
    group.add_argument("--all", action="store_true", help="all samples; on a terminal the default, in a pager")
    group.add_argument("--problems", action="store_true", help="the scores of every problem")
    group.add_argument("--csv", action="store_true", help="with --problems: as CSV")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the files of published suites")


def wanted(options: argparse.Namespace) -> bool:
    """Whether single samples or problems are asked for; ValueError for options that do not go together."""
    picked = any(
        (options.failed, options.status is not None, options.problem is not None, options.page is not None, options.all)
    )
    if options.problems and picked:
        raise ValueError("--problems lists scores, the other options show samples: give one or the other")
    if options.csv and not options.problems:
        raise ValueError("--csv goes with --problems: give both")
    if options.page is not None and options.all:
        raise ValueError("--page and --all exclude each other: give one of them")
    if options.at is not None and not (picked or options.problems):
        raise ValueError("--at goes with --failed, --status, --problem, --all or --problems: give one of them")
    return picked or options.problems


def run(directory: RunDir, options: argparse.Namespace) -> int:
    if options.data_dir is not None:
        from benchmarks import registry

        registry.set_data_dir(options.data_dir)
    samples.spec_of(directory)  # says so if it is no directory with samples
    alone = directory.kind == "evaluation"
    suite, key = samples.choose(directory, options.suite, options.at)
    title = suite if alone else f"{suite} at {100 * float(key):.0f}% of the budget"
    if options.problems:
        from harness import scores  # scipy takes a second to import

        rows = read_lines(directory.verdicts(suite, float(key)))
        found = [problem for split in ("eval", "ood") for problem in scores.by_problem(rows, split)]
        _csv(suite, found) if options.csv else _table(title, found)
        return 0
    stored = samples.read(directory, suite, key)
    if any(sample.problem is None for sample in stored):
        title += " (no prompts: the suite's data are not at hand, --data-dir names their folder)"
    chosen = samples.select(stored, options.failed, options.status, options.problem)
    _samples(title, chosen, len(stored), options)
    return 0


def _csv(suite: str, found: Sequence[ProblemScore]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for problem in found:
        values = {**vars(problem), "suite": suite, "statuses": _statuses(problem)}
        writer.writerow("" if values[name] is None else values[name] for name in COLUMNS)


def _statuses(problem: ProblemScore) -> str:
    return " ".join(f"{status}:{count}" for status, count in problem.statuses.items())


def _table(title: str, found: Sequence[ProblemScore]) -> None:
    lines = [
        (
            problem.problem,
            problem.split,
            str(problem.level),
            str(problem.samples),
            terminal.percent(problem.avg),
            terminal.percent(problem.cons),
            str(problem.truncated),
            "-" if problem.mean_tokens is None else f"{problem.mean_tokens:,.0f}",
            _statuses(problem),
        )
        for problem in found
    ]
    k = max((problem.samples for problem in found), default=1)
    headers = ("problem", "split", "level", "k", f"avg@{k}", f"cons@{k}", "cut off", "tokens", "statuses")
    notes = ["avg and cons (majority vote) in percent; tokens: mean length of the responses"]
    terminal.show(terminal.Grid(headers, lines, frozenset(range(2, 8)), title=title, notes=notes))


def _samples(title: str, chosen: Sequence[Sample], stored: int, options: argparse.Namespace) -> None:
    on_terminal = terminal.on_terminal()
    pages = max(1, -(-len(chosen) // PAGE))
    head = f"{title}: {len(chosen):,} of {stored:,} samples"
    if options.all or (on_terminal and options.page is None):
        first, shown = 0, list(chosen)
    else:
        page = 1 if options.page is None else options.page
        if not 1 <= page <= pages:
            raise ValueError(f"there is no page {page}: choose from 1 to {pages}")
        first, shown = (page - 1) * PAGE, list(chosen[(page - 1) * PAGE : page * PAGE])
        head += f", page {page} of {pages}" + (f" ({first + 1}-{first + len(shown)})" if shown else "")
    if not on_terminal:
        print(head)
        for sample in shown:
            print(sample_view.plain(sample_view.describe(sample)), end="")
        return
    from rich.console import Console
    from rich.text import Text

    os.environ.setdefault("LESS", "-FRX")  # colours pass, and less ends by itself where one screen is enough
    console = Console()
    with console.pager(styles=True):
        console.print(head, markup=False, highlight=False)
        for sample in shown:
            console.print(Text.assemble(*sample_view.describe(sample)), end="", soft_wrap=True)
