"""Locks of a tuning in its results directory: they end with the process that holds them, however it ends.

Workers on several machines share the results directory, on a file system whose locks (flock) hold between machines.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Claims:
    """What this process has taken on; another process takes it on only when this one has let it go or has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, IO[str]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> bool:
        """Whether it is this process's now; False if another one has it, or this one had it before."""
        if name in self.held:
            return False
        stream = open(self.folder / f"{name}.lock", "a")  # noqa: SIM115 - held open on purpose
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return False
        self.held[name] = stream
        return True

    def release(self, name: str) -> None:
        self.held.pop(name).close()

    def close(self) -> None:
        for name in list(self.held):
            self.release(name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other worker is choosing, for a moment in which this one chooses."""
        with open(self.folder / "choosing", "a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


class JournalLock:
    """The lock of Optuna's journal file. What a killed process left of a line is cut off before the next one writes."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.stream: IO[str] | None = None

    def acquire(self) -> bool:
        self.stream = open(f"{self.journal}.lock", "a")  # noqa: SIM115 - closed in release
        fcntl.flock(self.stream, fcntl.LOCK_EX)
        content = self.journal.read_bytes() if self.journal.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.journal, whole)
        return True

    def release(self) -> None:
        assert self.stream is not None
        self.stream.close()
        self.stream = None


__all__ = ["Claims", "JournalLock"]
