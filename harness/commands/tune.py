"""`harness tune`"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import terminal
from harness.matrix import Matrix
from harness.matrix_jobs import Job, prepare, record
from harness.matrix_run import drive
from harness.matrix_view import View, failures, totals
from harness.models import ladder
from harness.tune import Tuning, best_values, by_strategy, choose, load, plan, reruns, trial_cell
from harness.tune_locks import Claims

if TYPE_CHECKING:
    from harness.tune import Outcome
    from harness.tune_pool import Source

EXIT_FAILED, EXIT_INTERRUPT = 1, 130
EXAMPLE = """harness tune reports/tuning/smoke.toml --dry-run
  harness tune reports/tuning/smoke.toml
  harness tune my-tuning.toml --jobs 2 --storage journal   # started twice, two workers share the trials"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="TOML file: strategies, base, search, space, rerun (see the README)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs at a time; default: as many as have cores of their own"
    )
    parser.add_argument(
        "--retries", type=int, default=0, metavar="N", help="how often a run that failed is tried again; default 0"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try trials again that have failed in an earlier call"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="results directory; default ./results")
    parser.add_argument(
        "--storage",
        metavar="WHERE",
        help="where workers share the trials: journal, FILE.journal or a database's URL (postgresql://...); default: "
        "an SQLite file beside the re-runs. All workers need the same results directory",
    )
    parser.add_argument(
        "--worker", action="store_true", help="help with trials until none is left to begin; no re-runs, no table"
    )
    parser.add_argument("--dry-run", action="store_true", help="print search space, trials, state and cost, and exit")


def run(options: argparse.Namespace) -> int:
    if options.retries < 0:
        raise ValueError("--retries must not be negative")
    tuning = load(options.file)
    name = tuning.strategies[0]
    first = trial_cell(tuning, name, 0, 0, plan(tuning, name, 0)[0])
    _, at_once = prepare([first], options.results, options.jobs)
    if options.dry_run:
        from harness.tune_cost import describe

        describe(tuning, options.results, options.jobs, at_once)
        return 0
    ladder.check_reachable(ladder.resolve(first.spec.model))
    claims = Claims(options.results / tuning.name / f".{tuning.name}.tuning")
    try:
        return _search(tuning, options, at_once, claims)
    except KeyboardInterrupt:
        again = shlex.join(["harness", "tune", *_arguments(options)])
        print(f"\ninterrupted; nothing that was finished is lost. Continue with: {again}", file=sys.stderr)
        return EXIT_INTERRUPT
    finally:
        claims.close()


def _search(tuning: Tuning, options: argparse.Namespace, at_once: int, claims: Claims) -> int:
    from harness.tune_pool import Reruns, Trials
    from harness.tune_store import Store, open_storage

    store = Store(tuning, open_storage(options.storage, tuning, options.results, claims), claims, options.retry_failed)
    trials = Trials(store, options.results, options.jobs)
    total = len(store.slots)
    print(f"{tuning.name}: {total} trials, {total - store.left} ended before, {at_once} at a time", flush=True)
    failed = _work(trials, at_once, options.retries, total, stay=not options.worker)
    if options.worker:
        return EXIT_FAILED if failed else 0
    outcomes = by_strategy(tuning, store.outcomes())
    best = {name: best_values(choose(tuning, outcomes[name])) for name in tuning.strategies}
    again = Reruns(reruns(tuning, best), options.results, options.jobs, claims)
    with claims.alone():
        record(Matrix(tuning.name), again.jobs)
    left = again.left()
    print(f"{tuning.name}: {len(again.jobs)} re-runs, {len(again.jobs) - left} done before", flush=True)
    failed |= _work(again, at_once, options.retries, len(again.jobs))
    with claims.alone():
        _report(tuning, outcomes, again.jobs, options.results)
    return EXIT_FAILED if failed else 0


def _work(source: Source, at_once: int, retries: int, total: int, stay: bool = True) -> bool:
    """Runs what a source hands out; whether a run of this process has failed."""
    from harness.tune_pool import SharedPool

    pool = SharedPool(source, at_once, retries, stay)
    begun = time.monotonic()
    try:
        with View(source.jobs, total) as view:
            drive([], pool, view)
    finally:
        pool.close()
    print(totals(source.jobs, begun, total))
    failed = failures([job for job in source.jobs if not job.earlier])
    if failed.rows:
        terminal.heading("failed")
        terminal.show(failed)
    return bool(failed.rows)


def _report(tuning: Tuning, outcomes: Mapping[str, Sequence[Outcome]], jobs: Sequence[Job], results: Path) -> None:
    from harness import tune_record, tune_table
    from harness.table_formats import terminal_table

    report = tune_record.evaluate(tuning, outcomes, jobs, results)
    paths = [tune_record.write(report, results), *tune_table.write(report, results)]
    print("\n" + terminal_table([tune_table.table(report)], [], terminal.width()))
    for path in paths:
        print(f"wrote {path}")
    print(f"next: harness compare {results / tuning.name}")


def _arguments(options: argparse.Namespace) -> list[str]:
    """The arguments of this call, without a password."""
    from harness.tune_store import masked

    found = [str(options.file)]
    for flag, value, usual in (
        ("--jobs", options.jobs, None),
        ("--retries", options.retries, 0),
        ("--results", options.results, Path("results")),
        ("--storage", masked(options.storage) if options.storage else None, None),
    ):
        if value != usual:
            found += [flag, str(value)]
    return found + [flag for flag, on in (("--worker", options.worker),) if on]
