"""The controller of GAC on plain numbers: options, batch statistics, and the guarded update of mu.

Source: arXiv 2605.26184, sections 3.2 and 3.4; released code `gac/controller.py`. No tensors: a step has at most some
thousand rows, and exact sums make the result independent of their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from strategies.base import Role, Step
from strategies.policy_gradient import GrpoOptions
from strategies.schedules import warmup_cosine

EPS = 1e-8  # floor of the variances and of the denominator of mu_raw


@dataclass(frozen=True)
class GacOptions(GrpoOptions):
    """Options of `gac`: its controller, its token weight, and the options of `grpo`."""

    token_phi: bool = True
    mu_init: float = 0.5
    mu_min: float = 0.05
    mu_max: float = 0.90
    f_mu: int = 10  # controller steps between two refreshes of the statistics
    ema_beta: float = 0.99  # of the statistics, per refresh, and of mu, per controller step
    ema_state: Literal["applied", "estimate"] = "applied"
    change_cap: float = 0.01  # largest change of mu per controller step
    blend_weight: float = 0.5  # of the adaptive part; the rest is the prior's
    trim: float = 0.10  # share of demonstrations left out at each end of the NLLs
    z_score: bool = False
    delta_cap_ratio: float = 0.0  # bound of D as a multiple of S + R; 0: none
    noise_correlation: float = 0.0
    alpha_mode: Literal["static", "kl"] = "static"
    alpha: float = 0.5  # start value in mode "kl"
    alpha_min: float = 0.10
    alpha_max: float = 0.95
    alpha_rate: float = 0.01
    kl_target: float = 0.02  # nats per token
    prior: Literal["cosine", "off"] = "cosine"
    prior_warmup: float = 200.0
    prior_decay: float = 800.0
    prior_peak: float = 0.85
    prior_valley: float = 0.15
    clock: Literal["scaled", "steps"] = "scaled"
    horizon: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        unit = ("mu_init", "mu_min", "mu_max", "ema_beta", "change_cap", "blend_weight", "alpha", "alpha_min")
        for option in (*unit, "alpha_max", "prior_peak", "prior_valley"):
            if not 0.0 <= getattr(self, option) <= 1.0:
                raise ValueError(f"option {option} must be in [0, 1], not {getattr(self, option)}")
        for low, middle, high in (("mu_min", "mu_init", "mu_max"), ("alpha_min", "alpha", "alpha_max")):
            if not getattr(self, low) <= getattr(self, middle) <= getattr(self, high):
                raise ValueError(f"options must have {low} <= {middle} <= {high}")
        if not 0.0 <= self.trim < 0.5:
            raise ValueError(f"option trim must be in [0, 0.5), not {self.trim}")
        if not -1.0 <= self.noise_correlation <= 1.0:
            raise ValueError(f"option noise_correlation must be in [-1, 1], not {self.noise_correlation}")
        for option in ("f_mu", "horizon"):
            if getattr(self, option) < 1:
                raise ValueError(f"option {option} must be >= 1, not {getattr(self, option)}")
        for option in ("delta_cap_ratio", "alpha_rate", "prior_warmup", "prior_decay"):
            if not getattr(self, option) >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {getattr(self, option)}")
        if not self.kl_target > 0.0:
            raise ValueError(f"option kl_target must be > 0, not {self.kl_target}")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    """Population variance, at least EPS."""
    mean = _mean(values)
    return max(_mean([(value - mean) ** 2 for value in values]), EPS)


def trimmed_variance(values: Sequence[float], trim: float) -> float:
    """Population variance without floor(trim * N) values at each end; fewer than four values are not trimmed."""
    cut = int(trim * len(values)) if len(values) >= 4 else 0
    return _variance(sorted(values)[cut : len(values) - cut])


@dataclass(frozen=True)
class Statistics:
    """The proxies of one step; None where the step has no rows for one."""

    sigma_r2: float | None = None  # variance over rollouts of the token-mean advantage
    sigma_s2: float | None = None  # trimmed variance over demonstrations of the token-mean NLL
    delta_g2: float | None = None  # mean over rows of the token mean of (c_s - c_r)^2

    @classmethod
    def of(cls, signals: Mapping[str, Sequence[float]], options: GacOptions) -> Statistics:
        """From `Gac.signals` of all rows of the step. Rows without a response token do not count."""
        if not signals:
            return cls()
        rows = [dict(zip(signals, values, strict=True)) for values in zip(*signals.values(), strict=True)]
        rows = [row for row in rows if row["tokens"] > 0]
        advantages = [row["advantage"] for row in rows if row["role"] == Role.ROLLOUT]
        nlls = [row["nll"] for row in rows if row["role"] == Role.DEMO]
        return cls(
            _variance(advantages) if advantages else None,
            trimmed_variance(nlls, options.trim) if nlls else None,
            _disagreement(rows, options.z_score) if advantages and nlls else None,
        )


def _disagreement(rows: Sequence[Mapping[str, float]], z_score: bool) -> float:
    """Mean over rows of E_t[(a c_s - b c_r - k)^2]; z-scoring gives a, b, k from the moments over all tokens."""
    a, b, k = 1.0, 1.0, 0.0
    if z_score:
        tokens = math.fsum(row["tokens"] for row in rows)

        def scaling(name: str) -> tuple[float, float]:
            """Inverse deviation, and mean over deviation, of a coefficient; both 0 if it is constant."""
            mean = math.fsum(row["tokens"] * row[name] for row in rows) / tokens
            square = math.fsum(row["tokens"] * row[f"{name}_{name}"] for row in rows) / tokens
            variance = square - mean * mean
            if variance <= 1e-12 * square:  # rounding of a constant
                return 0.0, 0.0
            return 1.0 / math.sqrt(variance), mean / math.sqrt(variance)

        (a, shift_s), (b, shift_r) = scaling("sft"), scaling("rl")
        k = shift_s - shift_r
    return _mean(
        [
            a * a * row["sft_sft"] + b * b * row["rl_rl"] - 2.0 * a * b * row["sft_rl"]
            + k * (k - 2.0 * a * row["sft"] + 2.0 * b * row["rl"])
            for row in rows
        ]
    )  # fmt: skip


def closed_form(alpha: float, delta: float, sft: float, rl: float, correlation: float = 0.0) -> float:
    """The mu that minimises (mu - alpha)^2 delta + mu^2 sft + (1 - mu)^2 rl + 2 mu (1 - mu) c, see `covariance`."""
    covariance = correlation * math.sqrt(sft * rl)
    return (alpha * delta + rl - covariance) / (delta + sft + rl - 2.0 * covariance + EPS)


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


class Controller:
    """State and guarded update of mu. One tick is one step of the published controller."""

    STATE = ("mu", "estimate", "alpha", "sigma_r2", "sigma_s2", "delta_g2", "ticks", "last_refresh")

    def __init__(self, options: GacOptions) -> None:
        self.options = options
        self.mu = options.mu_init  # as applied
        self.estimate = options.mu_init  # EMA of mu_raw alone, for ema_state "estimate"
        self.alpha = options.alpha
        self.sigma_r2: float | None = None  # EMAs of the statistics
        self.sigma_s2: float | None = None
        self.delta_g2: float | None = None
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

    def advance(self, statistics: Statistics, step: Step) -> None:
        """Does all ticks that are due; none if the position has not moved."""
        before = self.mu
        for tick in range(self.ticks, self._due(step)):
            if statistics != Statistics() and self._refreshes(tick):
                self._refresh(statistics, step)
                self.last_refresh = tick
            self._move(tick)
            self.ticks = tick + 1
        self._last["d_mu"] = self.mu - before

    def _refresh(self, statistics: Statistics, step: Step) -> None:
        beta = self.options.ema_beta
        for name in ("sigma_r2", "sigma_s2", "delta_g2"):
            old, new = getattr(self, name), getattr(statistics, name)
            if new is not None:
                setattr(self, name, new if old is None else beta * old + (1.0 - beta) * new)
        if self.options.alpha_mode == "kl" and step.kl is not None:
            moved = self.alpha + self.options.alpha_rate * (step.kl / self.options.kl_target - 1.0)
            self.alpha = _clip(moved, self.options.alpha_min, self.options.alpha_max)

    def mu_raw(self) -> float:
        """The closed form at the smoothed statistics; unknown ones are D = 0, S = R = 1."""
        options = self.options
        rl = 1.0 if self.sigma_r2 is None else self.sigma_r2
        sft = 1.0 if self.sigma_s2 is None else self.sigma_s2
        delta = 0.0 if self.delta_g2 is None else self.delta_g2
        if options.delta_cap_ratio > 0.0:
            delta = min(delta, options.delta_cap_ratio * (sft + rl + EPS))
        return closed_form(self.alpha, delta, sft, rl, options.noise_correlation)

    def _move(self, tick: int) -> None:
        """EMA, blend with the prior, cap on the change, bounds; in this order."""
        options, previous, raw = self.options, self.mu, self.mu_raw()
        state = previous if options.ema_state == "applied" else self.estimate
        ema = options.ema_beta * state + (1.0 - options.ema_beta) * raw
        adaptive = self.estimate = _clip(ema, options.mu_min, options.mu_max)
        self._last = {"mu_raw": raw}
        target, pull = adaptive, 0.0
        if options.prior == "cosine":
            prior = warmup_cosine(
                tick, options.prior_warmup, options.prior_decay, options.prior_peak, options.prior_valley
            )
            target = (1.0 - options.blend_weight) * prior + options.blend_weight * adaptive
            pull = (1.0 - options.blend_weight) * (prior - previous)
            self._last["prior"] = prior
        push = (options.blend_weight if options.prior == "cosine" else 1.0) * (adaptive - previous)
        self._last["estimator_share"] = float(abs(push) > abs(pull))
        change = _clip(target - previous, -options.change_cap, options.change_cap)
        self.mu = _clip(previous + change, options.mu_min, options.mu_max)

    def metrics(self) -> dict[str, float]:
        known = {name: getattr(self, name) for name in ("mu", "alpha", "sigma_r2", "sigma_s2", "delta_g2")}
        return {name: value for name, value in known.items() if value is not None} | self._last

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """ValueError if the fields are not those of `state_dict`."""
        if set(state) != set(self.STATE):
            raise ValueError(f"state of strategy gac must have the fields {', '.join(self.STATE)}, not {sorted(state)}")
        for name in self.STATE:
            setattr(self, name, state[name])
