"""The output head in pieces against the plain log-softmax of all logits."""

from __future__ import annotations

import pytest
import torch

from harness import head

N, H, V = 23, 5, 11


def data(dtype: torch.dtype = torch.float64, bias: bool = False) -> tuple[torch.Tensor, ...]:
    make = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, H, generator=make, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(V, H, generator=make, dtype=torch.float64).to(dtype).requires_grad_()
    offset = torch.randn(V, generator=make, dtype=torch.float64).to(dtype).requires_grad_() if bias else None
    return hidden, weight, offset, torch.randint(V, (N,), generator=make)


def plain(hidden, weight, offset, temperature):
    logits = hidden @ weight.T if offset is None else hidden @ weight.T + offset
    return (logits / temperature).log_softmax(-1)


@pytest.mark.parametrize("piece", [1, 3 * V, 10**6])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_are_those_of_the_whole(monkeypatch, piece, bias):
    monkeypatch.setattr(head, "PIECE", piece)
    hidden, weight, offset, target = data(bias=bias)
    inputs = [tensor for tensor in (hidden, weight, offset) if tensor is not None]
    upstream = torch.randn(2, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for scale in (0.0, 1.0):  # with and without a gradient of the entropy
        logp, entropy = head.selected(hidden, weight, offset, target, 0.7, torch.float64)
        found = torch.autograd.grad((upstream[0] * logp + scale * upstream[1] * entropy).sum(), inputs)
        whole = plain(hidden, weight, offset, 0.7)
        expected = whole[torch.arange(N), target], -(whole.exp() * whole).sum(-1)
        torch.testing.assert_close((logp, entropy), expected, rtol=1e-12, atol=1e-12)
        exact = torch.autograd.grad((upstream[0] * expected[0] + scale * upstream[1] * expected[1]).sum(), inputs)
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("piece", [2 * V, 10**6])
def test_expected_log_probs(monkeypatch, piece):
    monkeypatch.setattr(head, "PIECE", piece)
    hidden, weight, _, _ = data()
    target = torch.randn(N, V, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(-1)
    found = head.expected(hidden, weight, None, 1.3, torch.float64, lambda where: target[where])
    exact = (target * plain(hidden, weight, None, 1.3)).sum(-1)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((values * values).sum(), (hidden, weight)) for values in (found, exact)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_bfloat16_states_accumulate_the_weights_gradient_in_float32(monkeypatch):
    monkeypatch.setattr(head, "PIECE", V)  # one position at a time: 23 summands
    hidden, weight, _, target = data(torch.float32)
    logp, _ = head.selected(hidden.bfloat16(), weight, None, target, 1.0, torch.float32)
    (found,) = torch.autograd.grad(logp.sum(), weight)
    (exact,) = torch.autograd.grad(plain(hidden, weight, None, 1.0)[torch.arange(N), target].sum(), weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.05)


def test_no_more_than_a_piece_is_held(monkeypatch):
    largest = 0
    original = head._logits

    def watched(*arguments):
        nonlocal largest
        logits = original(*arguments)
        largest = max(largest, logits.numel())
        return logits

    monkeypatch.setattr(head, "_logits", watched)
    monkeypatch.setattr(head, "PIECE", 4 * V)
    hidden, weight, _, target = data()
    logp, entropy = head.selected(hidden, weight, None, target, 1.0, torch.float64)
    (logp.sum() + entropy.sum()).backward()
    assert largest == 4 * V


def test_no_positions():
    hidden, weight, _, _ = data()
    logp, entropy = head.selected(hidden[:0], weight, None, torch.empty(0, dtype=torch.long), 1.0, torch.float64)
    assert logp.shape == entropy.shape == (0,)
    (logp.sum() + entropy.sum()).backward()
    assert weight.grad is not None and not weight.grad.any()
