"""Schedules of a mixing weight, and the clocks that they and controllers run on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from strategies.base import Step


def warmup_cosine(step: float, warmup: float, decay: float, peak: float, valley: float) -> float:
    """Weight at `step`: linear 0 -> peak over `warmup` steps, half a cosine peak -> valley over `decay`, then valley.

    CHORD, arXiv 2508.11408 (Trinity-RFT `mu_schedule_function`); the prior of GAC has the same form.
    """
    if step < warmup:
        return peak * step / warmup
    if step >= warmup + decay:
        return valley
    return valley + (peak - valley) * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / decay))


def warmup_linear(step: float, warmup: float, decay: float, peak: float, valley: float) -> float:
    """As `warmup_cosine`, with a straight line from peak to valley. KDRL, arXiv 2506.02208, anneals its weight so."""
    if step < warmup:
        return peak * step / warmup
    if step >= warmup + decay:
        return valley
    return peak + (valley - peak) * (step - warmup) / decay


Shape = Literal["linear", "cosine"]
SHAPES = {"linear": warmup_linear, "cosine": warmup_cosine}


@dataclass(frozen=True)
class ClockOptions:
    """What the constants of a schedule or a controller count.

    "steps": optimiser steps. "scaled" (default): ticks of a run of `horizon` ticks, placed by the share of the budget
    that is spent, so that runs of any length pass the same values. On a run of `horizon` steps both are the same.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    clock: Literal["scaled", "steps"] = "scaled"
    horizon: int = 1000

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"option horizon must be >= 1, not {self.horizon}")

    def position(self, step: Step) -> float:
        """Where `step` lies on the clock."""
        # rounded, so that a share like 29/100 of 100 ticks is tick 29 and not just before it
        return float(step.index) if self.clock == "steps" else round(step.fraction * self.horizon, 6)

    def due(self, step: Step) -> int:
        """Ticks that a controller must have done by the end of `step`'s update: those at 0, 1, ... of its position."""
        return math.floor(self.position(step)) + 1
