"""The tensors of a step, and a term of the loss on them. Imports no torch: tensors are used through their methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from strategies.rows import Role

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["all", "prefix", "continuation"]


@dataclass(frozen=True)
class Batch:
    """Rows of one optimiser step, or of one micro-batch of it, as plain tensors.

    logp [B, T]: log pi_theta of every response token, now. mask [B, T]: 1 on response tokens, else 0.
    role, group [B] (long), reward [B]. old_logp [B, T]: log-probs of the policy that sampled the row; of given tokens
    (demonstrations, prefixes) those of the policy before the step's first update, which only strategies that require
    "given_logp" may use. ref_logp [B, T]: of the start policy. entropy [B, T]: of the next-token distribution, nats.
    prefix [B, T]: 1 on the given tokens that a rollout starts with, None if no row has any. row [B] (long): index of
    the row in the step. soft_logp [B, T]: sum_v q_v log pi_theta(v), q from `Strategy.soft_target`.
    advantage [B] or [B, T]: from `Strategy.advantages` on the whole step.
    """

    logp: Tensor
    mask: Tensor
    role: Tensor
    group: Tensor
    reward: Tensor
    old_logp: Tensor | None = None
    ref_logp: Tensor | None = None
    entropy: Tensor | None = None
    prefix: Tensor | None = None
    row: Tensor | None = None
    soft_logp: Tensor | None = None
    advantage: Tensor | None = None

    def take(self, rows: Tensor | slice) -> Batch:
        """The same batch restricted to `rows` (an index tensor or a slice)."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Batch(**{name: None if value is None else value[rows] for name, value in values.items()})

    def detached(self) -> Batch:
        """The same batch with no gradient through `logp`, `entropy` and `soft_logp`."""
        entropy = None if self.entropy is None else self.entropy.detach()
        soft = None if self.soft_logp is None else self.soft_logp.detach()
        return replace(self, logp=self.logp.detach(), entropy=entropy, soft_logp=soft)

    def part(self, name: Part) -> Tensor:
        """[B, T] mask of a part of the responses: "all", "prefix", or "continuation", what follows the prefix."""
        if name == "all" or (self.prefix is None and name == "continuation"):
            return self.mask
        if self.prefix is None:
            return self.mask * 0
        return self.mask * (self.prefix if name == "prefix" else 1 - self.prefix)

    def is_role(self, *roles: Role) -> Tensor:
        """[B] bool: rows whose role is one of `roles`."""
        found = self.role == int(roles[0])
        for role in roles[1:]:
            found = found | (self.role == int(role))
        return found


@dataclass(frozen=True)
class Component:
    """One term of the loss: the parts of the unified estimator for the rows of the given roles.

    Its coefficient on grad log pi of token (i, t) is

        scale * aggregator(i, t) * mask * stable * advantage * weight * exp(logp - log_reference)

    (HPT, arXiv 2509.04419, Eq. 6, with a token weight and an aggregator added). All parts are taken as constants.
    `log_reference` None means pi_ref = pi_theta, a factor of 1. `part` restricts it to a part of the responses, whose
    tokens and rows the aggregator then counts. A `soft` component puts its coefficient on grad soft_logp instead: the
    cross-entropy to a full-vocabulary target.
    """

    name: str
    roles: tuple[Role, ...]
    advantage: Tensor | float = 1.0  # [B], [B, T] or a number
    log_reference: Tensor | None = None  # [B, T]
    stable: Tensor | None = None  # [B, T], 0 or 1: tokens that a clip takes out
    weight: Tensor | None = None  # [B] or [B, T]
    aggregator: str = "token"  # a key of estimator.AGGREGATORS
    scale: float = 1.0
    part: Part = "all"
    soft: bool = False
