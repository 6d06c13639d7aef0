"""The output head: log-probs and entropies from hidden states, never holding the logits of more than some positions.

A vocabulary of 150,000 makes the logits of a training step the largest tensor of all (32,768 positions: 20 GB in
float32, several times over under autograd). Here positions pass in pieces, and the backward pass computes each piece's
logits once more; the gradients are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

PIECE = 2**24  # logits at a time, 64 MB in float32


def pieces(positions: int, vocabulary: int) -> list[slice]:
    """Slices of the positions, each of at most `PIECE` logits (one position at least)."""
    step = max(1, PIECE // vocabulary)
    return [slice(start, min(start + step, positions)) for start in range(0, positions, step)]


def selected(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, temperature: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Log-probs of `target` and entropies (nats) of softmax(logits / temperature), each [n].

    hidden: [n, H]; weight: [V, H]; bias: [V] or None; target: [n] ids. The product is computed in hidden's type, all
    else in `dtype`. Both results carry gradients to hidden, weight and bias.
    """
    return _Selected.apply(hidden, weight, bias, target, temperature, dtype)


def expected(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: float,
    dtype: torch.dtype,
    distribution: Callable[[slice], Tensor],
) -> Tensor:
    """[n] expected log-probs under `distribution(positions)`, [m, V] for a slice of m positions, without gradient."""

    def piece(states: Tensor, where: slice) -> Tensor:
        log_probs = _logits(states, weight, bias, temperature, dtype).log_softmax(-1)
        with torch.no_grad():
            target = distribution(where)
        return (target * log_probs).sum(-1)

    found = [
        checkpoint(piece, hidden[where], where, use_reentrant=False, preserve_rng_state=False)
        for where in pieces(len(hidden), len(weight))
    ]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=dtype)


def log_probs(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, dtype: torch.dtype) -> Tensor:
    """[n, V] of a few positions."""
    return _logits(hidden, weight, bias, temperature, dtype).log_softmax(-1)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, dtype: torch.dtype) -> Tensor:
    bias = None if bias is None else bias.to(hidden.dtype)
    return torch.nn.functional.linear(hidden, weight.to(hidden.dtype), bias).to(dtype) / temperature


class _Selected(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        temperature: float,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        logp, entropy, norm = (torch.empty(len(hidden), dtype=dtype, device=hidden.device) for _ in range(3))
        cast = weight.to(hidden.dtype)  # once, not for every piece
        with torch.autocast(hidden.device.type, enabled=False):
            for where in pieces(len(hidden), len(weight)):
                logits = _logits(hidden[where], cast, bias, temperature, dtype)
                norm[where] = logits.logsumexp(-1)
                logp[where] = logits.gather(-1, target[where].unsqueeze(-1)).squeeze(-1) - norm[where]
                logits -= norm[where].unsqueeze(-1)
                entropy[where] = -(logits.exp() * logits).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, target, norm, entropy)
        ctx.temperature, ctx.dtype = temperature, dtype
        return logp, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_logp: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, target, norm, entropy = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        cast = weight.to(hidden.dtype)
        to_hidden = torch.empty_like(hidden) if wants_hidden else None
        to_weight = torch.zeros_like(weight) if wants_weight else None
        to_bias = torch.zeros_like(bias) if bias is not None and wants_bias else None
        with_entropy = bool(grad_entropy.any())
        with torch.autocast(hidden.device.type, enabled=False):
            for where in pieces(len(hidden), len(weight)):
                log_prob = _logits(hidden[where], cast, bias, ctx.temperature, ctx.dtype)
                log_prob -= norm[where].unsqueeze(-1)
                weights = grad_logp[where].unsqueeze(-1)
                if with_entropy:  # d entropy / d logit_j = -p_j (log p_j + entropy)
                    weights = weights + grad_entropy[where].unsqueeze(-1) * (log_prob + entropy[where].unsqueeze(-1))
                grad = log_prob.exp_().mul_(weights).neg_()
                grad.scatter_add_(-1, target[where].unsqueeze(-1), grad_logp[where].unsqueeze(-1))
                grad = grad.div_(ctx.temperature).to(hidden.dtype)
                if to_hidden is not None:
                    to_hidden[where] = grad @ cast
                if to_weight is not None:
                    to_weight += grad.T @ hidden[where]
                if to_bias is not None:
                    to_bias += grad.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None


__all__ = ["expected", "log_probs", "pieces", "selected"]
