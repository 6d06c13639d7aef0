"""The definition of a published suite: one TOML file in benchmarks/published, checked strictly."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from benchmarks.base import Preset

FOLDER = Path(__file__).parent / "published"
REQUIRED_PRESETS = ("paper", "quick")
_SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")
_FORBID = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True)
class DataFile:
    """One file of a suite: `path` below the data directory or inside the hub's data set, where it may be a pattern."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    path: str
    split: Literal["eval", "train"] = "eval"
    sha256: str | None = None  # of the file as it is distributed
    rows: int | None = None  # in the file
    family: str = ""  # given to its problems
    ids: tuple[int, int] | None = None  # only rows whose own number lies in this range, ends included

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 of {self.path} must be 64 hex digits")
        if Path(self.path).is_absolute() or ".." in Path(self.path).parts:
            raise ValueError(f"path {self.path} must lie below the data directory")


@dataclass(frozen=True)
class Hub:
    """The same rows on the Hugging Face hub. Without `revision` no commit is known to hold them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    dataset: str
    files: tuple[DataFile, ...]
    revision: str | None = None  # a commit; "main" only where the sha256 of every file is known
    gated: bool = False

    def __post_init__(self) -> None:
        pinned = self.revision == "main" and all(file.sha256 for file in self.files)
        if self.revision is not None and not COMMIT.fullmatch(self.revision) and not pinned:
            raise ValueError(f"revision of {self.dataset} must be a commit of 40 hex digits")


@dataclass(frozen=True)
class Generator:
    """A procedural generator of another package, instead of files."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    package: str
    version: str
    dataset: str
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """Everything about a suite but its rows."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: str
    domain: Literal["math", "code", "science", "logic"]
    summary: str
    licence: str
    source: str  # where the rows come from, for people
    rows: int  # problems of the split eval
    format: str  # how a row becomes a problem: a key of rows.FORMATS
    answer: str  # what the gold answer is
    grader: str
    grader_version: str
    presets: dict[str, Preset]
    instruction: str = ""  # how to answer, after every prompt; empty where the questions say it themselves
    notes: tuple[str, ...] = ()  # what is known to be wrong or odd with the rows, and what is done about it
    families: tuple[str, ...] = ()  # only problems of these; empty: all
    macro: bool = False  # the score is the mean over families
    files: tuple[DataFile, ...] = ()
    hub: Hub | None = None
    generator: Generator | None = None

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED_PRESETS if name not in self.presets]
        if missing:
            raise ValueError(f"preset {missing[0]} is missing")
        if not (self.files or self.hub or self.generator):
            raise ValueError("name files, a hub data set or a generator")
        for name, preset in self.presets.items():
            if preset.k < 1 or preset.max_tokens < 1 or (preset.n is not None and preset.n < 1):
                raise ValueError(f"preset {name}: k, max_tokens and n must be at least 1")
            if preset.temperature < 0 or not 0 < preset.top_p <= 1:
                raise ValueError(f"preset {name}: temperature must not be negative, top_p must lie in (0, 1]")

    def digest(self) -> str:
        """16 hex digits over everything in it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def splits(self) -> tuple[str, ...]:
        """eval, and train where there are files or a generator for it."""
        files = (*self.files, *(self.hub.files if self.hub else ()))
        train = self.generator is not None or any(file.split == "train" for file in files)
        return ("eval", "train") if train else ("eval",)


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Definition)


def read(path: Path) -> Definition:
    """ValueError in one sentence for a file that is no definition; unknown keys are errors."""
    from pydantic import ValidationError

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not valid TOML: {problem}") from None
    try:
        # strict, so that "5" is no number; as JSON, because strict Python input must have tuples already
        found = _adapter().validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as problem:
        errors = problem.errors()
        # an unknown key says more than the one that is missing because of it
        first = next((error for error in errors if error["type"] == "unexpected_keyword_argument"), errors[0])
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}, {where or 'top'}: {first['msg'].removeprefix('Value error, ')}") from None
    if found.name != path.stem:
        raise ValueError(f"{path} defines the suite {found.name}: name the file {found.name}.toml")
    return found
