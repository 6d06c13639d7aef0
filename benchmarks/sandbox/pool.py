"""The trusted side of the sandbox: a pool of threads with one worker process each, and the policy on weak isolation."""

from __future__ import annotations

import json
import math
import os
import queue
import shutil
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.sandbox import isolation
from benchmarks.sandbox.scratch import make_scratch, remove_leftovers
from benchmarks.sandbox.values import NotPlain, encode
from benchmarks.sandbox.worker import WALL_LIMIT, Broken, Outcome, Request, Worker, start
from benchmarks.threads import end

VERSION = "2"
WEAK_VARIABLE = "HARNESS_ALLOW_WEAK_SANDBOX"  # "1" allows the weakest isolation
WEAK = (
    "This machine offers neither bubblewrap nor namespaces nor a spare user id to run model-written programs in, only "
    f"resource limits: install bubblewrap, or set {WEAK_VARIABLE}=1 where the machine itself is disposable."
)

_MAX_INPUT_SIZE = 16_000_000
_WALL_PER_CPU = 3.0  # at least that many seconds of wall time for a second of processor time that a job may use
_PATIENCE = 4.0  # wall time of the second try of a job that was kept waiting
_BUSY = 0.5  # a job that wanted a processor for less than this share of its wall time slept or was blocked
_weak_allowed = False


def allow_weak(allowed: bool = True) -> None:
    """Allow or forbid sandboxes of level "rlimits" in this process; the environment variable allows them as well."""
    global _weak_allowed
    _weak_allowed = allowed


@dataclass(frozen=True)
class Job:
    """One candidate: Python `source` that defines `entry`, and the positional arguments of each call.

    cpu_seconds: for this job, in place of the sandbox's limit; the wall limit grows with it.
    """

    source: str
    entry: str
    inputs: tuple[tuple, ...]
    cpu_seconds: float | None = None


def _work(tasks: queue.SimpleQueue, levels: Sequence[str], memory_mb: int, scratch: Path, started: Future) -> None:
    """Thread body: own one worker process and run tasks until None comes."""
    try:
        worker: Worker | None = start(levels, memory_mb, scratch)
        level = worker.level
        started.set_result(level)
    except RuntimeError as error:
        started.set_exception(error)
        return
    try:
        while (task := tasks.get()) is not None:
            request, future = task
            if not future.set_running_or_notify_cancel():
                continue
            failure = ""
            for _ in range(2):
                try:
                    worker = worker or Worker(level, memory_mb, scratch)
                    future.set_result(worker.run(request))
                    break
                except (Broken, OSError) as error:
                    failure = f"worker failed: {error}"
                    if worker is not None:
                        worker.stop()
                        worker = None
            else:
                future.set_result(Outcome("infra", (), failure, level, 0.0))
    finally:
        if worker is not None:
            worker.stop()


def _shut_down(owner: int, tasks: queue.SimpleQueue, threads: list[threading.Thread], scratch: Path, lock: int) -> None:
    if end(owner, tasks, threads):
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


class Sandbox:
    """A pool of worker processes that run model-written Python functions; usable from several threads.

    workers: jobs run at the same time. wall_seconds, cpu_seconds (rounded up to whole seconds by the kernel) and
    memory_mb (address space; resident memory of all its processes together) limit each job. A job that runs out of wall
    time while it computes or waits for a processor (a crowded machine) is run once more, with four times the wall time.
    levels: isolation levels to try, strongest first (isolation.LEVELS).

    Every job runs in its own process that sees the inputs but no expected value; compare with `matches`. Raises
    ValueError for limits out of range, and where nothing but resource limits can be had and `allow_weak` has not been
    called; RuntimeError if the workers cannot start.
    """

    def __init__(
        self,
        workers: int = 2,
        wall_seconds: float = 2.0,
        cpu_seconds: float = 1.0,
        memory_mb: int = 256,
        *,
        levels: Sequence[str] = isolation.LEVELS,
    ) -> None:
        if workers < 1 or memory_mb < 64 or not 0 < wall_seconds < math.inf or not 0 < cpu_seconds < math.inf:
            raise ValueError("The sandbox needs workers >= 1, memory_mb >= 64 and positive, finite time limits.")
        self._wall, self._cpu = wall_seconds, cpu_seconds
        remove_leftovers()
        self.scratch, lock = make_scratch()
        self._owner = os.getpid()
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        started = [Future() for _ in range(workers)]
        threads = [
            threading.Thread(
                target=_work, args=(self._tasks, levels, memory_mb, self.scratch / str(i), future), daemon=True
            )
            for i, future in enumerate(started)
        ]
        for thread in threads:
            thread.start()
        self._close = weakref.finalize(self, _shut_down, self._owner, self._tasks, threads, self.scratch, lock)
        try:
            self._level = max((future.result() for future in started), key=isolation.LEVELS.index)
        except RuntimeError:
            self.close()
            raise
        if self._level == isolation.RLIMITS and not _weak_allowed and os.environ.get(WEAK_VARIABLE) != "1":
            self.close()
            raise ValueError(WEAK)

    @property
    def level(self) -> str:
        """The weakest isolation among the workers, one of isolation.LEVELS."""
        return self._level

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs and return their outcomes in order.

        Raises ValueError for an input that is not plain and RuntimeError for a closed or forked sandbox.
        """
        if not self._close.alive or os.getpid() != self._owner:
            raise RuntimeError("This sandbox is closed or belongs to another process; make a new one.")
        requests = [self._request(job) for job in jobs]
        outcomes = self._run(requests)
        for i, (request, outcome) in enumerate(zip(requests, outcomes, strict=True)):
            slow = outcome.status == "timeout" and outcome.detail.startswith(WALL_LIMIT)
            if slow and outcome.cpu + outcome.waited > _BUSY * request.wall_seconds:
                (outcomes[i],) = self._run([replace(request, wall_seconds=_PATIENCE * request.wall_seconds)])
        return outcomes

    def _run(self, requests: Sequence[Request]) -> list[Outcome]:
        futures: list[Future] = [Future() for _ in requests]
        for task in zip(requests, futures, strict=True):
            self._tasks.put(task)
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _request(self, job: Job) -> Request:
        try:
            source, *inputs = (encode(item, _MAX_INPUT_SIZE) for item in (job.source, *map(tuple, job.inputs)))
        except NotPlain as error:
            raise ValueError(
                f"Inputs of a sandbox job must be plain values of moderate size; found: {error}."
            ) from error
        body = json.dumps({"source": source, "entry": job.entry, "inputs": inputs}).encode()
        cpu_seconds = math.ceil(job.cpu_seconds or self._cpu)
        wall_seconds = max(self._wall, _WALL_PER_CPU * (job.cpu_seconds or 0.0))
        return Request(body, len(inputs), wall_seconds, cpu_seconds)

    def close(self) -> None:
        """Stop the workers after their present jobs. Runs by itself at interpreter exit."""
        self._close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
