"""What `harness tune --dry-run` says: the search space, every trial and re-run with its state, and the whole cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import terminal
from harness.catalog import entry
from harness.matrix_cost import estimate, remaining
from harness.matrix_jobs import Job, prepare
from harness.tune import Tuning, plan, planned, reruns, slots, trial_cell


def describe(tuning: Tuning, results: Path, share: int | None, at_once: int) -> None:
    """Prints it. Nothing is written, and no storage is opened: states are those of the run directories."""
    search = tuning.search
    spaces = [
        [name, str(len(space)), "; ".join(f"{p.key} {p.describe()}" for p in space)]
        for name, space in tuning.spaces.items()
    ]
    terminal.show(terminal.Grid(("strategy", "dimensions", "search space"), spaces, frozenset({1})))
    if len({row[1] for row in spaces}) > 1:
        print("dimensions are unequal, which the file allows")
    known, trials = _trials(tuning, results, share)
    stand_ins = {name: known.get((name, 0, 1), {}) for name in tuning.strategies}
    final = prepare(reruns(tuning, stand_ins), results, share)[0]
    found = estimate([*trials, *final])
    left = {job: remaining(job, found.cells[job]) for job in (*trials, *final)}
    rows = []
    for job in trials:
        cell: Any = job.cell
        sure = cell.slot in known
        values = ", ".join(f"{key}={value}" for key, value in cell.parameters.items()) if sure else "chosen on the way"
        run = f"{cell.spec.experiment}/{cell.spec.run_id}" if sure else "-"
        rows.append([str(cell.number), cell.arm, values, _state(job) if sure else "new", run, *_cost(*left[job])])
    print()
    headers = ("", "trial", "setting", "state", "run", "FLOPs left", "time left")
    terminal.show(terminal.Grid(headers, rows, frozenset({0, 5, 6}), whole=frozenset({4})))
    each = f"{search.studies} x {search.trials} trials" if search.studies > 1 else f"{search.trials} trials"
    print(f"\n{each} of each of {len(tuning.strategies)} strategies: {_sum(trials, left, at_once)}")
    kinds = f"tuned and default, {len(tuning.rerun_seeds)} seeds"
    print(f"{len(final)} re-runs at most ({kinds}): {_sum(final, left, at_once)}")
    print(f"total: {_sum([*trials, *final], left, at_once)}")
    for note in found.notes:
        print(f"basis: {note}")


def _trials(
    tuning: Tuning, results: Path, share: int | None
) -> tuple[dict[tuple[str, int, int], Mapping[str, Any]], list[Job]]:
    """(searched values of the trials that are known beforehand, a job for every trial).

    For a trial that is not known the values of the first one stand in, which has the same budget.
    """
    known: dict[tuple[str, int, int], Mapping[str, Any]] = {}
    cells = []
    plans = {(name, study): plan(tuning, name, study) for name, study, _ in slots(tuning)}
    for name, study, trial in slots(tuning):
        sure = trial < planned(tuning.search)
        cell = trial_cell(tuning, name, study, trial, plans[name, study][trial if sure else 0])
        cells.append(cell)
        if sure:
            known[cell.slot] = cell.parameters
    return known, prepare(cells, results, share)[0]


def _state(job: Job) -> str:
    return entry(job.directory).state if (job.directory.path / "manifest.json").exists() else "new"


def _cost(flops: float | None, seconds: float | None) -> tuple[str, str]:
    return f"{flops:.1e}" if flops else "-", terminal.duration(seconds) if seconds else "-"


def _sum(jobs: list[Job], left: Mapping[Job, tuple[float | None, float | None]], at_once: int) -> str:
    """FLOPs and time of the jobs that are still to do."""
    flops, seconds = [left[job][0] for job in jobs], [left[job][1] for job in jobs]
    work = "FLOPs not known" if None in flops else f"{sum(x for x in flops if x is not None):.2e} FLOPs"
    if None in seconds:
        return f"{work}, time not known"
    whole = sum(x for x in seconds if x is not None)
    spell = f"{work}, {terminal.duration(whole)} of runs"
    return f"{spell}, about {terminal.duration(whole / at_once)} with {at_once} at a time"


__all__ = ["describe"]
