"""DAPO: decoupled clip, dynamic sampling, token-level loss, overlong penalty.

Source: arXiv 2503.14476, Eq. 8-13; verl `recipe/dapo`.

    L = - (1 / tokens) sum_{i,t} min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)
    A = (R' - mean) / std over the group,   R' = R + overlong_factor * P(|y|)
    P = 0 up to L_max - cache tokens, then (L_max - cache - |y|) / cache, -1 at and beyond L_max      (Eq. 13)

The four parts: as in `grpo`.

Dynamic sampling: prompts whose rollouts all have the same reward R (before the penalty: verl's metric "acc") are
dropped and new prompts sampled, until the step has the run's number of prompts, for at most `max_rounds` rounds of
sampling, the first among them. After the last round verl stops with an error; here the step is made of what there is.

Defaults: clip .2/.28; `max_rounds` 10 (`max_num_gen_batches` of verl's DAPO scripts); `overlong_cache` None = a fifth
of L_max, rounded (paper: the last 4,096 of 20,480), "off" for none; `overlong_factor` 1 (the paper's rewards are -1 and
1: 0.5 gives rewards of 0 and 1 the same proportion). Options: `dynamic_sampling` false leaves the step smaller.
`refill`: "missing" (default) asks in a round for as many prompts as are missing; "batch" for as many as a whole step
has, as verl does, and what is too many is dropped, having been paid for. `dual_clip` is 10 in verl's DAPO scripts, off
in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from strategies.base import Batch, Group, Request, SamplingPlan, Sizes, Step
from strategies.grpo import RolloutOnly
from strategies.policy_options import PolicyOptions
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DapoOptions(PolicyOptions):
    """Options of `dapo`: its sampling, its penalty, and those of the RL term."""

    variant: ClassVar[str] = "dapo"

    dynamic_sampling: bool = True  # sample new prompts for those with uniform reward
    max_rounds: int = 10  # of sampling in a step, the first among them
    refill: Literal["missing", "batch"] = "missing"  # prompts asked for in a round: those missing, or a whole step's
    overlong_cache: int | Literal["off"] | None = None  # tokens that the penalty grows over; None: L_max / 5
    overlong_factor: float = 1.0  # largest penalty, in units of the reward

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dynamic_sampling and self.drop_uniform_groups is False:
            raise ValueError("option drop_uniform_groups cannot be false while dynamic_sampling is on: switch that off")
        if self.max_rounds < 1:
            raise ValueError(f"option max_rounds must be >= 1, not {self.max_rounds}")
        if isinstance(self.overlong_cache, int) and self.overlong_cache < 1:
            raise ValueError(f'option overlong_cache must be >= 1 or "off", not {self.overlong_cache}')
        if not self.overlong_factor >= 0.0:
            raise ValueError(f"option overlong_factor must be >= 0, not {self.overlong_factor}")


@register
class Dapo(RolloutOnly):
    name = "dapo"
    summary = "RL alone: higher upper clip, resampled uniform prompts, token mean, overlong penalty (DAPO)"
    source = "arXiv 2503.14476, Eq. 8-13; verl recipe/dapo"
    kind = "single"
    parity = "loss: original code (verl, open-instruct); sampling, penalty: formula"
    Config = DapoOptions

    def __init__(self, config: DapoOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        cache = config.overlong_cache
        self.cache = max(round(0.2 * sizes.max_response), 1) if cache is None else cache
        if self.cache != "off" and self.cache > sizes.max_response:
            raise ValueError(
                f"option overlong_cache of strategy dapo is {self.cache}, above the run's longest response of "
                f"{sizes.max_response} tokens: lower it"
            )
        self._rounds = 1  # of sampling, this step
        self._resampled = 0  # prompts asked for after the first round

    def plan(self, step: Step) -> SamplingPlan:
        self._rounds, self._resampled = 1, 0
        return super().plan(step)

    def more(self, groups: Sequence[Group], step: Step) -> list[Request]:
        missing = self.sizes.prompts - len(self.policy.select(groups))
        if not self.config.dynamic_sampling or missing <= 0 or self._rounds >= self.config.max_rounds:
            return []
        wanted = missing if self.config.refill == "missing" else self.sizes.prompts
        self._rounds += 1
        self._resampled += wanted
        return [Request(self.sizes.group)] * wanted

    def keep(self, groups: Sequence[Group]) -> list[Group]:
        return super().keep(groups)[: self.sizes.prompts]

    def penalty(self, batch: Batch) -> Tensor:
        """[B] overlong penalties P, from 0 to -1."""
        length = batch.mask.to(batch.reward.dtype).sum(-1)
        if self.cache == "off":
            return length * 0.0
        return -((length - (self.sizes.max_response - self.cache)) / self.cache).clamp(0.0, 1.0)

    def advantages(self, batch: Batch) -> Tensor:
        reward = batch.reward + self.config.overlong_factor * self.penalty(batch)
        return super().advantages(replace(batch, reward=reward))

    def metrics(self) -> dict[str, float]:
        """dropped: share of sampled groups with uniform reward; resampled: prompts sampled after the first round."""
        return {**super().metrics(), "resampled": float(self._resampled)}
