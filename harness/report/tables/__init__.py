"""The kinds of tables of a report: name (`show = "..."`) -> builder; options are in each builder's docstring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from harness.report.document import Source
from harness.report.spec import Item
from harness.report.tables import (
    aggregates,
    cost,
    differences,
    exclusive_solves,
    levels,
    noise,
    pass_at_k,
    published,
    scaling,
    scores,
    settings,
    sweep,
    tuned,
    what_happened,
)
from harness.table_formats import Table

Builder: TypeAlias = Callable[[Sequence[Source], Item], Table]

TABLES: dict[str, Builder] = {
    "scores": scores.build,
    "differences": differences.build,
    "aggregates": aggregates.build,
    "levels": levels.build,
    "cost": cost.build,
    "what_happened": what_happened.build,
    "settings": settings.build,
    "scaling": scaling.build,
    "noise": noise.build,
    "tuned": tuned.build,
    "published": published.build,
    "exclusive_solves": exclusive_solves.build,
    "pass_at_k": pass_at_k.build,
    "sweep": sweep.build,
}
