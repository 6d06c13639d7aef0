"""The gradient of an optimiser step against slow and independent ones, in float64."""

from __future__ import annotations

import random

import pytest
import torch

from harness import tensors
from harness.core import Learner
from strategies import registry
from strategies.base import Role, Step
from tests.core.learning import (
    SIZES,
    TEMPERATURE,
    copied,
    distance,
    gradients,
    make_case,
    naive_loss,
    random_model,
    unpadded,
    values_close,
)

# every strategy as it comes, and options that change what the core has to supply
CASES = [(name, {}) for name in registry.names()] + [
    ("grpo", {"kl_coefficient": 0.1}),
    ("grpo", {"variant": "dapo"}),
    ("grpo", {"variant": "dr_grpo", "clip_high": "off"}),
    ("fixed", {"mu": 0.4, "sft_loss": "phi", "kl_coefficient": 0.1}),
    ("gac", {"sft_loss": "plain", "ema_state": "estimate", "z_score": True, "clock": "steps", "ema_beta": 0.1}),
    ("hpt", {"definition": "paper"}),
    ("gft", {"own": 0}),
    ("hpt", {"gate_type": "soft0"}),
    ("hpt", {"gate_off": 2, "off_coefficient": 0.5}),
    ("fixed", {"mu": 0.4, "sft_loss": "gift"}),
    ("fixed", {"mu": 0.4, "sft_loss": "iw_sft"}),
    ("sft", {"sft_loss": "asft"}),
    ("trapo", {"definition": "code"}),
    ("uft", {"schedule": "uniform", "sft_loss": "dft"}),
    ("dypo", {"definition": "code", "reference": True}),
    ("srft", {"definition": "code"}),
]


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def reference():
    return random_model(seed=1)


@pytest.fixture
def learner(make_spec, model, reference):
    """(case, train section) -> a Learner on its own copy of the model."""

    def make(case, **train):
        settings = {"grad_clip": 1e9, "learning_rate": 1e-3, "warmup": 0, "weight_decay": 0.01, **train}
        spec = make_spec(train=settings, rollout={"temperature": TEMPERATURE})
        strategy = case.strategy()
        strategy.grad_clip = None  # gradients are compared as they are before clipping
        return Learner(copied(model), strategy, spec, reference)

    return make


def identifier(case):
    return "-".join([case[0], *map(str, case[1].values())])


@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_gradient_equals_the_naive_one(case, model, reference, learner):
    case = make_case(*case, model)
    own = copied(model)
    loss, batch = naive_loss(own, reference, case, TEMPERATURE)
    loss.backward()
    fast = learner(case)
    metrics = fast.update(case.rows, case.step)
    assert distance(gradients(own), gradients(fast.model)) < 1e-11
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-10, abs=1e-12)
    norm = torch.cat([parameter.grad.flatten() for parameter in own.parameters()]).norm()
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-10)
    sampled = batch.part("continuation") * batch.is_role(Role.ROLLOUT).unsqueeze(-1)
    if float(sampled.sum()):
        gap = float(((batch.logp - batch.old_logp).abs() * sampled).sum() / sampled.sum())
        assert metrics["mismatch"] == pytest.approx(gap, rel=1e-10)
        assert metrics["entropy"] == pytest.approx(float((batch.entropy * sampled).sum() / sampled.sum()), rel=1e-10)
    else:
        assert metrics["mismatch"] is None and metrics["entropy"] is None


@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_update_does_not_depend_on_how_the_rows_are_laid_out(case, model, learner, monkeypatch):
    case = make_case(*case, model)
    results = []
    # rows of a micro-batch, tokens of a bucket, multiple that widths are rounded up to, order of the rows
    for micro_rows, bucket, width, order in ((256, 10**6, 1, 0), (256, 48, 8, 1), (3, 10**6, 32, 2), (1, 1, 1, 3)):
        monkeypatch.setattr(tensors, "BUCKET_TOKENS", {"cpu": bucket})
        monkeypatch.setattr(tensors, "WIDTH_STEP", width)
        made = learner(case, micro_rows=micro_rows)
        rows = random.Random(order).sample(case.rows, len(case.rows))
        metrics = made.update(rows, case.step)
        metrics = {name: value for name, value in metrics.items() if not name.startswith("seconds")}
        parameters = {name: value.detach() for name, value in made.model.named_parameters()}
        results.append((gradients(made.model), parameters, metrics | made.strategy.metrics()))
    for grads, parameters, metrics in results[1:]:
        assert distance(results[0][0], grads) < 1e-12
        # Adam divides by the size of the gradient, which magnifies rounding where a gradient is nearly zero
        assert distance(results[0][1], parameters) < 1e-10
        assert values_close(metrics, results[0][2])


def test_a_stage_before_the_switch(model, reference, learner):
    """sft_then_rl is another loss early in the budget."""
    case = make_case("sft_then_rl", {}, model, Step(0, 0.1))
    assert {row.role for row in case.rows} == {Role.DEMO}
    own = copied(model)
    naive_loss(own, reference, case, TEMPERATURE)[0].backward()
    fast = learner(case, micro_rows=2)
    fast.update(case.rows, case.step)
    assert distance(gradients(own), gradients(fast.model)) < 1e-11


def test_grpo_is_the_clipped_objective(model, learner):
    """PPO's min(r A, clip(r) A), mean over tokens of a row, then over rows, differentiated by autograd."""
    case = make_case("grpo", {}, model)
    own = copied(model)
    loss, clipped = 0.0, 0
    for row in case.rows:
        rewards = torch.tensor([r.reward for r in case.rows if r.group == row.group], dtype=torch.float64)
        advantage = (row.reward - rewards.mean()) / (rewards.std() + 1e-6)
        logp, _ = unpadded(own, row, TEMPERATURE)
        ratio = (logp - torch.tensor(row.logp, dtype=torch.float64)).exp()
        term = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        clipped += int((term != ratio * advantage).sum())
        loss = loss - term.sum() / len(row.response) / len(case.rows)
    loss.backward()
    assert clipped > 0
    fast = learner(case)
    fast.update(case.rows, case.step)
    assert distance(gradients(own), gradients(fast.model)) < 1e-11


def test_sft_is_the_mean_negative_log_likelihood(model, learner):
    case = make_case("sft", {}, model)
    assert len(case.rows) == SIZES.demos
    own = copied(model)
    nll = torch.cat([-unpadded(own, row, TEMPERATURE)[0] for row in case.rows])
    nll.mean().backward()
    fast = learner(case)
    assert fast.update(case.rows, case.step)["loss"] == pytest.approx(nll.mean().item(), rel=1e-12)
    assert distance(gradients(own), gradients(fast.model)) < 1e-11


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_forward_equals_full_logits(dtype, tolerance, make_spec):
    model = random_model(dtype)
    case = make_case("gac", {}, model)
    made = Learner(model, case.strategy(), make_spec(rollout={"temperature": TEMPERATURE}), None)
    tokens = made.tokens(case.rows)
    with torch.no_grad():
        found = made.forward(model, tokens)
        logp, entropy = found.logp, found.entropy
        assert logp.dtype == entropy.dtype == dtype
        for i, row in enumerate(case.rows):
            n = len(row.response)
            want, spread = unpadded(model, row, TEMPERATURE)
            torch.testing.assert_close(logp[i, :n], want, atol=tolerance, rtol=tolerance)
            torch.testing.assert_close(entropy[i, :n], spread, atol=tolerance, rtol=tolerance)
            assert tokens.mask[i].tolist() == [1.0] * n + [0.0] * (tokens.mask.shape[1] - n)
            assert not logp[i, n:].any() and not entropy[i, n:].any()
