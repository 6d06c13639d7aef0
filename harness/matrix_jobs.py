"""Cells as jobs: where they run, with how many threads, how far they are, and what is kept beside their runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.matrix import Cell, Matrix
from harness.run import directory_for
from harness.settings import toml_value
from harness.spec import Budget
from harness.store import SCHEMA, RunDir, read_json, write_json

TAIL = 2**16  # bytes of a log or of records in which the last line is looked for


@dataclass(eq=False)
class Job:
    """A cell and its state. "in use": another process writes to its directory, which is waited for.

    "cut off": ended before its budget was spent, for good.
    """

    cell: Cell
    results: Path
    directory: RunDir
    threads: int  # 0 = all cores
    state: Literal["waiting", "in use", "running", "done", "failed", "cut off"]
    earlier: bool = False  # done before this call
    tries: int = 0
    fault: str = ""  # of the last try that failed
    started: float = 0.0  # time.monotonic() of the newest try
    seconds: float = 0.0  # it took
    sinks: tuple[str, ...] = ()  # told of the run

    @property
    def spec_file(self) -> Path:
        return self.directory.path / "spec.toml"

    @property
    def log(self) -> Path:
        """What the child process says; `harness run` keeps its own log beside it."""
        return self.directory.path / "logs" / "matrix.log"

    @property
    def cores(self) -> int:
        return self.threads or cores()


@dataclass(frozen=True)
class Progress:
    """How far a run is. `left`: seconds of training, evaluations not counted."""

    step: int
    fraction: float
    reward: float | None
    left: float | None


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(cells: Sequence[Cell], results: Path, at_once: int | None) -> tuple[list[Job], int]:
    """(a job for every cell, how many run at a time).

    Threads of a cell: those it began with, since sums depend on them, else those of the file, else an equal share of
    the cores, which is one core where `at_once` is not given. By default as many run as have cores of their own.
    """
    if at_once is not None and at_once < 1:
        raise ValueError(f"--jobs must be at least 1, but is {at_once}")
    share = max(1, cores() // at_once) if at_once else 1
    jobs = []
    for cell in cells:
        directory = RunDir(directory_for(cell.spec, results.resolve()).path)
        threads = _begun_with(directory)
        if threads is None:
            threads = cell.spec.runtime.threads if cell.sets_threads else share
        state: Any = "done" if directory.done else "waiting"
        jobs.append(Job(cell, results.resolve(), directory, threads, state, earlier=directory.done))
    widest = max((job.cores for job in jobs if job.state != "done"), default=1)
    return jobs, at_once or max(1, cores() // widest)


def _begun_with(directory: RunDir) -> int | None:
    """Threads of the unfinished run in `directory`; None if there is none. ValueError for a damaged manifest."""
    if directory.done or not (directory.path / "manifest.json").exists():
        return None
    return int(directory.manifest["spec"]["runtime"]["threads"])


def write_spec(job: Job) -> None:
    """The cell as a specification that `harness run` reads."""
    values = {**job.cell.values, "runtime": {**job.cell.values.get("runtime", {}), "threads": job.threads}}
    plain = [f"{key} = {toml_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    parts = ["\n".join(plain)]
    for section, table in values.items():
        if isinstance(table, Mapping):
            lines = [f"{key} = {toml_value(value)}" for key, value in table.items()]
            parts.append("\n".join([f"[{section}]", *lines]))
    job.spec_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.spec_file.with_suffix(".tmp")
    temporary.write_text("\n\n".join(parts) + "\n")
    temporary.replace(job.spec_file)


def record(matrix: Matrix, jobs: Sequence[Job]) -> list[Path]:
    """Writes EXPERIMENT/NAME.matrix.json for every experiment: run id -> arm and values of the axes.

    Runs that an earlier version of the file described stay in it.
    """
    tables: dict[Path, dict[str, Any]] = {}
    for job in jobs:
        path = job.results / job.cell.spec.experiment / f"{matrix.name}.matrix.json"
        tables.setdefault(path, {})[job.cell.spec.run_id] = {"arm": job.cell.arm, "axes": dict(job.cell.axes)}
    for path, cells in tables.items():
        if path.exists():
            cells = {**read_json(path)["cells"], **cells}
        write_json(path, {"schema": SCHEMA, "matrix": matrix.name, "cells": cells})
    return list(tables)


def progress(directory: RunDir, budget: Budget) -> Progress:
    """From the last lines of metrics.jsonl and timing.jsonl."""
    line, timing = last_record(directory.metrics), last_record(directory.timing)
    seconds = float(timing.get("cumulative_seconds") or 0.0)
    fraction = line.get("fraction")
    if fraction is None:  # a budget of seconds, which metrics do not know
        fraction = seconds / budget.limit if budget.kind == "seconds" else 0.0
    fraction = min(1.0, fraction)
    left = seconds * (1 - fraction) / fraction if fraction and seconds else None
    return Progress(int(line.get("step", 0)), fraction, line.get("reward"), left)


def last_record(path: Path) -> dict[str, Any]:
    """The last whole line of a JSONL file that may be growing; {} if there is none."""
    *lines, _ = _tail(path, 0).split("\n")
    return json.loads(lines[-1]) if lines else {}


def last_line(path: Path, start: int) -> str:
    """The last line of a log from byte `start` on that holds anything; "" if there is none."""
    lines = [line.strip() for line in _tail(path, start).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _tail(path: Path, start: int) -> str:
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(start, size - TAIL))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
