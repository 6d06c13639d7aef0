"""Where the runs of the fixture `finished` are."""

from __future__ import annotations

from pathlib import Path


def run_of(results: Path, strategy: str, seed: int) -> Path:
    """The one run of this strategy and seed."""
    (found,) = (results / "trial").glob(f"{strategy}-*-s{seed}-*")
    return found
