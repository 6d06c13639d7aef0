"""Prefix-RFT: one rollout of a group continues a demonstration, and the given prefix is trained with it.

Sources: arXiv 2507.01679; ZeroYuHuang/prefix_rft `core_algos.py`, `dp_actor.py` (reshaper "entropy"), `global_step.py`.

Of a group, `prefixed` (1) rollouts start from the first floor(l |y*|) tokens of the demonstration, one l ~ U(low_t,
high) a prompt; low_t falls from 0.95 to 0.05 by half a cosine over `horizon` (500) steps. The others, or all without a
demonstration, are free.

The four parts: advantage below; pi_ref = pi_old, for prefixes recomputed by the trainer; mask: PPO clip 0.2, dual clip
3, and on prefixes the `entropy_share` (0.2) of tokens with the highest entropy; weight 1. The aggregator counts all
tokens of a response, those that are left out as well.

Rule of `advantage`. A subgroup: the free rollouts of a prompt, or its hybrids with the same prefix (n of them).

    A = S = R - mean of the subgroup    on free rollouts and on continuations
    A = (S - mean of the free) / n      on prefixes

  dr_grpo     (default) a subgroup of one is not centred, its mean is 0: a lone hybrid has A = R on its continuation
  grpo        so, and S, not the mean, is divided by the subgroup's sample deviation + 1e-6 (1 + 1e-6 for one)
  dr_grpo_v2  a subgroup of one is centred on itself: a lone hybrid has A = 0, and on its prefix - mean of the free

Defaults: no script is released; the paper's A.2 (second-hand) names Dr.GRPO; entropy bonus 0.001. Its sum / L_max is
divided by rows here. `entropy_scope` "sequence" (ours) ranks the prefix tokens of a row, "micro" of a micro-batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Group, Request, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import PolicyGradient
from strategies.policy_options import VARIANTS, PolicyOptions, complete
from strategies.prefixes import check_at_least_0, check_unit, cut, group_mean, most_uncertain, rollouts_of, subgroup
from strategies.registry import register
from strategies.schedules import ClockOptions, warmup_cosine

if TYPE_CHECKING:
    from torch import Tensor

DEFAULTS = replace(VARIANTS["dr_grpo"], dual_clip=3.0)


@dataclass(frozen=True)
class PrefixRftOptions(ClockOptions, PolicyOptions):
    """Options of `prefix_rft`, and of its RL term."""

    horizon: int = 500
    prefixed: int = 1
    high: float = 0.95
    low_start: float = 0.95
    low_end: float = 0.05
    advantage: Literal["grpo", "dr_grpo", "dr_grpo_v2"] = "dr_grpo"
    entropy_share: float = 0.2
    entropy_scope: Literal["sequence", "micro"] = "sequence"
    entropy_coefficient: float = 0.001

    def __post_init__(self) -> None:
        ClockOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        check_unit(self, "high", "low_start", "low_end", "entropy_share")
        if max(self.low_start, self.low_end) > self.high:
            raise ValueError("options low_start and low_end must be <= high")
        if self.normalize_std is not None:
            raise ValueError("option normalize_std has no place here: choose a form with option advantage")
        if self.policy_loss not in (None, "ppo"):
            raise ValueError('option policy_loss must be "ppo": the tokens of prefixes have a clip each')
        complete(self, DEFAULTS)
        check_at_least_0(self, "entropy_coefficient")


@register
class PrefixRft(Strategy):
    name = "prefix_rft"
    summary = "one rollout of a group continues a demonstration's prefix, whose uncertain tokens are trained with it"
    source = "arXiv 2507.01679; ZeroYuHuang/prefix_rft"
    kind = "prefix"
    parity = "original code: advantages, schedule"
    Config = PrefixRftOptions

    def __init__(self, config: PrefixRftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient(config, DEFAULTS)
        self.entropy_coefficient = config.entropy_coefficient
        self.requires = self.policy.requires | (frozenset({"given_logp"}) if config.prefixed else frozenset())
        if config.entropy_coefficient or (config.prefixed and config.entropy_share < 1.0):
            self.requires |= {"entropy"}
        if not 0 <= config.prefixed < max(sizes.group, 1):
            raise ValueError(f"option prefixed of strategy prefix_rft must be in [0, group of {sizes.group})")
        self._asked, self._low = False, 0.0

    def plan(self, step: Step) -> SamplingPlan:
        later, self._asked = self.config.prefixed, self.config.prefixed == 0
        return SamplingPlan(self.sizes.prompts, self.sizes.group - later, expert=int(later > 0), later=later)

    def low(self, step: Step) -> float:
        """Least share of a demonstration that a prefix can have."""
        one = self.config
        return warmup_cosine(one.position(step), 0, one.horizon, one.low_start, one.low_end)

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        if self._asked:
            return ()
        self._asked, self._low = True, self.low(step)
        draw = random.Random(step.seed)
        shares = [self._low + (self.config.high - self._low) * draw.random() for _ in groups]
        prefixes = [cut(one.demos[0], share) if one.demos else 0 for one, share in zip(groups, shares, strict=True)]
        return [Request(self.config.prefixed, g, prefix=prefix) for g, prefix in enumerate(prefixes)]

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        return rollouts_of(self.policy.select(groups))

    def advantages(self, batch: Batch) -> Tensor:
        """[B, T], or [B] where no row has a prefix."""
        form, rollouts, key = self.config.advantage, batch.is_role(Role.ROLLOUT), subgroup(batch)

        def centre(keys: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            mean, n = group_mean(batch.reward, keys, rows)
            return (mean if form == "dr_grpo_v2" else mean.masked_fill(n < 1.5, 0.0)), n

        mean, n = centre(key, rollouts)
        score = batch.reward - mean
        if form == "grpo":
            variance = group_mean(score * score, key, rollouts)[0] * n / (n - 1).clamp(min=1)
            score = score / (variance.sqrt().masked_fill(n < 1.5, 1.0) + 1e-6)
        if batch.prefix is None:
            return score
        given = batch.part("prefix") > 0
        prefix = (score - centre(batch.group, rollouts & ~given.any(-1))[0]) / n.clamp(min=1)
        return prefix.unsqueeze(-1).where(given, score.unsqueeze(-1))

    def components(self, batch: Batch, step: Step) -> list[Component]:
        policy, *kl = [replace(component, part="all") for component in self.policy.components(batch)]
        given = selected = batch.part("prefix") > 0
        if self.config.entropy_share < 1.0 and batch.prefix is not None:
            by_row = self.config.entropy_scope == "sequence"
            selected = most_uncertain(batch.entropy.detach(), given, self.config.entropy_share, by_row)
        prefix = replace(policy, name="prefix", stable=policy.stable * selected)
        policy = replace(policy, stable=policy.stable * ~given)
        return [policy, prefix, *kl]

    def branches(self, batch: Batch, step: Step) -> dict[str, list[Component]]:
        policy, prefix, *kl = self.components(batch, step)
        return {"rl": [policy, *kl], "sft": [prefix]}

    def metrics(self) -> dict[str, float]:
        """prefix_low: `low` in the last step."""
        return {"prefix_low": self._low}
