"""Our numbers for those of a paper: the row of the same strategy and options, and how far the protocols agree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from benchmarks import registry as suites
from harness.evaluation_plan import plan_for
from harness.report.problems import row_named, suites_of
from harness.report.published import SAMPLING, Protocol, Published, PublishedColumn, PublishedRow, PublishedTable
from harness.settings import option_defaults
from harness.spec import Evaluation
from harness.table_formats import PLUS_MINUS

if TYPE_CHECKING:
    from benchmarks.base import Suite
    from harness.compare_load import Run
    from harness.compare_rows import Row
    from harness.report.document import Source

_NAMES = {"k": "samples per problem", "temperature": "temperature", "top_p": "top-p", "max_tokens": "tokens"}


@dataclass(frozen=True)
class Asked:
    """A column of the paper with its protocol: what a number of ours is held against."""

    column: PublishedColumn
    protocol: Protocol


def counterpart(row: PublishedRow, source: Source, chosen: Mapping[str, str]) -> Row | None:
    """The source's row of the same strategy and options; `chosen` maps labels of the paper to names of rows instead.

    Options are compared with defaults filled in. ValueError where several rows of the source match.
    """
    comparison = source.comparison
    if row.label in chosen:
        named = chosen[row.label]
        known = {name for one in comparison.rows for name in (one.label, one.name, one.strategy)}
        return row_named(comparison, named) if named in known else None
    if not row.strategy:
        return None
    wanted = _options(row.strategy, row.options)
    found = [
        one
        for one in comparison.rows
        if one.strategy == row.strategy and _options(one.strategy, one.runs[0].spec.get("options", {})) == wanted
    ]
    if len(found) > 1:
        labels = "; ".join(one.label for one in found)
        raise ValueError(f"Source {source.name} has several rows for {row.label!r} of the paper: {labels}.")
    return found[0] if found else None


def _options(strategy: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {**option_defaults(strategy), **given}


def sampling(run: Run, suite: str) -> dict[str, Any]:
    """k, temperature, top_p and max_tokens that the run was evaluated with on a suite."""
    from pydantic import TypeAdapter

    evaluation = TypeAdapter(Evaluation).validate_json(json.dumps(run.spec.get("eval", {})), strict=True)
    known = _suite(suite)
    if known is not None:
        evaluation = plan_for(evaluation, known)
    return {key: getattr(evaluation, key) for key in SAMPLING}


def _suite(name: str) -> Suite | None:
    """None for problems of a file, which no registry knows."""
    return suites.get(name) if name.partition("@")[0] in suites.names() else None


def differences(row: Row, ours: Sequence[str], asked: Sequence[Asked], split: str) -> tuple[str, ...]:
    """How the row's number, the mean over the suites `ours`, was made in another way than the paper's of `asked`.

    Model, suites, and sampling are compared, and whether all problems of a suite were evaluated; what a paper does not
    state differs. Empty where the protocols are the same.
    """
    run = row.runs[0]
    found = []
    model = PurePosixPath(str(run.spec["model"])).name
    models = list(dict.fromkeys(one.protocol.model for one in asked))
    if any(name.casefold() != model.casefold() for name in models):
        found.append(f"model {model}, not {' and '.join(models)}")
    names = [one.column.suite for one in asked]
    if list(ours) != list(dict.fromkeys(names)) or split != "eval":
        own = f"the mean of {', '.join(ours)}" if len(ours) > 1 else ours[0]
        own += "" if split == "eval" else f" (split {split})"
        found.append(f"{own}, not {', '.join(dict.fromkeys(one.column.suite or one.column.header for one in asked))}")
    else:
        for suite in ours:
            evaluated = row.scores[split].by_suite[suite].problems
            size = getattr(_suite(suite), "size", None)
            if size is not None and evaluated < size:
                found.append(f"{evaluated} of the {size} problems of {suite}")
    settings = [sampling(run, suite) for suite in ours]
    for key in SAMPLING:
        own = list(dict.fromkeys(values[key] for values in settings))
        theirs: dict[Any, list[str]] = {}
        for one in asked:
            theirs.setdefault(getattr(one.protocol, key), []).append(_header(one))
        if list(theirs) == own or (key == "top_p" and None in theirs):
            continue
        other = ", ".join(
            _value(value) + (f" ({', '.join(where)})" if len(theirs) > 1 else "") for value, where in theirs.items()
        )
        found.append(f"{_NAMES[key]} {', '.join(map(_value, own))}, not {other}")
    return tuple(found)


@dataclass(frozen=True)
class Group:
    """Columns of a paper's table that one column of ours stands beside: the mean over `suites` of `source`.

    `places` has the printed columns with those that are computed from them; `source` is None where any may serve.
    """

    places: tuple[int, ...]
    asked: tuple[Asked, ...]
    suites: tuple[str, ...]
    source: Source | None

    def score(self, table: PublishedTable, row: PublishedRow) -> float:
        """What the paper prints for the group: its own mean, or else that of the columns."""
        means = [i for i in self.places if table.columns[i].derived]
        values = [row.values[i] for i in means or self.places]
        return sum(values) / len(values)


def grouped(
    published: Published,
    table: PublishedTable,
    sources: Sequence[Source],
    split: str,
    like: Mapping[str, str],
    of_source: Mapping[str, str],
) -> list[Group]:
    """The groups of a table, in the order of its columns.

    A column goes with the same suite, else with that which `like` names for it (by key or suite), else with the mean
    over all suites of the split. `of_source`: names of sources by column. ValueError for unknown names.
    """  # fmt: skip
    by_name = {source.name: source for source in sources}
    known = {column.key for column in table.columns} | {column.suite for column in table.columns if column.suite}
    for key in (*like, *of_source):
        if key not in known:
            raise ValueError(f"Table {table.id} of {published.paper} has no column {key!r}; it has {sorted(known)}.")
    targets: dict[str, tuple[tuple[str, ...], str]] = {}
    for column in table.columns:
        if column.derived:
            continue
        name = of_source.get(column.key, "")
        if name and name not in by_name:
            raise ValueError(f"There is no source {name!r} for column {column.key}; the sources are {list(by_name)}.")
        shared = suites_of(by_name[name].comparison if name else sources[0].comparison, split)
        wanted = like.get(column.key) or like.get(column.suite)
        if column.suite in shared:
            shared = [column.suite]
        elif wanted:
            shared = suites_of(by_name[name].comparison if name else sources[0].comparison, split, [wanted])
        targets[column.key] = (tuple(shared), name)
    found = []
    for target in dict.fromkeys(targets.values()):
        places, asked = [], []
        for i, column in enumerate(table.columns):
            if {targets[key] for key in column.mean_of or column.sum_of or (column.key,)} == {target}:
                places.append(i)
                if not column.derived:
                    asked.append(Asked(column, published.protocol(table, column)))
        ours, name = target
        found.append(Group(tuple(places), tuple(asked), ours, by_name.get(name)))
    return found


@dataclass(frozen=True)
class Task:
    """One table of a paper and the runs to set beside it. `chosen`: our row for a label of the paper, if given."""

    published: Published
    table: PublishedTable
    groups: list[Group]
    sources: Sequence[Source]
    split: str
    chosen: dict[str, str]

    def find(self, row: PublishedRow, group: Group) -> tuple[Source, Row] | None:
        """Our row for one of the paper, from the first source that has it and the group's suites."""
        for source in [group.source] if group.source else self.sources:
            if set(group.suites) <= set(source.comparison.suites.get(self.split, [])):
                ours = counterpart(row, source, self.chosen)
                if ours is not None:
                    return source, ours
        return None


def printed(value: float, digits: int, error: float = math.nan) -> str:
    """A number as the paper prints it, with at least `digits` decimals."""

    def text(number: float) -> str:
        return f"{number:.{max(digits, len(f'{number:g}'.partition('.')[2]))}f}"

    return text(value) + ("" if math.isnan(error) else f" {PLUS_MINUS} {text(error)}")


def training(run: Run) -> str:
    """What a run was trained on, and for how long, in words."""
    data, budget = run.spec["data"], run.spec["budget"]
    where = data["source"] or f"{data['problems']:,} procedural problems of each of {', '.join(data['suites'])}"
    unit = {"flops": "FLOPs"}.get(budget["kind"], budget["kind"].replace("_", " "))
    return f"model {run.spec['model']} trained on {where}, for {budget['limit']:.4g} {unit}"


def _header(asked: Asked) -> str:
    return asked.column.header


def _value(value: Any) -> str:
    if value is None:
        return "one that is not stated"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
