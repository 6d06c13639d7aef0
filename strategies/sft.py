"""Supervised fine-tuning: the negative log-likelihood of expert demonstrations.

Source: the standard objective, normalised over the whole step as in verl `sft_loss`. The audit of SFT baselines,
arXiv 2604.23747, shows what a mean of micro-batch means costs.

    L = - sum_{i,t} log pi(y_it) / (demonstration tokens of the step)

The four parts: pi_ref = pi_theta; advantage 1; no mask; weight 1.

Options: `rows` (None: the run's `demos`), rows a step from the pool. `aggregation`: "token" (default); "sequence", mean
over tokens of a row, then over rows; "token_micro", the mean over the tokens of each micro-batch, as released code of
LUFFY, HPT and ReLIFT does: it depends on how the step is split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies.base import Batch, Component, Role, SamplingPlan, Sizes, Step, Strategy
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor

SftAggregation = Literal["token", "sequence", "token_micro"]


@dataclass(frozen=True)
class SftOptions:
    """Options of `sft`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    rows: int | None = None
    aggregation: SftAggregation = "token"

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"option rows must be >= 1, not {self.rows}")


def sft_component(scale: float = 1.0, aggregation: str = "token") -> Component:
    """The SFT term on demonstrations, times `scale`."""
    return Component("sft", (Role.DEMO,), aggregator=aggregation, scale=scale)


def phi_component(batch: Batch, scale: float = 1.0, aggregation: str = "token") -> Component:
    """The SFT term with CHORD's token weight phi = p (1 - p), p = pi_theta(y_it), no gradient through it.

    arXiv 2508.11408. In the one form: pi_ref = 1 gives a factor p, the weight gives 1 - p. A token that the policy
    is sure of, or finds impossible, hardly counts.
    """
    logp = batch.logp.detach()
    one = logp.new_zeros(logp.shape)
    weight: Tensor = 1.0 - logp.exp()
    return Component("sft", (Role.DEMO,), log_reference=one, weight=weight, aggregator=aggregation, scale=scale)


@register
class Sft(Strategy):
    name = "sft"
    summary = "SFT alone: likelihood of expert demonstrations, normalised over all tokens of the step"
    source = "standard; normalisation of verl sft_loss, arXiv 2604.23747"
    kind = "single"
    Config = SftOptions

    def __init__(self, config: SftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        if self.plan(Step(0)).pool < 1:
            raise ValueError("strategy sft needs demonstrations: set the run's `demos` or its option rows to >= 1")

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(pool=self.sizes.demos if self.config.rows is None else self.config.rows)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return [sft_component(aggregation=self.config.aggregation)]
