"""What `harness matrix` says: a live table on a terminal, plain lines elsewhere, and the summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness import terminal
from harness.matrix_jobs import Job, Progress, progress

LOOK_EVERY = 1.0  # seconds between two readings of the run directories
LINE_EVERY = 60.0  # seconds between plain lines on what runs
HEADERS = ("running", "step", "budget", "reward", "time", "left")


class View:
    """Context in which `changed` and `refresh` tell what the jobs do."""

    def __init__(self, jobs: Sequence[Job], total: int | None = None) -> None:
        """`total`: how many jobs there will be, where they are added on the way."""
        self.jobs = jobs
        self.total = total
        self.begun = self.looked = self.lined = time.monotonic()
        self.live: Any = None

    def __enter__(self) -> View:
        if terminal.on_terminal():
            from rich.live import Live

            self.live = Live(self._table(), refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self.live is not None:
            self.live.stop()

    def changed(self, job: Job) -> None:
        """A line on a job that has begun, ended or failed; on a terminal the table shows what has begun."""
        name = job.cell.label
        if job.state == "running":
            text = f"begins   {name}" + (f" (try {job.tries})" if job.tries > 1 else "")
        elif job.state == "done":
            text = f"done     {name}, {terminal.duration(job.seconds)}"
        elif job.state == "failed":
            text = f"FAILED   {name}: {job.fault} ({job.log})"
        elif job.state == "cut off":
            text = f"cut off  {name}, {terminal.duration(job.seconds)}"
        elif job.state == "waiting":
            text = f"again    {name}, after: {job.fault}"
        else:
            text = f"in use   {name}: waits for the process that writes {job.directory.path}"
        if self.live is None:
            ended = sum(other.state in ("done", "failed", "cut off") for other in self.jobs)
            print(f"[{ended}/{self.total or len(self.jobs)}] {text}", flush=True)
        elif job.state != "running":
            self.live.console.print(text, markup=False, highlight=False)

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self.looked < LOOK_EVERY:
            return
        self.looked = now
        if self.live is not None:
            self.live.update(self._table())
        elif now - self.lined >= LINE_EVERY:
            self.lined = now
            for job in self.jobs:
                if job.state == "running":
                    _, step, spent, reward, _, left = _row(job)
                    print(f"         {job.cell.label}: step {step}, {spent}, reward {reward}, {left} left", flush=True)

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, caption=totals(self.jobs, self.begun, self.total), caption_justify="left")
        for i, header in enumerate(HEADERS):
            table.add_column(header, justify="right" if i else "left", no_wrap=i > 0)
        for job in self.jobs:
            if job.state == "running":
                table.add_row(*map(Text, _row(job)))
        return table


def _row(job: Job) -> tuple[str, ...]:
    budget = job.cell.spec.budget
    at: Progress = progress(job.directory, budget)
    return (
        job.cell.label,
        f"{at.step}/{budget.limit:g}" if budget.kind == "updates" else str(at.step),
        f"{terminal.percent(at.fraction, 0)}%",
        "-" if at.reward is None else f"{at.reward:.2f}",
        terminal.duration(time.monotonic() - job.started),
        "-" if at.left is None else terminal.duration(at.left),
    )


def totals(jobs: Sequence[Job], begun: float, total: int | None = None) -> str:
    """Counts of states, and the time since `begun` (of time.monotonic()). `total`: of jobs, where more will come."""
    counts = Counter(job.state for job in jobs)
    earlier = sum(job.earlier and job.state == "done" for job in jobs)
    parts = [f"{counts['done']} of {total or len(jobs)} done" + (f" ({earlier} before)" if earlier else "")]
    parts += [
        f"{counts[state]} {state}" for state in ("running", "waiting", "in use", "cut off", "failed") if counts[state]
    ]
    return f"{', '.join(parts)}; {terminal.duration(time.monotonic() - begun)}"


def failures(jobs: Sequence[Job]) -> terminal.Grid:
    """The jobs that failed, with their last line and log."""
    rows = [[job.cell.label, job.fault, str(job.log)] for job in jobs if job.state == "failed"]
    return terminal.Grid(("failed", "last line", "log"), rows)
