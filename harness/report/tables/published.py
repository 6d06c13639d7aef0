"""What a paper prints beside what the runs here give, and how far the two can be held against each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.report.options import choice, read
from harness.report.published import Protocol, load
from harness.report.published_match import Group, Task, differences, grouped, printed, training
from harness.report.tables.layout import named
from harness.report.tables.published_claims import claims
from harness.report.tables.published_headlines import headlines
from harness.table_formats import DAGGER, Cell, Column, Table

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.published import PublishedRow
    from harness.report.spec import Item

OPTIONS: dict[str, Any] = {
    "paper": str, "table": "", "variant": "", "view": "numbers", "split": "eval", "suites": {}, "rows": {},
    "column_sources": {},
}  # fmt: skip
VIEWS = ("numbers", "claims", "headlines")


def build(sources: Sequence[Source], item: Item) -> Table:
    """Options:

    paper, table, variant: a name of reports/published (or a TOML file), and which of its tables.
    view: "numbers": the paper's rows, and ours beside them, marked wherever the protocols differ. "claims": what the
        paper ranks over what, the paired difference here, and Kendall's tau of both orders. "headlines": numbers of its
        text.
    suites: our suite for a column of the paper (by key or suite), where its own suite was not evaluated; without one
        the mean over all of our suites stands there.
    rows: our row (label, arm or strategy) for a label of the paper, where it is not that of the same strategy and
        options.
    column_sources: the source for a column, as for a table over model sizes.
    split: of our scores.

    ValueError for what is unknown.
    """
    options = read(item, OPTIONS)
    view = choice(item, "view", options["view"], VIEWS)
    published = load(options["paper"])
    if view == "headlines":
        return headlines(published, sources, item)
    table = published.find(options["table"], options["variant"])
    labels = [row.label for row in table.rows]
    unknown = [label for label in options["rows"] if label not in labels]
    if unknown:
        raise ValueError(f"Table {table.id} of {published.paper} has no row {unknown[0]!r}; it has {labels}.")
    split = options["split"]
    groups = grouped(published, table, sources, split, options["suites"], options["column_sources"])
    task = Task(published, table, groups, sources, split, options["rows"])
    if view == "claims":
        return claims(task, item)
    return _numbers(task, item)


def _numbers(task: Task, item: Item) -> Table:
    table = task.table
    columns = [Column("method", "method", "text")]
    places: list[int | Group] = []
    for i, column in enumerate(table.columns):
        columns.append(Column(column.key, column.header, "text"))
        places.append(i)
        for number, group in enumerate(task.groups):
            if group.places[-1] == i:
                columns.append(Column(f"here_{number + 1}", _header(group, task), "percent"))
                places.append(group)
    marks: dict[str, str] = {}
    rows = []
    for row in table.rows:
        errors = row.errors or (math.nan,) * len(row.values)
        cells = [Cell(row.label)]
        for place in places:
            if isinstance(place, Group):
                cells.append(_ours(task, row, place, marks))
            elif math.isnan(row.values[place]):
                cells.append(Cell())
            else:
                cells.append(Cell(printed(row.values[place], table.digits, errors[place])))
        rows.append(cells)
    return named(Table(item.name, item.title or table.title, columns, rows, _notes(task, rows, marks)), item)


def _header(group: Group, task: Task) -> str:
    name = group.suites[0] if len(group.suites) == 1 else f"mean of {len(group.suites)} suites"
    return f"here: {name}" + (f" ({group.source.label})" if group.source else "")


def _ours(task: Task, row: PublishedRow, group: Group, marks: dict[str, str]) -> Cell:
    found = task.find(row, group)
    if found is None:
        return Cell()
    source, ours = found
    scores = ours.scores[task.split]
    estimate = scores.by_suite[group.suites[0]] if len(group.suites) == 1 else scores.mean
    differing = differences(ours, group.suites, group.asked, task.split)
    mark = DAGGER if estimate.problems_only else ""
    if differing:
        text = "; ".join(differing)
        text = f"{source.label}: {text}" if len(task.sources) > 1 else text
        mark += f" [{marks.setdefault(text, _letter(len(marks)))}]"
    return Cell(estimate.mean, interval=estimate, mark=mark)


def _letter(number: int) -> str:
    """a to z, then aa, ab, ..."""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _notes(task: Task, rows: Sequence[Sequence[Cell]], marks: dict[str, str]) -> list[str]:
    table, published = task.table, task.published
    level = task.sources[0].comparison.level
    notes = [
        f"Paper: {published.title}; {published.where}; {table.source}. {table.metric[0].upper()}{table.metric[1:]}.",
        f"Its protocol: {protocol_text(published.protocols[table.protocol])}.",
    ]
    if any(isinstance(cell.value, float) for row in rows for cell in row):
        notes.append(
            f"here: our runs, {100 * level:g}% intervals over seeds and problems. A number without a letter was made "
            "as the paper's: same model, suite, samples per problem, temperature and token limit. One with a letter "
            "was not: it must not be held against the printed one, only the order of methods can be."
        )
    else:
        notes.append("None of these methods was run here.")
    notes += [f"[{letter}] {text}." for text, letter in marks.items()]
    for source in task.sources:
        runs = {id(ours): ours for row in table.rows for group in task.groups if (found := task.find(row, group))
                for where, ours in [found] if where is source}  # fmt: skip
        if runs:
            seeds = sorted({len(row.runs) for row in runs.values()})
            count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
            first = next(iter(runs.values())).runs[0]
            notes.append(
                f"{source.label or source.name}: {training(first)}; {count} {'seed' if count == '1' else 'seeds'}."
            )
    if any(DAGGER in cell.mark for row in rows for cell in row):
        notes.append(f"{DAGGER} One seed: the interval covers problems only, not training.")
    without = [row.label for row in table.rows if not row.strategy and row.label not in task.chosen]
    if without:
        notes.append(f"No strategy here is the same as: {', '.join(without)}.")
    missing = [
        row.label for row in table.rows
        if row.label not in without and not any(task.find(row, group) for group in task.groups)
    ]  # fmt: skip
    if missing:
        notes.append(f"Not among these runs: {', '.join(missing)}.")
    said: dict[str, list[str]] = {}
    for row in table.rows:
        said.setdefault(row.note, []).append(row.label)
    notes += [f"{', '.join(labels)}: {note}." for note, labels in said.items() if note]
    return [*notes, *table.notes]


def protocol_text(protocol: Protocol) -> str:
    """A protocol in words, with what is inferred."""
    parts = {
        "model": protocol.model,
        "training": protocol.training,
        "budget": protocol.budget,
        "checkpoint": f"checkpoint: {protocol.checkpoint}" if protocol.checkpoint else "",
        "seeds": f"{protocol.seeds} seed{'s' if protocol.seeds != 1 else ''}" if protocol.seeds else "",
        "k": f"{protocol.k} sample{'s' if protocol.k != 1 else ''} per problem" if protocol.k else "",
        "temperature": f"temperature {protocol.temperature:g}" if protocol.temperature is not None else "",
        "top_p": f"top-p {protocol.top_p:g}" if protocol.top_p is not None else "",
        "max_tokens": f"at most {protocol.max_tokens:,} tokens" if protocol.max_tokens else "",
    }
    shown = "; ".join(text for text in parts.values() if text)
    inferred = ", ".join(name.replace("_", " ") for name in protocol.inferred)
    return shown + (f" (inferred, not stated: {inferred})" if inferred else "")
