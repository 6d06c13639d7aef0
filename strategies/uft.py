"""UFT: every rollout of a prompt starts from a hint that gets shorter, and the hint is trained with SFT.

Sources: arXiv 2505.16984; liumy2010/UFT, `rl_dataset.py`, `dp_actor.py::update_policy`, `ppo_trainer.yaml`.

The hint is the first l of L = min(`chunks`, steps) chunks of the solution, one l a prompt, and stands at the beginning
of the response; the original appends it to the prompt's text, which gives the model the same tokens.

    l ~ Binomial(L, p(t)) to t = hint_steps, then l = 0
    p(t) = p_low + (p_high - p_low) / 2 (1 + cos(pi t / hint_steps))
    L = L_GRPO(continuations) + kl_coefficient KL(continuations) + sft_coefficient NLL(hints)

`schedule`: "cosine" (default); "stage" l = L - floor(t / floor(hint_steps / (L + 1))); "uniform" l from 0 ... L in the
whole run (the paper's R3). L chunks are the whole solution, so that the end is all that is left to sample.

The four parts: continuation: advantage of the group, pi_ref = pi_old, mask = PPO clip 0.2, weight 1, k3 KL 0.001. Hint:
as `sft_loss` says, by default "plain": advantage 1, pi_ref = pi_theta, no mask, weight 1, scale 0.001. The hint's mean
is over all hint tokens of the step, those of every rollout: the n rollouts of a prompt repeat one hint, with the same
gradient n times, and the mean takes the factor out. Both means are those of a MICRO-batch in the code ("token_micro").

Defaults are the code's: p 0.95 to 0.05 over 300 of 500 steps (`horizon`), 5 chunks, mean over tokens, entropy bonus
0.001 (here over hint tokens too). Not here: the clamp of logits at +-100. A prompt without a demonstration has no hint.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Group, Request, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import PolicyGradient
from strategies.policy_options import GRPO, PolicyOptions, complete
from strategies.prefixes import check_at_least_0, check_unit, chunk_ends, prefix_terms, rollouts_of
from strategies.registry import register
from strategies.schedules import ClockOptions, warmup_cosine
from strategies.sft_losses import SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor


DEFAULTS = replace(GRPO, aggregation="token")


@dataclass(frozen=True)
class UftOptions(ClockOptions, SftLossOptions, PolicyOptions):
    """Options of `uft`, and of its two terms."""

    horizon: int = 500
    schedule: Literal["cosine", "stage", "uniform"] = "cosine"
    p_high: float = 0.95
    p_low: float = 0.05
    hint_steps: int = 300
    chunks: int = 5
    sft_coefficient: float = 0.001
    kl_coefficient: float = 0.001
    entropy_coefficient: float = 0.001

    def __post_init__(self) -> None:
        for options in (ClockOptions, SftLossOptions, PolicyOptions):
            options.__post_init__(self)
        complete(self, DEFAULTS)
        check_unit(self, "p_high", "p_low")
        for option in ("hint_steps", "chunks"):
            if getattr(self, option) < 1:
                raise ValueError(f"option {option} must be >= 1, not {getattr(self, option)}")
        check_at_least_0(self, "sft_coefficient", "entropy_coefficient")


@register
class Uft(Strategy):
    name = "uft"
    summary = "all rollouts start from a hint of the solution that shrinks, with SFT on the hint and GRPO after it"
    source = "arXiv 2505.16984; liumy2010/UFT"
    kind = "prefix"
    parity = "original code: schedule"
    Config = UftOptions

    def __init__(self, config: UftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient(config, DEFAULTS)
        self.sft = SftTerm(config, (Role.ROLLOUT,))
        self.entropy_coefficient = config.entropy_coefficient
        self.requires = self.policy.requires | self.sft.requires
        self.requires |= {"entropy"} if config.entropy_coefficient else frozenset()
        self._hinted = False
        self._asked = False
        self._given = 0.0

    def p(self, step: Step) -> float:
        """Probability of a chunk under schedule "cosine"."""
        config, time = self.config, self.config.position(step)
        if time > config.hint_steps:
            return 0.0
        return warmup_cosine(time, 0, config.hint_steps, config.p_high, config.p_low)

    def length(self, chunks: int, step: Step, draw: random.Random) -> int:
        """How many of a solution's chunks the hint has."""
        time, last = self.config.position(step), self.config.hint_steps
        if self.config.schedule == "uniform":
            return draw.randint(0, chunks)
        if self.config.schedule == "stage":
            stage = int(time) // max(last // (chunks + 1), 1)
            return max(chunks - stage, 0) if time <= last else 0
        p = self.p(step)
        return sum(draw.random() < p for _ in range(chunks))

    def plan(self, step: Step) -> SamplingPlan:
        over = self.config.schedule != "uniform" and self.config.position(step) > self.config.hint_steps
        never = self.config.schedule == "cosine" and self.p(step) == 0.0
        self._hinted, self._asked, self._given = not (over or never), False, 0.0
        if not self._hinted:
            return SamplingPlan(self.sizes.prompts, self.sizes.group)
        return SamplingPlan(self.sizes.prompts, expert=1, later=self.sizes.group)

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        if self._asked or not self._hinted:
            return ()
        self._asked = True
        draw = random.Random(step.seed)
        requests = []
        for g, group in enumerate(groups):
            ends = chunk_ends(group.demos[0], self.config.chunks) if group.demos else ()
            length = self.length(len(ends), step, draw)
            requests.append(Request(self.sizes.group, g, prefix=ends[length - 1] if length else 0))
            self._given += length / max(len(ends), 1) / len(groups)
        return requests

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        return rollouts_of(self.policy.select(groups))

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return [*self.policy.components(batch), *prefix_terms(self.sft, batch, self.config.sft_coefficient)]

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)

    def metrics(self) -> dict[str, float]:
        """hinted: mean share of a solution's chunks that the last step's prompts gave."""
        return {"hinted": self._given}
