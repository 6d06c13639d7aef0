"""KL-ctrl, the rule-based baseline of GAC: more SFT while the policy is too far from its start, else less.

Source: a row of the tables of GAC, arXiv 2605.26184, which does not print its rule. This one is a proposal of ours,
made of GAC's constants:

    L = (1 - mu) L_RL + mu L_SFT,   mu <- clip(mu + cap sign(KL - KL_target), mu_min, mu_max)   each tick

KL is the newest measured KL(pi_theta || pi_0) in nats per token; before the first measurement mu stays.

The four parts: RL as in `grpo`, scale 1 - mu; SFT as `sft_loss` says, scale mu: "phi" by default, the loss of the
paper's results.

Defaults are GAC's: mu_init 0.5, mu_min 0.05, mu_max 0.9, change_cap 0.01, kl_target 0.02. `clock` and `horizon` say
what a tick is (`schedules.ClockOptions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strategies.base import Sizes, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.registry import register
from strategies.schedules import ClockOptions
from strategies.sft_losses import SftLoss


@dataclass(frozen=True)
class KlControlOptions(ClockOptions, MixtureOptions):
    """Options of `kl_control`: its rule and clock, and those of both branches."""

    sft_loss: SftLoss = "phi"
    mu_init: float = 0.5
    mu_min: float = 0.05
    mu_max: float = 0.90
    change_cap: float = 0.01  # change of mu per tick
    kl_target: float = 0.02  # nats per token

    def __post_init__(self) -> None:
        MixtureOptions.__post_init__(self)
        ClockOptions.__post_init__(self)
        check_unit(self, "mu_init", "mu_min", "mu_max", "change_cap")
        if not self.mu_min <= self.mu_init <= self.mu_max:
            raise ValueError("options must have mu_min <= mu_init <= mu_max")
        if not self.kl_target > 0.0:
            raise ValueError(f"option kl_target must be > 0, not {self.kl_target}")


@register
class KlControl(Mixture):
    name = "kl_control"
    summary = "(1 - mu) GRPO + mu SFT, mu moves towards SFT while the KL to the start policy is above a target"
    source = "arXiv 2605.26184, baseline KL-ctrl; its rule is not printed, this one is a proposal"
    kind = "controller"
    parity = "none: a proposal, the paper gives no rule"
    Config = KlControlOptions
    STATE = ("mu", "ticks")

    def __init__(self, config: KlControlOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.requires = self.requires | {"kl"}
        self.mu = config.mu_init
        self.ticks = 0  # done so far

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        """Uses `step.kl`."""
        config, due = self.config, self.config.due(step)
        ticks, self.ticks = max(due - self.ticks, 0), max(due, self.ticks)
        if step.kl is None or step.kl == config.kl_target:
            return
        # all ticks of a step go the same way, so that the bounds can be applied once
        change = ticks * config.change_cap
        moved = self.mu + (change if step.kl > config.kl_target else -change)
        self.mu = min(max(moved, config.mu_min), config.mu_max)
