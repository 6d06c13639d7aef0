"""Figures of reports by kind: what `show` of an item may say. A kind is the module of its name, imported when drawn."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from harness.report.figures.style import Drawer, Drawn, drawer

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item

KINDS = (
    "learning_curves",
    "dynamics",
    "controller",
    "scaling",
    "forest",
    "critical_difference",
    "profile",
    "bars",
    "noise",
    "pass_at_k",
    "question_heatmap",
    "sweep",
)


def _of(kind: str) -> Drawer:
    def draw(sources: Sequence[Source], item: Item) -> Drawn:
        return drawer(import_module(f"{__name__}.{kind}").draw)(sources, item)

    return draw


FIGURES: dict[str, Drawer] = {kind: _of(kind) for kind in KINDS}
