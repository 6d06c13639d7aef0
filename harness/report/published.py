"""Numbers that papers print, as data: frozen, typed; unknown keys are errors. Reading needs neither torch nor pandas.

paper = "gac"
title = "..."
where = "arXiv ..., version; which table of which file"

[protocols.main]                       # how numbers of a table were made, as far as it is known
model = "Qwen2.5-7B-Instruct"
temperature = 0.6
inferred = ["temperature"]             # which of these are read between the lines

[[table]]
id = "t1"
variant = ""                           # tells tables with the same id apart
protocol = "main"
columns = [{ key = "amc", header = "AMC", suite = "amc83", k = 8 }, ...]
rows = [{ label = "HPT", strategy = "hpt", options = {}, values = [63.4, ...], errors = [0.5, ...], note = "" }, ...]
claims = [{ above = "GAC", below = "HPT", deltas = [3.8, ...] }, ...]

[[headline]]                           # a number of the text
label = "..."
printed = "-28 %"

A value that is not printed is nan. `strategy` is the method of the same definition here, empty if there is none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.report.spec import read

DIRECTORY = Path(__file__).resolve().parents[2] / "reports" / "published"
_FORBID = {"extra": "forbid"}
SAMPLING = ("k", "temperature", "top_p", "max_tokens")


@dataclass(frozen=True)
class Protocol:
    """How numbers were made; None and empty texts are unknown. `inferred`: names of what is not stated but inferred."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    model: str = ""
    training: str = ""
    budget: str = ""
    checkpoint: str = ""
    seeds: int | None = None
    k: int | None = None  # samples per problem, whose scores are averaged
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    inferred: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {f.name for f in dataclasses.fields(self)} - {"inferred"} | {"suites"}
        unknown = sorted(set(self.inferred) - known)
        if unknown:
            raise ValueError(f"inferred names {unknown[0]!r}; it can name {', '.join(sorted(known))}")


@dataclass(frozen=True)
class PublishedColumn:
    """`suite`: name of the same problems in our registry. Other values go before those of the table's protocol.

    `mean_of`, `sum_of`: the printed mean or sum of these columns.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    key: str
    header: str
    suite: str = ""
    model: str = ""
    k: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    mean_of: tuple[str, ...] = ()
    sum_of: tuple[str, ...] = ()

    @property
    def derived(self) -> bool:
        """Whether the paper computed it from other columns of the table."""
        return bool(self.mean_of or self.sum_of)


@dataclass(frozen=True)
class PublishedRow:
    """A method: a value for each column as printed; `errors`: what is printed behind +-, empty if nothing is.

    `trained` is false for the model that training starts from, which is no method in an order of methods.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    label: str
    values: tuple[float, ...]
    errors: tuple[float, ...] = ()
    strategy: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    trained: bool = True
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """The paper ranks `above` over `below` (labels), in `column` or, if empty, in the mean of the columns.

    `deltas`: differences that the paper prints, of every column or of `column`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    above: str
    below: str
    column: str = ""
    deltas: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """`source`: where it is printed. `digits`: decimals that it is printed with."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    id: str
    title: str
    source: str
    metric: str
    protocol: str
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]
    variant: str = ""
    digits: int = 1
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys = [column.key for column in self.columns]
        labels = [row.label for row in self.rows]
        for names, kind in ((keys, "columns"), (labels, "rows")):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {kind} of table {self.id} are called {twice[0]!r}")
        for row in self.rows:
            if len(row.values) != len(keys) or len(row.errors) not in (0, len(keys)):
                raise ValueError(
                    f"row {row.label!r} of table {self.id} has not one value for each of {len(keys)} columns"
                )
        named = [key for column in self.columns for key in (*column.mean_of, *column.sum_of)]
        named += [claim.column for claim in self.claims if claim.column]
        self._known(named, keys, "column")
        named = [label for claim in self.claims for label in (claim.above, claim.below)]
        self._known(named, labels, "row")
        for claim in self.claims:
            if len(claim.deltas) not in (0, 1 if claim.column else len(keys)):
                raise ValueError(f"claim {claim.above!r} over {claim.below!r} has not one delta for each column")

    def _known(self, named: Sequence[str], names: Sequence[str], kind: str) -> None:
        unknown = sorted(set(named) - set(names))
        if unknown:
            raise ValueError(f"table {self.id} has no {kind} {unknown[0]!r}; it has {', '.join(names)}")

    def row(self, label: str) -> PublishedRow:
        return next(row for row in self.rows if row.label == label)

    def index(self, key: str) -> int:
        """Position of a column."""
        return [column.key for column in self.columns].index(key)

    def difference(self, claim: Claim) -> float:
        """What the printed numbers say of a claim: its column, or the mean over columns that both rows have."""
        above, below = self.row(claim.above).values, self.row(claim.below).values
        if claim.column:
            return above[self.index(claim.column)] - below[self.index(claim.column)]
        pairs = [(a, b) for a, b, column in zip(above, below, self.columns, strict=True) if not column.derived]
        both = [a - b for a, b in pairs if not math.isnan(a - b)]
        return sum(both) / len(both) if both else math.nan


@dataclass(frozen=True)
class Headline:
    """A number of the paper's text.

    `measure`: what our runs of `strategy` hold of it: a key of `Run.reasons`, a metric (its mean over steps), or
    "correlation NAME" (of the metrics NAME_raw and true_NAME). `against`: the strategy that the change is relative to,
    empty if it is no change.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    label: str
    printed: str
    source: str
    strategy: str = ""
    against: str = ""
    measure: str = ""
    unit: Literal["percent", "number"] = "percent"
    note: str = ""


@dataclass(frozen=True)
class Published:
    """What one paper prints."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    paper: str
    title: str
    where: str
    protocols: dict[str, Protocol]
    table: tuple[PublishedTable, ...]
    headline: tuple[Headline, ...] = ()

    def __post_init__(self) -> None:
        names = [(table.id, table.variant) for table in self.table]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tables are called {' '.join(twice[0])!r}: give each a variant")
        for table in self.table:
            if table.protocol not in self.protocols:
                raise ValueError(f"table {table.id} names the protocol {table.protocol!r}, which is not defined")

    def find(self, table: str, variant: str = "") -> PublishedTable:
        """The table `table`; ValueError if there is none, or several and `variant` does not say which."""
        named = [one for one in self.table if one.id == table]
        chosen = [one for one in named if one.variant == variant]
        if not chosen and len(named) == 1 and not variant:
            chosen = named
        if chosen:
            return chosen[0]
        if named:
            variants = ", ".join(repr(one.variant) for one in named)
            raise ValueError(f"table {table} of {self.paper} has no variant {variant!r}: choose from {variants}")
        known = ", ".join(dict.fromkeys(one.id for one in self.table))
        raise ValueError(f"{self.paper} has no table {table!r}: choose from {known}")

    def protocol(self, table: PublishedTable, column: PublishedColumn) -> Protocol:
        """The protocol of one column."""
        own = {key: getattr(column, key) for key in ("model", *SAMPLING)}
        return dataclasses.replace(self.protocols[table.protocol], **{key: v for key, v in own.items() if v})


def papers() -> list[str]:
    """Names of the papers in `reports/published`."""
    return sorted(path.stem for path in DIRECTORY.glob("*.toml"))


def load(paper: str) -> Published:
    """What a paper prints: a name of `reports/published`, or the path of a TOML file. ValueError in one sentence."""
    path = Path(paper) if paper.endswith(".toml") else DIRECTORY / f"{paper}.toml"
    if not paper.endswith(".toml") and not path.is_file():
        raise ValueError(f"there are no published numbers of {paper!r}: choose from {', '.join(papers())}")
    return read(Published, path)
