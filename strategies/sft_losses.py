"""The SFT slot: losses on demonstrations that any strategy with an SFT term can use, by name.

In the one form, for a demonstration's token with probability p = pi_theta(y_it); each is a constant on grad log pi:

  plain         1                              negative log-likelihood
  dft           p                              pi_ref = 1. DFT, arXiv 2508.05629
  phi           p (1 - p) 1[p <= cutoff_prob]  pi_ref = 1, weight 1 - p. CHORD-phi, arXiv 2508.11408; cutoff 1: none
  focal         (1 - p)^focal_gamma            weight. Ablation of CHORD, where it collapses; 2
  trust_region  min(1, p / trust_alpha)        pi_ref = max(p, alpha). TrSFT of TRAPO, arXiv 2512.17636; alpha 0.1
  psft          r 1[r <= 1 + psft_clip]        pi_ref = pi_old, r = p / pi_old. PSFT, arXiv 2508.17784; clip 0.28.
                                               With one update a batch r = 1: then it is `plain`
  iw_sft        min(exp(T m_i), iw_max)        weight of the row, m_i its mean of log pi_theta - log pi_0. iw-SFT,
                                               arXiv 2507.12856; T = iw_temperature = 1, iw_max 16
  asft          p, and asft_kl * KL(pi_0 || pi_theta) over the vocabulary. ASFT, arXiv 2509.23753; 0.05
  gift          cross-entropy to softmax(log pi_0 + gift_beta 1[v = y]). GIFT, arXiv 2601.09233; gift_beta 20

Code: yongliang-wu/DFT, Trinity-RFT, Su-my/TRAPO, zwhong714/PSFT, emmyqin/iw_sft (whose code broadcasts wrongly beyond
one row; this is the formula), zhuchichi56/ASFT, zzy1127/GIFT. Losses far smaller than `plain` (dft, phi) want a higher
learning rate than SFT does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies.base import Batch, Component, Role

if TYPE_CHECKING:
    from torch import Tensor

SftLoss = Literal["plain", "dft", "phi", "focal", "trust_region", "psft", "iw_sft", "asft", "gift"]
SftAggregation = Literal["token", "sequence", "token_micro"]

MAX_LOG_RATIO = 20.0  # of psft, whose mask is 0 there: keeps exp from overflowing

NEEDED: dict[str, frozenset[str]] = {
    "psft": frozenset({"given_logp"}),
    "iw_sft": frozenset({"ref_logp"}),
    "asft": frozenset({"soft_target"}),
    "gift": frozenset({"soft_target"}),
}


@dataclass(frozen=True)
class SftLossOptions:
    """Options of the SFT slot."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    sft_loss: SftLoss = "plain"  # token weight of the SFT term
    sft_aggregation: SftAggregation = "token"  # a key of estimator.AGGREGATORS
    cutoff_prob: float = 1.0
    focal_gamma: float = 2.0
    trust_alpha: float = 0.1
    psft_clip: float = 0.28
    iw_temperature: float = 1.0
    iw_max: float = 16.0
    asft_kl: float = 0.05
    gift_beta: float = 20.0

    def __post_init__(self) -> None:
        for option in ("trust_alpha", "cutoff_prob"):
            if not 0.0 < getattr(self, option) <= 1.0:
                raise ValueError(f"option {option} must be in (0, 1], not {getattr(self, option)}")
        for option in ("focal_gamma", "psft_clip", "iw_temperature", "iw_max", "asft_kl", "gift_beta"):
            if not getattr(self, option) >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {getattr(self, option)}")


class SftTerm:
    """The SFT term for given options. Strategies add `requires` to theirs and pass `soft_target` on."""

    def __init__(self, options: SftLossOptions, roles: tuple[Role, ...] = (Role.DEMO,)) -> None:
        self.options = options
        self.roles = roles
        self.requires = NEEDED.get(options.sft_loss, frozenset())

    def components(self, batch: Batch, scale: float = 1.0, aggregator: str | None = None) -> list[Component]:
        """The term times `scale`. `aggregator` None: the option's."""
        aggregator = aggregator or self.options.sft_aggregation
        if self.options.sft_loss == "gift":
            return [Component("sft", self.roles, aggregator=aggregator, scale=scale, soft=True)]
        reference, stable, weight = self._parts(batch)
        sft = Component("sft", self.roles, 1.0, reference, stable, weight, aggregator, scale)
        if self.options.sft_loss != "asft":
            return [sft]
        kl = Component("sft_kl", self.roles, aggregator=aggregator, scale=scale * self.options.asft_kl, soft=True)
        return [sft, kl]

    def _parts(self, batch: Batch) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """(log pi_ref, mask of stability, weight)."""
        options, logp = self.options, batch.logp.detach()
        one = logp * 0
        match options.sft_loss:
            case "dft" | "asft":
                return one, None, None
            case "phi":
                kept = None if options.cutoff_prob == 1.0 else (logp <= math.log(options.cutoff_prob)).to(logp.dtype)
                return one, kept, 1.0 - logp.exp()
            case "focal":
                return None, None, (1.0 - logp.exp()).clamp(min=0.0) ** options.focal_gamma
            case "trust_region":
                return logp.exp().clamp(min=options.trust_alpha).log(), None, None
            case "psft":
                kept = logp - batch.old_logp <= math.log1p(options.psft_clip)
                return batch.old_logp.maximum(logp - MAX_LOG_RATIO), kept.to(logp.dtype), None
            case "iw_sft":
                gap = (logp - batch.ref_logp).masked_fill(batch.mask == 0, 0.0)
                mean = gap.sum(-1) / batch.mask.sum(-1).clamp(min=1)
                return None, None, (options.iw_temperature * mean).exp().clamp(max=options.iw_max)
        return None, None, None

    def token_coefficient(self, batch: Batch) -> Tensor:
        """[B, T] the constants above, of every row whatever its role: before aggregation, 0 where masked."""
        if self.options.sft_loss == "gift":
            return batch.mask.to(batch.logp.dtype)
        reference, stable, weight = self._parts(batch)
        value = batch.mask.to(batch.logp.dtype)
        if reference is not None:
            value = value * (batch.logp.detach() - reference).exp()
        for part in (stable, weight):
            if part is not None:
                value = value * (part.unsqueeze(-1) if part.dim() == 1 else part)
        return value.masked_fill(batch.mask == 0, 0.0)

    def values(self, batch: Batch) -> Tensor:
        """[B, T] values of the loss before aggregation, no gradient: - constant * log p, with the cross-entropy to the
        target where there is one; of every row, 0 where masked."""
        options, batch = self.options, batch.detached()
        value = -self.token_coefficient(batch) * (batch.soft_logp if options.sft_loss == "gift" else batch.logp)
        if options.sft_loss == "asft":
            value = value - options.asft_kl * batch.soft_logp
        return value.masked_fill(batch.mask == 0, 0.0)

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        """[n, V] the start policy (asft), or the start policy tilted towards the token (gift)."""
        if self.options.sft_loss == "asft":
            return ref_log_probs.exp()
        bonus = (ref_log_probs * 0).scatter(-1, target.unsqueeze(-1), self.options.gift_beta)
        return (ref_log_probs + bonus).softmax(-1)
