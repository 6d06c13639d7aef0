"""The run directory: one writer, whole-line appends, whole files renamed into place, `DONE` last.

manifest.json metrics.jsonl timing.jsonl generations/ verdicts/ evaluation.json scores.jsonl checkpoints/ logs/ DONE
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

SCHEMA = 1
FULL = (errno.ENOSPC, errno.EDQUOT)  # the file system, or the user's share of it


class DiskFull(OSError, ValueError):
    """One sentence for the user, with the directory. A ValueError as well: it is shown like other users' errors."""

    def __str__(self) -> str:
        return str(self.strerror)


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by the JSON of `value`: the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w") as stream:
        json.dump(value, stream, indent=1, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """ValueError in one sentence if the file is missing or broken."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: is {path.parent} a run directory?") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"{path} is damaged ({problem}): restore it or delete the run") from None


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Appends one JSON line a record in a single write, and syncs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with open(path, "a") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file; a torn last line is left out. ValueError if a line before it is broken."""
    if not path.exists():
        return []
    *lines, torn = path.read_text().split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines) or torn:
                raise ValueError(f"{path} line {number} is not JSON: restore the file or delete the run") from None
    return records


def keep_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Replaces the file by these records."""
    if not records and not path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w") as stream:
        stream.writelines(json.dumps(record, allow_nan=False) + "\n" for record in records)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


class RunDir:
    """One run's directory. Opening it for writing takes a lock that lasts until the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock: TextIO | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        return read_json(self.path / "manifest.json")

    @property
    def kind(self) -> str | None:
        """None for a training run. A damaged manifest counts as one, so that it is seen."""
        try:
            return self.manifest.get("kind")
        except ValueError:
            return None

    @property
    def done(self) -> bool:
        return (self.path / "DONE").exists()

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        return self.path / "timing.jsonl"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def generations(self, suite: str, fraction: float) -> Path:
        return self.path / "generations" / f"{suite}@{fraction:.2f}.jsonl"

    def verdicts(self, suite: str, fraction: float) -> Path:
        return self.path / "verdicts" / f"{suite}@{fraction:.2f}.jsonl"

    @property
    def locked(self) -> bool:
        """Whether a process is writing to it now."""
        try:
            stream = open(self.path / "run.lock")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            return False
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Holds the directory's lock; ValueError if another process has it.

        DiskFull if there is no space left while it is held.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        stream = open(self.path / "run.lock", "a+")  # noqa: SIM115 - held open on purpose
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip() or "another process"
            stream.close()
            raise ValueError(f"{self.path} is being written by {owner}: wait for it, or stop it first") from None
        try:
            stream.seek(0)
            stream.truncate()
            stream.write(f"process {os.getpid()} on {socket.gethostname()}")
            stream.flush()
            self._lock = stream
            yield
        except OSError as problem:
            if problem.errno not in FULL:
                raise
            raise DiskFull(
                problem.errno,
                f"{os.strerror(problem.errno)} while {self.path} was being written: free some space and continue with "
                "the same command, with --resume for a run; everything that was finished is kept",
            ) from problem
        finally:
            self._lock = None
            stream.close()

    def finish(self) -> None:
        """Marks the run as complete: the last thing that is written."""
        write_json(self.path / "DONE", {"schema": SCHEMA})


def find_runs(root: Path, kind: str | None = None) -> list[RunDir]:
    """Directories of `kind` at or below `root`, by path: None = training runs, "evaluation" = those of `harness eval`.

    ValueError if `root` does not exist.
    """
    if not root.exists():
        raise ValueError(f"{root} does not exist: name a results directory or a run directory")
    found = []
    for path, below, files in os.walk(root):
        if "manifest.json" not in files:
            continue
        below.clear()  # checkpoints inside have manifests of their own
        run = RunDir(Path(path))
        if run.kind == kind:
            found.append(run)
    return sorted(found, key=lambda run: run.path)
