"""Schedules of a mixing weight over optimiser steps."""

from __future__ import annotations

import math


def warmup_cosine(step: float, warmup: float, decay: float, peak: float, valley: float) -> float:
    """Weight at `step`: linear 0 -> peak over `warmup` steps, half a cosine peak -> valley over `decay`, then valley.

    CHORD, arXiv 2508.11408 (Trinity-RFT `mu_schedule_function`); the prior of GAC has the same form.
    """
    if step < warmup:
        return peak * step / warmup
    if step >= warmup + decay:
        return valley
    return valley + (peak - valley) * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / decay))
