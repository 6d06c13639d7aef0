"""HPT: each question goes to RL or to SFT, by how many of its rollouts are correct.

Sources: Hybrid Post-Training, arXiv 2509.04419 (v2), Eq. 10-13, Table 5; TsinghuaC3I/Unify-Post-Training
`mix_trainer.py`, `mix_actor.py`, `exp_scripts/train.sh`.

Gate (inclusive, as Eq. 10 and the code have it; the prose of section 4.5 says otherwise): n_correct <= gate -> its
rollouts are dropped and the expert demonstration is trained with SFT; else the rollouts with RL. Rollouts are made, and
cost, before they are dropped. A question without a demonstration keeps its rollouts.

The four parts: RL: pi_ref = pi_old, advantage R - group mean, mask = PPO clip if any, weight 1. SFT: as `sft_loss` says
("plain": 1, no mask, weight 1), scale `sft_coefficient`, each demonstration by its own token mean (Eq. 12; another by
`sft_aggregation`). Off-policy demonstration: as in `luffy`, advantage R - mean of its group's trained rollouts.

`definition` sets what the other options leave open:

                          "code" (default)                 "paper"
    clip_low, clip_high   "off"                            0.2
    normalisation         "global"                         "question"
    entropy_coefficient   0.001                            0
    skip_grad_norm        80                               "off"

`normalize_std` is off in both: the paper names Dr.GRPO, but its text divides by the deviation. `normalisation`:
  global     every trained row weighs 1 / (rows of the step): a demonstration its token mean, a rollout its sum / L_max.
             The default, because it is the released weighting without its accident (next line).
  question   every question weighs the same, a rollout 1/n of it (Eq. 11), each sum again over L_max.
  released   rollouts sum / L_max, not divided by rows; demonstrations the token mean of each MICRO-batch, summed over
             micro-batches: the weight of SFT is the number of micro-batches with a demonstration.

Other defaults: gate 0 (Qwen; LLaMA: 2 of 8); sft_coefficient 1.0 (the 1.5B script: 0.3). `gate_fraction`, if given,
takes the place of `gate`: P <= gate_fraction. gate = -1 is RL alone, gate = group SFT alone. An update whose gradient
norm is above `skip_grad_norm`, or not finite, is left out (the code; LLaMA script: off).

Modes that the code has and no script uses: `gate_off`: gate < n_correct <= gate_off -> the rollouts are dropped and the
demonstration is an off-policy row (gate -1, gate_off 0: the paper's OFF/ON). `off_coefficient`: gated demonstrations
have that term besides SFT (Mix/ON: 1.0, with sft_coefficient 0.1). `gate_type` "soft0" to "soft2": a question has all
three terms, weighted by a table of 8 entries (`hpt_options`). The code counts the demonstration as correct, so that
entry 1 is "no rollout is correct"; n_correct of n rollouts take entry 1 + floor(8 n_correct / n), at most 8: at 8
rollouts the code's, which fails at 8 of 8. Rows with no weight are left out. The code's actor never reads the tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step
from strategies.gates import Gate, question_shares, weighted
from strategies.hpt_options import SOFT_GATES, HptOptions, Weights
from strategies.luffy import shaped_reference
from strategies.policy_gradient import PolicyGradient
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor

KEEP: Weights = (1.0, 0.0, 0.0)


@register
class Hpt(Gate):
    name = "hpt"
    summary = "a gate per question: SFT on the demonstration if too few rollouts are correct, else RL"
    source = "arXiv 2509.04419, Eq. 10-13; TsinghuaC3I/Unify-Post-Training"
    parity = "losses: original code; gate: its rule"
    Config = HptOptions

    def __init__(self, config: HptOptions, sizes: Sizes) -> None:
        config = config.completed()
        super().__init__(config, sizes, PolicyGradient(config, config.rl_term()))
        self.entropy_coefficient = config.entropy_coefficient
        self.requires |= {"entropy"} if config.entropy_coefficient else frozenset()
        self.gate = config.gate
        if config.gate_fraction is not None:
            self.gate = math.floor(config.gate_fraction * sizes.group + 1e-9)
        self.gate_off = self.gate if config.gate_off is None else config.gate_off
        for option, value in (("gate", self.gate), ("gate_off", self.gate_off)):
            if value > sizes.group:
                raise ValueError(f"option {option} of strategy hpt is {value}, above the run's group of {sizes.group}")
        if self.gate_off < self.gate:
            raise ValueError(f"option gate_off of strategy hpt is {self.gate_off}, below the gate of {self.gate}")
        self.is_plain = config.gate_type == "hard" and not config.has_off_policy
        self._weights: dict[int, Weights] | None = None  # by question, where they are not 0 or 1 by role
        self._off_policy = 0.0
        self._skipped = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        soft = self.config.gate_type != "hard"
        return SamplingPlan(self.sizes.prompts, self.sizes.group, expert=int(soft or self.gate_off >= 0))

    def weights(self, group: Group) -> Weights:
        """Of a question: those of its rollouts, of its demonstration as an off-policy row, and of its SFT."""
        if not group.demos:
            return KEEP
        if self.config.gate_type != "hard":
            table = SOFT_GATES[self.config.gate_type]
            return table[min(8 * group.n_correct // len(group.rollouts), 7)]
        if group.n_correct <= self.gate:
            return 0.0, self.config.off_coefficient, 1.0
        return (0.0, 1.0, 0.0) if group.n_correct <= self.gate_off else KEEP

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        found = [(group, self.weights(group)) for group in groups]
        kept = [(group, weights) for group, weights in found if weights[0] > 0.0]
        selected = {id(group) for group in self.policy.select([group for group, _ in kept])}
        rows = [(row, weights) for group, weights in kept if id(group) in selected for row in group.rollouts]
        rows += [(group.demos[0], weights) for group, weights in found if weights[1] > 0.0 or weights[2] > 0.0]
        self._gated = sum(weights[0] == 0.0 for _, weights in found) / max(len(groups), 1)
        self._off_policy = sum(weights[1] > 0.0 for _, weights in found) / max(len(groups), 1)
        self._weights = None if self.is_plain else {row.group: weights for row, weights in rows}
        return [row for row, _ in rows]

    def advantages(self, batch: Batch) -> Tensor:
        """Group advantages. Also counts the rows or questions that each term gets."""
        rollouts, demos = batch.is_role(Role.ROLLOUT), batch.is_role(Role.DEMO)
        if self.config.normalisation == "question":
            self._shares = question_shares(batch, self.demo_roles)
        elif self.config.normalisation == "global":
            rl, sft = float(rollouts.sum()), float(demos.sum())
            self._shares = (rl / max(rl + sft, 1.0), sft / max(rl + sft, 1.0))
        return self.policy.advantages(batch)

    def terms(self, batch: Batch, rl: float, sft: float) -> list[Component]:
        policy = self.policy.components(batch, rl)
        demos = self.sft.components(batch, sft * self.config.sft_coefficient)
        if self._weights is None:
            return [*policy, *demos]
        weights = batch.logp.new_tensor([self._weights[g] for g in batch.group.tolist()]).reshape(-1, 3)
        reference = shaped_reference(batch.logp.detach(), self.config)
        aggregator = self.policy.options.aggregation
        off = Component("off_policy", (Role.DEMO,), batch.advantage, reference, aggregator=aggregator, scale=sft)
        terms = [(term, 0) for term in policy] + [(off, 1)] + [(term, 2) for term in demos]
        return [weighted(term, weights[:, i]) for term, i in terms]

    def accept(self, grad_norm: float) -> bool:
        limit = math.inf if self.config.skip_grad_norm == "off" else self.config.skip_grad_norm
        accepted = math.isfinite(grad_norm) and grad_norm <= limit
        self._skipped = float(not accepted)
        return accepted

    def metrics(self) -> dict[str, float]:
        """gate: in correct rollouts, of a hard gate; gated, off_policy: shares of the last step's questions without
        rollouts, and with an off-policy demonstration; skipped: 1 if the update was left out."""
        found = {"gated": self._gated, "off_policy": self._off_policy, "skipped": self._skipped}
        return found | ({"gate": float(self.gate)} if self.config.gate_type == "hard" else {})
