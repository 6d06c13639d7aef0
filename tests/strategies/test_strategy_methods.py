"""Limits, gates, stages and rows of single strategies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Group, Role, SamplingPlan, Sizes, Step
from strategies.estimator import group_advantage

STEP = Step(0, 0.9)
SIZES = Sizes(prompts=2, group=4, demos=2, max_response=6)


def total(name, options, batch, sizes=SIZES, step=STEP):
    strategy = registry.build(name, options, sizes)
    return sum(estimator.coefficients(strategy, batch, step).values())


def only(batch, role):
    return batch.take(batch.role == int(role))


RL = {"variant": "dapo", "dual_clip": 2.0}


def test_fixed_mu_0_is_grpo_and_mu_1_is_sft(random_batch):
    batch = random_batch()
    assert torch.equal(total("fixed", {"mu": 0.0, **RL}, batch), total("grpo", RL, batch))
    assert torch.equal(total("fixed", {"mu": 1.0, **RL}, batch), total("sft", {}, batch))


def test_fixed_is_the_weighted_sum(random_batch):
    batch = random_batch()
    expected = 0.7 * total("grpo", {}, batch) + 0.3 * total("sft", {}, batch)
    torch.testing.assert_close(total("fixed", {"mu": 0.3}, batch), expected, rtol=0, atol=1e-15)


def test_fixed_plans_only_what_it_trains_on():
    def plan(mu):
        return registry.build("fixed", {"mu": mu}, SIZES).plan(STEP)

    assert plan(0.0) == SamplingPlan(prompts=2, rollouts=4)
    assert plan(1.0) == SamplingPlan(pool=2)
    assert plan(0.5) == SamplingPlan(prompts=2, rollouts=4, pool=2)
    assert registry.build("fixed", {"mu": 1.0}, SIZES).requires == frozenset()
    assert registry.build("fixed", {"mu": 0.0}, Sizes(2, 4, 0, 6)).plan(STEP).pool == 0


def test_grpo_variants(random_batch):
    batch = only(random_batch(), Role.ROLLOUT)
    plain = {"variant": "dr_grpo"}
    assert torch.equal(
        total("grpo", plain, batch), total("grpo", {"normalize_std": False, "aggregation": "constant"}, batch)
    )
    dapo = {"aggregation": "token", "clip_high": 0.28}
    assert torch.equal(total("grpo", {"variant": "dapo"}, batch), total("grpo", dapo, batch))
    uncut = registry.build("grpo", {"variant": "dapo", "drop_uniform_groups": False}, SIZES)
    assert uncut.policy.options.drop_uniform_groups is False


def test_uniform_rewards_give_no_rl_gradient(random_batch):
    batch = only(random_batch(), Role.ROLLOUT)
    assert not total("grpo", {}, replace(batch, reward=torch.ones_like(batch.reward))).any()


def test_dapo_drops_uniform_groups(row):
    def group(number, *rewards):
        return Group(tuple(row(Role.ROLLOUT, number, reward) for reward in rewards))

    groups = [group(0, 1.0, 1.0), group(1, 0.0, 1.0), group(2, 0.0, 0.0), group(3, -1.0, 0.0)]
    strategy = registry.build("grpo", {"variant": "dapo"}, SIZES)
    assert {r.group for r in strategy.route(groups, [], STEP)} == {1, 3}
    assert strategy.metrics() == {"dropped": 0.5}
    assert len(registry.build("grpo", {}, SIZES).route(groups, [], STEP)) == 8
    pool = [row(Role.DEMO, 9)]
    assert [r.group for r in registry.build("fixed", {"variant": "dapo"}, SIZES).route(groups, pool, STEP)] == [
        1,
        1,
        3,
        3,
        9,
    ]


def test_sft_then_rl_switches_once(random_batch):
    batch = random_batch()
    strategy = registry.build("sft_then_rl", {"switch": 0.25, **RL}, SIZES)
    stages = []
    for index in range(8):
        step = Step(index, index / 8)
        plan = strategy.plan(step)
        stages.append((plan.pool, plan.prompts, plan.rollouts, strategy.metrics()["stage"]))
        expected = total("sft", {}, batch) if index < 2 else total("grpo", RL, batch)
        assert torch.equal(sum(estimator.coefficients(strategy, batch, step).values()), expected)
    assert stages == [(2, 0, 0, 0.0)] * 2 + [(0, 2, 4, 1.0)] * 6
    strategy.plan(Step(8, 0.1))  # a budget that was raised does not bring SFT back
    assert strategy.metrics() == {"stage": 1.0}


def test_sft_then_rl_switches_by_steps():
    strategy = registry.build("sft_then_rl", {"switch_step": 3}, SIZES)
    stages = []
    for index in range(5):
        strategy.plan(Step(index, 0.99))
        stages.append(strategy.metrics()["stage"])
    assert stages == [0.0, 0.0, 0.0, 1.0, 1.0]


def group_of(row, n_correct, size=8, demo=True, number=0):
    rollouts = tuple(row(Role.ROLLOUT, number, float(i < n_correct)) for i in range(size))
    demos = (row(Role.DEMO, number, 1.0), row(Role.TEACHER, number, 1.0)) if demo else ()
    return Group(rollouts, demos)


@pytest.mark.parametrize(
    ("options", "gated"),
    [
        ({}, {0}),  # the default, Qwen
        ({"gate": 2}, {0, 1, 2}),  # LLaMA: inclusive, 3 correct needed for RL
        ({"gate": -1}, set()),
        ({"gate": 8}, set(range(9))),
        ({"gate_fraction": 0.0}, {0}),
        ({"gate_fraction": 0.25}, {0, 1, 2}),
        ({"gate_fraction": 0.3}, {0, 1, 2}),
        ({"gate_fraction": 0.125}, {0, 1}),
        ({"gate_fraction": 1.0}, set(range(9))),
    ],
)
def test_hpt_gate(options, gated, row):
    strategy = registry.build("hpt", options, Sizes(2, 8, 0, 6))
    for n_correct in range(9):
        rows = strategy.route([group_of(row, n_correct)], [], STEP)
        expected = [Role.DEMO] if n_correct in gated else [Role.ROLLOUT] * 8
        assert [r.role for r in rows] == expected
        assert strategy.metrics()["gated"] == float(n_correct in gated)


def test_hpt_keeps_rollouts_where_there_is_no_demonstration(row):
    strategy = registry.build("hpt", {"gate": 8}, Sizes(2, 8, 0, 6))
    groups = [group_of(row, 0, demo=False, number=0), group_of(row, 0, number=1)]
    assert [r.role for r in strategy.route(groups, [], STEP)] == [Role.ROLLOUT] * 8 + [Role.DEMO]


def test_hpt_gates_equal_looking_groups_each(row):
    strategy = registry.build("hpt", {}, Sizes(2, 8, 0, 6))
    rows = strategy.route([group_of(row, 0), group_of(row, 0), group_of(row, 4)], [], STEP)
    assert [r.role for r in rows] == [Role.ROLLOUT] * 8 + [Role.DEMO] * 2
    assert strategy.metrics()["gated"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("normalisation", ["global", "question"])
def test_hpt_never_gated_is_rl_and_always_gated_is_sft(normalisation, random_batch):
    batch = random_batch()
    options = {"normalisation": normalisation, "entropy_coefficient": 0.0}
    rollouts, demos = only(batch, Role.ROLLOUT), only(batch, Role.DEMO)
    uncut = {"variant": "dr_grpo", "clip_low": "off", "clip_high": "off"}
    assert torch.equal(total("hpt", {**options, "gate": -1}, rollouts), total("grpo", uncut, rollouts))
    sft = total("sft", {"sft_aggregation": "sequence"}, demos)
    assert torch.equal(total("hpt", {**options, "gate": 4}, demos), sft)
    paper = {**options, "definition": "paper"}
    assert torch.equal(total("hpt", paper, rollouts), total("grpo", {"variant": "dr_grpo"}, rollouts))
    assert registry.build("hpt", {"gate": -1}, SIZES).plan(STEP).expert == 0
    assert registry.build("hpt", {"gate": 0}, SIZES).plan(STEP) == SamplingPlan(2, 4, expert=1)


def routed(batch):
    """Group 0 of the batch as rollouts, without a given prefix, and the demonstrations of the others."""
    batch = replace(batch, prefix=None)
    keep = (batch.role == int(Role.ROLLOUT)) & (batch.group == 0)
    return batch.take(keep | ((batch.role == int(Role.DEMO)) & (batch.group != 0)))


def test_hpt_of_the_paper_is_the_mean_over_questions(random_batch):
    batch = routed(random_batch())
    logp = batch.logp.clone().requires_grad_()
    ratio = (logp - batch.old_logp).exp()
    losses = []
    for question in batch.group.unique():
        rows = batch.group == question
        if (batch.role[rows] == int(Role.DEMO)).all():  # Eq. 12
            losses.append(-0.3 * (logp[rows] * batch.mask[rows]).sum() / batch.mask[rows].sum())
            continue
        advantage = (batch.reward[rows] - batch.reward[rows].mean()).unsqueeze(-1)  # Eq. 11, over L_max
        value = torch.minimum(ratio[rows] * advantage, ratio[rows].clamp(0.8, 1.2) * advantage)
        losses.append(-(value * batch.mask[rows]).sum() / (4 * SIZES.max_response))
    assert len(losses) == 5
    expected = torch.autograd.grad(sum(losses) / 5, logp)[0]
    found = total("hpt", {"definition": "paper", "sft_coefficient": 0.3}, batch)
    torch.testing.assert_close(found, -expected, rtol=0, atol=1e-14)


def test_hpt_global_weighs_every_row_the_same(random_batch):
    batch = routed(random_batch())
    rollouts = batch.role == int(Role.ROLLOUT)
    advantage = group_advantage(batch.reward, batch.group, rollouts, std=False).unsqueeze(-1)
    rl = advantage * (batch.logp - batch.old_logp).exp() / SIZES.max_response
    sft = 1 / batch.mask.sum(-1, keepdim=True)
    expected = torch.where(rollouts.unsqueeze(-1), rl, sft) * batch.mask / len(batch.reward)
    torch.testing.assert_close(total("hpt", {}, batch), expected, rtol=0, atol=1e-14)


def test_released_hpt_depends_on_packing(random_batch):
    batch = routed(random_batch())
    strategy = registry.build("hpt", {"normalisation": "released"}, SIZES)
    batch = replace(batch, advantage=strategy.advantages(batch))
    counts = estimator.Counts.of(batch)

    def sft_weight(split):
        rows = torch.arange(len(batch.reward)).split(split)
        parts = [estimator.coefficients(strategy, batch.take(part), STEP, counts)["sft"] for part in rows]
        return float(sum(part.sum() for part in parts))

    assert sft_weight([8]) == pytest.approx(1.0)
    assert sft_weight([4, 2, 2]) == pytest.approx(2.0)  # once per micro-batch with a demonstration


def test_hpt_skips_large_and_broken_updates():
    strategy = registry.build("hpt", {}, SIZES)
    norms = [0.0, 80.0, 80.1, float("nan"), float("inf")]
    assert [strategy.accept(norm) for norm in norms] == [True, True, False, False, False]
    assert strategy.metrics()["skipped"] == 1.0
    paper = registry.build("hpt", {"definition": "paper"}, SIZES)
    assert [paper.accept(norm) for norm in norms] == [True, True, True, False, False]
    assert registry.build("hpt", {"skip_grad_norm": 5.0}, SIZES).accept(6.0) is False


def test_hpt_definitions():
    code, paper = (registry.build("hpt", {"definition": name}, SIZES) for name in ("code", "paper"))
    assert (code.entropy_coefficient, paper.entropy_coefficient) == (0.001, 0.0)
    assert code.requires == {"old_logp", "entropy"} and paper.requires == {"old_logp"}
    assert (code.policy.options.clip_low, paper.policy.options.clip_low) == ("off", 0.2)
    assert (code.policy.options.normalize_std, paper.policy.options.normalize_std) == (False, False)


def test_hpt_entropy_bonus_is_a_token_mean_over_all_rows(random_batch):
    batch = routed(random_batch())
    entropy = batch.entropy.clone().requires_grad_()
    loss, _ = estimator.surrogate(registry.build("hpt", {}, SIZES), replace(batch, entropy=entropy), STEP)
    loss.backward()
    torch.testing.assert_close(entropy.grad, -0.001 * batch.mask / batch.mask.sum(), rtol=0, atol=1e-16)


def test_gft_plan_and_limits(random_batch):
    assert registry.build("gft", {}, Sizes(2, 8, 0, 6)).plan(STEP) == SamplingPlan(2, 4, expert=1, teacher=3)
    assert registry.build("gft", {"own": 7, "teacher": 0}, SIZES).plan(STEP) == SamplingPlan(2, 7, expert=1)
    batch = random_batch()
    demos = replace(only(batch, Role.DEMO), advantage=torch.ones(5, dtype=torch.float64))
    assert torch.equal(total("gft", {"tau": 0.0}, demos), total("sft", {}, demos))
    assert torch.equal(total("gft", {"rectify": False}, demos), total("sft", {}, demos))
    # tau = 1: every token weighs its probability
    expected = total("sft", {}, demos) * demos.logp.exp()
    torch.testing.assert_close(total("gft", {"tau": 1.0}, demos), expected, rtol=0, atol=1e-15)


def test_gft_has_one_baseline_for_all_roles(random_batch):
    batch = random_batch()
    found = registry.build("gft", {}, Sizes(2, 8, 0, 6)).advantages(batch)
    group = batch.reward[batch.group == 0]
    assert len(group) == 7
    expected = (group - group.mean()) / (group.std() + 1e-6)
    torch.testing.assert_close(found[batch.group == 0], expected, rtol=0, atol=1e-12)
