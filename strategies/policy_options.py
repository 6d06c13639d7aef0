"""Options of the RL term, its named variants, and how a variant completes options that are left open.

    variant  policy_loss  std  clip_low / clip_high  aggregation  uniform groups
    grpo     ppo          yes  .2 / .2               sequence     kept      arXiv 2402.03300
    dr_grpo  ppo          no   .2 / .2               constant     kept      arXiv 2503.20783
    dapo     ppo          yes  .2 / .28              token        dropped   arXiv 2503.14476
    gspo     gspo         yes  3e-4 / 4e-4           sequence     kept      arXiv 2507.18071, section 5.1
    cispo    cispo        yes  off / .28             token        kept      arXiv 2506.13585, Eq. 4-5

CISPO's paper bounds the weight from above only and gives no number: .28 is that of Trinity-RFT (verl's example: .2);
5.0 with `cispo_clip` "trl", as TRL's documentation says after ScaleRL, arXiv 2510.13786.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

PolicyLoss = Literal["ppo", "gspo", "cispo"]
CispoClip = Literal["verl", "open_instruct", "trl"]
Aggregation = Literal["token", "sequence", "constant", "constant_sum", "token_micro"]
Variant = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo"]

TRL_CISPO_HIGH = 5.0


@dataclass(frozen=True)
class PolicyOptions:
    """Options of the RL term. None takes the value from the strategy's definition, or from `variant`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    variant: ClassVar[str | None] = None  # a key of VARIANTS; None: the strategy has a definition of its own

    policy_loss: PolicyLoss | None = None  # ppo: ratio and clip per token; gspo: per row; cispo: ratio as a weight
    normalize_std: bool | None = None  # divide advantages by the group's sample standard deviation
    clip_low: float | Literal["off"] | None = None  # ratio of a token with A < 0 has an effect above 1 - clip_low
    clip_high: float | Literal["off"] | None = None  # ratio of a token with A > 0 has an effect below 1 + clip_high
    dual_clip: float | Literal["off"] | None = None  # ratio of a token with A < 0 has an effect below this (verl: 3.0)
    cispo_clip: CispoClip | None = None  # CISPO's weight: in [1 - low, 1 + high], <= 1 + high, or <= high
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
        if self.variant is not None:
            complete(self, VARIANTS[self.variant])


def complete(options: PolicyOptions, defaults: PolicyOptions) -> PolicyOptions:
    """`options` with what is None taken from `defaults`. ValueError if the parts do not go together."""
    given = {field.name: getattr(options, field.name) for field in fields(PolicyOptions)}
    given = {name: value for name, value in given.items() if value is not None}
    full = replace(defaults, **given)
    if full.policy_loss == "gspo" and full.aggregation != "sequence":
        raise ValueError(
            'option aggregation must be "sequence" with the policy loss gspo, whose ratio is that of a whole row, '
            f'not "{full.aggregation}"'
        )
    if full.policy_loss != "cispo":
        if "cispo_clip" in given:
            raise ValueError("option cispo_clip has an effect with the policy loss cispo only: remove it")
        return full
    if full.dual_clip != "off":
        raise ValueError("option dual_clip has no effect with the policy loss cispo: remove it")
    full = replace(full, cispo_clip=full.cispo_clip or "verl")
    if full.cispo_clip != "verl" and full.clip_low != "off":
        raise ValueError(f'option clip_low must be "off" with cispo_clip "{full.cispo_clip}", which has no lower bound')
    return replace(full, clip_high=TRL_CISPO_HIGH) if full.cispo_clip == "trl" and "clip_high" not in given else full


GRPO = PolicyOptions(
    policy_loss="ppo",
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
    "gspo": replace(GRPO, policy_loss="gspo", clip_low=3e-4, clip_high=4e-4),
    "cispo": replace(GRPO, policy_loss="cispo", clip_low="off", clip_high=0.28, aggregation="token"),
}


@dataclass(frozen=True)
class GrpoOptions(PolicyOptions):
    """Options of an RL term that starts from a named variant."""

    variant: Variant = "grpo"
