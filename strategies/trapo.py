"""TRAPO: a group sampled in micro-groups, whose prefixes of the demonstration get longer while they fail.

Sources: arXiv 2512.17636; Su-my/TRAPO, `mix_trainer.py`, `mix_vllm_rollout.py`, `mix_core_alg.py`, `train_trapo.sh`.

Of 8 rollouts 4 are free, then come micro-groups of 2, 1 and 1 (`micro_groups`, scaled to the run's group). Each starts
from a prefix, longer from one to the next, if the success rate of all rollouts before it is below a threshold, else it
is free. `definition` sets shares and thresholds:

           prefix of the 2nd, 3rd, 4th   threshold        cut
  paper    0.2, 0.5, 1                   0.5, 0.7, 0.9    at the token (default)
  code     0.25, 0.5, 1                  0.5, 2/3, 1      at the first end of a step in (share, share + 0.3), if any

    L = L_GRPO(continuations) - sum over prefixes of log pi * min(1, p / trust_alpha)

The four parts: prefix: as `sft_loss` says, by default "trust_region": advantage 1, pi_ref = max(p, alpha), alpha 0.1,
no mask, weight 1 / n for the n rollouts that share the prefix. Their log-probs are equal, so that this is the gradient
of one prefix a micro-group, as in the code, which masks the others. Continuation: pi_ref = pi_old, advantage R - mean
over the whole group, prefixed or not, no clip, weight 1.

Defaults from the script: sum / L_max for both terms ("constant_sum", not divided by rows), no deviation, no clip,
entropy bonus 0.001. Other aggregators count each term's own tokens and rows, the repeated prefixes too. A prefix of 1
is the whole demonstration but for its end, which is sampled; the code gives the end as well and samples nothing. Micro-
groups with equal prefixes count as one. A prompt without a demonstration has free rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Group, Request, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import PolicyGradient
from strategies.policy_options import VARIANTS, Aggregation, PolicyOptions, complete
from strategies.prefixes import check_at_least_0, cut, group_mean, prefix_terms, rollouts_of, step_ends, subgroup
from strategies.registry import register
from strategies.sft_losses import SftLoss, SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = {"paper": ((0.2, 0.5, 1.0), (0.5, 0.7, 0.9)), "code": ((0.25, 0.5, 1.0), (0.5, 2 / 3, 1.0))}
DEFAULTS = replace(VARIANTS["dr_grpo"], clip_low="off", clip_high="off", aggregation="constant_sum")


@dataclass(frozen=True)
class TrapoOptions(SftLossOptions, PolicyOptions):
    """Options of `trapo`, and of its two terms. None takes the value from `definition`."""

    definition: Literal["paper", "code"] = "paper"
    micro_groups: tuple[int, ...] = (4, 2, 1, 1)
    prefixes: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    sft_loss: SftLoss = "trust_region"
    sft_aggregation: Aggregation = "constant_sum"
    entropy_coefficient: float = 0.001

    def __post_init__(self) -> None:
        SftLossOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        complete(self, DEFAULTS)
        if not all(size > 0 for size in self.micro_groups):
            raise ValueError(f"option micro_groups must have sizes >= 1, not {list(self.micro_groups)}")
        for option, default in zip(("prefixes", "thresholds"), LEVELS[self.definition], strict=True):
            values = default if getattr(self, option) is None else getattr(self, option)
            if len(values) != len(self.micro_groups) - 1 or not all(0.0 <= value <= 1.0 for value in values):
                raise ValueError(f"option {option} must have a number in [0, 1] for each micro-group but the first")
        check_at_least_0(self, "entropy_coefficient")


@register
class Trapo(Strategy):
    name = "trapo"
    summary = "micro-groups with longer prefixes while they fail: trust-region SFT on the prefix, GRPO after it"
    source = "arXiv 2512.17636; Su-my/TRAPO"
    kind = "prefix"
    parity = "formula"
    Config = TrapoOptions

    def __init__(self, config: TrapoOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient(config, DEFAULTS)
        self.sft = SftTerm(config, (Role.ROLLOUT,))
        self.entropy_coefficient = config.entropy_coefficient
        self.requires = self.policy.requires | self.sft.requires
        self.requires |= {"entropy"} if config.entropy_coefficient else frozenset()
        prefixes, thresholds = LEVELS[config.definition]
        self.prefixes = prefixes if config.prefixes is None else config.prefixes
        self.thresholds = thresholds if config.thresholds is None else config.thresholds
        total = sum(config.micro_groups)
        ends = [0, *(math.floor(sizes.group * n / total + 0.5) for n in accumulate(config.micro_groups))]
        self.micro = [end - start for start, end in pairwise(ends)]
        if self.micro[0] < 1:
            raise ValueError(
                f"strategy trapo has an empty first micro-group in a group of {sizes.group}: raise the group"
            )
        self._next = 1  # micro-group to ask for
        self._prefixed = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        self._next = 1
        later = sum(self.micro[1:])
        return SamplingPlan(self.sizes.prompts, self.micro[0], expert=int(later > 0), later=later)

    def prefix(self, group: Group, level: int) -> int:
        """Tokens of the prefix of a group's micro-group `level` (from 1)."""
        rate = group.n_correct / max(len(group.rollouts), 1)
        if not group.demos or rate >= self.thresholds[level - 1]:
            return 0
        demo, share = group.demos[0], self.prefixes[level - 1]
        least, most = cut(demo, share), (share + 0.3) * len(demo.response)
        if self.config.definition == "paper":
            return least
        return next((end for end in step_ends(demo) if least < end - 1 < most), least)

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        while self._next < len(self.micro):
            level, self._next = self._next, self._next + 1
            if self.micro[level]:
                return [Request(self.micro[level], g, prefix=self.prefix(one, level)) for g, one in enumerate(groups)]
        return ()

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        rows = rollouts_of(self.policy.select(groups))
        self._prefixed = sum(row.prefix > 0 for row in rows) / max(len(rows), 1)
        return rows

    def advantages(self, batch: Batch) -> Tensor:
        """[B, T]: the group's on continuations, on a prefix 1 / rollouts that share it. [B] if no row has a prefix."""
        score = self.policy.advantages(batch)
        if batch.prefix is None:
            return score
        rollouts = batch.is_role(Role.ROLLOUT)
        _, n = group_mean(score, subgroup(batch), rollouts)
        return (1.0 / n.clamp(min=1)).unsqueeze(-1).where(batch.part("prefix") > 0, score.unsqueeze(-1))

    def components(self, batch: Batch, step: Step) -> list[Component]:
        prefix = [replace(component, advantage=batch.advantage) for component in prefix_terms(self.sft, batch)]
        return [*self.policy.components(batch), *prefix]

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)

    def metrics(self) -> dict[str, float]:
        """prefixed: share of the last step's trained rollouts that start from a prefix."""
        return {"prefixed": self._prefixed}
