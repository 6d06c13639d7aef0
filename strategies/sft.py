"""Supervised fine-tuning: the negative log-likelihood of expert demonstrations, or a loss that takes its place.

Source: the standard objective, normalised over the whole step as in verl `sft_loss`. The audit of SFT baselines,
arXiv 2604.23747, shows what a mean of micro-batch means costs.

    L = - sum_{i,t} w_it log pi(y_it) / (demonstration tokens of the step)

The four parts, with the default `sft_loss` "plain": pi_ref = pi_theta; advantage 1; no mask; weight 1. Others (DFT,
CHORD's phi, focal, PSFT, iw-SFT, ASFT, GIFT, TRAPO's trust region): see `sft_losses`.

Options: `rows` (None: the run's `demos`), rows a step from the pool. `sft_aggregation`: "token" (default); "sequence",
mean over tokens of a row, then over rows; "token_micro", the mean over the tokens of each micro-batch, as released code
of LUFFY, HPT and ReLIFT does: it depends on how the step is split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, SamplingPlan, Sizes, Step, Strategy
from strategies.registry import register
from strategies.sft_losses import SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SftOptions(SftLossOptions):
    """Options of `sft`."""

    rows: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"option rows must be >= 1, not {self.rows}")


@register
class Sft(Strategy):
    name = "sft"
    summary = "SFT alone: likelihood of expert demonstrations, normalised over all tokens of the step"
    source = "standard; normalisation of verl sft_loss, arXiv 2604.23747"
    kind = "single"
    parity = "original code: ReLIFT FT step, TRL dft_loss"
    Config = SftOptions

    def __init__(self, config: SftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.sft = SftTerm(config)
        self.requires = self.sft.requires
        if self.plan(Step(0)).pool < 1:
            raise ValueError("strategy sft needs demonstrations: set the run's `demos` or its option rows to >= 1")

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(pool=self.sizes.demos if self.config.rows is None else self.config.rows)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.sft.components(batch)

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)
