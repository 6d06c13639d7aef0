"""What a run spent: updates, prompts, tokens, FLOPs, seconds."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.document import Source
from harness.report.options import read
from harness.report.spec import Item
from harness.report.tables.layout import per_source
from harness.table_formats import Table
from harness.tables import cost_table


def build(sources: Sequence[Source], item: Item) -> Table:
    """No options."""
    read(item, {})
    return per_source(sources, item, cost_table)
