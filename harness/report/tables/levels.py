"""Scores by difficulty level."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.document import Source
from harness.report.options import read
from harness.report.spec import Item
from harness.report.tables.layout import per_source, restricted
from harness.table_formats import Table
from harness.tables import levels_table, suite_levels_table


def build(sources: Sequence[Source], item: Item) -> Table:
    """Of the split eval. Options: suites, default all; by_suite: one line a suite instead of the mean over suites."""
    options = read(item, {"suites": [], "by_suite": False})
    make = suite_levels_table if options["by_suite"] else levels_table
    return per_source(sources, item, lambda found: make(restricted(found, "eval", options["suites"])))
