"""Runs a specification in forked processes and kills them; started as a program, because a fork must have no threads.

    python -m tests.store.killing SPEC.json RESULTS {moments|writes} COUNT SEED

Prints one JSON object: the directories of the runs, and for every attempt how it ended and in which phase.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM  # noqa: F401  (what is loaded before the fork is no part of a run)

import harness.evaluate
import harness.trainer
from benchmarks.graders import programs
from benchmarks.sandbox import Sandbox
from harness.engines import hf  # noqa: F401
from harness.models import tokenizer  # noqa: F401
from harness.run import directory_for, execute
from harness.spec import RunSpec, build

harness.evaluate.CHUNK = 8  # a small evaluation has several chunks as well
programs.sandbox = cache(lambda: Sandbox(wall_seconds=60.0))  # a busy machine is no reason for a verdict
os.fsync = lambda handle: None  # what the kernel was given survives a kill: no need to wait for the disk
WRITES = ((os, "fsync"), (os, "replace"), (shutil, "rmtree"), (os, "mkdir"))


def count_writes(action: Callable[[int], None]) -> None:
    """Calls `action` with 1, 2, 3, ... before each durable operation of this process."""
    done = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            action(done)
            return original(*arguments, **options)

        return call

    for module, name in WRITES:
        setattr(module, name, counted(getattr(module, name)))


TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Of a process so far. Moments in this unit are the same parts of a run on a busy machine as on an idle one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def attempt(
    spec: RunSpec,
    results: Path,
    seconds: float | None = None,
    write: int | None = None,
    watch: Callable[[int], None] | None = None,
) -> tuple[str, float]:
    """`done`, `killed` after `seconds` or before durable operation number `write`, or how else the process ended; and
    the processor seconds that it took. `watch` is called with the process's id now and then."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            if write is not None:
                count_writes(lambda done: os.kill(os.getpid(), signal.SIGKILL) if done == write else None)
            execute(spec, results, resume=True, quiet=True)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    while True:
        ended, status, usage = os.wait4(child, 0 if seconds is None and watch is None else os.WNOHANG)
        if ended:
            break
        if watch is not None:
            watch(child)
        if seconds is not None and processor_seconds(child) >= seconds:
            os.kill(child, signal.SIGKILL)
            seconds = None
        else:
            time.sleep(0.004)
    taken = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return "killed", taken
    return "done" if status == 0 else f"status {status}", taken


def phase(path: Path) -> str:
    """What the newest attempt said last: start, training or evaluation."""
    logs = sorted((path / "logs").glob("*.log"), key=lambda log: int(log.stem.rpartition("_")[2]))
    said = logs[-1].read_text().splitlines() if logs else []
    if len(said) < 2 and not (said and "resumed" in said[0]):
        return "start"
    last = said[-1].split("s ", 1)[1]
    return "evaluation" if last.startswith(("evaluating", " ")) else "training"


def moments(spec: RunSpec, results: Path, count: int, rng: random.Random) -> dict[str, Any]:
    """Kills at `count` random moments. A run that gets to its end makes way for a fresh one."""
    whole = directory_for(spec, results / "whole").path
    loaded: list[float] = []  # processor seconds after which the run itself began

    def watch(pid: int) -> None:
        if not loaded and phase(whole) != "start":
            loaded.append(processor_seconds(pid))

    ended, duration = attempt(spec, results / "whole", watch=watch)
    assert ended == "done", ended
    (start,) = loaded
    kills: list[str] = []
    number = 0
    directories = []
    while len(kills) < count:
        number += 1
        place = results / f"killed{number}"
        directories.append(str(directory_for(spec, place).path))
        while True:
            # the last run is let to its end
            limit = None
            if len(kills) < count:  # one in five before the run itself begins
                early = rng.random() < 0.2
                limit = rng.uniform(0.2, 1) * start if early else start + rng.uniform(0, 0.5) * (duration - start)
            ended, _ = attempt(spec, place, limit)
            if ended != "killed":
                assert ended == "done", ended
                break
            kills.append(phase(Path(directories[-1])))
    return {"whole": str(directory_for(spec, results / "whole").path), "directories": directories, "kills": kills}


def writes(spec: RunSpec, results: Path, count: int, rng: random.Random) -> dict[str, Any]:
    """Kills `count` runs, each at another durable operation, and once more soon after it was resumed."""
    total = results / "total"

    def measured() -> None:
        count_writes(lambda done: total.write_text(str(done)))
        execute(spec, results / "whole", quiet=True)

    child = os.fork()
    if child == 0:
        code = 70
        try:
            measured()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    operations = int(total.read_text())
    kills: list[str] = []
    directories = []
    for number in range(count):
        place = results / f"killed{number}"
        directories.append(str(directory_for(spec, place).path))
        # evenly spread, jittered
        first = 1 + int((number + rng.random()) * operations / count)
        for write in (first, rng.randint(1, 30)):
            ended, _ = attempt(spec, place, write=write)
            assert ended in ("killed", "done"), ended
            kills += [str(write)] * (ended == "killed")
        ended, _ = attempt(spec, place)
        assert ended == "done", ended
    return {
        "whole": str(directory_for(spec, results / "whole").path),
        "directories": directories,
        "kills": kills,
        "operations": operations,
    }


if __name__ == "__main__":
    specification, folder, mode, number, seed = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    chosen = {"moments": moments, "writes": writes}[mode]
    report = chosen(
        build(json.loads(Path(specification).read_text())), Path(folder), int(number), random.Random(int(seed))
    )
    print(json.dumps(report))
