"""One worker process (child.py) seen from the parent: starting it, the frames, and judging what comes back."""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sandbox import isolation
from benchmarks.sandbox.child import HEADER
from benchmarks.sandbox.values import decode

_CHILD = Path(__file__).with_name("child.py")
_START_SECONDS = 30.0
_GRACE_SECONDS = 10.0  # beyond the job's own wall limit, before the worker itself counts as dead
_MAX_FRAME = 16 << 20
WALL_LIMIT = "wall limit"  # detail of an outcome


@dataclass(frozen=True)
class Request:
    """One encoded job with its limits."""

    body: bytes
    num_inputs: int
    wall_seconds: float
    cpu_seconds: int


@dataclass(frozen=True)
class Outcome:
    """What a job gave. `values` holds one value per input when `status` is "ok" (Opaque for one that is not plain).

    status: ok | error (exception, signal, early exit) | timeout | memory | no_entry | protocol (malformed reply) |
    infra (the worker failed twice: says nothing about the candidate). `level`: isolation it ran under; `ms`: wall time;
    `cpu`: seconds of processor time of its main process; `waited`: seconds that a job stopped at a limit waited for a
    processor.
    """

    status: str
    values: tuple
    detail: str
    level: str
    ms: float
    cpu: float = 0.0
    waited: float = 0.0


class Broken(Exception):
    """The worker process died, hangs or does not follow the protocol."""


class Worker:
    """One worker process, owned by one thread: the kernel kills it when that thread ends.

    Raises Broken or OSError where `level` cannot be had or the process does not start.
    """

    def __init__(self, level: str, memory_mb: int, scratch: Path) -> None:
        scratch.mkdir(exist_ok=True)
        config: dict[str, Any] = {"level": level, "memory_mb": memory_mb, "parent": os.getpid()}
        if level == isolation.BUBBLEWRAP:
            config["bubblewrap"] = shutil.which("bwrap")
            if config["bubblewrap"] is None:
                raise Broken("there is no bwrap")
        # -I would ignore PYTHONHASHSEED; with this environment and these flags nothing else is left for it to shut out.
        interpreter = getattr(sys, "_base_executable", sys.executable)
        self._process = subprocess.Popen(
            [interpreter, "-s", "-S", "-B", str(_CHILD), json.dumps(config)],
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
        except Broken:
            self.stop()
            raise

    def run(self, request: Request) -> Outcome:
        """Run one job. Raises Broken or OSError if the worker fails."""
        header = HEADER.pack(len(request.body), math.ceil(1000 * request.wall_seconds), request.cpu_seconds)
        for part in (header, request.body):
            view = memoryview(part)
            while view:
                view = view[self._process.stdin.write(view) :]
        head, _, body = self._receive(request.wall_seconds + _GRACE_SECONDS).partition(b"\n")
        try:
            end = json.loads(head)
        except ValueError as error:
            raise Broken("malformed frame") from error
        status, values, detail = _judge(end, body, request.num_inputs, request.cpu_seconds)
        if end["stragglers"]:
            detail = f"{detail}; left processes running".removeprefix("; ")
        detail = detail.encode("ascii", "backslashreplace").decode()
        return Outcome(status, values, detail, self.level, end["ms"], end["cpu"], end["waited"])

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _receive(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        size = int.from_bytes(self._read(8, deadline), "big")
        if size > _MAX_FRAME:
            raise Broken("frame too long")
        return self._read(size, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        parts = []
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        while size:
            if not poller.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                raise Broken("no answer")
            part = self._process.stdout.read(min(size, 1 << 20))
            if not part:
                raise Broken(f"exit status {self._process.wait()}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def start(levels: Sequence[str], memory_mb: int, scratch: Path) -> Worker:
    """A worker under the first of `levels` that works. RuntimeError if none does."""
    failures = []
    for level in levels:
        try:
            return Worker(level, memory_mb, scratch)
        except (Broken, OSError) as error:
            failures.append(f"{level}: {error}")
    raise RuntimeError(f"The sandbox worker does not start ({'; '.join(failures)}); check {sys.executable}.")


def _judge(end: dict[str, Any], body: bytes, num_inputs: int, cpu_seconds: int) -> tuple[str, tuple, str]:
    """Return (status, values, detail) from how the process ended and what it wrote."""
    kind, code = end["end"], end["code"]
    if kind == "wall":
        return "timeout", (), WALL_LIMIT
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
