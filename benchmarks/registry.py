"""Suites by name: the built-in ones, and third parties' through the entry-point group `harness.suites`."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from benchmarks.base import Suite

BUILT_IN = {
    "math": "benchmarks.procedural.math:MathSuite",
    "code": "benchmarks.procedural.code:CodeSuite",
    "science": "benchmarks.procedural.science:ScienceSuite",
    "logic": "benchmarks.procedural.logic:LogicSuite",
}
GROUP = "harness.suites"


@cache
def _targets() -> dict[str, str]:
    targets = dict(BUILT_IN)
    for point in entry_points(group=GROUP):
        if point.name in targets:
            raise ValueError(
                f"suite {point.name!r} of {point.value} is already defined by {targets[point.name]}: rename it"
            )
        targets[point.name] = point.value
    return targets


def names() -> list[str]:
    return list(_targets())


@cache
def get(name: str) -> Suite:
    """The suite called `name`; ValueError with the nearest names if there is none."""
    targets = _targets()
    if name not in targets:
        near = difflib.get_close_matches(name, targets, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(targets)}."
        raise ValueError(f"unknown suite {name!r}: {hint}")
    module, _, attribute = targets[name].partition(":")
    return getattr(import_module(module), attribute)()
