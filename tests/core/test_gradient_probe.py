"""The gradient probe against gradients of single questions, and its estimators against known distributions."""

from __future__ import annotations

import pytest
import torch

from harness import gradient_probe
from harness.core import Learner
from harness.gradient_probe import GradientProbe
from harness.store import read_lines
from strategies import registry
from strategies.base import Role, Step
from strategies.estimator import Counts, branch_losses
from tests.core.learning import TEMPERATURE, copied, make_case, random_model


@pytest.fixture(scope="module")
def model():
    return random_model()


def learner_of(case, model, make_spec, **train):
    spec = make_spec(train={"warmup": 0, **train}, rollout={"temperature": TEMPERATURE})
    return Learner(copied(model), case.strategy(), spec, random_model(seed=1))


def question_gradients(made, case, whole, counts, name):
    """The branch's gradient of every question by itself."""
    rows = [i for i, row in enumerate(case.rows) if (row.role == Role.ROLLOUT) == (name == "rl")]
    found = []
    for group in sorted({case.rows[i].group for i in rows}):
        index = [i for i in rows if case.rows[i].group == group]
        batch, _ = made.micro(whole, index, made.tokens([case.rows[i] for i in index]), gradient=True)
        loss = branch_losses(made.strategy, batch, case.step, counts)[name]
        grads = torch.autograd.grad(loss, list(made.model.parameters()))
        found.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(found)


@pytest.mark.parametrize("micro_rows", [256, 3])
def test_equals_gradients_question_by_question(micro_rows, model, make_spec, monkeypatch):
    """With a part for every question, noise is the usual variance of a mean over questions."""
    monkeypatch.setattr(gradient_probe, "PARTS", 100)
    case = make_case("fixed", {"mu": 0.3}, model)
    made = learner_of(case, model, make_spec, micro_rows=micro_rows)
    whole = made.labels(case.rows)
    counts = Counts.of(whole)
    probe = GradientProbe(made, case.rows, case.step)
    probe.measure(whole, counts)
    parts = {name: question_gradients(made, case, whole, counts, name) for name in ("rl", "sft")}
    noise = {}
    for name, gradients in parts.items():
        scaled = gradients * len(gradients)
        noise[name] = float(scaled.var(0).sum() / len(scaled))
        assert probe.result[f"true_norm_{name}"] == pytest.approx(float(gradients.sum(0).norm()), rel=1e-6)
    rl, sft = parts["rl"].sum(0), parts["sft"].sum(0)
    assert probe.result["true_sigma_r2"] == pytest.approx(noise["rl"], rel=1e-6)
    assert probe.result["true_sigma_s2"] == pytest.approx(noise["sft"], rel=1e-6)
    delta = float((sft - rl).square().sum()) - noise["rl"] - noise["sft"]
    assert probe.result["true_delta_g2"] == pytest.approx(delta, rel=1e-5)
    assert probe.result["true_cosine"] == pytest.approx(float(torch.cosine_similarity(rl, sft, 0)), rel=1e-6)


def test_branches_of_a_mixture_have_no_weight(model, make_spec):
    """Whatever mu is, the branches are those of RL alone and of SFT alone."""
    results = []
    for mu in (0.2, 0.9):
        case = make_case("fixed", {"mu": mu}, model)
        made = learner_of(case, model, make_spec)
        whole = made.labels(case.rows)
        probe = GradientProbe(made, case.rows, case.step)
        probe.measure(whole, Counts.of(whole))
        results.append(probe.result)
    for name in ("true_sigma_r2", "true_sigma_s2", "true_delta_g2", "true_norm_rl", "true_norm_sft", "mu_optimal"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-9)


def test_optimum_minimises_the_error(model, make_spec):
    case = make_case("fixed", {"mu": 0.3}, model)
    made = learner_of(case, model, make_spec)
    made.strategy.observe({}, case.step)
    whole = made.labels(case.rows)
    probe = GradientProbe(made, case.rows, case.step)
    probe.measure(whole, Counts.of(whole))
    found = probe.result
    delta, s, r = max(found["true_delta_g2"], 0.0), found["true_sigma_s2"], found["true_sigma_r2"]

    def error(mu):
        return (mu - 0.5) ** 2 * delta + mu**2 * s + (1 - mu) ** 2 * r

    best = min((error(k / 10000), k / 10000) for k in range(10001))
    assert found["mu_optimal"] == pytest.approx(best[1], abs=1e-4)
    assert found["error_optimal"] == pytest.approx(best[0], rel=1e-6)
    assert found["mu_regret"] == pytest.approx(error(0.3) - best[0], rel=1e-4)


@pytest.mark.parametrize("name", registry.names())
def test_every_strategy_can_be_measured(name, model, make_spec):
    """Those with one signal give nothing; those with two, finite numbers. The update itself stays what it is."""
    case = make_case(name, {}, model, Step(index=4, fraction=0.6, kl=0.05, validation_nll=1.0, seed=3))
    results = []
    for measured in (False, True):
        made = learner_of(case, model, make_spec)
        probe = GradientProbe(made, case.rows, case.step)
        made.update(case.rows, case.step, measure=probe.measure if measured else None)
        results.append(torch.cat([p.detach().flatten() for p in made.model.parameters()]))
    assert torch.equal(*results)
    roles = {row.role == Role.ROLLOUT for row in case.rows} | ({False} if any(r.prefix for r in case.rows) else set())
    if len(roles) == 1:
        assert probe.result == {}
    assert all(isinstance(value, float) for value in probe.result.values())


def test_a_run_logs_it_and_keeps_its_time_apart(execute):
    directory = execute(strategy="gac", probe={"gradients_every": 3}, eval={"fractions": []})
    lines = {line["step"]: line for line in read_lines(directory.metrics)}
    assert [step for step, line in lines.items() if "mu_optimal" in line] == [1, 4, 7]
    assert 0.0 <= lines[4]["mu_optimal"] <= 1.0
    timing = {line["step"]: line for line in read_lines(directory.timing)}
    assert timing[4]["gradient_probe"] > 0 and "gradient_probe" not in timing[5]
    plain = execute(strategy="gac", eval={"fractions": []})
    for step, line in enumerate(read_lines(plain.metrics), 1):
        assert all(lines[step][name] == value for name, value in line.items())
