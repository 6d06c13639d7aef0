"""`harness rescore`"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import terminal
from harness.commands.run import add_sandbox_flag, allow_sandbox
from harness.store import RunDir, find_runs

if TYPE_CHECKING:
    from harness.rescore import Change, Outcome, Regraded

EXAMPLE = """harness rescore results/ --dry-run
  harness rescore results/evaluations/NAME --suite math --list"""
LINE_EVERY = 5.0  # seconds between plain progress lines
EXIT_REFUSED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="RUN|DIR", help="runs, evaluations, folders with them")
    parser.add_argument("--suite", action="append", help="only this suite; may be given several times")
    parser.add_argument("--dry-run", action="store_true", help="grade and show, but write nothing")
    parser.add_argument("--list", action="store_true", help="every sample that changes")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the files of published suites")
    add_sandbox_flag(parser)


def run(options: argparse.Namespace) -> int:
    from harness import rescore
    from harness.cli import is_user_error

    allow_sandbox(options)

    if options.data_dir is not None:
        from benchmarks import registry

        registry.set_data_dir(options.data_dir)
    runs = _runs(options.paths)
    outcomes, refused = [], []
    for directory in runs:
        meter = _Meter(directory.path)
        try:
            outcome = rescore.rescore(directory, options.dry_run, options.suite or (), meter.report)
        except ValueError as problem:
            if len(runs) == 1 or not is_user_error(problem):
                raise
            refused.append(str(problem))
            continue
        except KeyboardInterrupt:
            said = "nothing was written" if options.dry_run else "the same command goes on where it stopped"
            print(f"\ninterrupted at {directory.path}: {said}", file=sys.stderr)
            return 130
        finally:
            meter.close()
        _show(outcome, options)
        outcomes.append(outcome)
    if len(runs) > 1:
        _total(outcomes)
    for reason in refused:
        print(f"harness rescore: left out: {reason}", file=sys.stderr)
    return EXIT_REFUSED if refused else 0


def _runs(paths: Sequence[Path]) -> list[RunDir]:
    """The directories that are named, and those below folders that are none; ValueError where there is nothing."""
    found: dict[Path, RunDir] = {}
    for path in paths:
        alone = (path / "manifest.json").exists()
        below = [RunDir(path)] if alone else [*find_runs(path), *find_runs(path, "evaluation")]
        if not below:
            raise ValueError(f"no runs or evaluations under {path}: name one, or a folder with some")
        found |= {run.path.resolve(): run for run in below}
    return list(found.values())


def _show(outcome: Outcome, options: argparse.Namespace) -> None:
    terminal.heading(str(outcome.run.path))
    alone = outcome.run.kind == "evaluation"
    rows = [row for item in outcome.evaluations for row in _rows(item, alone)]
    headers = ("suite", "at", "split", "samples", "changed", "avg@k", "now", "status")
    notes = ["avg@k in percent before and after; changed: samples of another status or score"]
    for item in outcome.evaluations:
        old, new = _versions(item)
        if old != new:
            notes.append(f"{item.suite}: graded by {old}, now by {new}")
    notes = list(dict.fromkeys(notes))
    terminal.show(terminal.Grid(headers, rows, frozenset(range(3, 7)), notes=notes))
    if options.list:
        changes = [change for item in outcome.evaluations for change in item.changes]
        heads = ("suite", "at", "problem", "sample", "status", "extracted before", "extracted now")
        if changes:
            lines = [_line(change) for change in changes]
            terminal.show(terminal.Grid(heads, lines, frozenset({3}), title="changed samples"))
    print(_said(outcome, options.dry_run))


def _said(outcome: Outcome, dry_run: bool) -> str:
    if dry_run:
        return "dry run: nothing was written"
    if outcome.number is None:
        return "nothing has changed, nothing was written"
    kept = f"the old verdicts are in {outcome.run.path / 'rescores' / str(outcome.number)}"
    if outcome.completed:
        return f"an earlier call was killed while it wrote this; it is complete now, and {kept}"
    return f"written; {kept}"


def _rows(item: Regraded, alone: bool) -> list[tuple[str, ...]]:
    found = []
    for split, old, new in item.blocks():
        samples = sum(row["split"] == split for row in item.after)
        transitions = item.transitions(split)
        changed = sum(transitions.values())
        listed = ", ".join(f"{count:,} {name}" for name, count in transitions.items())
        place = "-" if alone else f"{100 * float(item.key):.0f}%"
        before, after = terminal.percent(old.get("avg_at_k"), 2), terminal.percent(new["avg_at_k"], 2)
        found.append((item.suite, place, split, f"{samples:,}", f"{changed:,}", before, after, listed or "-"))
    return found


def _versions(item: Regraded) -> tuple[str, str]:
    from harness.rescore import graders

    old, new = (", ".join(graders(rows)) for rows in (item.before, item.after))
    return old or "nobody", new


def _line(change: Change) -> tuple[str, ...]:
    from harness.sample_view import clean

    def text(row: dict[str, Any] | None) -> str:
        shown = clean(str((row or {}).get("extracted", ""))).replace("\n", "\\n")
        return shown if len(shown) <= 60 else shown[:57] + "..."

    row = change.after
    place = f"{100 * float(change.key):.0f}%"
    return change.suite, place, row["problem"], str(row["sample"]), change.transition, text(change.before), text(row)


def _total(outcomes: Sequence[Outcome]) -> None:
    samples = sum(len(item.after) for outcome in outcomes for item in outcome.evaluations)
    changed = sum(len(item.changes) for outcome in outcomes for item in outcome.evaluations)
    print(f"\n{changed:,} of {samples:,} samples changed in {len(outcomes)} directories")


class _Meter:
    """How many samples are graded: a line that is written over on a terminal, now and then a line elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = time.monotonic()
        self.open = False

    def report(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{self.path.name}: {done:,}/{total:,} graded", end="", file=sys.stderr, flush=True)
            self.open = True
        elif time.monotonic() - self.shown > LINE_EVERY:
            self.shown = time.monotonic()
            print(f"{self.path.name}: {done:,}/{total:,} graded", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.open:
            print(file=sys.stderr)
