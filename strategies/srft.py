"""SRFT: SFT and RL on the demonstration and RL on the rollouts in one loss, weighted by the policy's entropy.

Sources: arXiv 2506.19767, Eq. 6-13; fyqqyf/SRFT `mix_core_alg.py`, `mix_actor.py`, `train.sh`; a second implementation
in TsinghuaC3I/Unify-Post-Training, `compute_token_on_off_policy_srft_loss` and `train_srft.sh`.

    L = w_SFT NLL(demonstration) - A f(p)  (demonstration)  - A' log p  (rollouts)
    w_SFT = sft_coefficient exp(-H),   A' = rollout_coefficient exp(H) if correct else -1;   0.5 and 0.1, H detached

A is over rollouts and demonstration. The four parts: SFT: as `sft_loss` says (`sft_losses`), times w_SFT; a wrong
demonstration is imitated too. Demonstration: as in `luffy`. Rollouts: pi_ref = pi_theta, advantage A', no mask.

The authors' paper and code contradict each other in the sign of H in w_SFT. `definition` sets what is left None:

                      "unify" (default)   "paper"          "code"
    sft_entropy       "minus"             "minus"          "plus": w_SFT = 0.5 exp(+H)
    entropy_level     "sequence"          "sequence"       "token"
    normalize_std     false               true (Eq. 7)     false
    reshape           "p_div_p"           "no_reshape"     "p_div_p"
    rollouts          A' log p            A' log p         A r, times 0.1 exp(H) where A > 0; r = pi_theta / pi_old

"unify" is the default because it has the paper's weights, says all that the paper leaves open, and is the one that was
checked against running code. It is not the authors' own: its makers report 44.2 where the paper has 53.2. "code" is
put together from three notes by others who agree on sign, level, the factors 0.5 and 0.1 and p / (p + 0.1) (its
`sft_loss_coef` of -0.5 is subtracted, so that SFT keeps its sign); they are silent on deviation and aggregation, which
are LUFFY's here. "paper" does not say which mean H is, nor how sums are normalised: the row's, and LUFFY's.

Other defaults: RL sums over L_max, not divided by rows (`aggregation`); SFT a mean over demonstration tokens
(`sft_aggregation`; the code's is of each micro-batch, "token_micro"); entropy bonus 0.001; no clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Role, Sizes
from strategies.demo_group import DemoGroup, DemoGroupOptions, counted_together
from strategies.luffy import Reshape, ReshapeOptions, shaped_reference
from strategies.policy_options import Aggregation, PolicyOptions
from strategies.registry import register
from strategies.sft_losses import SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor

DEFINITIONS: dict[str, dict[str, str | bool]] = {
    "unify": {"sft_entropy": "minus", "entropy_level": "sequence", "normalize_std": False, "reshape": "p_div_p"},
    "paper": {"sft_entropy": "minus", "entropy_level": "sequence", "normalize_std": True, "reshape": "no_reshape"},
    "code": {"sft_entropy": "plus", "entropy_level": "token", "normalize_std": False, "reshape": "p_div_p"},
}


@dataclass(frozen=True)
class SrftOptions(ReshapeOptions, DemoGroupOptions, SftLossOptions):
    """Options of `srft`. None takes the value from `definition`."""

    definition: Literal["unify", "paper", "code"] = "unify"
    sft_coefficient: float = 0.5
    rollout_coefficient: float = 0.1
    sft_entropy: Literal["minus", "plus"] | None = None  # sign of H in the weight of SFT
    entropy_level: Literal["sequence", "token"] | None = None  # H of a token, or its mean over the row
    normalize_std: bool | None = None
    reshape: Reshape | None = None
    aggregation: Aggregation = "constant_sum"  # of the RL terms

    def __post_init__(self) -> None:
        ReshapeOptions.__post_init__(self)
        DemoGroupOptions.__post_init__(self)
        SftLossOptions.__post_init__(self)
        for option in ("sft_coefficient", "rollout_coefficient"):
            if not getattr(self, option) >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {getattr(self, option)}")


@register
class Srft(DemoGroup):
    name = "srft"
    summary = "SFT and RL on the demonstration plus RL on rollouts, weighted by the policy's entropy"
    source = "arXiv 2506.19767, Eq. 6-13; fyqqyf/SRFT; TsinghuaC3I/Unify-Post-Training train_srft.sh"
    kind = "group"
    parity = "original code: Unify-Post-Training; other definitions: formula"
    Config = SrftOptions

    def __init__(self, config: SrftOptions, sizes: Sizes) -> None:
        defaults = DEFINITIONS[config.definition]
        config = replace(config, **{name: value for name, value in defaults.items() if getattr(config, name) is None})
        policy = PolicyOptions(normalize_std=config.normalize_std, aggregation=config.aggregation)
        super().__init__(config, sizes, policy)
        self.sft = SftTerm(config)
        rollouts = self.policy.requires if config.definition == "code" else frozenset()
        self.requires = rollouts | self.sft.requires | {"entropy"}

    def advantages(self, batch: Batch) -> Tensor:
        value = super().advantages(batch)
        rollouts = batch.is_role(Role.ROLLOUT)
        positive = (value if self.config.definition == "code" else batch.reward - 0.5) > 0
        self._seen["positive_share"] = float(positive[rollouts].double().mean()) if bool(rollouts.any()) else 0.0
        return value

    def entropy(self, batch: Batch) -> Tensor:
        """[B, T] or [B, 1] entropy in nats, without gradient."""
        entropy = batch.entropy.detach()
        if self.config.entropy_level == "token":
            return entropy
        masked = entropy.masked_fill(batch.mask == 0, 0.0)
        return masked.sum(-1, keepdim=True) / batch.mask.sum(-1, keepdim=True).clamp(min=1)

    def rollout_terms(self, batch: Batch) -> list[Component]:
        positive = self.config.rollout_coefficient * self.entropy(batch).exp()
        if self.config.definition == "code":
            weight = positive.where(batch.advantage.unsqueeze(-1) > 0, 1.0)
            return [replace(term, weight=weight) for term in super().rollout_terms(batch)]
        value = positive.where(batch.reward.unsqueeze(-1) > 0.5, -1.0)
        term = Component("policy", (Role.ROLLOUT,), value, aggregator=self.config.aggregation, part="continuation")
        return [counted_together(term, batch)]

    def demo_terms(self, batch: Batch) -> list[Component]:
        entropy = self.entropy(batch)
        weight = (entropy if self.config.sft_entropy == "plus" else -entropy).exp()
        terms = [self.demo_term(batch, shaped_reference(batch.logp.detach(), self.config))]
        for term in self.sft.components(batch, self.config.sft_coefficient):
            own = 1.0 if term.weight is None else term.weight
            own = own.unsqueeze(-1) if term.weight is not None and own.dim() == 1 else own
            terms.append(replace(term, weight=weight * own))
        return terms

    def metrics(self) -> dict[str, float]:
        """Those of the group, and positive_share: share of rollouts whose weight is exp(H)."""
        return {"positive_share": 0.0, **super().metrics()}

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)
