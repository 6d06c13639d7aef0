"""Rescores copies of a directory in forked processes that are killed; started as a program without threads.

    python -m tests.store.killing_rescore DIRECTORY SCRATCH

Kills one rescore before its first durable operation, one before its second, and so on until one gets to its end. Each
is checked for what it has left and completed by another call. Prints one JSON object: the number of kills, and how many
were before and after the point where a rescore is decided.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import rescore, samples
from harness.store import RunDir
from tests.store.stored import files

rescore.BATCH = 8  # several pieces for each file
os.fsync = lambda handle: None  # what the kernel was given survives a kill: no need to wait for the disk
WRITES = ("fsync", "replace", "mkdir", "unlink", "rmdir")


def kill_at(number: int) -> None:
    """Makes durable operation `number` of this process its end."""
    left = number

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for name in WRITES:
        setattr(os, name, counted(getattr(os, name)))


def attempt(path: Path, write: int | None) -> bool:
    """Whether a rescore gets to its end, if it is killed before durable operation number `write`."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            if write is not None:
                kill_at(write)
            rescore.rescore(RunDir(path))
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, status
    return not killed


def nothing_lost(original: Path, path: Path) -> None:
    """Generations are as they were, and every old verdict is in its place or among those that were replaced."""
    for file in (original / "generations").iterdir():
        assert (path / "generations" / file.name).read_bytes() == file.read_bytes()
    for file in (original / "verdicts").iterdir():
        places = [path / "verdicts" / file.name, path / "rescores" / "1" / "verdicts" / file.name]
        assert any(place.exists() and place.read_bytes() == file.read_bytes() for place in places), file.name


def main(original: Path, scratch: Path) -> dict[str, int]:
    spec = samples.spec_of(RunDir(original))
    samples.spec_of = lambda run: spec  # all copies have the same one, which takes most of the time
    rescore.rescore(RunDir(original), dry_run=True)  # imports are done once, before the forks
    shutil.copytree(original, scratch / "whole")
    assert attempt(scratch / "whole", None)
    whole = files(scratch / "whole")
    assert whole != files(original)
    report = {"kills": 0, "undecided": 0, "decided": 0}
    while True:
        path = scratch / f"killed{report['kills'] + 1}"
        shutil.copytree(original, path)
        if attempt(path, report["kills"] + 1):
            assert files(path) == whole
            return report
        report["kills"] += 1
        report["decided" if (path / "rescores" / "pending" / "commit.json").exists() else "undecided"] += 1
        nothing_lost(original, path)
        assert attempt(path, None)
        found = files(path)
        assert found == whole, [name for name in {**found, **whole} if found.get(name) != whole.get(name)]
        shutil.rmtree(path)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
