"""The controller of GAC on plain numbers: the guarded update of mu.

Source: arXiv 2605.26184, section 3.4; released code `gac/controller.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from strategies.gac_options import GacOptions
from strategies.gac_statistics import EPS, NAMES, closed_form
from strategies.rows import Step
from strategies.schedules import warmup_cosine


def _clip(value: float, low: float, high: float) -> tuple[float, float]:
    """(`value` within its bounds, the derivative: 1 inside, 0 where a bound holds it)."""
    return min(max(value, low), high), float(low < value < high)


class Controller:
    """State and guarded update of mu. One tick is one step of the published controller.

    `sensitivity` is the derivative of mu by a constant that is added to mu_raw at every tick so far, carried forward
    through EMA, blend, cap and bounds. Where the cap holds, mu moves by the cap whatever mu_raw says, and keeps the
    derivative of the mu before; at a bound it is 0. Without cap and bounds it settles at lambda (1 - beta) /
    (1 - lambda beta) for `ema_state` "applied" and at lambda for "estimate", lambda the weight of the adaptive part.
    """

    STATE = (
        "mu", "estimate", "alpha", *NAMES, "newest", "sensitivity", "estimate_sensitivity", "ticks", "last_refresh",
    )  # fmt: skip

    def __init__(self, options: GacOptions, name: str = "gac") -> None:
        """`name` is that of the strategy, for messages."""
        self.options = options
        self.name = name
        self.mu = options.mu_init  # as applied
        self.estimate = options.mu_init  # EMA of mu_raw alone, for ema_state "estimate"
        self.alpha = options.alpha
        self.sigma_r2: float | None = None  # EMAs of the statistics
        self.sigma_s2: float | None = None
        self.delta_g2: float | None = None
        self.newest: dict[str, float] = {}  # the statistics of the last refresh
        self.sensitivity = 0.0
        self.estimate_sensitivity = 0.0
        self.ticks = 0  # done so far
        self.last_refresh: int | None = None  # tick of the last refresh
        self._last: dict[str, float] = {"d_mu": 0.0}

    def _due(self, step: Step) -> int:
        """Ticks that must be done by the end of `step`'s update: those at times 0, 1, ... of its position."""
        if self.options.clock == "steps":
            return step.index + 1
        return math.floor(step.fraction * self.options.horizon + 1e-6) + 1

    def _refreshes(self, tick: int) -> bool:
        return self.last_refresh is None or tick - self.last_refresh >= self.options.f_mu

    def refresh_due(self, step: Step) -> bool:
        """Whether `advance` will use this step's statistics."""
        due = self._due(step)
        return due > self.ticks and self._refreshes(due - 1)

    def advance(self, statistics: Mapping[str, float], step: Step) -> None:
        """Does all ticks that are due; none if the position has not moved. Of `statistics`, those of NAMES count."""
        before = self.mu
        known = {name: statistics[name] for name in NAMES if name in statistics}
        for tick in range(self.ticks, self._due(step)):
            if known and self._refreshes(tick):
                self._refresh(known, step)
                self.last_refresh = tick
            self._move(tick)
            self.ticks = tick + 1
        self._last["d_mu"] = self.mu - before

    def _refresh(self, statistics: Mapping[str, float], step: Step) -> None:
        beta = self.options.ema_beta
        for name, new in statistics.items():
            old = getattr(self, name)
            setattr(self, name, new if old is None else beta * old + (1.0 - beta) * new)
        self.newest = {**self.newest, **statistics}
        if self.options.alpha_mode == "kl" and step.kl is not None:
            moved = self.alpha + self.options.alpha_rate * (step.kl / self.options.kl_target - 1.0)
            self.alpha, _ = _clip(moved, self.options.alpha_min, self.options.alpha_max)

    def mu_raw(self) -> float:
        """The closed form at the smoothed statistics; unknown ones are D = 0, S = R = 1, and a dropped one is 0."""
        options = self.options
        if options.drop == "noise":
            return self.alpha
        values = {"sigma_r2": 1.0, "sigma_s2": 1.0, "delta_g2": 0.0}
        values |= {name: getattr(self, name) for name in NAMES if getattr(self, name) is not None}
        rl, sft, delta = (0.0 if name == options.drop else values[name] for name in NAMES)
        if options.delta_cap_ratio > 0.0:
            delta = min(delta, options.delta_cap_ratio * (sft + rl + EPS))
        correlation = options.noise_correlation
        return closed_form(self.alpha, delta, sft, rl, correlation, options.bias_s2, options.bias_r2)

    def _move(self, tick: int) -> None:
        """EMA, blend with the prior, cap on the change, bounds; in this order. Derivatives go along."""
        options, previous, raw, slope = self.options, self.mu, self.mu_raw(), self.sensitivity
        applied = options.ema_state == "applied"
        state, state_slope = (previous, slope) if applied else (self.estimate, self.estimate_sensitivity)
        beta, weight, pull = options.ema_beta, 1.0, 0.0
        adaptive, inside = _clip(beta * state + (1.0 - beta) * raw, options.mu_min, options.mu_max)
        self.estimate, self.estimate_sensitivity = adaptive, inside * (beta * state_slope + 1.0 - beta)
        self._last, target = {"mu_raw": raw}, adaptive
        if options.prior == "cosine":
            shape = (options.prior_warmup, options.prior_decay, options.prior_peak, options.prior_valley)
            prior, weight = warmup_cosine(tick, *shape), options.blend_weight
            target = (1.0 - weight) * prior + weight * adaptive
            pull = (1.0 - weight) * (prior - previous)
            self._last["prior"] = prior
        self._last["estimator_share"] = float(abs(weight * (adaptive - previous)) > abs(pull))
        change, free = _clip(target - previous, -options.change_cap, options.change_cap)
        self.mu, inside = _clip(previous + change, options.mu_min, options.mu_max)
        self.sensitivity = inside * (slope + free * (weight * self.estimate_sensitivity - slope))

    def metrics(self) -> dict[str, float]:
        known = {name: getattr(self, name) for name in ("mu", "alpha", *NAMES)}
        known |= {f"{name}_raw": value for name, value in self.newest.items()}
        known["mu_sensitivity"] = self.sensitivity
        return {name: value for name, value in known.items() if value is not None} | self._last

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """ValueError if the fields are not those of `state_dict`."""
        if set(state) != set(self.STATE):
            wanted = ", ".join(self.STATE)
            raise ValueError(f"state of strategy {self.name} must have the fields {wanted}, not {sorted(state)}")
        for name in self.STATE:
            setattr(self, name, state[name])
