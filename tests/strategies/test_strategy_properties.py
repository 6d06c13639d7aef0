"""Properties that every registered strategy must have."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import NEEDS, Role, Sizes, Step
from strategies.estimator import Counts

EARLY, LATE = Step(0, 0.0), Step(30, 0.75, kl=0.01)


VARIATIONS = [
    ("grpo", {"variant": "dapo", "dual_clip": 1.5, "kl_coefficient": 0.1}),
    ("grpo", {"variant": "dr_grpo", "clip_low": "off", "clip_high": "off"}),
    ("fixed", {"mu": 0.5, "sft_loss": "phi", "aggregation": "constant_sum"}),
    ("sft_then_rl", {"switch_step": 3}),
    ("hpt", {"definition": "paper", "gate": 2, "normalize_std": True}),
    ("gac", {"sft_loss": "plain", "z_score": True, "ema_state": "estimate", "alpha_mode": "kl", "clock": "steps"}),
    ("gft", {"rectify": False}),
    ("grpo", {"variant": "gspo"}),
    ("grpo", {"variant": "cispo"}),
    ("fixed", {"mu": 0.5, "sft_loss": "asft"}),
    ("fixed", {"mu": 0.5, "sft_loss": "gift"}),
    ("fixed", {"mu": 0.5, "sft_loss": "iw_sft"}),
    ("fixed", {"mu": 0.5, "sft_loss": "psft"}),
    ("hpt", {"gate_type": "soft0"}),
    ("hpt", {"gate_off": 3, "sft_loss": "phi"}),
    ("hpt", {"gate": 2, "off_coefficient": 1.0, "normalisation": "question"}),
    ("superrl", {"granularity": "batch", "signal": "advantage", "variant": "dapo", "sft_loss": "psft"}),
    ("relift", {"sft_size": 2, "buffer": 3, "sft_loss": "asft"}),
    ("dypo", {"definition": "code", "score": "mean", "reference": True}),
    ("dypo", {"teachers": 3, "sft_loss": "iw_sft", "alpha": 0.2}),
    ("srft", {"definition": "paper"}),
    ("srft", {"definition": "code"}),
    ("luffy", {"reshape": "no_reshape", "baseline": "rollouts"}),
    ("gac", {"signal_advantages": "shuffled", "signal_phi": "constant", "clock": "steps"}),
]


@pytest.fixture(params=[*((name, {}) for name in registry.names()), *VARIATIONS], ids=lambda case: case[0])
def case(request):
    return request.param


@pytest.fixture
def strategy(case, sizes):
    return registry.build(*case, sizes)


@pytest.fixture(params=[EARLY, LATE], ids=["early", "late"])
def step(request):
    return request.param


def total(strategy, batch, step, counts=None):
    parts = estimator.coefficients(strategy, batch, step, counts)
    return sum(parts.values(), torch.zeros_like(batch.logp))


def gradient(strategy, batch, step):
    """(loss, its gradient on logp and, of full-vocabulary targets, on soft_logp, added up). Entropy has none."""
    leaves = [batch.logp.clone().requires_grad_(), batch.soft_logp.clone().requires_grad_()]
    loss, _ = estimator.surrogate(strategy, replace(batch, logp=leaves[0], soft_logp=leaves[1]), step)
    loss.backward()
    return loss, sum(leaf.grad for leaf in leaves if leaf.grad is not None)


def with_advantage(strategy, batch):
    return replace(batch, advantage=strategy.advantages(batch))


@pytest.mark.parametrize("split", [[17], [9, 8], [1, 16], [5, 0, 5, 7], [1] * 17])
def test_micro_batches_and_row_order_do_not_matter(strategy, step, split, random_batch):
    whole = with_advantage(strategy, random_batch())
    counts = Counts.of(whole)
    expected = total(strategy, whole, step)
    assert expected.abs().sum() > 0
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    found = torch.zeros_like(expected)
    for rows in order.split(split):
        found[rows] = total(strategy, whole.take(rows), step, counts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_row_order_does_not_change_advantages(strategy, random_batch):
    batch = random_batch()
    order = torch.randperm(17, generator=torch.Generator().manual_seed(2))
    expected = strategy.advantages(batch)[order]
    torch.testing.assert_close(strategy.advantages(batch.take(order)), expected, rtol=0, atol=1e-12)


def test_padding_does_not_matter(strategy, step, random_batch):
    batch = random_batch()
    expected = total(strategy, batch, step)

    def pad(value, filling):
        return torch.cat([value, torch.full((len(value), 3), filling, dtype=value.dtype)], 1)

    fillings = {"logp": float("nan"), "mask": 0.0, "old_logp": -1e30, "ref_logp": 1e30, "entropy": float("inf")}
    fillings |= {"prefix": 0.0, "soft_logp": float("nan")}
    padded = replace(batch, **{name: pad(getattr(batch, name), filling) for name, filling in fillings.items()})
    found = total(strategy, padded, step)
    assert torch.equal(found[:, :-3], expected)
    assert torch.equal(found[:, -3:], torch.zeros(17, 3, dtype=torch.float64))
    loss, found = gradient(strategy, padded, step)
    assert torch.isfinite(loss)
    torch.testing.assert_close(found[:, :-3], -expected, rtol=0, atol=1e-15)
    assert torch.equal(found[:, -3:], torch.zeros(17, 3, dtype=torch.float64))


def test_gradient_is_minus_the_coefficients(strategy, step, random_batch):
    batch = random_batch()
    _, parts = estimator.surrogate(strategy, replace(batch, logp=batch.logp.clone().requires_grad_()), step)
    assert not any(part.requires_grad for part in parts.values())
    found = gradient(strategy, batch, step)[1]
    torch.testing.assert_close(found, -total(strategy, batch, step), rtol=0, atol=1e-15)


@pytest.mark.parametrize("roles", [[Role.ROLLOUT], [Role.DEMO], []], ids=["rollouts", "demos", "nothing"])
def test_absent_rows_give_zero(strategy, step, roles, random_batch):
    batch = random_batch()
    rows = [i for i, role in enumerate(batch.role.tolist()) if role in roles]
    batch = batch.take(torch.tensor(rows, dtype=torch.long))
    logp = batch.logp.clone().requires_grad_()
    loss, parts = estimator.surrogate(strategy, replace(batch, logp=logp), step)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logp.grad).all()
    for component in strategy.components(with_advantage(strategy, batch), step):
        if not set(roles) & set(component.roles):
            assert torch.equal(parts[component.name], torch.zeros_like(batch.logp))


def test_rows_of_other_roles_cannot_spoil_a_component(strategy, step, random_batch):
    batch = random_batch()
    expected = total(strategy, batch, step)
    if "given_logp" in strategy.requires:
        return
    old = batch.old_logp.masked_fill((batch.role != int(Role.ROLLOUT)).unsqueeze(-1), -1e30)
    assert torch.equal(total(strategy, replace(batch, old_logp=old), step), expected)


def test_boolean_and_float32_masks_keep_the_precision(strategy, step, random_batch):
    batch = random_batch()
    expected = total(strategy, batch, step)
    for dtype in (torch.bool, torch.float32, torch.long):
        assert torch.equal(total(strategy, replace(batch, mask=batch.mask.to(dtype)), step), expected)


def test_only_declared_tensors_are_needed(strategy, step, random_batch):
    batch = random_batch()
    spare = {name: None for name in ("ref_logp", "entropy") if name not in strategy.requires}
    if not strategy.requires & {"old_logp", "given_logp"}:
        spare["old_logp"] = None
    if "soft_target" not in strategy.requires:
        spare["soft_logp"] = None
    assert torch.equal(total(strategy, replace(batch, **spare), step), total(strategy, batch, step))


def test_log_probs_of_given_tokens_are_declared(strategy, step, random_batch):
    batch = random_batch()
    expected = total(strategy, batch, step)
    given = (batch.role != int(Role.ROLLOUT)).unsqueeze(-1) | (batch.prefix > 0)
    found = total(strategy, replace(batch, old_logp=batch.old_logp - 0.1 * given), step)
    if "given_logp" not in strategy.requires:
        assert torch.equal(found, expected)


def test_plan_and_route_agree(strategy, run_steps):
    for record in run_steps(strategy, 0, 4, 5):
        for values in (*record["coefficients"].values(), *record["second"].values()):
            assert torch.isfinite(torch.tensor(values)).all()
        assert all(isinstance(value, float) for value in record["metrics"].values())


def test_state_survives_json(strategy, case, sizes, run_steps):
    run_steps(strategy, 0, 7, 20)
    state = strategy.state_dict()
    text = json.dumps(state)
    assert json.loads(text) == state
    other = registry.build(*case, sizes)
    other.load_state_dict(json.loads(text))
    assert other.state_dict() == state


def test_foreign_state_is_refused(strategy):
    with pytest.raises(ValueError, match=strategy.name):
        strategy.load_state_dict({"foreign": 1.0})


@pytest.mark.parametrize("total_steps", [30, 1000])
def test_resumed_run_equals_uninterrupted_run(strategy, case, sizes, run_steps, total_steps):
    expected = run_steps(strategy, 0, 24, total_steps)
    first = registry.build(*case, sizes)
    run_steps(first, 0, 13, total_steps)
    second = registry.build(*case, sizes)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert run_steps(second, 13, 24, total_steps) == expected[13:]
    assert second.state_dict() == strategy.state_dict()


def test_describes_itself(strategy):
    module = sys.modules[type(strategy).__module__]
    assert strategy.summary and strategy.source
    assert "Source" in module.__doc__ and "four parts" in module.__doc__
    assert strategy.requires <= set(NEEDS)
    assert strategy.parity
    assert "\n" not in strategy.summary


def test_sizes_reach_the_plan():
    plan = registry.build("grpo", {}, Sizes(11, 5, 3, 7)).plan(EARLY)
    assert (plan.prompts, plan.rollouts, plan.pool) == (11, 5, 0)
    plan = registry.build("sft", {}, Sizes(11, 5, 3, 7)).plan(EARLY)
    assert (plan.prompts, plan.rollouts, plan.pool) == (0, 0, 3)
    assert registry.build("sft", {"rows": 9}, Sizes(11, 5, 3, 7)).plan(EARLY).pool == 9
