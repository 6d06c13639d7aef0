"""Signals of training that explain a score: effective mix, mu, KL, entropy, length, truncation, controller time."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.document import Source
from harness.report.options import read
from harness.report.spec import Item
from harness.report.tables.layout import per_source
from harness.table_formats import Table
from harness.tables import reasons_table


def build(sources: Sequence[Source], item: Item) -> Table:
    """No options."""
    read(item, {})
    return per_source(sources, item, reasons_table)
