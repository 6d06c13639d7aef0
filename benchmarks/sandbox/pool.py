"""The trusted side of the sandbox: starts workers (child.py), sends jobs, judges what comes back."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sandbox.values import NotPlain, decode, encode

VERSION = "1"

_CHILD = Path(__file__).with_name("child.py")
_START_SECONDS = 30.0
_GRACE_SECONDS = 10.0  # beyond the job's own wall limit, before the worker itself counts as dead
_MAX_FRAME = 16 << 20
_MAX_INPUT_SIZE = 16_000_000


@dataclass(frozen=True)
class Job:
    """One candidate: Python `source` that defines `entry`, and the positional arguments of each call."""

    source: str
    entry: str
    inputs: tuple[tuple, ...]


@dataclass(frozen=True)
class Outcome:
    """What a job gave. `values` holds one value per input when `status` is "ok" (Opaque for one that is not plain).

    status: ok | error (exception, signal, early exit) | timeout | memory | no_entry | protocol (malformed reply) |
    infra (the worker failed twice: says nothing about the candidate). `level`: isolation it ran under; `ms`: wall time.
    """

    status: str
    values: tuple
    detail: str
    level: str
    ms: float


class _Broken(Exception):
    """The worker process died, hangs or does not follow the protocol."""


class _Worker:
    """One worker process, owned by one thread: the kernel kills it when that thread ends."""

    def __init__(self, config: dict[str, Any], scratch: Path) -> None:
        scratch.mkdir(exist_ok=True)
        self._wall = config["wall_seconds"]
        self._cpu = config["cpu_seconds"]
        # -I would ignore PYTHONHASHSEED; with this environment and these flags nothing else is left for it to shut out.
        self._process = subprocess.Popen(
            [getattr(sys, "_base_executable", sys.executable), "-s", "-S", "-B", str(_CHILD), json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=scratch,
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"},
            start_new_session=True,
        )
        try:
            self.level = json.loads(self._receive(_START_SECONDS))["level"]
        except _Broken:
            self.stop()
            raise

    def run(self, request: bytes, num_inputs: int) -> Outcome:
        """Run one job. Raises _Broken or OSError if the worker fails."""
        self._process.stdin.write(len(request).to_bytes(8, "big"))
        view = memoryview(request)
        while view:
            view = view[self._process.stdin.write(view) :]
        head, _, body = self._receive(self._wall + _GRACE_SECONDS).partition(b"\n")
        try:
            end = json.loads(head)
        except ValueError as error:
            raise _Broken("malformed frame") from error
        status, values, detail = _judge(end, body, num_inputs, self._cpu)
        if end["stragglers"]:
            detail = f"{detail}; left processes running".removeprefix("; ")
        detail = detail.encode("ascii", "backslashreplace").decode()
        return Outcome(status, values, detail, self.level, end["ms"])

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _receive(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        size = int.from_bytes(self._read(8, deadline), "big")
        if size > _MAX_FRAME:
            raise _Broken("frame too long")
        return self._read(size, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        parts = []
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        while size:
            if not poller.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                raise _Broken("no answer")
            part = self._process.stdout.read(min(size, 1 << 20))
            if not part:
                raise _Broken(f"exit status {self._process.wait()}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _judge(end: dict[str, Any], body: bytes, num_inputs: int, cpu_seconds: int) -> tuple[str, tuple, str]:
    """Return (status, values, detail) from how the process ended and what it wrote."""
    kind, code = end["end"], end["code"]
    if kind == "wall":
        return "timeout", (), "wall limit"
    if kind == "memory":
        return "memory", (), "memory limit of all processes together"
    if kind == "overflow":
        return "protocol", (), "reply too long"
    if code < 0:
        # The kernel counts CPU time for the limit and for the report in two ways that differ under load.
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and end["cpu"] >= 0.5 * cpu_seconds):
            return "timeout", (), "CPU limit"
        return "error", (), f"killed by signal {-code}"
    if not body:
        return "error", (), f"exit status {code} without a reply"
    try:
        reply = json.loads(body)
        status, detail = reply["status"], reply["detail"]
        if status not in ("ok", "error", "memory", "no_entry") or type(detail) is not str:
            return "protocol", (), "unknown status"
        if status != "ok":
            return status, (), detail[:300]
        if code != 0 or type(reply["values"]) is not list or len(reply["values"]) != num_inputs:
            return "protocol", (), "not one value per input"
        return "ok", tuple(map(decode, reply["values"])), detail[:300]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return "protocol", (), f"malformed reply ({type(error).__name__})"


def _work(tasks: queue.SimpleQueue, config: dict[str, Any], scratch: Path, started: Future) -> None:
    """Thread body: own one worker process and run tasks until None comes."""
    try:
        worker: _Worker | None = _Worker(config, scratch)
        level = worker.level
        started.set_result(level)
    except (_Broken, OSError) as error:
        started.set_exception(RuntimeError(f"The sandbox worker does not start ({error}); check {sys.executable}."))
        return
    try:
        while (task := tasks.get()) is not None:
            request, num_inputs, future = task
            if not future.set_running_or_notify_cancel():
                continue
            failure = ""
            for _ in range(2):
                try:
                    worker = worker or _Worker(config, scratch)
                    future.set_result(worker.run(request, num_inputs))
                    break
                except (_Broken, OSError) as error:
                    failure = f"worker failed: {error}"
                    if worker is not None:
                        worker.stop()
                        worker = None
            else:
                future.set_result(Outcome("infra", (), failure, level, 0.0))
    finally:
        if worker is not None:
            worker.stop()


def _shut_down(owner: int, tasks: queue.SimpleQueue, threads: list[threading.Thread], scratch: Path) -> None:
    if os.getpid() != owner:  # a fork of the owner does not have the threads
        return
    with contextlib.suppress(queue.Empty):
        while True:
            tasks.get_nowait()[2].cancel()
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.join()
    shutil.rmtree(scratch, ignore_errors=True)


class Sandbox:
    """A pool of worker processes that run model-written Python functions; usable from several threads.

    workers: jobs run at the same time. wall_seconds, cpu_seconds (rounded up to whole seconds by the kernel) and
    memory_mb (address space; resident memory of all its processes together) limit each job.
    namespaces=False does without Linux namespaces even where they work.

    Every job runs in its own process that sees the inputs but no expected value; compare with `matches`. Raises
    ValueError for limits out of range and RuntimeError if the workers cannot start.
    """

    def __init__(
        self,
        workers: int = 2,
        wall_seconds: float = 2.0,
        cpu_seconds: float = 1.0,
        memory_mb: int = 256,
        *,
        namespaces: bool = True,
    ) -> None:
        if workers < 1 or memory_mb < 64 or not 0 < wall_seconds < math.inf or not 0 < cpu_seconds < math.inf:
            raise ValueError("The sandbox needs workers >= 1, memory_mb >= 64 and positive, finite time limits.")
        config = {
            "wall_seconds": wall_seconds,
            "cpu_seconds": math.ceil(cpu_seconds),
            "memory_mb": memory_mb,
            "namespaces": namespaces,
            "parent": os.getpid(),
        }
        self.scratch = Path(tempfile.mkdtemp(prefix="sandbox-"))
        self._owner = os.getpid()
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        started = [Future() for _ in range(workers)]
        threads = [
            threading.Thread(target=_work, args=(self._tasks, config, self.scratch / str(i), future), daemon=True)
            for i, future in enumerate(started)
        ]
        for thread in threads:
            thread.start()
        self._close = weakref.finalize(self, _shut_down, self._owner, self._tasks, threads, self.scratch)
        try:
            self._level = min(future.result() for future in started)  # one machine, one level
        except RuntimeError:
            self.close()
            raise

    @property
    def level(self) -> str:
        """Isolation in force: "namespaces+rlimits", "uid+rlimits" (files and network open) or "rlimits" (weak)."""
        return self._level

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs and return their outcomes in order.

        Raises ValueError for an input that is not plain and RuntimeError for a closed or forked sandbox.
        """
        if not self._close.alive or os.getpid() != self._owner:
            raise RuntimeError("This sandbox is closed or belongs to another process; make a new one.")
        requests = [(_request(job), len(job.inputs), Future()) for job in jobs]
        for task in requests:
            self._tasks.put(task)
        futures = [future for *_, future in requests]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Stop the workers after their present jobs. Runs by itself at interpreter exit."""
        self._close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request(job: Job) -> bytes:
    try:
        source, *inputs = (encode(item, _MAX_INPUT_SIZE) for item in (job.source, *map(tuple, job.inputs)))
    except NotPlain as error:
        raise ValueError(f"Inputs of a sandbox job must be plain values of moderate size; found: {error}.") from error
    return json.dumps({"source": source, "entry": job.entry, "inputs": inputs}).encode()
