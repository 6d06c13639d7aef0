"""The losses of the SFT slot: original code, autograd of each loss as its paper writes it, and limits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Batch, Role, Sizes, Step
from strategies.sft_losses import SftLossOptions, SftTerm

STEP = Step(0, 0.5)
SIZES = Sizes(prompts=2, group=4, demos=3, max_response=6)
LOSSES = ("plain", "dft", "phi", "focal", "trust_region", "psft", "iw_sft", "asft", "gift")


def sft(**options):
    return registry.build("sft", options, SIZES)


def total(batch, **options):
    """Coefficients on grad log pi and, of full-vocabulary targets, on grad soft_logp, added up."""
    return sum(estimator.coefficients(sft(**options), batch, STEP).values())


def demos(logp, **tensors):
    """A batch of demonstrations, all tokens of which count unless a mask is given."""
    rows = len(logp)
    tensors.setdefault("mask", torch.ones_like(logp))
    role = torch.full((rows,), int(Role.DEMO))
    return Batch(logp=logp, role=role, group=torch.arange(rows), reward=torch.ones(rows).double(), **tensors)


@pytest.fixture
def batch(random_batch):
    """Demonstrations of several lengths with old and reference log-probs far from the current ones."""
    rows = random_batch()
    return rows.take(rows.role == int(Role.DEMO))


def mean(values, mask, aggregation="token"):
    if aggregation == "token":
        return (values * mask).sum() / mask.sum()
    return ((values * mask).sum(-1) / mask.sum(-1)).mean()


P = (0.01, 0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1, 1, 1, 1)),
        ({"sft_loss": "dft"}, P),
        ({"sft_loss": "phi"}, (0.0099, 0.09, 0.25, 0.09)),
        ({"sft_loss": "phi", "cutoff_prob": 0.5}, (0.0099, 0.09, 0.25, 0)),
        ({"sft_loss": "trust_region"}, (0.1, 1, 1, 1)),
        ({"sft_loss": "focal"}, (0.9801, 0.81, 0.25, 0.01)),
        ({"sft_loss": "focal", "focal_gamma": 1.0}, (0.99, 0.9, 0.5, 0.1)),
        ({"sft_loss": "asft", "asft_kl": 0.0}, P),
    ],
)
def test_table_of_coefficients(options, expected):
    rows = demos(torch.tensor([P], dtype=torch.float64).log(), soft_logp=torch.zeros(1, 4).double())
    assert (4 * total(rows, **options))[0].tolist() == pytest.approx(expected, rel=1e-12)
    values = SftTerm(SftLossOptions(**options)).token_coefficient(rows)
    assert values[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_psft_is_the_ratio_until_it_leaves_the_trust_region():
    ratios = (0.01, 0.79, 1.0, 1.28, 1.2801, 5.0)
    old = torch.full((1, 6), -3.0, dtype=torch.float64)
    rows = demos(old + torch.tensor([ratios], dtype=torch.float64).log(), old_logp=old)
    found = 6 * total(rows, sft_loss="psft", psft_clip=0.28 + 1e-9)
    assert found[0].tolist() == pytest.approx([0.01, 0.79, 1.0, 1.28, 0.0, 0.0], rel=1e-12)


def test_psft_does_not_overflow():
    old = torch.tensor([[-1000.0, -1e30, -2.0, 0.0]])
    rows = demos(torch.tensor([[-1.0, -1.0, -2.0, -1000.0]]), old_logp=old)
    assert (4 * total(rows, sft_loss="psft")).tolist() == [[0.0, 0.0, 1.0, 0.0]]


def as_written(name, logp, batch):
    """[B, T] token losses as the papers write them; `sg` is a stopped gradient."""
    p, sg = logp.exp(), logp.detach().exp()
    match name:
        case "plain":
            return -logp
        case "dft":
            return -sg * logp
        case "phi":
            return -sg * (1 - sg) * logp
        case "focal":
            return -((1 - sg) ** 2) * logp
        case "trust_region":
            return -p / sg.clamp(min=0.1)
        case "psft":
            ratio = (logp - batch.old_logp).exp()
            return -torch.minimum(ratio, ratio.clamp(0.8, 1.28))
        case "iw_sft":
            gap = ((logp.detach() - batch.ref_logp) * batch.mask).sum(-1, keepdim=True)
            return -logp * (gap / batch.mask.sum(-1, keepdim=True)).exp().clamp(0, 16)
    raise AssertionError(name)


@pytest.mark.parametrize("aggregation", ["token", "sequence"])
@pytest.mark.parametrize("name", LOSSES[:7])
def test_gradient_is_that_of_the_loss_as_written(name, aggregation, batch):
    logp = batch.logp.clone().requires_grad_()
    loss = mean(as_written(name, logp, batch), batch.mask, aggregation)
    expected = torch.autograd.grad(loss, logp)[0]
    surrogate, _ = estimator.surrogate(
        sft(sft_loss=name, sft_aggregation=aggregation), replace(batch, logp=logp, row=None), STEP
    )
    found = torch.autograd.grad(surrogate, logp)[0]
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_cutoff_is_the_gradient_of_a_clamped_log_prob(batch):
    logp = batch.logp.clone().requires_grad_()
    p = logp.detach().exp()
    clamped = logp.clamp(max=math.log(0.6))
    expected = torch.autograd.grad(mean(-p * (1 - p) * clamped, batch.mask), logp)[0]
    assert ((expected == 0) & (batch.mask == 1)).any() and (expected != 0).any()
    torch.testing.assert_close(-total(batch, sft_loss="phi", cutoff_prob=0.6), expected, rtol=1e-12, atol=1e-16)


def test_weight_of_iw_sft_is_bounded(batch):
    far = replace(batch, ref_logp=batch.logp - 9.0)
    plain = total(batch)
    torch.testing.assert_close(total(far, sft_loss="iw_sft"), 16.0 * plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(total(far, sft_loss="iw_sft", iw_max=3.0), 3.0 * plain, rtol=1e-12, atol=0)
    hot = total(far, sft_loss="iw_sft", iw_temperature=0.1)
    torch.testing.assert_close(hot, math.exp(0.9) * plain, rtol=1e-12, atol=0)


def vocabulary(batch, size=11):
    """Logits of the policy and of the start policy [B, T, V], and a batch whose log-probs are the policy's."""
    noise = torch.Generator().manual_seed(4)
    rows, width = batch.logp.shape
    logits, reference = (2 * torch.randn(rows, width, size, generator=noise, dtype=torch.float64) for _ in range(2))
    target = torch.randint(size, (rows, width), generator=noise)
    return logits.requires_grad_(), reference.log_softmax(-1), target


def surrogate_on_logits(strategy, logits, reference, target, batch):
    """The surrogate with everything it needs made from logits, as a trainer does."""
    log_probs = logits.log_softmax(-1)
    logp = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    soft = None
    if "soft_target" in strategy.requires:
        q = strategy.soft_target(reference.flatten(0, 1), target.flatten()).view_as(log_probs)
        torch.testing.assert_close(q.sum(-1), torch.ones_like(logp))
        soft = (q * log_probs).sum(-1)
    return estimator.surrogate(strategy, replace(batch, logp=logp, soft_logp=soft), STEP)[0]


@pytest.mark.parametrize("aggregation", ["token", "sequence"])
@pytest.mark.parametrize("name", ["asft", "gift"])
def test_full_vocabulary_losses_equal_autograd_on_logits(name, aggregation, batch):
    logits, reference, target = vocabulary(batch)
    log_probs = logits.log_softmax(-1)
    if name == "asft":  # DFT + 0.1 KL(pi_0 || pi_theta)
        logp = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        kl = (reference.exp() * (reference - log_probs)).sum(-1)
        values = -logp.detach().exp() * logp + 0.1 * kl
    else:  # cross-entropy to softmax(log pi_0 + 3 [v = y])
        tilted = reference + 3.0 * torch.nn.functional.one_hot(target, log_probs.shape[-1])
        values = -(tilted.softmax(-1) * log_probs).sum(-1)
    expected = torch.autograd.grad(mean(values, batch.mask, aggregation), logits)[0]
    strategy = sft(sft_loss=name, sft_aggregation=aggregation, asft_kl=0.1, gift_beta=3.0)
    loss = surrogate_on_logits(strategy, logits, reference, target, batch)
    found = torch.autograd.grad(loss, logits)[0]
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_gift_with_a_large_bonus_is_sft(batch):
    logits, reference, target = vocabulary(batch)

    def gradient(**options):
        loss = surrogate_on_logits(sft(**options), logits, reference, target, batch)
        return torch.autograd.grad(loss, logits)[0]

    torch.testing.assert_close(gradient(sft_loss="gift", gift_beta=200.0), gradient(), rtol=0, atol=1e-15)
    assert not torch.allclose(gradient(sft_loss="gift", gift_beta=2.0), gradient(), atol=1e-3)


def test_limits(batch):
    plain, dft = total(batch), total(batch, sft_loss="dft")
    one_update = replace(batch, old_logp=batch.logp)
    assert torch.equal(total(one_update, sft_loss="psft"), plain)
    torch.testing.assert_close(total(batch, sft_loss="trust_region", trust_alpha=1e-9), plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(total(batch, sft_loss="trust_region", trust_alpha=1.0), dft, rtol=1e-12, atol=0)
    assert torch.equal(total(batch, sft_loss="asft", asft_kl=0.0), dft)
    assert torch.equal(total(batch, sft_loss="focal", focal_gamma=0.0), plain)
    assert torch.equal(total(batch, sft_loss="iw_sft", iw_temperature=0.0), plain)
    start = replace(batch, ref_logp=batch.logp)
    assert torch.equal(total(start, sft_loss="iw_sft"), plain)
    torch.testing.assert_close(total(batch, sft_loss="phi"), dft * (1 - batch.logp.exp()), rtol=1e-12, atol=0)


def test_values(batch):
    plain = SftTerm(SftLossOptions()).values(batch)
    torch.testing.assert_close(plain, -batch.logp * batch.mask, rtol=0, atol=0)
    for name in ("dft", "phi", "focal", "iw_sft"):  # whose loss as written is a constant times - log p
        found = SftTerm(SftLossOptions(sft_loss=name)).values(batch)
        torch.testing.assert_close(found, as_written(name, batch.logp, batch) * batch.mask, rtol=1e-12, atol=0)
    gift = SftTerm(SftLossOptions(sft_loss="gift")).values(batch)
    torch.testing.assert_close(gift, -batch.soft_logp * batch.mask, rtol=0, atol=0)
    asft = SftTerm(SftLossOptions(sft_loss="asft", asft_kl=0.5)).values(batch)
    expected = (-batch.logp.exp() * batch.logp - 0.5 * batch.soft_logp) * batch.mask
    torch.testing.assert_close(asft, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_any_mixture_has_any_loss(name, random_batch):
    rows = random_batch()
    strategy = registry.build("fixed", {"mu": 0.25, "sft_loss": name}, SIZES)
    alone = sft(sft_loss=name)
    assert alone.requires <= strategy.requires
    found = estimator.coefficients(strategy, rows, STEP)
    for term, expected in estimator.coefficients(alone, rows, STEP).items():
        torch.testing.assert_close(found[term], 0.25 * expected, rtol=1e-12, atol=0)
    none = total(rows.take(rows.role == int(Role.ROLLOUT)), sft_loss=name)
    assert torch.equal(none, torch.zeros_like(none))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sft_loss": "dpo"}, "'plain', 'dft'"),
        ({"trust_alpha": 0.0}, r"trust_alpha must be in \(0, 1\]"),
        ({"cutoff_prob": 1.5}, r"cutoff_prob must be in \(0, 1\]"),
        ({"focal_gamma": -1.0}, "focal_gamma must be >= 0"),
        ({"gift_beta": float("nan")}, "gift_beta must be >= 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        sft(**options)


# the originals on logits 4 u - 2 of a vocabulary of 7, one row of the generator a token


def _u(row, token, k):
    return math.modf(abs(math.sin(12.9898 * (row + 1) + 78.233 * (token + 1) + 37.719 * k)) * 43758.5453)[0]


@pytest.fixture
def measured():
    """Logits [8, 5, 7] and targets [8, 5] after the originals' shift by one, and which targets count."""
    values = [[[4 * _u(6 * i + t, v, 5) - 2 for v in range(7)] for t in range(6)] for i in range(8)]
    target = torch.tensor([[(3 * i + 2 * t) % 7 for t in range(6)] for i in range(8)])
    mask = torch.arange(6) < torch.tensor([6, 4, 5, 3, 6, 2, 5, 6]).unsqueeze(-1)
    logits = torch.tensor(values, dtype=torch.float64)[:, :-1]
    return logits.requires_grad_(), target[:, 1:], mask[:, 1:].double()


def log_probs_of(logits, target):
    return logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)


def check_original(expected, strategy, rows, logits):
    loss, _ = estimator.surrogate(strategy, rows, STEP)
    found = torch.autograd.grad(loss, logits)[0].abs().sum()
    value = strategy.sft.values(rows).sum() / rows.mask.sum()
    assert float(found) == pytest.approx(expected["grad_l1"], rel=0, abs=1e-9)
    assert float(value) == pytest.approx(expected["loss"], rel=0, abs=1e-9)


def test_dft_equals_trl(golden, measured):
    logits, target, mask = measured
    rows = demos(log_probs_of(logits, target), mask=mask)
    check_original(golden["TRL dft_loss"], sft(sft_loss="dft"), rows, logits)


def test_iw_sft_equals_released_code_on_one_row(golden, measured):
    """The measured reference policy had 0.7 times the logits."""
    (case,) = [name for name in golden if name.startswith("iw-SFT")]
    logits, target, _ = measured
    reference = log_probs_of(0.7 * logits.detach(), target)
    rows = demos(log_probs_of(logits, target), ref_logp=reference).take(slice(0, 1))
    check_original(golden[case], sft(sft_loss="iw_sft"), rows, logits)
