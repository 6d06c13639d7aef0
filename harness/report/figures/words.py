"""Numbers in the alternative texts of figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.statistics.intervals import Estimate


def percent(estimate: Estimate) -> str:
    """`61.1% +/- 5.3`"""
    return f"{100 * estimate.mean:.1f}%{_half(estimate)}"


def points(estimate: Estimate) -> str:
    """`+6.1 +/- 2.0 points`"""
    return f"{100 * estimate.mean:+.1f}{_half(estimate)} points"


def extremes(estimates: Mapping[str, Estimate]) -> str:
    """`highest a (61.1% +/- 5.3), lowest b (25.1% +/- 2.7)`; one row alone is just named."""
    ordered = sorted(estimates, key=lambda name: -estimates[name].mean)
    best, worst = ordered[0], ordered[-1]
    if best == worst:
        return f"{best} ({percent(estimates[best])})"
    return f"highest {best} ({percent(estimates[best])}), lowest {worst} ({percent(estimates[worst])})"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`"""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def titled(source: Source, sources: Sequence[Source]) -> str:
    """The source's label where a figure shows several, else nothing."""
    return (source.label or source.name) if len(sources) > 1 else ""


def _half(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.half_width) else f" +/- {100 * estimate.half_width:.1f}"
