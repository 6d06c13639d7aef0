"""Random numbers of one sample and the draw of a token: pure functions on tensors, each row on its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Constants of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) as signed 64-bit integers; products wrap modulo 2**64.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

# 52 bits: then u * total < total in float64 whatever the rounding, so the inverse CDF cannot run off the end.
_BITS = 52

# Vocabularies above this size are searched in two levels: block sums are vectorised, a full cumulative sum is not.
_BLOCK = 512


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (`>>` is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The output function of SplitMix64, a bijection of 64-bit integers."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def uniforms(seeds: Tensor, start: int, stop: int) -> Tensor:
    """Uniform numbers in [0, 1), float64 [stop - start, B]: entry (t - start, i) is a function of (seeds[i], t) alone.

    `seeds` is int64 [B]. Each seed is hashed to the state of a SplitMix64 stream of its own; t counts along it.
    """
    t = torch.arange(start + 1, stop + 1, device=seeds.device, dtype=torch.int64)
    bits = _mix(_mix(seeds + _GAMMA)[None, :] + t[:, None] * _GAMMA)
    return _shift(bits, 64 - _BITS).to(torch.float64) * 2.0**-_BITS


def _search(weights: Tensor, u: Tensor) -> Tensor:
    """Smallest index whose cumulative weight exceeds u * total: weights >= 0 [B, K], u float64 [B] -> [B]."""
    cdf = weights.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True)[:, 0]


def inverse_cdf(weights: Tensor, u: Tensor) -> Tensor:
    """Index drawn in proportion to `weights` (>= 0, float32 [B, V], row sums > 0) by u in [0, 1), float64 [B]."""
    size = weights.shape[1]
    if size <= 2 * _BLOCK:
        return _search(weights, u)
    blocks = F.pad(weights, (0, -size % _BLOCK)).unflatten(1, (-1, _BLOCK))
    cdf = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
    target = (u * cdf[:, -1])[:, None]
    block = torch.searchsorted(cdf, target, right=True)
    upper = cdf.gather(1, block)
    lower = cdf.gather(1, (block - 1).clamp_(min=0)).where(block > 0, 0.0)
    rest = ((target - lower) / (upper - lower)).clamp_(0.0, 1.0 - 2.0**-_BITS)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, _BLOCK))[:, 0]
    return block[:, 0] * _BLOCK + _search(inside, rest[:, 0])


def draw(logits: Tensor, u: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Next tokens int64 [B] and their log-probs float32 [B] from `logits` (float32 [B, V]) and u (float64 [B]).

    Nucleus (Holtzman et al., 2020): the smallest set of most probable tokens whose mass reaches `top_p`, renormalised.
    The log-prob is that of softmax(logits / temperature) before truncation; `temperature` 0 takes the most probable
    token, with its log-prob under softmax(logits).
    """
    if temperature not in (0, 1):
        logits = logits / temperature
    logp = logits.log_softmax(-1)
    if temperature == 0:
        token = logits.argmax(-1)
    elif top_p < 1:
        probs, index = logp.exp().sort(dim=-1, descending=True, stable=True)
        cdf = probs.cumsum(-1, dtype=torch.float64)
        outside = cdf - probs >= top_p
        outside[:, 0] = False
        token = index.gather(1, inverse_cdf(probs.masked_fill(outside, 0.0), u)[:, None])[:, 0]
    else:
        token = inverse_cdf(logp.exp(), u)
    return token, logp.gather(1, token[:, None])[:, 0]
