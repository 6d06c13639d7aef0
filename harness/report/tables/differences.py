"""Paired differences to the baseline by suite and in the mean, with adjusted p-values."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.document import Source
from harness.report.options import place, read
from harness.report.spec import Item
from harness.report.tables.layout import per_source, restricted
from harness.table_formats import Table
from harness.tables import differences_table


def build(sources: Sequence[Source], item: Item) -> Table:
    """Options: split ("eval" or "ood"); suites, default all: the mean is over the suites that are shown.

    ValueError for a source without a baseline.
    """
    options = read(item, {"split": "eval", "suites": []})
    split, suites = options["split"], options["suites"]
    check_baseline(sources, item)
    return per_source(sources, item, lambda found: differences_table(restricted(found, split, suites), split))


def check_baseline(sources: Sequence[Source], item: Item) -> None:
    """ValueError where a source has no baseline."""
    without = [source.name for source in sources if source.comparison.baseline is None]
    if without:
        raise ValueError(f'{place(item)} needs a baseline: give source {without[0]} one (baseline = "...").')
