"""A finished report before it is written: blocks in reading order, of which Markdown, LaTeX and HTML are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from harness.table_formats import Table

if TYPE_CHECKING:
    from harness.compare import Comparison


_SPAN = r"`[^`]*`"  # code binds tighter than stars
# what a Text, a caption and a note may hold; the rest is literal
INLINE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|\[(?P<label>[^\]]+)\]\((?P<target>https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)\)"
    rf"|\*\*(?=\S)(?P<strong>(?:{_SPAN}|[^*`]|\*(?!\*))+)(?<=\S)\*\*"
    rf"|(?<!\w)\*(?=\S)(?P<emphasis>(?:{_SPAN}|[^*`])+)(?<=\S)\*(?!\w)"
)


@dataclass(frozen=True)
class Heading:
    """`level`: 2 for a section, 3 below it; the title of the report is 1."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """Paragraphs separated by empty lines; inline Markdown: `code`, *emphasis*, **strong**, [text](https://...)."""

    text: str


@dataclass(frozen=True)
class TableBlock:
    """A table; its name is the stem of its files and its anchor."""

    table: Table
    caption: str = ""


@dataclass(frozen=True)
class FigureBlock:
    """A figure as files' contents: suffix ("png", "pdf", "svg") -> bytes. `alt` says in words what it shows."""

    name: str
    title: str
    caption: str
    alt: str
    files: Mapping[str, bytes]


Block: TypeAlias = Heading | Text | TableBlock | FigureBlock


@dataclass(frozen=True)
class Source:
    """One named comparison of a report: runs that may stand beside each other. `label` is how figures name it."""

    name: str
    label: str
    comparison: Comparison


@dataclass(frozen=True)
class Report:
    """`notices` are what a reader must know first: forced comparisons, missing cells, unequal cost."""

    title: str
    summary: str
    blocks: Sequence[Block]
    sources: Mapping[str, Source]
    notices: Sequence[str] = ()
    command: str = ""  # that makes it again
    provenance: Mapping[str, str] = field(default_factory=dict)
