"""Losses on pairs of a group's correct and wrong rollouts, as advantages of single rows.

    L = mean over groups, mean over pairs (s, f), of -log sigmoid(beta (score_s - score_f))

A first pass without gradient takes every row's score; the rows' advantages -dL / dscore at that anchor then make a
surrogate that rows can be given to in any order and split, with the gradient of L at the anchor. Source: the form of
Tocci-Zhu/DYPO `compute_gal_pairwise_loss_and_advantages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Role

if TYPE_CHECKING:
    from torch import Tensor

Score = Literal["sum", "mean"]


def pair_signals(batch: Batch, score: Score, reference: bool) -> dict[str, Tensor]:
    """[B] each: a row's score, its group, and its outcome: 1 correct, 0 wrong, -1 for what is no rollout.

    The score is the sum or the mean over the row's own tokens (after a given prefix) of log pi_theta, less
    log pi_ref if `reference`.
    """
    mask = batch.part("continuation")
    logp = batch.logp.detach() - batch.ref_logp if reference else batch.logp.detach()
    value = logp.masked_fill(mask == 0, 0.0).sum(-1)
    if score == "mean":
        value = value / mask.sum(-1).clamp(min=1)
    outcome = (batch.reward > 0.5).to(value.dtype).masked_fill(~batch.is_role(Role.ROLLOUT), -1.0)
    return {"score": value, "group": batch.group, "outcome": outcome}


def pair_advantages(score: Tensor, group: Tensor, outcome: Tensor, beta: float) -> Tensor:
    """[N] -dL/dscore. Rows that are in no pair have 0; L is a mean over the groups that have one."""
    found, groups = score * 0.0, 0
    for number in group[outcome == 1].unique():
        right, wrong = (group == number) & (outcome == 1), (group == number) & (outcome == 0)
        if not wrong.any():
            continue
        gap = score[right].unsqueeze(1) - score[wrong].unsqueeze(0)
        pull = beta * (-beta * gap).sigmoid() / gap.numel()
        found[right], found[wrong] = pull.sum(1), -pull.sum(0)
        groups += 1
    return found / max(groups, 1)


def pair_component(
    name: str, batch: Batch, advantages: Tensor, score: Score, max_response: int, scale: float
) -> Component:
    """The surrogate times `scale`. `advantages` [rows of the step] are found by `batch.row`."""
    weight = None
    if score == "mean":
        weight = 1.0 / batch.part("continuation").to(batch.logp.dtype).sum(-1).clamp(min=1)
    return Component(
        name,
        (Role.ROLLOUT,),
        advantage=advantages.to(batch.logp)[batch.row],
        weight=weight,
        aggregator="constant_sum",
        scale=scale * max_response,  # undoes the aggregator's 1 / L_max: a score is a sum over tokens
        part="continuation",
    )
