"""Methods that choose per question: gates, limits and weights, and the modes of HPT."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Role, SamplingPlan
from strategies.estimator import Counts, group_advantage
from strategies.hpt_options import SOFT_GATES
from tests.strategies.gate_rows import RELEASED, SIZES, STEP, as_batch, question, solved, total


def gradient(name, options, batch, sizes=SIZES):
    """dL/dlogp of the surrogate by autograd, without the entropy bonus."""
    logp = batch.logp.clone().requires_grad_()
    strategy = registry.build(name, options, sizes)
    loss, _ = estimator.surrogate(strategy, replace(batch, logp=logp, entropy=torch.zeros_like(logp)), STEP)
    return torch.autograd.grad(loss, logp)[0]


def check(found, expected):
    assert float(found.abs().sum()) == pytest.approx(expected["grad_l1"], rel=0, abs=1e-9)
    assert float(found.sum()) == pytest.approx(expected["grad_sum"], rel=0, abs=1e-9)
    assert float(found[0, 0]) == pytest.approx(expected["g_first"], rel=0, abs=1e-9)
    assert float(found[3, 1]) == pytest.approx(expected["g_demo"], rel=0, abs=1e-9)


# ---- against the original implementations


def test_relift_rl_equals_the_original(golden, parity_batch):
    batch = replace(parity_batch, role=torch.zeros_like(parity_batch.role))
    check(gradient("relift", {}, batch), golden["ReLIFT RL step (no clip, /Lmax)"])


@pytest.mark.parametrize("aggregation", ["token", "token_micro"])
def test_relift_fine_tuning_equals_the_original(aggregation, golden, parity_batch):
    demos = parity_batch.role == int(Role.DEMO)
    found = torch.zeros_like(parity_batch.logp)
    found[demos] = gradient("relift", {"sft_aggregation": aggregation}, parity_batch.take(demos))
    check(found, golden["ReLIFT FT step (token-mean NLL)"])


@pytest.mark.parametrize("name", ["superrl", "dypo"])
def test_both_terms_equal_rl_with_sft_loss(name, golden, parity_batch):
    # both questions have rollouts and a demonstration, so that both terms weigh 1, as in the original
    options = {**RELEASED, "alpha": 1.0} if name == "dypo" else RELEASED
    check(gradient(name, options, parity_batch), golden["RL w/ SFT loss: sft*1.0 + pg(/Lmax,noclip)"])


# ---- gates


def roles(strategy, *groups):
    return [r.role for r in strategy.route(list(groups), [], STEP)]


SFT, RL = [Role.DEMO], [Role.ROLLOUT] * 8


@pytest.mark.parametrize("n_correct", range(9))
@pytest.mark.parametrize("granularity", ["question", "batch"])
def test_superrl_gate_by_rewards_and_by_advantages(granularity, n_correct, row):
    group = solved(row, n_correct)
    by_reward = registry.build("superrl", {"granularity": granularity}, SIZES)
    by_advantage = registry.build("superrl", {"granularity": granularity, "signal": "advantage"}, SIZES)
    assert roles(by_reward, group) == (SFT if n_correct == 0 else RL)
    assert by_reward.metrics() == {"gated": float(n_correct == 0)}
    assert roles(by_advantage, group) == (SFT if n_correct in (0, 8) else RL)


def test_superrl_granularity(row):
    failed, some = solved(row, 0, number=0), solved(row, 3, number=1)
    each = registry.build("superrl", {}, SIZES)
    assert [r.group for r in each.route([failed, some], [], STEP)] == [1] * 8 + [0]
    assert each.metrics()["gated"] == 0.5
    batch = registry.build("superrl", {"granularity": "batch"}, SIZES)
    assert roles(batch, failed, some) == RL * 2
    assert roles(batch, failed, solved(row, 0, number=1)) == SFT * 2
    assert batch.route([], [], STEP) == [] and batch.metrics() == {"gated": 0.0}


def test_superrl_counts_any_reward_but_zero(row):
    strategy = registry.build("superrl", {}, SIZES)
    assert roles(strategy, question(row, [-0.1] * 8)) == RL
    assert roles(strategy, question(row, [1e-9] * 8)) == SFT
    by_advantage = registry.build("superrl", {"signal": "advantage"}, SIZES)
    assert roles(by_advantage, question(row, [-0.1] * 8)) == SFT
    assert roles(by_advantage, question(row, [0.5])) == [Role.ROLLOUT]  # alone: its advantage is its reward


@pytest.mark.parametrize("n_correct", range(9))
@pytest.mark.parametrize(("gate", "gate_off"), [(0, 0), (0, 2), (-1, 0), (2, 8), (1, None)])
def test_hpt_off_policy_gate(gate, gate_off, n_correct, row):
    strategy = registry.build("hpt", {"gate": gate, "gate_off": gate_off}, SIZES)
    gated, off = n_correct <= gate, n_correct <= (gate if gate_off is None else gate_off)
    assert roles(strategy, solved(row, n_correct)) == (SFT if off else RL)
    assert strategy.weights(solved(row, n_correct)) == ((0, 0, 1) if gated else (0, 1, 0) if off else (1, 0, 0))
    metrics = strategy.metrics()
    assert (metrics["gated"], metrics["off_policy"]) == (float(off), float(off and not gated))


ENTRIES = {  # n_correct of 8 -> (rollouts, off-policy, SFT), as in the table of type 0; 8 of 8 has none there
    0: (0.0, 0.0, 1.0),
    1: (0.125, 0.5, 0.5),
    2: (0.25, 1.0, 0.25),
    3: (0.5, 0.5, 0.125),
    4: (1.0, 0.25, 0.0),
    5: (1.0, 0.125, 0.0),
    6: (1.0, 0.0, 0.0),
    7: (1.0, 0.0, 0.0),
    8: (1.0, 0.0, 0.0),
}


@pytest.mark.parametrize("n_correct", range(9))
def test_hpt_soft_gates(n_correct, row):
    group = solved(row, n_correct)
    on, off, sft = ENTRIES[n_correct]
    for gate_type, expected_off in (("soft0", off), ("soft1", 1.0), ("soft2", 0.0)):
        strategy = registry.build("hpt", {"gate_type": gate_type}, SIZES)
        assert strategy.weights(group) == (on, expected_off, sft)
        demos = SFT if expected_off or sft else []
        assert roles(strategy, group) == (RL if on else []) + demos
        assert strategy.weights(solved(row, n_correct, demo=False)) == (1.0, 0.0, 0.0)
        assert "gate" not in strategy.metrics()


@pytest.mark.parametrize(("size", "like"), [(4, [0, 2, 4, 6, 8]), (2, [0, 4, 8]), (1, [0, 8])])
def test_hpt_soft_gates_of_other_groups_go_by_the_share(size, like, row):
    strategy = registry.build("hpt", {"gate_type": "soft0"}, replace(SIZES, group=size))
    found = [strategy.weights(solved(row, n_correct, size)) for n_correct in range(size + 1)]
    assert found == [ENTRIES[n_correct] for n_correct in like]
    sixteen = registry.build("hpt", {"gate_type": "soft0"}, replace(SIZES, group=16))
    assert [sixteen.weights(solved(row, n, 16)) for n in range(17)] == [ENTRIES[n // 2] for n in range(17)]
    assert all(len(table) == 8 for table in SOFT_GATES.values())


@pytest.mark.parametrize(
    ("name", "options"),
    [("superrl", {}), ("hpt", {}), ("hpt", {"gate_off": 3}), ("hpt", {"gate_type": "soft1"}), ("relift", {})],
)
def test_questions_without_demonstrations_keep_their_rollouts(name, options, row):
    strategy = registry.build(name, options, SIZES)
    assert roles(strategy, solved(row, 0, demo=False)) == RL
    assert strategy.route([], [], STEP) == []
    for value in strategy.metrics().values():
        assert math.isfinite(value)


def test_plans():
    def plan(name, options=None):
        return registry.build(name, options or {}, SIZES).plan(STEP)

    assert plan("superrl") == plan("relift") == plan("hpt") == SamplingPlan(3, 8, expert=1)
    assert plan("dypo", {"teachers": 2}) == SamplingPlan(3, 8, expert=1, teacher=2)
    assert plan("hpt", {"gate": -1, "gate_off": 0}).expert == 1
    assert plan("hpt", {"gate": -1}).expert == 0
    assert plan("hpt", {"gate_type": "soft2"}).expert == 1


# ---- limits and weights


@pytest.mark.parametrize("n_correct", [0, 3])
def test_superrl_is_rl_or_sft_at_the_limits(n_correct, row):
    strategy = registry.build("superrl", {"variant": "dapo"}, SIZES)
    groups = [solved(row, n_correct, number=i) for i in range(3)]
    batch = as_batch(strategy.route(groups, [], STEP))
    other = registry.build("grpo", {"variant": "dapo"}, SIZES) if n_correct else registry.build("sft", {}, SIZES)
    assert torch.equal(total(strategy, batch), total(other, batch))
    assert total(strategy, batch).any()


@pytest.mark.parametrize("sft_loss", ["plain", "phi", "trust_region"])
def test_sft_loss_is_a_choice(sft_loss, row):
    options = {"sft_loss": sft_loss}
    expected_options = {"hpt": {"sft_aggregation": "sequence"}}
    for name in ("superrl", "dypo", "relift", "hpt"):
        strategy = registry.build(name, options, SIZES)
        batch = as_batch([row(Role.DEMO, i, 1.0) for i in range(4)])
        other = registry.build("sft", {**options, **expected_options.get(name, {})}, SIZES)
        assert torch.equal(total(strategy, batch), total(other, batch))


@pytest.mark.parametrize("name", ["superrl", "dypo", "hpt"])
def test_sft_losses_that_need_more_say_so(name):
    assert registry.build(name, {"sft_loss": "psft"}, SIZES).requires >= {"old_logp", "given_logp"}
    strategy = registry.build(name, {"sft_loss": "asft"}, SIZES)
    assert "soft_target" in strategy.requires
    log_probs = torch.tensor([[0.25, 0.75]]).log()
    torch.testing.assert_close(strategy.soft_target(log_probs, torch.tensor([1])), log_probs.exp())


@pytest.mark.parametrize("name", ["superrl", "dypo"])
def test_every_question_weighs_the_same(name, row):
    options = {"alpha": 1.0} if name == "dypo" else {}
    strategy = registry.build(name, options, SIZES)
    groups = [solved(row, n, number=i) for i, n in enumerate([3, 0, 5, 0, 0])]
    batch = as_batch(strategy.route(groups, [], STEP))
    rollouts = (batch.role == int(Role.ROLLOUT)).unsqueeze(-1)
    rl = total(registry.build("grpo", options if name == "superrl" else {}, SIZES), batch)
    sft = total(registry.build("sft", {}, SIZES), batch)
    expected = torch.where(rollouts, 2 / 5 * rl, 3 / 5 * sft)
    torch.testing.assert_close(total(strategy, batch), expected, rtol=0, atol=1e-15)
    found = estimator.branch_losses(
        strategy, replace(batch, advantage=strategy.advantages(batch)), STEP, Counts.of(batch)
    )
    assert float(found["rl"]) == pytest.approx(float(-(rl * batch.logp).sum()))
    assert float(found["sft"]) == pytest.approx(float(-(sft * batch.logp).sum()))


def test_hpt_with_an_equal_off_gate_is_hpt(row):
    groups = [solved(row, n, number=i) for i, n in enumerate([0, 3, 1, 8])]
    plain, through_weights = (registry.build("hpt", o, SIZES) for o in ({"gate": 1}, {"gate": 1, "gate_off": 1}))
    batch = as_batch(plain.route(groups, [], STEP))
    assert through_weights.route(groups, [], STEP) == plain.route(groups, [], STEP)
    assert torch.equal(total(through_weights, batch), total(plain, batch))


def hpt_loss(logp, batch, weights, normalisation, sft_coefficient, gamma):
    """The three terms of HPT, question by question, for rows with the weights (rollout, off-policy, SFT)."""
    ratio, p = (logp - batch.old_logp).exp(), logp.exp()
    advantage = group_advantage(batch.reward, batch.group, batch.role == int(Role.ROLLOUT), std=False)
    loss = 0.0
    for i in range(len(batch.reward)):
        own = batch.group == batch.group[i]
        mask, (on, off, sft) = batch.mask[i], weights[i]
        if batch.role[i] == int(Role.ROLLOUT):
            value = on * -(ratio[i] * advantage[i] * mask).sum() / SIZES.max_response
            share = 1 / int((own & (batch.role == int(Role.ROLLOUT))).sum())
        else:
            value = off * -(advantage[i] * p[i] / (p[i] + gamma) * mask).sum() / SIZES.max_response
            value = value - sft * sft_coefficient * (logp[i] * mask).sum() / mask.sum()
            share = 1.0
        if normalisation == "question":
            loss = loss + share * value / len(batch.group.unique())
        else:
            loss = loss + value / len(batch.reward)
    return loss


@pytest.mark.parametrize("normalisation", ["global", "question"])
@pytest.mark.parametrize(
    "options",
    [
        {"gate": 0, "gate_off": 3, "gamma": 0.3},
        {"gate": -1, "gate_off": 0},
        {"gate": 3, "off_coefficient": 1.0, "sft_coefficient": 0.1},
        {"gate_type": "soft0"},
        {"gate_type": "soft1", "sft_coefficient": 0.3},
        {"gate_type": "soft2"},
    ],
    ids=str,
)
def test_hpt_modes_equal_autograd(options, normalisation, row):
    strategy = registry.build("hpt", {**options, "normalisation": normalisation}, SIZES)
    groups = [solved(row, n, number=i) for i, n in enumerate([0, 1, 2, 3, 4, 6, 8])]
    rows = strategy.route([*groups, solved(row, 2, number=9, demo=False)], [], STEP)
    batch = as_batch(rows)
    weights = [strategy.weights(groups[r.group] if r.group < 9 else solved(row, 2, demo=False)) for r in rows]
    logp = batch.logp.clone().requires_grad_()
    scale, gamma = options.get("sft_coefficient", 1.0), options.get("gamma", 0.1)
    expected = torch.autograd.grad(hpt_loss(logp, batch, weights, normalisation, scale, gamma), logp)[0]
    torch.testing.assert_close(total(strategy, batch), -expected, rtol=0, atol=1e-14)
    # in any order and split
    batch = replace(batch, advantage=strategy.advantages(batch))
    counts, found = Counts.of(batch), torch.zeros_like(batch.logp)
    for part in torch.randperm(len(rows), generator=torch.Generator().manual_seed(3)).split(5):
        found[part] = total(strategy, batch.take(part), counts)
    torch.testing.assert_close(found, -expected, rtol=0, atol=1e-14)


def test_hpt_demonstrations_that_the_verifier_rejects_push_nothing_off_policy(row):
    strategy = registry.build("hpt", {"gate": -1, "gate_off": 0}, SIZES)
    group = solved(row, 0)
    (demo,) = strategy.route([replace(group, demos=(replace(group.demos[0], reward=0.0),))], [], STEP)
    assert not total(strategy, as_batch([demo])).any()


# ---- options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hpt", {"gate": 2, "gate_off": 1}, "gate_off of strategy hpt is 1, below the gate of 2"),
        ("hpt", {"gate_off": 9}, "gate_off of strategy hpt is 9, above the run's group of 8"),
        ("hpt", {"gate_type": "soft0", "gate": 2}, 'need gate_type "hard", not "soft0"'),
        ("hpt", {"gate_type": "soft3"}, "option 'gate_type'"),
        ("hpt", {"gate_off": 2, "normalisation": "released"}, 'use "global" or "question"'),
        ("hpt", {"gate_type": "soft2", "normalisation": "released"}, 'use "global" or "question"'),
        ("hpt", {"off_coefficient": -1.0}, "off_coefficient must be >= 0"),
        ("superrl", {"signal": "loss"}, "option 'signal'"),
        ("superrl", {"dual_clip": 1.0}, "dual_clip must be"),
        ("superrl", {"trust_alpha": 0.0}, "trust_alpha must be"),
        ("relift", {"sft_size": 0}, "sft_size must be >= 1"),
        ("relift", {"buffer": 2}, "buffer of strategy relift is 2, below the 3 rows"),
        ("relift", {"rl_grad_clip": 0.0}, "rl_grad_clip must be > 0"),
        ("relift", {"entropy_coefficient": -1.0}, "entropy_coefficient must be >= 0"),
        ("dypo", {"alpha": 1.5}, r"alpha must be in \[0, 1\]"),
        ("dypo", {"alpha": 0.5, "gal_coefficient": 0.1}, "exclude each other"),
        ("dypo", {"beta": 0.0}, "beta must be > 0"),
        ("dypo", {"teachers": -1}, "teachers must be >= 0"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        registry.build(name, options, SIZES)
    assert "\n" not in str(caught.value)


def test_relift_without_a_size_is_refused():
    with pytest.raises(ValueError, match="set the run's `demos` or its option sft_size"):
        registry.build("relift", {}, replace(SIZES, demos=0))
