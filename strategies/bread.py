"""BREAD: a group without a success branches from the shortest prefix of the demonstration that gives some.

Source: arXiv 2506.17211 (episode anchor search). No code is known; the paper was read second-hand.

If no rollout of a prompt is correct, the demonstration is cut into `episodes` (10) runs of steps, and a binary search
over their ends looks for the shortest prefix whose rollouts succeed at a rate in [success_low, success_high]. Each
probe is a full group that continues the prefix; the probe found is the group that is trained. All others, the first
group among them, are dropped: sampled, and paid for, without an update.

The four parts: on continuations, and on all of a free rollout, those of `grpo`, whose options this strategy has: pi_ref
= pi_old, advantage of the group, mask = PPO clip, weight 1. Nothing is trained on prefixes; there is no SFT term.

Ours, for want of a source: the range (0.1 to 0.9: in groups of up to 9, some succeed and some fail); the rate is taken
to grow with the prefix; without a probe in the range the shortest with any success is used, and without a success the
free rollouts are kept (with equal rewards: no gradient). A search ends after at most 4 probes of 10 episodes. The
longest prefix is the whole demonstration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Request, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import PolicyGradient
from strategies.policy_options import GrpoOptions
from strategies.prefixes import check_unit, chunk_ends, rollouts_of
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BreadOptions(GrpoOptions):
    """Options of `bread`: its search, and those of `grpo`."""

    episodes: int = 10
    success_low: float = 0.1
    success_high: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self, "success_low", "success_high")
        if self.success_low > self.success_high:
            raise ValueError("options must have success_low <= success_high")
        if self.episodes < 1:
            raise ValueError(f"option episodes must be >= 1, not {self.episodes}")


def next_anchor(anchors: Sequence[int], rates: Mapping[int, float], low: float) -> int | None:
    """The prefix to probe next, given the success rates of those probed; None when the search is over.

    Binary search over the increasing `anchors` for the first whose rate is at least `low`. If rates grow with the
    prefix, no shorter one is in the range, and if the one found is above the range, none is in it.
    """
    first, last = 0, len(anchors) - 1
    while first <= last:
        middle = (first + last) // 2
        if anchors[middle] not in rates:
            return anchors[middle]
        if rates[anchors[middle]] < low:
            first = middle + 1
        else:
            last = middle - 1
    return None


def best_anchor(rates: Mapping[int, float], low: float, high: float) -> int | None:
    """The shortest probed prefix in the range, else the shortest with a success, else None."""
    within = [prefix for prefix, rate in rates.items() if low <= rate <= high]
    return min(within or [prefix for prefix, rate in rates.items() if rate > 0.0], default=None)


def success_rates(group: Group, prefixes: Iterable[int]) -> dict[int, float]:
    """Share of correct rollouts of each prefix; 0 if none came back."""
    rows = {prefix: [row.correct for row in group.rollouts if row.prefix == prefix] for prefix in prefixes}
    return {prefix: sum(correct) / max(len(correct), 1) for prefix, correct in rows.items()}


@register
class Bread(Strategy):
    name = "bread"
    summary = "GRPO; a group without a success restarts from the shortest demonstration prefix that gives some"
    source = "arXiv 2506.17211"
    kind = "prefix"
    parity = "none: no code found"
    Config = BreadOptions

    def __init__(self, config: BreadOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.requires = self.policy.requires
        self._probed: dict[int, list[int]] = {}  # prefixes asked for in this step, by group
        self._branched = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        self._probed = {}
        # as if each group was sampled twice: the rollouts themselves decide how often
        return SamplingPlan(self.sizes.prompts, self.sizes.group, expert=1, later=self.sizes.group)

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        requests = []
        for g, group in enumerate(groups):
            if not group.demos or any(row.correct and not row.prefix for row in group.rollouts):
                continue
            probed = self._probed.setdefault(g, [])
            anchors = sorted(set(chunk_ends(group.demos[0], self.config.episodes)))
            prefix = next_anchor(anchors, success_rates(group, probed), self.config.success_low)
            if prefix is not None:
                probed.append(prefix)
                requests.append(Request(self.sizes.group, g, prefix=prefix))
        return requests

    def kept(self, group: Group) -> Group:
        """The group with the rollouts of one prefix only, or the free ones."""
        rates = success_rates(group, {row.prefix for row in group.rollouts if row.prefix})
        best = best_anchor(rates, self.config.success_low, self.config.success_high) or 0
        return replace(group, rollouts=tuple(row for row in group.rollouts if row.prefix == best))

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        kept = [self.kept(group) for group in groups]
        self._branched = sum(any(row.prefix for row in group.rollouts) for group in kept) / max(len(kept), 1)
        return rollouts_of(self.policy.select(kept))

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.policy.components(batch)

    def metrics(self) -> dict[str, float]:
        """branched: share of the last step's groups that start from a prefix."""
        return {"branched": self._branched}
