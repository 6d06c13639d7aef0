"""The one loss form: components -> per-token coefficients on grad log pi -> surrogate loss.

    L = - sum_c scale_c sum_{i,t} agg_c(i,t)
            * stop_grad[ mask * stable * advantage * weight * pi_theta / pi_ref ] * log pi_theta

(unified policy-gradient estimator, HPT, arXiv 2509.04419, Eq. 6, with a weight and an aggregator). The coefficient
of a token is -dL/d log pi, so that a positive one raises the token's probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Role, Step, Strategy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Trained tokens and rows by role, over ALL micro-batches and ranks of the optimiser step."""

    tokens: Mapping[int, float]
    rows: Mapping[int, float]

    @classmethod
    def of(cls, batch: Batch) -> Counts:
        per_row = batch.mask.sum(-1)
        return cls(
            {int(role): float(per_row[batch.role == int(role)].sum()) for role in Role},
            {int(role): float((batch.role == int(role)).sum()) for role in Role},
        )

    def n_tokens(self, roles: tuple[Role, ...]) -> float:
        return sum(self.tokens.get(int(role), 0.0) for role in roles)

    def n_rows(self, roles: tuple[Role, ...]) -> float:
        return sum(self.rows.get(int(role), 0.0) for role in roles)


def _token(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / max(counts.n_tokens(roles), 1.0)


def _token_micro(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / max(Counts.of(batch).n_tokens(roles), 1.0)


def _sequence(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / (batch.mask.sum(-1, keepdim=True).clamp(min=1) * max(counts.n_rows(roles), 1.0))


def _constant(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / (max_response * max(counts.n_rows(roles), 1.0))


def _constant_sum(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / max_response


AGGREGATORS: dict[str, Callable[[Batch, tuple[Role, ...], Counts, int], Tensor]] = {
    "token": _token,  # 1 / tokens of the step: DAPO, corrected SFT
    "sequence": _sequence,  # 1 / (own length * rows of the step): GRPO
    "constant": _constant,  # 1 / (L_max * rows of the step): Dr.GRPO
    "constant_sum": _constant_sum,  # 1 / L_max, not divided by rows: LUFFY, HPT, ReLIFT as released
    "token_micro": _token_micro,  # 1 / tokens of the MICRO-batch: compat with released code; depends on the split
}


def component_coefficients(component: Component, batch: Batch, counts: Counts, max_response: int) -> Tensor:
    """[B, T] coefficients on grad log pi of one component, zero outside its roles. No gradient flows through."""

    def per_token(value: Tensor) -> Tensor:
        return value.unsqueeze(-1) if value.dim() == 1 else value

    batch = replace(batch.detached(), mask=batch.mask.to(batch.logp.dtype))
    rows = batch.is_role(*component.roles).unsqueeze(-1)
    value = AGGREGATORS[component.aggregator](batch, component.roles, counts, max_response) * component.scale
    if component.log_reference is not None:
        value = value * (batch.logp - component.log_reference.detach()).exp()
    for part in (component.advantage, component.stable, component.weight):
        if part is None:
            continue
        value = value * (part if isinstance(part, float | int) else per_token(part.detach()))
    # filled, not multiplied: 0 * inf, on padding or on rows of other roles, must not leak
    return value.masked_fill((batch.mask == 0) | ~rows, 0.0)


def coefficients(strategy: Strategy, batch: Batch, step: Step, counts: Counts | None = None) -> dict[str, Tensor]:
    """Per-token coefficients -dL/d log pi [B, T] of each component of `strategy`, by component name.

    Their sum is the whole coefficient. `batch` is a whole optimiser step, or a micro-batch of it when `counts` of
    the whole step are given. Advantages are computed here if the batch has none. The trainer, the tests and a reader
    with tensors of their own all use this function.
    """
    if batch.advantage is None:
        batch = replace(batch, advantage=strategy.advantages(batch))
    counts = counts or Counts.of(batch)
    batch = batch.detached()
    return {
        component.name: component_coefficients(component, batch, counts, strategy.sizes.max_response)
        for component in strategy.components(batch, step)
    }


def surrogate(
    strategy: Strategy, batch: Batch, step: Step, counts: Counts | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The scalar loss whose gradient is the estimator, and the coefficients it was built from.

    A micro-batch without rows of a component adds exactly 0 and stays attached to the graph. The entropy bonus, the
    one term outside the form, is a token mean over all rows of the step.
    """
    counts = counts or Counts.of(batch)
    parts = coefficients(strategy, batch, step, counts)
    logp = batch.logp.masked_fill(batch.mask == 0, 0.0)
    loss = logp.sum() * 0.0
    for part in parts.values():
        loss = loss - (part * logp).sum()
    if strategy.entropy_coefficient:
        if batch.entropy is None:
            raise ValueError(f"strategy {strategy.name} has an entropy bonus but the batch carries no entropy")
        tokens = max(counts.n_tokens(tuple(Role)), 1.0)
        entropy = batch.entropy.masked_fill(batch.mask == 0, 0.0)
        loss = loss - strategy.entropy_coefficient * entropy.sum() / tokens
    return loss, parts


def group_advantage(
    reward: Tensor, group: Tensor, baseline: Tensor | None = None, std: bool = True, eps: float = 1e-6
) -> Tensor:
    """[B] reward minus the mean of its group, divided by the group's sample standard deviation (n - 1) + eps if `std`.

    `baseline` [B] bool says which rows form mean and deviation (all by default). A group with one baseline row has
    mean 0 and deviation 1, as in verl's GRPO estimator; with none, likewise.
    """
    if baseline is None:
        baseline = reward == reward
    _, index = group.unique(return_inverse=True)
    size = int(index.max()) + 1 if index.numel() else 0
    weight = baseline.to(reward.dtype)
    zeros = reward.new_zeros(size)
    count = zeros.scatter_add(0, index, weight)
    single = count < 1.5
    mean = zeros.scatter_add(0, index, weight * reward) / count.clamp(min=1)
    mean = mean.masked_fill(single, 0.0)
    centred = reward - mean[index]
    if not std:
        return centred
    square = zeros.scatter_add(0, index, weight * centred * centred)
    deviation = (square / (count - 1).clamp(min=1)).sqrt().masked_fill(single, 1.0)
    return centred / (deviation + eps).masked_fill(single, 1.0)[index]
