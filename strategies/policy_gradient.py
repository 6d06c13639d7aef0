"""The RL term that strategies share: group advantages, PPO clipping as a stability mask, a KL penalty.

Sources: GRPO, arXiv 2402.03300; Dr.GRPO, arXiv 2503.20783; DAPO, arXiv 2503.14476; dual clip, arXiv 1912.09729;
clipping and clamping as in verl `compute_policy_loss_vanilla`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies.base import Batch, Component, Group, Role
from strategies.estimator import group_advantage

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["token", "sequence", "constant", "constant_sum", "token_micro"]

MAX_LOG_RATIO = 20.0  # verl clamps log(pi / pi_old) here: no gradient beyond


@dataclass(frozen=True)
class PolicyOptions:
    """Options of the RL term. None takes the value from the strategy's definition."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    normalize_std: bool | None = None  # divide advantages by the group's sample standard deviation
    clip_low: float | Literal["off"] | None = None  # ratio of a token with A < 0 has an effect above 1 - clip_low
    clip_high: float | Literal["off"] | None = None  # ratio of a token with A > 0 has an effect below 1 + clip_high
    dual_clip: float | Literal["off"] | None = None  # ratio of a token with A < 0 has an effect below this (verl: 3.0)
    aggregation: Aggregation | None = None  # a key of estimator.AGGREGATORS
    drop_uniform_groups: bool | None = None  # leave out prompts whose rollouts all have the same reward
    kl_coefficient: float = 0.0  # weight of the k3 estimate of KL(pi_theta || pi_ref), added to the loss

    def __post_init__(self) -> None:
        for option in ("clip_low", "clip_high"):
            value = getattr(self, option)
            if isinstance(value, float | int) and not value >= 0:
                raise ValueError(f'option {option} must be a number >= 0 or "off", not {value}')
        if isinstance(self.dual_clip, float | int) and not self.dual_clip > 1:
            raise ValueError(f'option dual_clip must be a number > 1 or "off", not {self.dual_clip}')
        if not self.kl_coefficient >= 0:
            raise ValueError(f"option kl_coefficient must be >= 0, not {self.kl_coefficient}")


GRPO = PolicyOptions(
    normalize_std=True,
    clip_low=0.2,
    clip_high=0.2,
    dual_clip="off",
    aggregation="sequence",
    drop_uniform_groups=False,
)
VARIANTS = {
    "grpo": GRPO,
    "dr_grpo": replace(GRPO, normalize_std=False, aggregation="constant"),
    "dapo": replace(GRPO, clip_high=0.28, aggregation="token", drop_uniform_groups=True),
}


@dataclass(frozen=True)
class GrpoOptions(PolicyOptions):
    """Options of an RL term that starts from a named variant."""

    variant: Literal["grpo", "dr_grpo", "dapo"] = "grpo"


class PolicyGradient:
    """The RL term for given options: which groups count, their advantages, and the components of the loss."""

    def __init__(self, options: PolicyOptions, defaults: PolicyOptions) -> None:
        """`options` that are None come from `defaults`."""
        given = {field.name: getattr(options, field.name) for field in fields(PolicyOptions)}
        self.options = replace(defaults, **{name: value for name, value in given.items() if value is not None})
        self.requires = frozenset({"old_logp", "ref_logp"} if self.options.kl_coefficient else {"old_logp"})

    @classmethod
    def of_variant(cls, options: GrpoOptions) -> PolicyGradient:
        return cls(options, VARIANTS[options.variant])

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
        policy = Component(
            "policy",
            (Role.ROLLOUT,),
            advantage=batch.advantage,
            # pi_old; not below pi * exp(-20), where the mask is 0 and the ratio could overflow
            log_reference=batch.old_logp.maximum(logp - MAX_LOG_RATIO),
            stable=self.stable(batch),
            aggregator=aggregation,
            scale=scale,
        )
        if not self.options.kl_coefficient:
            return [policy]
        # k3 = exp(d) - d - 1 with d = log pi_ref - log pi, so that -d k3 / d log pi = exp(d) - 1
        pull = (batch.ref_logp - logp).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() - 1.0
        scale = scale * self.options.kl_coefficient
        return [policy, Component("kl", (Role.ROLLOUT,), advantage=pull, aggregator=aggregation, scale=scale)]

    def stable(self, batch: Batch) -> Tensor:
        """[B, T] 1 where the gradient of min(r A, clip(r, 1 - low, 1 + high) A) is that of r A, else 0."""
        log_ratio = batch.logp.detach() - batch.old_logp
        ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
        advantage = batch.advantage.unsqueeze(-1) if batch.advantage.dim() == 1 else batch.advantage
        stable = log_ratio.abs() <= MAX_LOG_RATIO
        options = self.options
        if options.clip_high != "off":
            stable = stable & ~((advantage > 0) & (ratio > 1.0 + options.clip_high))
        if options.clip_low != "off":
            stable = stable & ~((advantage < 0) & (ratio < 1.0 - options.clip_low))
        if options.dual_clip != "off":
            stable = stable & ~((advantage < 0) & (ratio > options.dual_clip))
        return stable.to(ratio.dtype)
