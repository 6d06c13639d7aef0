"""Settings of the rows: what differs between them, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare import Comparison
from harness.compare_rows import Row, flatten
from harness.report.document import Source
from harness.report.options import choice, read
from harness.report.spec import Item
from harness.report.tables.layout import per_source
from harness.settings import option_defaults
from harness.table_formats import Cell, Column, Table
from strategies import registry

COLUMNS = [
    Column("setting", "setting", "text"),
    Column("value", "value", "text"),
    Column("rows", "strategies", "text"),
]
OWN = "options."


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a value of a setting, those that differ first.

    Options: show = "all", "differing" or "shared"; options (default true): with the strategies' own options.
    """
    options = read(item, {"show": "all", "options": True})
    show = choice(item, "show", options["show"], ("all", "differing", "shared"))
    return per_source(sources, item, lambda found: _table(found, show, options["options"]))


def settings_of(row: Row) -> dict[str, str]:
    """The row's settings with the strategy's options at their defaults where they were not set."""
    known = row.strategy in registry.names()
    defaults = flatten({"options": option_defaults(row.strategy)}) if known else {}
    return {**defaults, **{key: value for key, value in row.settings.items() if key != "strategy"}}


def _table(comparison: Comparison, show: str, with_own: bool) -> Table:
    by_row = {row.label: settings_of(row) for row in comparison.rows}
    differing, shared, own = [], [], []
    for key in sorted({key for settings in by_row.values() for key in settings}):
        if key.startswith(OWN) and not with_own:
            continue
        values: dict[str, list[str]] = {}
        for label, settings in by_row.items():
            if key in settings:
                values.setdefault(settings[key], []).append(label)
        if len(values) == 1 and len(next(iter(values.values()))) == len(by_row):
            shared.append([Cell(key), Cell(next(iter(values)) or '""'), Cell("all")])
        else:
            lines = own if key.startswith(OWN) else differing
            lines += [[Cell(key), Cell(value or '""'), Cell(", ".join(rows))] for value, rows in sorted(values.items())]
    rows = {"all": differing + own + shared, "differing": differing + own, "shared": shared}[show]
    notes = ["A setting that differs has one line a value."]
    if with_own:
        notes[0] += " options.*: what a strategy has of its own, at its default where a run did not set it."
    return Table("settings", "Settings", COLUMNS, rows, notes)
