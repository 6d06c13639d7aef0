"""Scores by suite and in the mean, with the difference to the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.document import Source
from harness.report.options import read
from harness.report.spec import Item
from harness.report.tables.layout import per_source, restricted
from harness.table_formats import Table
from harness.tables import scores_table


def build(sources: Sequence[Source], item: Item) -> Table:
    """Options: split ("eval" or "ood"); suites, default all: the mean is over the suites that are shown."""
    options = read(item, {"split": "eval", "suites": []})
    split, suites = options["split"], options["suites"]
    return per_source(sources, item, lambda found: scores_table(restricted(found, split, suites), split))
