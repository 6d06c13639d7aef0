"""SFT first, then RL: the sequential baseline that mixtures must beat.

Sources: standard; the audit arXiv 2604.23747 (alek6kun/sft_then_rl): same demonstrations and prompts in both stages,
and a correctly normalised first stage. RETU, arXiv 2512.11470, for the choice of the switch.

    L = L_SFT  until the switch,  L_RL  after it; there is no way back

The four parts are those of `sft`, with a loss of `sft_losses`, then those of `grpo`; it has the options of both.

`switch_on` says when RL begins (None: "step" if `switch_step` is given, else "share"):
  share            after the share `switch` (0.5) of the budget; 0 is RL alone, 1 SFT alone. The papers give no share.
  step             after `switch_step` optimiser steps.
  validation_loss  once SFT has stopped improving: RETU switches while the validation loss is within 2% of its minimum,
                   seen from the whole curve. In a run: after `patience` (2) measurements in a row none of which is
                   more than `tolerance` (0.02) below the loss at the last such improvement. SFT whose loss never
                   stops falling lasts to the end. The measurements are the probe's.

`rl_stage`, with switch_on "share": "full" (default), or "short", an RL stage of a tenth of that length next to the same
SFT stage. The audit has both: 3 epochs of 46,000 demonstrations in batches of 64, about 2,160 SFT steps, then 500 or 50
RL steps. SFT takes the share switch / (switch + (1 - switch) / 10) of the budget then, 10/11 with the default switch.
The audit's RL: `variant` dr_grpo, clip .2/.28, aggregation "token". The optimiser's state is the trainer's and is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from strategies.base import SamplingPlan, Sizes, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.registry import register

STAGES = ("sft", "rl")
RL_LENGTH = {"full": 1.0, "short": 0.1}  # of the RL stage, next to the same SFT stage


@dataclass(frozen=True)
class SftThenRlOptions(MixtureOptions):
    """Options of `sft_then_rl`: the switch, and those of both stages."""

    switch_on: Literal["share", "step", "validation_loss"] | None = None  # when RL begins
    switch: float = 0.5  # share of the budget spent on SFT
    switch_step: int | None = None  # optimiser steps of SFT
    tolerance: float = 0.02  # smallest relative fall of the validation loss that counts
    patience: int = 2  # measurements without such a fall before the switch
    rl_stage: Literal["full", "short"] = "full"  # short: a tenth of the RL for the same SFT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self, "switch", "tolerance")
        if self.switch_step is not None and self.switch_step < 0:
            raise ValueError(f"option switch_step must be >= 0, not {self.switch_step}")
        if (self.rule == "step") != (self.switch_step is not None):
            raise ValueError('option switch_step and switch_on = "step" go together: give both, or leave switch_on out')
        if self.patience < 1:
            raise ValueError(f"option patience must be >= 1, not {self.patience}")
        if self.rl_stage == "short" and self.rule != "share":
            raise ValueError('option rl_stage = "short" needs switch_on = "share": else RL lasts to the end of the run')

    @property
    def rule(self) -> str:
        """What the switch goes by."""
        return self.switch_on or ("share" if self.switch_step is None else "step")

    @property
    def share(self) -> float:
        """The share of the budget spent on SFT, with the rule "share"."""
        return self.switch / (self.switch + RL_LENGTH[self.rl_stage] * (1.0 - self.switch))


@register
class SftThenRl(Mixture):
    name = "sft_then_rl"
    summary = "sequential: SFT for a share of the budget or until it stops improving, then GRPO"
    source = "standard; arXiv 2604.23747, 2512.11470"
    kind = "sequential"
    parity = "stages: original code"
    Config = SftThenRlOptions
    STATE = ("stage", "best", "latest", "waited")

    def __init__(self, config: SftThenRlOptions, sizes: Sizes) -> None:
        rl_alone = config.share == 0.0 if config.rule == "share" else config.switch_step == 0
        # without an SFT stage there is nothing to demonstrate
        super().__init__(config, replace(sizes, demos=max(sizes.demos, 1)) if rl_alone else sizes)
        if config.rule == "validation_loss":
            self.requires = self.requires | {"validation_nll"}
        self.stage = "sft"
        self.best: float | None = None  # validation loss at its last improvement by more than the tolerance
        self.latest: float | None = None  # the measurement seen last
        self.waited = 0  # measurements since then without such an improvement

    def mu_at(self, step: Step) -> float:
        """1 in SFT, 0 in RL; that of the newest plan, whose rows may take several steps."""
        return float(self.stage == "sft")

    def plan(self, step: Step) -> SamplingPlan:
        if self.stage == "sft" and self._is_over(step):
            self.stage = "rl"
        return self.plan_for(self.mu_at(step))

    def _is_over(self, step: Step) -> bool:
        """Whether SFT ends before this step."""
        if self.config.rule == "share":
            return step.fraction >= self.config.share
        if self.config.rule == "step":
            return step.index >= self.config.switch_step
        self._measure(step.validation_nll)
        return self.waited >= self.config.patience

    def _measure(self, nll: float | None) -> None:
        """Takes note of a new measurement; between two of them a trainer repeats the older one."""
        if nll is None or nll == self.latest:
            return
        self.latest = nll
        if self.best is None or nll < (1.0 - self.config.tolerance) * self.best:
            self.best, self.waited = nll, 0
        else:
            self.waited += 1

    def metrics(self) -> dict[str, float]:
        """stage: 0 in SFT, 1 in RL."""
        return {"stage": float(STAGES.index(self.stage))}
