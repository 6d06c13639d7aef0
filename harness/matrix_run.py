"""Runs the jobs of a matrix: a child process each, some at a time; one that fails does not stop the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from harness.matrix_jobs import Job, last_line, write_spec

POLL = 0.1  # seconds between two looks at the child processes
GRACE = 20.0  # seconds a child has to end after an interrupt; a killed run can be resumed as well


class Pool(Protocol):
    """Something that runs jobs and keeps their state up to date."""

    def submit(self, job: Job) -> None: ...

    @property
    def busy(self) -> bool: ...

    def poll(self) -> Iterator[Job]:
        """Looks once, without waiting; a job whenever its state has changed."""

    def stop(self) -> None:
        """Ends everything that runs, so that it can be resumed."""

    def close(self) -> None:
        """Gives back what the pool itself holds."""


class Watcher(Protocol):
    """Told what happens."""

    def changed(self, job: Job) -> None: ...

    def refresh(self) -> None: ...


def run_arguments(job: Job) -> list[str]:
    """What Python is called with for a job."""
    command = ["-m", "harness", "run", str(job.spec_file), "--resume", "--quiet"]
    return [*command, "--results", str(job.results), *(part for name in job.sinks for part in ("--log", name))]


def start(arguments: Sequence[str], log: Path, folder: str | None = None) -> subprocess.Popen[bytes]:
    """A Python process that writes to `log`, in a session of its own: a terminal's Ctrl-C reaches it through `end`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as stream:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupts the processes; what still runs after `GRACE` seconds is killed with all that it has started."""
    for process in processes:
        process.send_signal(signal.SIGINT)
    limit = time.monotonic() + GRACE
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < limit:
            time.sleep(POLL)
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def why(code: int, log: Path, begun: int) -> str:
    """One line on a process that ended with `code`, from what it wrote to `log` after byte `begun`."""
    said = last_line(log, begun)
    if code < 0:
        name = signal.Signals(-code).name
        return (
            f"ended by {name}{': is there enough memory?' if name == 'SIGKILL' else ''}{f' ({said})' if said else ''}"
        )
    return said or f"ended with code {code}, without a word"


class LocalPool:
    """Child processes on this machine, `at_once` at a time; each job is tried 1 + `retries` times."""

    def __init__(self, at_once: int, retries: int = 0) -> None:
        self.at_once = at_once
        self.retries = retries
        self.queue: list[Job] = []
        self.running: dict[Job, tuple[subprocess.Popen[bytes], int]] = {}  # process, length of the log before

    def submit(self, job: Job) -> None:
        self.queue.append(job)

    @property
    def busy(self) -> bool:
        return bool(self.queue or self.running)

    def poll(self) -> Iterator[Job]:
        for job, (process, begun) in list(self.running.items()):
            code = process.poll()
            if code is not None:
                del self.running[job]
                self._ended(job, code, begun)
                yield job
        for job in list(self.queue):
            if len(self.running) >= self.at_once:
                break
            before = job.state
            if job.directory.locked:
                job.state = "in use"
            else:
                self.queue.remove(job)
                self._begin(job)
            if job.state != before:
                yield job

    def _begin(self, job: Job) -> None:
        write_spec(job)
        job.state, job.started = "running", time.monotonic()
        job.tries += 1
        begun = job.log.stat().st_size if job.log.exists() else 0
        self.running[job] = (start(run_arguments(job), job.log), begun)

    def _ended(self, job: Job, code: int, begun: int) -> None:
        job.seconds = time.monotonic() - job.started
        if code == 0 and job.directory.done:
            job.state = "done"
            return
        job.fault = why(code, job.log, begun) if code else "ended without an error and without DONE"
        if job.tries <= self.retries:
            job.state = "waiting"
            self.queue.append(job)
        else:
            job.state = "failed"

    def cut_off(self, job: Job) -> None:
        """Ends one job that runs, for good, unless it has just come to its end."""
        process, _ = self.running.pop(job)
        end([process])
        job.seconds = time.monotonic() - job.started
        job.state = "done" if job.directory.done else "cut off"

    def stop(self) -> None:
        end([process for process, _ in self.running.values()])
        for job in self.running:
            job.state = "waiting"
        self.running.clear()

    def close(self) -> None:
        assert not self.running


def drive(jobs: Sequence[Job], pool: Pool, watcher: Watcher) -> None:
    """Runs every job that waits to its end. KeyboardInterrupt after Ctrl-C, SIGTERM or SIGHUP, when all are stopped."""
    with _interrupts() as interrupted:
        try:
            for job in jobs:
                if job.state == "waiting":
                    pool.submit(job)
            while pool.busy:
                if interrupted:
                    raise KeyboardInterrupt
                for job in pool.poll():
                    watcher.changed(job)
                watcher.refresh()
                time.sleep(POLL)
        except BaseException:
            pool.stop()
            raise


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collects signals that ask for an end, so that none strikes between the start of a child and its entry.

    The second one strikes: who asks twice does not want to wait.
    """
    caught: list[int] = []

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        if len(caught) > 1:
            raise KeyboardInterrupt

    def pass_over(number: int, frame: Any) -> None:
        """A signal that is ignored, as in nohup and background jobs; SIG_IGN itself would be inherited by children."""

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ignored = signal.getsignal(number) is signal.SIG_IGN
        before[number] = signal.signal(number, pass_over if ignored else note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["LocalPool", "Pool", "drive", "end", "run_arguments", "start", "why"]
