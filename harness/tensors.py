"""Rows as tensors: right-padded buckets of like length for the forward pass, [B, T] response tensors around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.base import Role, Row

# widths are rounded up, so that the allocator and the matrix library meet few different shapes
WIDTH_STEP = 8
# tokens of one forward pass, padding included: rows of like length share a pass; on a CPU its activations fit a cache
BUCKET_TOKENS = {"cpu": 2048, "cuda": 32768}


@dataclass(frozen=True)
class Bucket:
    """Right-padded rows of like length, for one forward pass."""

    ids: Tensor  # [rows, width]
    source: Tensor  # [n] flat indices into ids of the tokens before the n response tokens
    target: Tensor  # [n] the response tokens
    place: Tensor  # [n] flat indices of the response tokens in [B, T]


@dataclass(frozen=True)
class Tokens:
    """The rows of a micro-batch: [B, T] of the responses, and the buckets they are computed in."""

    mask: Tensor  # [B, T] float
    old_logp: Tensor  # [B, T] as far as it is known, else 0
    known: Tensor  # [B, T] bool: where old_logp is known
    prefix: Tensor | None  # [B, T] 1 on given tokens that a rollout starts with; None if no row of the step has any
    buckets: tuple[Bucket, ...]


def length(row: Row) -> int:
    return len(row.prompt) + len(row.response)


def padded(width: int) -> int:
    return -(-width // WIDTH_STEP) * WIDTH_STEP


def by_length(rows: Sequence[Row]) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: (length(rows[i]), i))


def bucketed(rows: Sequence[Row], tokens: int) -> list[list[int]]:
    """Indices of rows, shortest first, cut so that a bucket holds at most `tokens` tokens (one row at least)."""
    buckets: list[list[int]] = []
    for i in by_length(rows):
        if not buckets or (len(buckets[-1]) + 1) * padded(length(rows[i])) > tokens:
            buckets.append([])
        buckets[-1].append(i)
    return buckets


def response_mask(rows: Sequence[Row], dtype: torch.dtype) -> Tensor:
    """[B, T] 1 on response tokens."""
    lengths = torch.tensor([len(row.response) for row in rows])
    return (torch.arange(int(lengths.max())) < lengths.unsqueeze(1)).to(dtype)


def prefix_mask(rows: Sequence[Row], width: int, dtype: torch.dtype) -> Tensor:
    """[B, T] 1 on the given tokens that rollouts start with."""
    given = torch.tensor([row.prefix if row.role == Role.ROLLOUT else 0 for row in rows])
    return (torch.arange(width) < given.unsqueeze(1)).to(dtype)


def tokens_of(rows: Sequence[Row], prefixed: bool, device: torch.device, dtype: torch.dtype) -> Tokens:
    """Rows as tensors. Padding is on the right: under causal attention it cannot reach what is before it.

    `prefixed`: whether any row of the whole step has a prefix.
    """
    mask = response_mask(rows, dtype)
    old, known = torch.zeros(mask.shape, dtype=dtype), torch.zeros(mask.shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        for values, start in ((row.given_logp, 0), (row.logp, row.prefix)):
            if values is not None:
                old[i, start : start + len(values)] = torch.tensor(values, dtype=dtype)
                known[i, start : start + len(values)] = True
    prefix = prefix_mask(rows, mask.shape[1], dtype).to(device) if prefixed else None
    span = mask.shape[1]
    buckets = tuple(_bucket(rows, index, span, device) for index in bucketed(rows, BUCKET_TOKENS[device.type]))
    return Tokens(mask.to(device), old.to(device), known.to(device), prefix, buckets)


def _bucket(rows: Sequence[Row], index: Sequence[int], span: int, device: torch.device) -> Bucket:
    width = padded(max(length(rows[i]) for i in index))
    ids = torch.zeros(len(index), width, dtype=torch.long)
    source, target, place = [], [], []
    for j, i in enumerate(index):
        row, n = rows[i], len(rows[i].response)
        ids[j, : length(row)] = torch.tensor(row.prompt + row.response)
        first = j * width + len(row.prompt) - 1
        source += range(first, first + n)
        target += row.response
        place += range(i * span, i * span + n)
    flat = (torch.tensor(part, device=device) for part in (source, target, place))
    return Bucket(ids.to(device), *flat)
