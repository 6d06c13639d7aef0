"""The specification of a report: frozen, typed; unknown keys are errors. Reading it imports neither torch nor pandas.

title = "..."
summary = "..."                        # Markdown, above everything
level = 0.95                           # of all intervals

[sources.main]                         # each source is one comparison of runs that may stand side by side
path = "../results/published/x"        # relative to the file; a results directory, an experiment or a pack
label = "1m, equal FLOPs"
baseline = "sft"                       # strategy or arm that the others are compared with
strategies = ["sft", "gac"]            # only these strategies or arms; default all
force = false                          # compare what is not comparable; every output says so

[[item]]                               # in reading order
kind = "heading"                       # heading, text, table or figure
text = "Main result"

[[item]]
kind = "table"
show = "scores"                        # which table: report.tables.TABLES
name = "main"                          # stem of its files
sources = ["main"]                     # default: all
title = "..."
caption = "..."
options = { split = "ood" }            # of this kind of table, checked by it
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from harness import spec as specification

T = TypeVar("T")
_FORBID = {"extra": "forbid", "allow_inf_nan": False}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class SourceSpec:
    """Where runs come from; `path` is relative to the specification's file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    path: str
    label: str = ""
    baseline: str | None = None
    strategies: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class Item:
    """One block of the report. `show` and `options` belong to tables and figures, `text` to headings and texts."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    kind: Literal["heading", "text", "table", "figure"]
    text: str = ""
    show: str = ""
    name: str = ""
    sources: tuple[str, ...] = ()
    title: str = ""
    caption: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind in ("heading", "text"):
            if not self.text or self.show or self.options or self.sources:
                raise ValueError(f"a {self.kind} takes text, and neither show, sources nor options")
        elif not self.show or not _NAME.fullmatch(self.name):
            raise ValueError(f"a {self.kind} takes show, and a name of letters, digits, '.', '_' and '-'")


@dataclass(frozen=True)
class ReportSpec:
    """A report as its file says it. `item` holds the blocks in reading order."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    title: str
    sources: dict[str, SourceSpec]
    item: tuple[Item, ...]
    summary: str = ""
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.sources or not self.item:
            raise ValueError("a report needs at least one source and one item")
        if not 0.5 <= self.level < 1:
            raise ValueError(f"level must lie in [0.5, 1), but is {self.level}")
        names = [item.name for item in self.item if item.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two items have the name {twice[0]!r}: names become files, so give each its own")
        for item in self.item:
            unknown = sorted(set(item.sources) - set(self.sources))
            if unknown:
                raise ValueError(
                    f"{item.name} names the source {unknown[0]!r}; the sources are {', '.join(self.sources)}"
                )


def load(path: Path) -> ReportSpec:
    """The specification in a TOML file; ValueError in one sentence if it is none."""
    return read(ReportSpec, path)


def read(kind: type[T], path: Path) -> T:
    """A TOML file as a frozen dataclass; ValueError in one sentence for the first thing that does not fit it."""
    import json

    from pydantic import TypeAdapter, ValidationError

    values = specification.load(path)
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as problem:
        error = problem.errors()[0]
        place = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "unexpected_keyword_argument":
            message = "unknown key"
        raise ValueError(f"{path}: {place + ': ' if place else ''}{message[0].lower() + message[1:]}") from None
