"""The optimiser step: clipping, skipping, learning rates, precision."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from harness.core import Learner
from strategies.base import Role, Step
from tests.core.learning import gradients, make_case, random_model


@pytest.fixture
def learner(make_spec):
    """(name, options, train section) -> a Learner of a float32 model, and rows for it."""

    def make(name="gac", options=None, **train):
        model = random_model(torch.float32)
        case = make_case(name, options or {}, model)
        spec = make_spec(train={"warmup": 0, "schedule": "constant", "learning_rate": 1e-3, "grad_clip": 1e9, **train})
        return Learner(model, case.strategy(), spec, None), case.rows

    return make


def state(made):
    return copy.deepcopy((made.model.state_dict(), made.optimizers["main"].state_dict()["state"]))


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    return True


def different(a, b):
    return any(not torch.equal(a[name], b[name]) for name in a)


def test_a_gradient_that_is_not_finite_changes_nothing(learner):
    made, rows = learner()
    made.update(rows, Step(0, 0.6))
    before = state(made)
    broken = [replace(row, reward=math.nan) if row.role == Role.ROLLOUT and row.group == 0 else row for row in rows]
    metrics = made.update(broken, Step(1, 0.6))
    assert metrics["skipped"] == 1.0 and metrics["grad_norm"] is None
    assert same(before, state(made))
    metrics = made.update(rows, Step(2, 0.6))
    assert metrics["skipped"] == 0.0
    assert different(before[0], state(made)[0])
    assert all(torch.isfinite(value).all() for value in state(made)[0].values())


def test_a_strategy_may_refuse_a_gradient(learner):
    made, rows = learner("hpt", {"skip_grad_norm": 1e-9})
    before = state(made)
    assert made.update(rows, Step(0, 0.6))["skipped"] == 1.0
    assert same(before, state(made))


def test_gradients_are_clipped_to_the_norm(learner):
    free, rows = learner()
    whole = free.update(rows, Step(0, 0.6))["grad_norm"]
    bound = whole / 3
    made, _ = learner(grad_clip=bound)
    metrics = made.update(rows, Step(0, 0.6))
    assert metrics["grad_norm"] == pytest.approx(whole, rel=1e-6)
    clipped = torch.cat([value.flatten() for value in gradients(made.model).values()])
    assert float(clipped.norm()) == pytest.approx(bound, rel=1e-4)
    torch.testing.assert_close(
        clipped * 3, torch.cat([v.flatten() for v in gradients(free.model).values()]), rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_learning_rates(schedule, learner):
    made, rows = learner(schedule=schedule, warmup=4, learning_rate=0.02)
    for index in range(11):
        share = index / 10
        decay = {"constant": 1.0, "linear": 1 - share, "cosine": math.cos(math.pi * share / 2) ** 2}[schedule]
        want = 0.02 * min(1, (index + 1) / 4) * decay
        assert made.learning_rate(Step(index, share)) == pytest.approx(want, rel=1e-12, abs=1e-15)
    metrics = made.update(rows, Step(1, 0.5))
    want = made.learning_rate(Step(1, 0.5))
    assert metrics["learning_rate"] == made.optimizers["main"].param_groups[0]["lr"] == want


def test_the_first_adam_step_is_as_long_as_the_learning_rate(learner):
    made, rows = learner(learning_rate=1e-3, weight_decay=0.0)
    before = {name: value.detach().clone() for name, value in made.model.named_parameters()}
    made.update(rows, Step(0, 0.6))
    for name, gradient in gradients(made.model).items():
        moved = (dict(made.model.named_parameters())[name].detach() - before[name])[gradient.abs() > 1e-4]
        torch.testing.assert_close(moved, -1e-3 * gradient[gradient.abs() > 1e-4].sign(), rtol=2e-3, atol=1e-6)


def test_weight_decay_is_decoupled(learner):
    (plain, rows), (decayed, _) = learner(weight_decay=0.0), learner(weight_decay=0.5)
    start = {name: value.detach().clone() for name, value in plain.model.named_parameters()}
    for made in (plain, decayed):
        made.update(rows, Step(0, 0.6))
    other = dict(decayed.model.named_parameters())
    for name, value in plain.model.named_parameters():
        torch.testing.assert_close(other[name] - value, -1e-3 * 0.5 * start[name], rtol=1e-3, atol=1e-6)


def test_bfloat16_is_close_and_keeps_float32_weights(learner):
    (exact, rows), (rough, _) = learner(), learner(dtype="bfloat16")
    a, b = (made.update(rows, Step(0, 0.6)) for made in (exact, rough))
    assert a["loss"] != b["loss"]
    assert b["entropy"] == pytest.approx(a["entropy"], rel=0.05)
    assert {p.dtype for p in rough.model.parameters()} == {torch.float32}
    one, two = (torch.cat([g.flatten() for g in gradients(made.model).values()]) for made in (exact, rough))
    assert float(torch.nn.functional.cosine_similarity(one, two, dim=0)) > 0.98
    assert float(two.norm()) == pytest.approx(float(one.norm()), rel=0.1)
