"""A pool of killable processes that compare expressions (verifier.py), each comparison under a deadline."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import astuple
from functools import cache
from pathlib import Path

from benchmarks.graders.comparison import Rules
from benchmarks.threads import end

Job = tuple[str, str, Rules]  # gold, answer, rules

MAX_BATCH = 16
_START_SECONDS = 120.0
_READY = b"R"
_STATUS = {b"1": "pass", b"0": "fail", b"M": "fail", b"T": "timeout"}
_ENDED = (b"M", b"T", b"C", b"K")  # the rest of the batch is lost


class _Broken(Exception):
    """The process died, hangs without using its CPU time, or wrote something else than replies."""


class _Worker:
    """One verifier process."""

    def __init__(self, cpu_seconds: float, wall_seconds: float, memory_mb: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self._wall = wall_seconds
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.graders.verifier", str(cpu_seconds), str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={
                "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]),
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
                "PATH": os.environ.get("PATH", ""),
            },
            start_new_session=True,
        )
        try:
            if self._reply(_START_SECONDS) != _READY:
                raise _Broken("no greeting")
        except _Broken:
            self.stop()
            raise

    def run(self, jobs: list[Job], statuses: list[str]) -> None:
        """Append a status for each of the jobs to `statuses`. Raises _Broken or OSError if the process fails."""
        while jobs:
            body = json.dumps([(gold, answer, astuple(rules)) for gold, answer, rules in jobs]).encode()
            view = memoryview(len(body).to_bytes(8, "big") + body)
            while view:
                view = view[self._process.stdin.write(view) :]
            done = 0
            for _ in jobs:
                reply = self._reply(self._wall)
                if reply not in _STATUS:
                    raise _Broken("crash" if reply == b"C" else f"unexpected reply {reply!r}")
                statuses.append(_STATUS[reply])
                done += 1
                if reply in _ENDED:
                    break
            jobs = jobs[done:]

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _reply(self, seconds: float) -> bytes:
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        if not poller.poll(1000 * seconds):
            raise _Broken("no reply")
        reply = self._process.stdout.read(1)
        if not reply:
            raise _Broken(f"exit status {self._process.wait()}")
        return reply


def _verify(
    worker: _Worker | None, limits: tuple[float, float, int], jobs: list[Job]
) -> tuple[_Worker | None, list[str]]:
    """(worker, statuses) of a batch. The job that a failed worker was at is tried once more before it counts."""
    statuses: list[str] = []
    failures = 0  # of the job that is next
    crash = False
    while len(statuses) < len(jobs):
        begun = len(statuses)
        try:
            worker = worker or _Worker(*limits)
            worker.run(jobs[begun:] if not failures else jobs[begun : begun + 1], statuses)
            failures = 0
        except (_Broken, OSError) as error:
            if worker is not None:
                worker.stop()
                worker = None
            failures = failures + 1 if len(statuses) == begun else 1
            crash = str(error) == "crash"
            if failures == 2:
                # an interpreter that crashes twice on the same answer does so because of the answer
                statuses.append("fail" if crash else "infra")
                failures = 0
    return worker, statuses


def _work(tasks: queue.SimpleQueue, limits: tuple[float, float, int], started: Future) -> None:
    """Thread body: own one process and run batches until None comes."""
    try:
        worker: _Worker | None = _Worker(*limits)
        started.set_result(None)
    except (_Broken, OSError) as error:
        started.set_exception(RuntimeError(f"The math verifier does not start ({error}); check {sys.executable}."))
        return
    try:
        while (task := tasks.get()) is not None:
            jobs, future = task
            if future.set_running_or_notify_cancel():
                worker, statuses = _verify(worker, limits, jobs)
                future.set_result(statuses)
    finally:
        if worker is not None:
            worker.stop()


class Verifiers:
    """A pool of processes that decide whether answers equal gold answers; usable from several threads.

    workers: comparisons made at the same time. cpu_seconds and memory_mb (address space) limit each comparison;
    wall_seconds without any reply mean that the process itself has failed.

    Raises ValueError for limits out of range and RuntimeError if the processes cannot start.
    """

    def __init__(
        self, workers: int = 2, cpu_seconds: float = 2.0, wall_seconds: float = 60.0, memory_mb: int = 1024
    ) -> None:
        if workers < 1 or memory_mb < 256 or not 0 < cpu_seconds < wall_seconds < math.inf:
            raise ValueError("The verifiers need workers >= 1, memory_mb >= 256 and 0 < cpu_seconds < wall_seconds.")
        if importlib.util.find_spec("math_verify") is None:
            raise RuntimeError("Grading mathematics needs the package math-verify: pip install math-verify")
        limits = (cpu_seconds, wall_seconds, memory_mb)
        self._owner = os.getpid()
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._workers = workers
        started: list[Future] = [Future() for _ in range(workers)]
        threads = [
            threading.Thread(target=_work, args=(self._tasks, limits, future), daemon=True) for future in started
        ]
        for thread in threads:
            thread.start()
        self._close = weakref.finalize(self, end, self._owner, self._tasks, threads)
        try:
            for future in started:
                future.result()
        except RuntimeError:
            self.close()
            raise

    def run(self, jobs: Sequence[Job]) -> list[str]:
        """A status for each job, in order: pass | fail | timeout | infra (the process failed twice: says nothing).

        Raises RuntimeError for a closed or forked pool.
        """
        if not self._close.alive or os.getpid() != self._owner:
            raise RuntimeError("This pool of verifiers is closed or belongs to another process; make a new one.")
        size = max(1, min(MAX_BATCH, len(jobs) // (2 * self._workers)))
        batches = [(list(jobs[i : i + size]), Future()) for i in range(0, len(jobs), size)]
        for batch in batches:
            self._tasks.put(batch)
        try:
            return [status for _, future in batches for status in future.result()]
        finally:
            for _, future in batches:
                future.cancel()

    def close(self) -> None:
        """Stop the processes after their present batches. Runs by itself at interpreter exit."""
        self._close()

    def __enter__(self) -> Verifiers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def _of_process(pid: int) -> Verifiers:
    return Verifiers()


def verifiers() -> Verifiers:
    """The one pool of this process, started at the first call."""
    return _of_process(os.getpid())
