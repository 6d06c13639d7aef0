"""Bytes and digests of run directories, read some runs ahead of whoever decodes them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.score_file import STEPS, digest

AHEAD = 32  # runs


@dataclass(frozen=True)
class Raw:
    """Files of one run. `verdicts`: (name, SHA-256), by name; `steps`: name -> SHA-256; None for a missing file."""

    path: Path
    manifest: bytes | None
    evaluation: bytes | None
    verdicts: list[tuple[str, str]]
    steps: dict[str, str]


def read_ahead(paths: Sequence[Path]) -> Iterator[Raw]:
    """Every run in the order given. Reading and hashing leave the interpreter free for whoever decodes meanwhile."""
    waiting = deque()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for path in paths:
            waiting.append(pool.submit(read, path))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read(path: Path) -> Raw:
    """One run; no verdicts where the folder is missing."""
    folder = f"{path}/verdicts"
    names = os.listdir(folder) if os.path.isdir(folder) else []
    names = sorted(name for name in names if name.endswith(".jsonl") and "@" in name and not name.startswith("."))
    return Raw(
        path,
        content_of(f"{path}/manifest.json"),
        content_of(f"{path}/evaluation.json"),
        [(name, digest(f"{folder}/{name}")) for name in names],
        {name: digest(f"{path}/{name}") for name in STEPS},
    )


def content_of(path: str | Path) -> bytes | None:
    """None for a file that does not exist."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
