"""The one loss form: components -> per-token coefficients on grad log pi -> surrogate loss.

    L = - sum_c scale_c sum_{i,t} agg_c(i,t)
            * stop_grad[ mask * stable * advantage * weight * pi_theta / pi_ref ] * log pi_theta

(unified policy-gradient estimator, HPT, arXiv 2509.04419, Eq. 6, with a weight and an aggregator). The coefficient
of a token is -dL/d log pi, so that a positive one raises the token's probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Role, Step, Strategy
from strategies.counts import AGGREGATORS, Counts

if TYPE_CHECKING:
    from torch import Tensor


def component_coefficients(component: Component, batch: Batch, counts: Counts, max_response: int) -> Tensor:
    """[B, T] coefficients on grad log pi of one component, zero outside its roles. No gradient flows through."""

    def per_token(value: Tensor) -> Tensor:
        return value.unsqueeze(-1) if value.dim() == 1 else value

    batch = replace(batch.detached(), mask=batch.mask.to(batch.logp.dtype))
    batch = replace(batch, mask=batch.part(component.part), prefix=None)
    rows = batch.is_role(*component.roles).unsqueeze(-1)
    counts = counts.of_part(component.part)
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
    return _coefficients(strategy.components(batch, step), batch, counts, strategy.sizes.max_response)


def _coefficients(
    components: Sequence[Component], batch: Batch, counts: Counts, max_response: int
) -> dict[str, Tensor]:
    return {c.name: component_coefficients(c, batch, counts, max_response) for c in components}


def surrogate(
    strategy: Strategy, batch: Batch, step: Step, counts: Counts | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The scalar loss whose gradient is the estimator, and the coefficients it was built from.

    A micro-batch without rows of a component adds exactly 0 and stays attached to the graph. The entropy bonus, the
    one term outside the form, is a token mean over all rows of the step.
    """
    counts = counts or Counts.of(batch)
    if batch.advantage is None:
        batch = replace(batch, advantage=strategy.advantages(batch))
    components = strategy.components(batch.detached(), step)
    parts = _coefficients(components, batch.detached(), counts, strategy.sizes.max_response)
    loss = loss_of(components, parts, batch)
    if strategy.entropy_coefficient:
        if batch.entropy is None:
            raise ValueError(f"strategy {strategy.name} has an entropy bonus but the batch carries no entropy")
        tokens = max(counts.n_tokens(tuple(Role)), 1.0)
        entropy = batch.entropy.masked_fill(batch.mask == 0, 0.0)
        loss = loss - strategy.entropy_coefficient * entropy.sum() / tokens
    return loss, parts


def branch_losses(strategy: Strategy, batch: Batch, step: Step, counts: Counts) -> dict[str, Tensor]:
    """The surrogate losses of `Strategy.branches`, "rl" and "sft", without the weights of the mix."""
    found = {}
    for name, components in strategy.branches(batch.detached(), step).items():
        parts = _coefficients(components, batch.detached(), counts, strategy.sizes.max_response)
        found[name] = loss_of(components, parts, batch)
    return found


def loss_of(components: Sequence[Component], parts: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """- sum of coefficients * log pi, or * soft_logp; exactly 0, and attached to the graph, where there is nothing."""
    logp = batch.logp.masked_fill(batch.mask == 0, 0.0)
    loss = logp.sum() * 0.0
    for component in components:
        if component.soft and batch.soft_logp is None:
            raise ValueError(f"component {component.name} has a full-vocabulary target but the batch has no soft_logp")
        target = batch.soft_logp.masked_fill(batch.mask == 0, 0.0) if component.soft else logp
        loss = loss - (parts[component.name] * target).sum()
    return loss


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
