"""What the methods share that start rollouts from the beginning of a demonstration, or show it in the prompt.

The last token of a demonstration is its end-of-text token. A prefix, or hint, never holds it: one token at least is
left to sample, so that "the whole demonstration" below is its response without the last token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Row
from strategies.sft_losses import SftTerm

if TYPE_CHECKING:
    from torch import Tensor


def check_unit(options: object, *names: str) -> None:
    """ValueError unless the named options lie in [0, 1]."""
    for name in names:
        if not 0.0 <= getattr(options, name) <= 1.0:
            raise ValueError(f"option {name} must be in [0, 1], not {getattr(options, name)}")


def check_at_least_0(options: object, *names: str) -> None:
    """ValueError unless the named options are >= 0."""
    for name in names:
        if not getattr(options, name) >= 0.0:
            raise ValueError(f"option {name} must be >= 0, not {getattr(options, name)}")


def cut(demo: Row, share: float) -> int:
    """floor(share * tokens) of a demonstration, at most the whole of it."""
    return min(math.floor(share * len(demo.response) + 1e-9), len(demo.response) - 1)


def step_ends(demo: Row) -> tuple[int, ...]:
    """Token counts at which the steps of a demonstration end, the last at the whole of it; without known steps every
    token is a step. Empty if there is nothing to give."""
    whole = len(demo.response) - 1
    inner = {n for n in demo.steps if 0 < n < whole} if demo.steps else set(range(1, whole))
    return tuple(sorted(inner | {whole})) if whole > 0 else ()


def chunk_ends(demo: Row, chunks: int) -> tuple[int, ...]:
    """Token counts at which min(chunks, steps) runs of whole steps end, of nearly equal numbers of steps."""
    ends = step_ends(demo)
    n = min(chunks, len(ends))
    return tuple(ends[round(i / n * len(ends)) - 1] for i in range(1, n + 1))


def rollouts_of(groups: Sequence[Group]) -> list[Row]:
    """The rows of methods that train on rollouts only: demonstrations enter through prefixes and hints."""
    return [row for group in groups for row in group.rollouts]


def subgroup(batch: Batch) -> Tensor:
    """[B] (long) a number that rows share which have the same prompt and the same length of prefix."""
    return batch.group * (batch.mask.shape[-1] + 1) + batch.part("prefix").sum(-1).long()


def group_mean(value: Tensor, key: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """[B] mean of `value` over the `rows` (bool) with the row's `key`, 0 if there are none; and how many there are."""
    _, index = key.unique(return_inverse=True)
    zeros = value.new_zeros(int(index.max()) + 1 if index.numel() else 0)
    weight = rows.to(value.dtype)
    count = zeros.scatter_add(0, index, weight)
    total = zeros.scatter_add(0, index, weight * value)
    return (total / count.clamp(min=1))[index], count[index]


def most_uncertain(entropy: Tensor, given: Tensor, share: float, by_row: bool) -> Tensor:
    """[B, T] bool: the `share` (rounded up) of the `given` tokens with the highest entropy, of each row or of all.

    At equal entropy the later token is taken.
    """
    flat = entropy.masked_fill(~given, float("inf"))  # others rank last
    if not by_row:
        flat = flat.reshape(1, -1)
    n = given.reshape(flat.shape).sum(-1, keepdim=True).double()
    left_out = (n * (1.0 - share) + 1e-9).floor()
    rank = flat.sort(dim=-1, stable=True).indices.argsort(dim=-1)
    return given & (rank >= left_out).reshape(given.shape)


def prefix_terms(sft: SftTerm, batch: Batch, scale: float = 1.0) -> list[Component]:
    """The SFT term `sft` on the prefixes of rollouts; statistics of a row are those of its prefix."""
    given = replace(batch, mask=batch.part("prefix"))
    return [replace(component, part="prefix") for component in sft.components(given, scale)]
