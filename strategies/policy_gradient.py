"""The RL term that strategies share: group advantages, a policy loss with its clip, a KL penalty.

With r = pi_theta / pi_old of a token and A the advantage, `policy_loss` is one of

    ppo    - min(r A, clip(r, 1 - low, 1 + high) A)               per token; for A < 0 at most - dual_clip A
    gspo   - min(s A, clip(s, 1 - low, 1 + high) A)               s = exp(mean of log r over the row's own tokens)
    cispo  - stop_grad[clip(r)] A log pi_theta                    clip(r) as `cispo_clip` says:
             "verl" clip(r, 1 - low, 1 + high); "open_instruct" min(r, 1 + high); "trl" min(r, high)

The four parts: pi_ref = pi_old (ppo) or pi_theta (gspo, cispo); advantage A; stability mask = 0 where the clipped
branch of min is active (ppo, gspo); weight s (gspo, whose token gradient is s A / length, GSPO-token's as well, since A
is the same for all tokens of a row) or clip(r) (cispo), else 1. Rollouts are trained on what they sampled: a given
prefix is in no ratio and no count.

Sources: GRPO, arXiv 2402.03300; Dr.GRPO, arXiv 2503.20783; DAPO, arXiv 2503.14476; dual clip, arXiv 1912.09729; GSPO,
arXiv 2507.18071, Eq. 5-10; CISPO, arXiv 2506.13585, Eq. 4-5. Clamps of the log-ratio as in verl `core_algos.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Role
from strategies.estimator import group_advantage
from strategies.policy_options import VARIANTS, Aggregation, GrpoOptions, PolicyOptions, complete

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VARIANTS", "Aggregation", "GrpoOptions", "PolicyGradient", "PolicyOptions"]

# verl clamps log r, and log s from above, here: no gradient beyond
MAX_LOG_RATIO = 20.0
MAX_LOG_SEQUENCE_RATIO = 10.0


class PolicyGradient:
    """The RL term for given options: which groups count, their advantages, and the components of the loss."""

    def __init__(self, options: PolicyOptions, defaults: PolicyOptions) -> None:
        """`options` that are None come from `defaults`. ValueError if they do not go together."""
        self.options = complete(options, defaults)
        self.requires = frozenset({"old_logp", "ref_logp"} if self.options.kl_coefficient else {"old_logp"})
        # of the ratio: exponents out of range have no gradient
        self._range = (-math.inf, MAX_LOG_SEQUENCE_RATIO) if self.is_sequence else (-MAX_LOG_RATIO, MAX_LOG_RATIO)

    @classmethod
    def of_variant(cls, options: PolicyOptions) -> PolicyGradient:
        """The term of `options.variant`."""
        assert options.variant is not None
        return cls(options, VARIANTS[options.variant])

    @property
    def is_sequence(self) -> bool:
        """Whether there is one importance ratio a row."""
        return self.options.policy_loss == "gspo"

    def select(self, groups: Sequence[Group]) -> list[Group]:
        """The groups to train on."""
        if not self.options.drop_uniform_groups:
            return list(groups)
        return [group for group in groups if len({row.reward for row in group.rollouts}) > 1]

    def advantages(self, batch: Batch) -> Tensor:
        """[B] group advantages; mean and deviation of a group are those of its rollouts."""
        rollouts = batch.is_role(Role.ROLLOUT)
        return group_advantage(batch.reward, batch.group, rollouts, std=bool(self.options.normalize_std))

    def components(self, batch: Batch, scale: float = 1.0) -> list[Component]:
        """The policy term on rollouts, times `scale`, and its KL penalty if there is one."""
        logp, aggregation = batch.logp.detach(), self.options.aggregation
        reference = weight = stable = None
        if self.options.policy_loss == "cispo":
            weight = self.ratio(batch).clamp(*self.bounds)
        else:
            stable = self.stable(batch)
            if self.is_sequence:
                weight = self.ratio(batch)
            else:  # not below pi * exp(-20), where the mask is 0 and the ratio could overflow
                reference = batch.old_logp.maximum(logp - MAX_LOG_RATIO)
        policy = Component(
            "policy",
            (Role.ROLLOUT,),
            advantage=batch.advantage,
            log_reference=reference,
            stable=stable,
            weight=weight,
            aggregator=aggregation,
            scale=scale,
            part="continuation",
        )
        if not self.options.kl_coefficient:
            return [policy]
        # k3 = exp(d) - d - 1 with d = log pi_ref - log pi, so that -d k3 / d log pi = exp(d) - 1
        pull = (batch.ref_logp - logp).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() - 1.0
        scale = scale * self.options.kl_coefficient
        return [
            policy,
            Component("kl", (Role.ROLLOUT,), pull, aggregator=aggregation, scale=scale, part="continuation"),
        ]

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that the loss clips the ratio to."""
        low, high = self.options.clip_low, self.options.clip_high
        base = 0.0 if self.options.cispo_clip == "trl" else 1.0
        return (-math.inf if low == "off" else 1.0 - low, math.inf if high == "off" else base + high)

    def log_ratio(self, batch: Batch) -> Tensor:
        """[B, T] log r; log s, as [B, 1], for gspo."""
        gap = batch.logp.detach() - batch.old_logp
        if not self.is_sequence:
            return gap
        mask = batch.part("continuation").to(gap.dtype)
        return gap.masked_fill(mask == 0, 0.0).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)

    def ratio(self, batch: Batch) -> Tensor:
        """[B, T] r, or [B, 1] s, within what verl's clamp allows."""
        return self.log_ratio(batch).clamp(*self._range).exp()

    def stable(self, batch: Batch) -> Tensor:
        """[B, T] (gspo: [B, 1]) 1 where the gradient of ppo's or gspo's minimum is that of its first term, else 0."""
        log_ratio, ratio, advantage = self.log_ratio(batch), self.ratio(batch), per_token(batch.advantage)
        low, high = self.bounds
        stable = (log_ratio >= self._range[0]) & (log_ratio <= self._range[1])
        stable = stable & ~((advantage > 0) & (ratio > high)) & ~((advantage < 0) & (ratio < low))
        if self.options.dual_clip != "off":
            stable = stable & ~((advantage < 0) & (ratio > self.options.dual_clip))
        return stable.to(ratio.dtype)

    def values(self, batch: Batch) -> Tensor:
        """[B, T] values of the policy loss before aggregation, no gradient, 0 off the rollouts' own tokens; no KL."""
        ratio, advantage = self.ratio(batch), per_token(batch.advantage)
        clipped = ratio.clamp(*self.bounds) * advantage
        if self.options.policy_loss == "cispo":
            value = clipped * batch.logp.detach()
        else:
            value = (ratio * advantage).minimum(clipped)
            if self.options.dual_clip != "off":
                value = value.where(advantage >= 0, value.maximum(self.options.dual_clip * advantage))
        off = (batch.part("continuation") == 0) | ~batch.is_role(Role.ROLLOUT).unsqueeze(-1)
        return (-value).expand_as(batch.logp).masked_fill(off, 0.0)


def per_token(value: Tensor) -> Tensor:
    """[B] as [B, 1]; [B, T] as it is."""
    return value.unsqueeze(-1) if value.dim() == 1 else value
