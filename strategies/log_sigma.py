"""Weights of RL and SFT learnt by homoscedastic uncertainty: the hybrid log-sigma variant of SuperRL.

Source: SuperRL, arXiv 2506.01096 (v1), and its released actor, both second-hand: starts 0 and 1, lower bound -2 and a
decay of 0.99 are known, not what the decay acts on, nor the step size.

    L = exp(-2 s_pg) L_PG + exp(-2 s_sft) L_SFT + s_pg + s_sft,   dL/ds = 1 - 2 exp(-2 s) L_branch
    s <- max(sigma_min, sigma_decay (s - sigma_rate dL/ds))       each tick, before the step's loss

The four parts: RL as in `grpo`, scale exp(-2 s_pg); SFT as `sft_loss` says, scale exp(-2 s_sft). mu, in the log, is the
share of SFT in both scales.

Defaults: pg_init 0, sft_init 1, sigma_min -2, sigma_decay 0.99 on s itself; sigma_rate 0.01, plain gradient descent.
Both are readings of ours: the original has s among the parameters of the model's optimiser. The policy loss is near 0
whatever the policy learns, as advantages sum to 0, so that s_pg falls until decay or bound hold it. The values of both
losses are wanted in every step, which costs a forward pass where a step has several micro-batches. `clock` and
`horizon` say what a tick is (`schedules.ClockOptions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Role, Sizes, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.registry import register
from strategies.schedules import ClockOptions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LogSigmaOptions(ClockOptions, MixtureOptions):
    """Options of `log_sigma`: how s is learnt, its clock, and those of both branches."""

    pg_init: float = 0.0
    sft_init: float = 1.0
    sigma_min: float = -2.0
    sigma_decay: float = 0.99  # factor of s per tick
    sigma_rate: float = 0.01  # step size of s per tick

    def __post_init__(self) -> None:
        MixtureOptions.__post_init__(self)
        ClockOptions.__post_init__(self)
        check_unit(self, "sigma_decay")
        if not self.sigma_rate >= 0.0:
            raise ValueError(f"option sigma_rate must be >= 0, not {self.sigma_rate}")
        if not self.sigma_min >= -20.0:
            raise ValueError(f"option sigma_min must be >= -20, not {self.sigma_min}: the weight is exp(-2 s)")
        if not self.sigma_min <= min(self.pg_init, self.sft_init):
            raise ValueError("options must have sigma_min <= pg_init and sigma_min <= sft_init")


def branch_loss(sums: Sequence[float], tokens: Sequence[float], aggregator: str, max_response: int) -> float:
    """The value of a branch from the sums and the token counts of its rows, for a key of estimator.AGGREGATORS.

    "token_micro" is taken as "token", so that the value does not depend on the split.
    """
    if aggregator == "sequence":
        sums = [value / max(n, 1.0) for value, n in zip(sums, tokens, strict=True)]
    total = math.fsum(sums)
    if aggregator == "constant_sum":
        return total / max_response
    units = {"sequence": float(len(sums)), "constant": float(max_response * len(sums))}
    return total / max(units.get(aggregator, math.fsum(tokens)), 1.0)


@register
class LogSigma(Mixture):
    name = "log_sigma"
    summary = "learnt weights of GRPO and SFT: exp(-2 s) of each branch, s by homoscedastic uncertainty"
    source = "arXiv 2506.01096, log-sigma variant (second-hand); decay and step size are readings"
    kind = "controller"
    parity = "formula; decay and step size: none, not known"
    Config = LogSigmaOptions
    STATE = ("mu", "s_pg", "s_sft", "ticks")

    def __init__(self, config: LogSigmaOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.s_pg, self.s_sft = config.pg_init, config.sft_init
        self.ticks = 0  # done so far
        self._losses: dict[str, float] = {}
        self._set_mu()

    def _set_mu(self) -> None:
        self.mu = 1.0 / (1.0 + math.exp(min(2.0 * (self.s_sft - self.s_pg), 700.0)))

    def wants_signals(self, step: Step) -> bool:
        return self.config.due(step) > self.ticks

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """Per row: role, trained tokens, and the sum of its branch's loss over them."""
        rollout = batch.is_role(Role.ROLLOUT)
        own = batch.part("continuation").sum(-1).double().where(rollout, batch.mask.sum(-1).double())
        values = self.policy.values(batch).where(rollout.unsqueeze(-1), self.sft.values(batch))
        return {"role": batch.role.double(), "tokens": own, "loss": values.double().sum(-1)}

    def statistics(self, signals: Mapping[str, Tensor]) -> dict[str, float]:
        """loss_pg and loss_sft, each absent without rows."""
        found = {}
        rows = list(zip(*(signals[name].tolist() for name in ("role", "tokens", "loss")), strict=True))
        for name, role, aggregator in (
            ("loss_pg", Role.ROLLOUT, str(self.policy.options.aggregation)),
            ("loss_sft", Role.DEMO, self.config.sft_aggregation),
        ):
            own = [row for row in rows if row[0] == role]
            if own:
                sums, tokens = [row[2] for row in own], [row[1] for row in own]
                found[name] = branch_loss(sums, tokens, aggregator, self.sizes.max_response)
        return found

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        """Uses `loss_pg` and `loss_sft`; the s of a branch without a loss stays."""
        due = self.config.due(step)
        ticks, self.ticks = max(due - self.ticks, 0), max(due, self.ticks)
        for loss, s in (("loss_pg", "s_pg"), ("loss_sft", "s_sft")):
            if loss in statistics:
                setattr(self, s, self._moved(getattr(self, s), statistics[loss], ticks))
        self._losses = {name: statistics[name] for name in ("loss_pg", "loss_sft") if name in statistics}
        self._set_mu()

    def _moved(self, s: float, loss: float, ticks: int) -> float:
        config = self.config
        for _ in range(ticks):
            gradient = 1.0 - 2.0 * math.exp(-2.0 * s) * loss
            s = max(config.sigma_min, config.sigma_decay * (s - config.sigma_rate * gradient))
        return s

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.weighted(batch, math.exp(-2.0 * self.s_pg), math.exp(-2.0 * self.s_sft))

    def metrics(self) -> dict[str, float]:
        """mu: the share of SFT in both weights; s_pg, s_sft; loss_pg, loss_sft if the step measured them."""
        return {"mu": self.mu, "s_pg": self.s_pg, "s_sft": self.s_sft, **self._losses}
