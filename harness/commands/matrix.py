"""`harness matrix`"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import sinks, terminal
from harness.catalog import entry
from harness.matrix import Matrix, expand, load
from harness.matrix_jobs import Job, prepare, record
from harness.matrix_run import LocalPool, Pool, drive
from harness.matrix_view import View, failures, totals
from harness.models import ladder

EXIT_INTERRUPT = 130
EXAMPLE = """harness matrix reports/matrices/study-1m.toml --dry-run
  harness matrix reports/matrices/study-1m.toml --jobs 2
  harness matrix my-matrix.toml --jobs 2 --log tensorboard
  harness matrix my-matrix.toml --on ray --gpus-per-cell 1 --retries 2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="TOML files: base, axes, arms (see the README); one by one"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="cells at a time; each gets its share of the cores, unless the file sets runtime.threads; "
        "default: as many as have cores of their own. With --on ray it sets the share only",
    )
    parser.add_argument(
        "--retries", type=int, default=0, metavar="N", help="how often a cell that failed is tried again; default 0"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="results directory; default ./results")
    parser.add_argument("--dry-run", action="store_true", help="print the cells, their state and cost, and exit")
    parser.add_argument(
        "--on",
        choices=("local", "ray"),
        default="local",
        help="where the cells run: here, or as tasks of Ray (RAY_ADDRESS, else a cluster of this machine, else local)",
    )
    parser.add_argument("--gpus-per-cell", type=float, metavar="N", help="GPUs that Ray reserves for a cell; default 0")
    sinks.add_argument(parser, "every cell that is run now (see `harness run --help`)")


def run(options: argparse.Namespace) -> int:
    if options.gpus_per_cell is not None and options.on != "ray":
        raise ValueError("--gpus-per-cell is for --on ray: local cells share the devices that they find")
    if options.retries < 0 or (options.gpus_per_cell or 0.0) < 0:
        raise ValueError("--retries and --gpus-per-cell must not be negative")
    sinks.check(options.log)
    matrices = [load(path) for path in options.files]
    plans = [(matrix, *prepare(expand(matrix, options.results), options.results, options.jobs)) for matrix in matrices]
    worst = 0
    for matrix, jobs, at_once in plans:
        if options.dry_run:
            if len(plans) > 1:
                terminal.heading(matrix.name)
            _describe(jobs, at_once if options.on == "local" else None)
            continue
        code = _execute(matrix, jobs, at_once, options)
        if code == EXIT_INTERRUPT:
            return code
        worst = max(worst, code)
    return worst


def _execute(matrix: Matrix, jobs: list[Job], at_once: int, options: argparse.Namespace) -> int:
    todo = [job for job in jobs if job.state != "done"]
    for job in todo:
        job.sinks = tuple(options.log)
    pool: Pool
    if todo and options.on == "ray":
        from harness.matrix_ray import RayPool

        pool = RayPool(options.gpus_per_cell or 0.0, options.retries)
        where = "as tasks of Ray"
    else:
        for model in sorted({job.cell.spec.model for job in todo}):
            ladder.check_reachable(ladder.resolve(model))
        pool = LocalPool(at_once, options.retries)
        where = f"{min(at_once, len(todo))} at a time"
    done = len(jobs) - len(todo)
    print(f"{matrix.name}: {_cells(jobs)}, {done} done before, {len(todo)} to run {where}", flush=True)
    record(matrix, jobs)
    begun = time.monotonic()
    try:
        if todo:
            with View(jobs) as view:
                drive(jobs, pool, view)
    except KeyboardInterrupt:
        again = shlex.join(["harness", "matrix", *_arguments(options)])
        print(
            f"\ninterrupted: {totals(jobs, begun)}; nothing that was finished is lost. Continue with: {again}",
            file=sys.stderr,
        )
        return EXIT_INTERRUPT
    finally:
        pool.close()
    if todo:
        print(totals(jobs, begun))
    failed = failures(jobs)
    if failed.rows:
        terminal.heading("failed")
        terminal.show(failed)
    for folder in sorted({job.cell.spec.experiment for job in jobs if job.state == "done"}):
        print(f"next: harness compare {options.results / folder}")
    return 1 if failed.rows else 0


def _arguments(options: argparse.Namespace) -> list[str]:
    """The arguments of this call."""
    found = [str(path) for path in options.files]
    for flag, value, usual in (
        ("--jobs", options.jobs, None),
        ("--retries", options.retries, 0),
        ("--results", options.results, Path("results")),
        ("--on", options.on, "local"),
        ("--gpus-per-cell", options.gpus_per_cell, None),
    ):
        if value != usual:
            found += [flag, str(value)]
    return found + [part for name in options.log for part in ("--log", name)]


def _describe(jobs: Sequence[Job], at_once: int | None) -> None:
    """The cells with state, run id and cost, and the totals; None where it is Ray that says how many run at a time."""
    from harness.matrix_cost import estimate, remaining

    found = estimate(jobs)
    rows = []
    left = {job: remaining(job, found.cells[job]) for job in jobs}
    for job in jobs:
        cost, (flops, seconds) = found.cells[job], left[job]
        rows.append(
            [
                str(job.cell.number),
                job.cell.label,
                _state(job),
                f"{job.cell.spec.experiment}/{job.cell.spec.run_id}",
                f"{flops:.1e}" if flops else "-",
                terminal.duration(seconds) if seconds else "-",
                "-" if cost.disk is None else terminal.size(cost.disk),
            ]
        )
    headers = ("", "cell", "state", "run", "FLOPs left", "time left", "disk")
    terminal.show(terminal.Grid(headers, rows, frozenset({0, 4, 5, 6}), whole=frozenset({3})))
    todo = [job for job in jobs if job.state != "done"]
    work, spell = (_sum(left[job][i] for job in todo) for i in (0, 1))
    space = _sum(found.cells[job].disk for job in jobs)
    pace = "" if at_once is None else f", {at_once} at a time"
    print(f"\n{_cells(jobs)}: {len(jobs) - len(todo)} done, {len(todo)} to do{pace}")
    if todo:
        longest = max((left[job][1] or 0.0 for job in todo), default=0.0)
        print(f"compute  {'not known' if work is None else f'{work:.2e} FLOPs'}")
        if spell is None:
            print("time     not known")
        else:
            whole = "" if at_once is None else f", about {terminal.duration(max(spell / at_once, longest))} in all"
            print(f"time     {terminal.duration(spell)} of runs{whole}")
    print(f"disk     {'not known' if space is None else terminal.size(space)}, runs that are done included")
    for note in found.notes:
        print(f"basis    {note}")


def _cells(jobs: Sequence[Job]) -> str:
    return f"{len(jobs)} cell{'s' if len(jobs) != 1 else ''}"


def _sum(values: Iterable[float | None]) -> float | None:
    """None if a summand is not known."""
    found = list(values)
    return None if any(value is None for value in found) else sum(value for value in found if value is not None)


def _state(job: Job) -> str:
    if not (job.directory.path / "manifest.json").exists():
        return "new"
    return entry(job.directory).state
