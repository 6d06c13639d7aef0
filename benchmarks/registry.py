"""Suites by name: procedural and published ones, and third parties' through the entry-point group `harness.suites`."""

from __future__ import annotations

import difflib
import os
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from benchmarks.base import Suite

BUILT_IN = {
    "math": "benchmarks.procedural.math:MathSuite",
    "code": "benchmarks.procedural.code:CodeSuite",
    "science": "benchmarks.procedural.science:ScienceSuite",
    "logic": "benchmarks.procedural.logic:LogicSuite",
}
PUBLISHED = Path(__file__).parent / "published"
GROUP = "harness.suites"
DATA_DIR = "HARNESS_DATA_DIR"  # environment variable, so that child processes see it as well


@cache
def published() -> dict[str, Path]:
    """Published suites and the files that define them; nothing is read."""
    return {file.stem: file for file in sorted(PUBLISHED.glob("*.toml"))}


@cache
def _targets() -> dict[str, str]:
    targets = dict(BUILT_IN) | {name: str(file) for name, file in published().items()}
    for point in entry_points(group=GROUP):
        if point.name in targets:
            raise ValueError(
                f"suite {point.name!r} of {point.value} is already defined by {targets[point.name]}: rename it"
            )
        targets[point.name] = point.value
    return targets


def names() -> list[str]:
    return list(_targets())


def set_data_dir(path: Path | None) -> None:
    """Where published suites find their files, for this process and its children; None: on the hub.

    ValueError if it is no directory.
    """
    if path is None:
        os.environ.pop(DATA_DIR, None)
    elif not path.is_dir():
        raise ValueError(f"the data directory {path} does not exist: name a folder with the data files")
    else:
        os.environ[DATA_DIR] = str(path.resolve())


def data_dir() -> Path | None:
    given = os.environ.get(DATA_DIR)
    return Path(given) if given else None


def get(name: str) -> Suite:
    """The suite called `name`, for published ones also name@COMMIT of the hub; ValueError with the nearest names."""
    return _get(name, data_dir())


@cache
def _get(name: str, folder: Path | None) -> Suite:
    targets = _targets()
    plain, _, revision = name.partition("@")
    if plain in published():
        definition = import_module("benchmarks.definition").read(published()[plain])
        module = "benchmarks.generated_suite" if definition.generator else "benchmarks.published_suite"
        kind = "GeneratedSuite" if definition.generator else "PublishedSuite"
        return getattr(import_module(module), kind)(published()[plain], folder, revision or None)
    if name not in targets:
        near = difflib.get_close_matches(plain, targets, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`harness suites` lists them."
        raise ValueError(f"unknown suite {name!r}: {hint}")
    module, _, attribute = targets[name].partition(":")
    return getattr(import_module(module), attribute)()
