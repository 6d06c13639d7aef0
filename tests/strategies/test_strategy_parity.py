"""Gradients against the original implementations, and against autograd of the losses as the papers write them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Role, Sizes, Step
from strategies.estimator import group_advantage

STEP = Step(0, 0.9)
SIZES = Sizes(prompts=2, group=4, demos=2, max_response=6)  # the originals divide by the padded width, 6
UNCLIPPED = {"clip_low": "off", "clip_high": "off"}
RELEASED = {**UNCLIPPED, "normalize_std": False, "aggregation": "constant_sum"}


def gradient(name, options, batch, factor=1.0):
    """dL/dlogp of the surrogate, by autograd."""
    logp = batch.logp.clone().requires_grad_()
    strategy = registry.build(name, options, SIZES)
    loss, _ = estimator.surrogate(strategy, replace(batch, logp=logp, entropy=torch.zeros_like(logp)), STEP)
    return factor * torch.autograd.grad(loss, logp)[0]


def check(found, expected, tolerance=1e-9):
    """Against the printed digits of an original."""
    numbers = {
        "grad_l1": found.abs().sum(),
        "grad_sum": found.sum(),
        "g_first": found[0, 0],
        "g_demo": found[3, 1],
    }
    for name, value in numbers.items():
        assert float(value) == pytest.approx(expected[name], rel=0, abs=tolerance), name


def all_rollouts(batch):
    """The originals of pure RL losses were measured with every row as a rollout."""
    return replace(batch, role=torch.zeros_like(batch.role))


@pytest.mark.parametrize(
    ("case", "aggregation"),
    [
        ("verl vanilla token-mean eps=(0.2,0.28)", "token"),
        ("verl vanilla seq-mean-token-mean eps=(0.2,0.28)", "sequence"),
        ("verl vanilla seq-mean-token-sum-norm eps=(0.2,0.28)", "constant_sum"),
        ("open-instruct dapo token-mean", "token"),
    ],
)
def test_grpo_equals_verl(case, aggregation, golden, parity_batch):
    options = {"variant": "dapo", "aggregation": aggregation, "dual_clip": 3.0}
    # verl adds 1e-8 to the length of each row
    tolerance = 1e-8 if aggregation == "sequence" else 1e-9
    check(gradient("grpo", options, all_rollouts(parity_batch)), golden[case], tolerance)


def test_dapo_variant_is_verls_token_mean(golden, parity_batch):
    found = gradient("grpo", {"variant": "dapo"}, all_rollouts(parity_batch))
    check(found, golden["verl vanilla token-mean eps=(0.2,0.28)"])


def test_unclipped_sum_equals_relift(golden, parity_batch):
    found = gradient("grpo", RELEASED, all_rollouts(parity_batch))
    check(found, golden["ReLIFT RL step (no clip, /Lmax)"])


@pytest.mark.parametrize("aggregation", ["token", "token_micro"])
def test_sft_equals_relift_fine_tuning(aggregation, golden, parity_batch):
    check(gradient("sft", {"sft_aggregation": aggregation}, parity_batch), golden["ReLIFT FT step (token-mean NLL)"])


def test_fixed_equals_rl_with_sft_loss(golden, parity_batch):
    # the original adds both losses with weight 1
    found = gradient("fixed", {**RELEASED, "mu": 0.5}, parity_batch, factor=2.0)
    check(found, golden["RL w/ SFT loss: sft*1.0 + pg(/Lmax,noclip)"])


def test_released_hpt_equals_rl_with_sft_loss(golden, parity_batch):
    # HPT's two terms are the same functions; its gate only picks the rows
    found = gradient("hpt", {"normalisation": "released"}, parity_batch)
    check(found, golden["RL w/ SFT loss: sft*1.0 + pg(/Lmax,noclip)"])


def test_gft_equals_released_code(golden, parity_batch):
    found = gradient("gft", {"tau": 0.1}, parity_batch)
    check(found, golden["GFT tau=0.1 (GRPO-std advantages over teacher+student group)"])


@pytest.mark.parametrize(
    ("case", "std", "split"),
    [
        ("LUFFY adv nostd (row 0,1,3,7 tok0)", False, False),
        ("LUFFY adv std   (row 0,1,3,7 tok0)", True, False),
        ("LUFFY adv split (row 0,1,3,7 tok0)", False, True),
    ],
)
def test_group_advantage_equals_luffy(case, std, split, golden, parity_batch):
    baseline = parity_batch.role == int(Role.ROLLOUT) if split else None
    found = group_advantage(parity_batch.reward, parity_batch.group, baseline, std=std)[[0, 1, 3, 7]]
    assert found.tolist() == pytest.approx(golden[case], rel=0, abs=6e-7)  # printed with six decimals


def by_autograd(loss, batch):
    """d loss(logp) / d logp."""
    logp = batch.logp.clone().requires_grad_()
    return torch.autograd.grad(loss(logp), logp)[0]


def wide(batch):
    """Ratios far from 1, some beyond the clamp and what exp can hold, and rollouts only."""
    drift = 3.0 * torch.sin(torch.arange(batch.logp.numel(), dtype=torch.float64)).view_as(batch.logp)
    drift[0, :2] = torch.tensor([1000.0, -1000.0])
    return all_rollouts(replace(batch, old_logp=batch.logp - drift))


@pytest.mark.parametrize("options", [{}, {"dual_clip": 3.0}, {"clip_low": "off"}, UNCLIPPED, {"clip_high": 0.5}])
def test_clip_mask_equals_autograd_of_min_and_clip(options, parity_batch):
    batch = wide(parity_batch)
    low, high = options.get("clip_low", 0.2), options.get("clip_high", 0.2)
    advantage = group_advantage(batch.reward, batch.group).unsqueeze(-1)

    def loss(logp):
        ratio = (logp - batch.old_logp).clamp(-20, 20).exp()
        lower = float("-inf") if low == "off" else 1 - low
        upper = float("inf") if high == "off" else 1 + high
        value = torch.minimum(ratio * advantage, ratio.clamp(lower, upper) * advantage)
        if "dual_clip" in options:
            value = torch.where(advantage < 0, torch.maximum(value, 3.0 * advantage), value)
        return -((value * batch.mask).sum(-1) / batch.mask.sum(-1)).mean()

    expected = by_autograd(loss, batch)
    assert (expected == 0).sum() > (batch.mask == 0).sum()  # something is clipped
    torch.testing.assert_close(gradient("grpo", options, batch), expected, rtol=1e-11, atol=1e-12)


def test_kl_penalty_equals_autograd_of_k3(parity_batch):
    batch = all_rollouts(parity_batch)
    batch = replace(batch, ref_logp=batch.logp + 0.7 * torch.cos(batch.logp * 9))
    plain = gradient("grpo", {}, batch)

    def loss(logp):
        difference = batch.ref_logp - logp
        k3 = difference.exp() - difference - 1
        return 0.3 * ((k3 * batch.mask).sum(-1) / batch.mask.sum(-1)).mean()

    expected = plain + by_autograd(loss, batch)
    torch.testing.assert_close(gradient("grpo", {"kl_coefficient": 0.3}, batch), expected, rtol=0, atol=1e-12)
    assert registry.build("grpo", {"kl_coefficient": 0.3}, SIZES).requires == {"old_logp", "ref_logp"}


def test_chord_phi_equals_autograd(parity_batch):
    demo = (parity_batch.role == int(Role.DEMO)).unsqueeze(-1) * parity_batch.mask

    def loss(logp):
        p = logp.exp().detach()
        return -(p * (1 - p) * logp * demo).sum() / demo.sum()

    expected = by_autograd(loss, parity_batch)
    torch.testing.assert_close(
        gradient("fixed", {"mu": 1.0, "sft_loss": "phi"}, parity_batch), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.7, 1.0])
def test_gft_equals_autograd(tau, parity_batch):
    batch = parity_batch
    advantage = group_advantage(batch.reward, batch.group).unsqueeze(-1)

    def loss(logp):
        p = logp.detach().exp()
        return -(advantage * torch.where(p > tau, 1.0, p) * logp * batch.mask).sum() / batch.mask.sum()

    expected = by_autograd(loss, batch)
    torch.testing.assert_close(gradient("gft", {"tau": tau}, batch), expected, rtol=0, atol=1e-12)
