"""Scheduled and controlled mixtures: schedules in closed form, controllers against traces worked out by hand."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Group, Role, SamplingPlan, Sizes, Step
from strategies.estimator import group_advantage
from strategies.log_sigma import branch_loss
from strategies.schedules import ClockOptions, warmup_cosine, warmup_linear

SIZES = Sizes(prompts=2, group=4, demos=3, max_response=6)
MIXTURES = ("fixed", "decay", "chord_mu", "chord_phi", "reward_adaptive", "kl_control", "sasr", "log_sigma")
STEPS = {"clock": "steps"}


def build(name, **options):
    return registry.build(name, options, SIZES)


def total(strategy, batch, step=None):
    return sum(estimator.coefficients(strategy, batch, step or Step(3, 0.3)).values())


# schedules


@pytest.mark.parametrize(
    ("shape", "middle"), [(warmup_linear, 0.9 - 0.8 * 0.25), (warmup_cosine, 0.1 + 0.8 * (2 + math.sqrt(2)) / 4)]
)
def test_schedules_in_closed_form(shape, middle):
    at = [0, 5, 10, 15, 20, 30, 31, 1000]  # a quarter of the fall at 15, half of it at 20
    expected = [0.0, 0.45, 0.9, middle, 0.5, 0.1, 0.1, 0.1]
    assert [shape(t, 10, 20, 0.9, 0.1) for t in at] == pytest.approx(expected, rel=1e-14)
    assert [shape(t, 0, 0, 0.9, 0.1) for t in (0, 1)] == [0.1, 0.1]
    assert [shape(t, 2, 0, 0.8, 0.1) for t in (0, 1, 2, 3)] == [0.0, 0.4, 0.1, 0.1]


def test_chord_schedules_equal_the_original(golden):
    def mus(strategy, *steps):
        return [strategy.mu_at(Step(t)) for t in steps]

    mu = mus(build("chord_mu", **STEPS), 0, 30, 100, 200, 300)
    assert mu == pytest.approx(golden["CHORD mu(0,30,100,200,300; warm0 dec200 .9->.05)"], rel=0, abs=5e-9)
    yaml = mus(build("chord_phi", definition="yaml", **STEPS), 0, 100, 200, 400, 600)
    assert yaml == pytest.approx(golden["CHORD mu(0,100,200,400,600; warm200 dec400 .5->.02)"], rel=0, abs=5e-9)
    assert mus(build("chord_phi", **STEPS), 0, 1, 500) == [0.1] * 3
    assert mus(build("chord_phi", definition="yaml", valley=0.1, **STEPS), 700) == [0.1]
    assert mus(build("chord_mu", decay=30.0, **STEPS), 15, 30) == pytest.approx([0.475, 0.05])


def test_clocks_agree_on_a_run_of_the_horizon():
    for horizon in (7, 100, 1000):
        scaled, steps = ClockOptions("scaled", horizon), ClockOptions("steps", horizon)
        for index in range(horizon):
            step = Step(index, index / horizon)
            assert scaled.position(step) == steps.position(step) == index
            assert scaled.due(step) == steps.due(step) == index + 1


def test_scaled_clock_gives_runs_of_any_length_the_same_schedule():
    strategy = build("decay", shape="cosine", warmup=100.0, decay=500.0, peak=0.8, valley=0.2)
    for total_steps in (10, 20, 400):
        mus = [strategy.mu_at(Step(i, i / total_steps)) for i in (0, total_steps // 10, 35 * total_steps // 100)]
        assert mus[:2] == [0.0, 0.8]
    assert strategy.mu_at(Step(7, 0.35)) == pytest.approx(0.5)


def test_decay_plans_and_reports_its_weight(random_batch):
    strategy = build("decay", warmup=2.0, decay=4.0, peak=1.0, valley=0.0, **STEPS)
    seen = []
    for index in range(8):
        plan = strategy.plan(Step(index))
        strategy.observe({}, Step(index))
        assert strategy.metrics() == {"mu": strategy.mu}
        seen.append((strategy.mu, plan.prompts > 0, plan.pool > 0))
    assert [mu for mu, _, _ in seen] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [rollouts for _, rollouts, _ in seen] == [True, True, False] + [True] * 5
    assert [pool for _, _, pool in seen] == [False] + [True] * 5 + [False] * 2


# limits and losses


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fixed", {"mu": 0.0}),
        ("decay", {"peak": 0.0, "valley": 0.0}),
        ("chord_mu", {"peak": 0.0, "valley": 0.0}),
        ("chord_phi", {"peak": 0.0, "valley": 0.0}),
        ("reward_adaptive", {"tau": 0.0}),
        ("kl_control", {"mu_init": 0.0, "mu_min": 0.0, "mu_max": 0.0}),
        ("sasr", {"warmup": 0.0, "gamma": 1e300}),
        ("log_sigma", {"sft_init": 400.0}),
    ],
)
def test_without_sft_it_is_grpo(name, options, random_batch):
    batch = random_batch()
    extra = {"dual_clip": 2.0, "aggregation": "constant", "kl_coefficient": 0.1}
    assert torch.equal(total(build(name, **options, **extra), batch), total(build("grpo", **extra), batch))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fixed", {"mu": 1.0}),
        ("decay", {"peak": 1.0, "valley": 1.0}),
        ("chord_mu", {"peak": 1.0, "valley": 1.0}),
        ("chord_phi", {"peak": 1.0, "valley": 1.0, "sft_loss": "plain"}),
        ("reward_adaptive", {"tau": 1.0}),
        ("kl_control", {"mu_init": 1.0, "mu_max": 1.0, "sft_loss": "plain"}),
        ("sasr", {"gamma": 0.0}),
        ("sasr", {"warmup": 1000.0}),
        ("log_sigma", {"sft_init": 0.0, "pg_init": 400.0}),
    ],
)
def test_without_rl_it_is_sft(name, options, random_batch):
    batch = random_batch()
    assert torch.equal(total(build(name, **options), batch), total(build("sft"), batch))
    weighted = replace(batch, old_logp=None)  # a branch without weight needs no tensors of its own
    assert torch.equal(total(build(name, **options), weighted), total(build("sft"), batch))


@pytest.mark.parametrize("phi", [False, True])
def test_chord_equals_autograd_of_its_loss(phi, parity_batch):
    batch = parity_batch
    step, mu = Step(30, 0.03), warmup_cosine(30, 0, 200, 0.9, 0.05)
    options = {"decay": 200.0, "peak": 0.9, "valley": 0.05} if phi else {}
    strategy = build("chord_phi" if phi else "chord_mu", **options)
    logp = batch.logp.clone().requires_grad_()
    rollout = (batch.role == int(Role.ROLLOUT)).unsqueeze(-1)
    advantage = group_advantage(batch.reward, batch.group, rollout.squeeze(-1)).unsqueeze(-1)
    ratio = (logp - batch.old_logp).exp()
    grpo = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    p = logp.detach().exp()
    sft = -(p * (1 - p) if phi else 1.0) * logp
    own, demo = batch.mask * rollout, batch.mask * ~rollout
    loss = (1 - mu) * (grpo * own).sum() / own.sum() + mu * (sft * demo).sum() / demo.sum()
    expected = torch.autograd.grad(loss, logp)[0]
    torch.testing.assert_close(total(strategy, batch, step), -expected, rtol=0, atol=1e-14)
    assert strategy.policy.options.kl_coefficient == 0.0


def test_branches_are_unweighted(random_batch):
    batch = replace(random_batch(), advantage=build("grpo").advantages(random_batch()))
    for name in MIXTURES:
        found = build(name).branches(batch, Step(0))
        assert [term.scale for term in found["rl"] + found["sft"]] == [1.0, 1.0]


def test_default_losses():
    found = {name: (build(name).config.sft_loss, build(name).policy.options.aggregation) for name in MIXTURES}
    assert found["chord_mu"] == ("plain", "token") and found["chord_phi"] == ("phi", "token")
    assert found["kl_control"] == ("phi", "sequence") and found["decay"] == ("plain", "sequence")


# controllers


@pytest.mark.parametrize("name", MIXTURES)
def test_controllers_need_neither_tensors_nor_rollouts(name):
    strategy = build(name)
    for index in range(50):
        statistics = {"reward": 0.02 * index, "loss_pg": 0.0, "loss_sft": 1.0, "sigma_r2": 0.3}
        strategy.adapt(statistics, Step(index, index / 50, kl=0.01 + 0.001 * index, seed=index))
        assert isinstance(strategy.mu, float) and 0.0 <= strategy.mu <= 1.0
    before = strategy.state_dict()
    strategy.adapt({}, Step(50, 1.0, seed=50))
    assert json.loads(json.dumps(before)) == before


def test_reward_adaptive_trace(row):
    strategy = build("reward_adaptive")
    assert strategy.mu == 0.5
    seen = []
    for index, rewards in enumerate(([0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [], [-1, -1])):
        group = Group(tuple(row(Role.ROLLOUT, 0, float(value)) for value in rewards))
        strategy.route([group], [row(Role.DEMO, 1)], Step(index))
        strategy.observe({}, Step(index))
        seen.append(strategy.mu)
    assert seen == [0.5, 0.25, 0.0, 0.0, 0.0, 1.0]  # without rollouts mu stays; at most 1
    strategy.adapt({"reward": 0.3}, Step(9))
    assert strategy.mu == pytest.approx(0.2)
    assert build("reward_adaptive", tau=0.7).mu == 0.7


def test_reward_is_of_all_rollouts_before_groups_are_dropped(row):
    strategy = build("reward_adaptive", variant="dapo")
    groups = [
        Group(tuple(row(Role.ROLLOUT, group, reward) for reward in rewards))
        for group, rewards in enumerate(((0.0, 0.0), (0.0, 0.0), (1.0, 0.0)))
    ]
    assert len(strategy.route(groups, [], Step(0))) == 2
    strategy.observe({}, Step(0))
    assert strategy.mu == pytest.approx(0.5 - 1 / 6)


def test_kl_control_trace():
    strategy = build("kl_control", **STEPS)
    assert "kl" in strategy.requires
    seen = []
    for index, kl in enumerate((None, 0.03, 0.05, 0.02, 0.01, 0.0, 0.0)):
        strategy.adapt({}, Step(index, kl=kl))
        seen.append(strategy.mu)
    assert seen == pytest.approx([0.5, 0.51, 0.52, 0.52, 0.51, 0.50, 0.49])
    strategy.adapt({}, Step(6, kl=1.0))  # the position has not moved
    assert strategy.mu == pytest.approx(0.49) and strategy.ticks == 7
    for index in range(7, 200):
        strategy.adapt({}, Step(index, kl=1.0 if index < 100 else 0.0))
        assert 0.05 <= strategy.mu <= 0.9
        if index == 99:
            assert strategy.mu == 0.9
    assert strategy.mu == 0.05


def test_kl_control_moves_the_same_in_runs_of_any_length():
    for steps in (10, 50, 1000):
        strategy = build("kl_control", change_cap=0.001)
        for index in range(steps):
            strategy.adapt({}, Step(index, index / steps, kl=0.03 if index < steps // 5 else 0.0))
            if index == steps // 10:
                assert strategy.mu == pytest.approx(0.5 + 0.101) and strategy.ticks == 101


def drive(strategy, index, norm, **where):
    """One step of `sasr`, whose gradient norm depends on its kind."""
    step = Step(index, seed=1000 + index, **where)
    plan = strategy.plan(step)
    strategy.observe({}, step)
    assert strategy.metrics()["p_sft"] == strategy.probability(step)
    accepted = strategy.accept(norm(strategy.mu))
    assert accepted and plan == (SamplingPlan(pool=3) if strategy.mu else SamplingPlan(2, 4))
    return strategy.mu


@pytest.mark.parametrize("reference", ["warmup", "rl"])
def test_sasr_trace(reference):
    strategy = build("sasr", warmup=3.0, gamma=0.5, reference=reference, **STEPS)
    assert [drive(strategy, index, lambda mu: 4.0) for index in range(3)] == [1.0] * 3
    sft, rl, kinds = 4.0, None, set()
    for index in range(3, 60):
        other = 4.0 if reference == "warmup" else rl
        p = 1 / 1.5 if other is None else sft / (sft + 0.5 * other)
        assert strategy.probability(Step(index)) == pytest.approx(p, rel=1e-15)
        mu = drive(strategy, index, lambda mu, i=index: 4.0 / i if mu else 2.0 + i)
        assert mu == float(random.Random(1000 + index).random() < p)
        sft, rl = (4.0 / index, rl) if mu else (sft, 2.0 + index)
        kinds.add(mu)
    assert kinds == {0.0, 1.0}
    assert strategy.state_dict() == {"sft_norm": sft, "rl_norm": rl, "warmup_norm": 4.0}


def test_sasr_without_warm_up_compares_with_its_first_sft_step():
    strategy = build("sasr", warmup=0.0, gamma=3.0)
    assert strategy.probability(Step(0)) == 0.25
    kinds = [drive(strategy, index, lambda mu: 5.0 if mu else 7.0, fraction=0.5) for index in range(40)]
    assert 1 < sum(kinds) < 40 and strategy.warmup_norm == 5.0
    strategy.mu, strategy.sft_norm = 1.0, 5.0
    for norm in (float("nan"), float("inf")):
        assert strategy.accept(norm) and strategy.sft_norm == 5.0
    strategy.accept(0.0)
    assert strategy.sft_norm == 0.0 and strategy.probability(Step(9)) == 0.0
    strategy.warmup_norm = 0.0
    assert strategy.probability(Step(9)) == 0.25  # nothing to compare


def test_sasr_draws_from_the_step_alone(random_batch):
    batch = random_batch()
    strategy = build("sasr", warmup=0.0)
    for seed in range(20):
        step = Step(0, seed=seed)
        parts = [total(strategy, batch, step) for _ in range(2)]
        alone = build("sft" if strategy.mu_at(step) else "grpo")
        assert torch.equal(parts[0], parts[1]) and torch.equal(parts[0], total(alone, batch, step))
    assert {strategy.mu_at(Step(0, seed=seed)) for seed in range(20)} == {0.0, 1.0}


def test_log_sigma_is_gradient_descent_on_its_loss():
    strategy = build("log_sigma", sigma_rate=0.05, **STEPS)
    s = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    for index in range(60):
        losses = torch.tensor([0.1 * math.sin(index), 2.0 - index / 40], dtype=torch.float64)
        loss = ((-2 * s).exp() * losses + s).sum()
        gradient = torch.autograd.grad(loss, s)[0]
        s = (0.99 * (s - 0.05 * gradient)).clamp(min=-2.0).detach().requires_grad_()
        strategy.adapt({"loss_pg": float(losses[0]), "loss_sft": float(losses[1])}, Step(index))
        assert [strategy.s_pg, strategy.s_sft] == pytest.approx(s.tolist(), rel=1e-10)
        weights = (-2 * s).exp()
        assert strategy.mu == pytest.approx(float((weights[1] / weights.sum()).detach()), rel=1e-10)


def test_log_sigma_settles_and_is_bounded():
    free = build("log_sigma", sigma_decay=1.0, **STEPS)
    for index in range(3000):
        free.adapt({"loss_pg": 0.0, "loss_sft": 1.7}, Step(index))
    assert math.exp(-2 * free.s_sft) == pytest.approx(1 / (2 * 1.7), rel=1e-6)  # the weight that minimises L
    assert free.s_pg == -2.0  # its loss does not hold it
    held = build("log_sigma", **STEPS)
    for index in range(3000):
        held.adapt({"loss_pg": 0.0}, Step(index))
    assert held.s_pg == pytest.approx(-0.99) and held.s_sft == 1.0  # no loss, no change


def test_log_sigma_scales_both_branches(random_batch):
    batch = random_batch()
    strategy = build("log_sigma")
    strategy.load_state_dict({"mu": 0.5, "s_pg": -0.3, "s_sft": 0.8, "ticks": 4})
    expected = math.exp(0.6) * total(build("grpo"), batch) + math.exp(-1.6) * total(build("sft"), batch)
    torch.testing.assert_close(total(strategy, batch), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant", "constant_sum"])
def test_log_sigma_measures_both_losses(aggregation, random_batch):
    batch = random_batch()
    sft_aggregation = "sequence" if aggregation == "sequence" else "token"
    strategy = build("log_sigma", aggregation=aggregation, sft_aggregation=sft_aggregation)
    batch = replace(batch, advantage=strategy.advantages(batch))
    own, demos = batch.part("continuation"), batch.mask
    ratio, advantage = (batch.logp - batch.old_logp).exp(), batch.advantage.unsqueeze(-1)
    values = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)

    def mean(values, mask, role, kind):
        values, mask = values[batch.role == int(role)], mask[batch.role == int(role)]
        sums = (values * mask).sum(-1)
        return {
            "token": sums.sum() / mask.sum(),
            "sequence": (sums / mask.sum(-1)).mean(),
            "constant": sums.mean() / 6,
            "constant_sum": sums.sum() / 6,
        }[kind]

    expected = {
        "loss_pg": float(mean(values, own, Role.ROLLOUT, aggregation)),
        "loss_sft": float(mean(-batch.logp, demos, Role.DEMO, sft_aggregation)),
    }
    parts = [strategy.signals(part) for part in (batch.take(slice(0, 5)), batch.take(slice(5, None)))]
    found = strategy.statistics({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    assert found == pytest.approx(expected, rel=1e-12)
    assert strategy.statistics(strategy.signals(batch.take(batch.role == 1))).keys() == {"loss_sft"}


def test_branch_loss_of_nothing_is_zero():
    for aggregator in estimator.AGGREGATORS:
        assert branch_loss([], [], aggregator, 6) == 0.0


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_need_demonstrations(name):
    with pytest.raises(ValueError, match="needs demonstrations"):
        registry.build(name, {}, Sizes(2, 8, 0, 16))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("decay", {"peak": 1.1}, r"peak must be in \[0, 1\]"),
        ("decay", {"warmup": -1.0}, r"warmup must be >= 0"),
        ("decay", {"horizon": 0}, r"horizon must be >= 1"),
        ("decay", {"shape": "step"}, r"'linear' or 'cosine'"),
        ("decay", {"clip_low": -1.0}, r"clip_low must be a number >= 0"),
        ("decay", {"trust_alpha": 2.0}, r"trust_alpha must be in"),
        ("chord_phi", {"valley": -0.1}, r"valley must be in \[0, 1\]"),
        ("chord_phi", {"decay": float("nan")}, r"decay must be >= 0"),
        ("chord_phi", {"definition": "code"}, r"'paper' or 'yaml'"),
        ("reward_adaptive", {"tau": 2.0}, r"tau must be in \[0, 1\]"),
        ("kl_control", {"mu_init": 0.01}, r"mu_min <= mu_init <= mu_max"),
        ("kl_control", {"kl_target": 0.0}, r"kl_target must be > 0"),
        ("sasr", {"gamma": -1.0}, r"gamma must be >= 0"),
        ("log_sigma", {"sigma_decay": 1.5}, r"sigma_decay must be in \[0, 1\]"),
        ("log_sigma", {"sigma_min": -100.0}, r"sigma_min must be >= -20"),
        ("log_sigma", {"sigma_min": 0.5}, r"sigma_min <= pg_init"),
        ("log_sigma", {"sigma_rate": -1.0}, r"sigma_rate must be >= 0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(name, **options)
    assert "\n" not in str(caught.value)
