"""Prefix-RFT and UFT, and what all methods with prefixes or hints share: parity, schedules, losses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from prefix_cases import NAMES, SIZES, autograd, build, close, demo, gradient, random_batch, run

from strategies import estimator, registry
from strategies.base import Role, Step
from strategies.prefixes import chunk_ends, cut, most_uncertain, step_ends

# --- parts of demonstrations ---------------------------------------------------------------------------------------


def test_a_cut_is_the_floor_and_leaves_a_token():
    for length, share in itertools.product(range(1, 40), (0.0, 0.05, 0.2, 0.25, 0.5, 0.7, 0.75, 0.95, 1.0)):
        exact = length * round(share * 100) // 100
        assert cut(demo(length), share) == min(exact, length - 1)


def test_steps_end_with_the_whole_demonstration():
    assert step_ends(demo(10, (2, 5, 8))) == (2, 5, 8, 9)
    assert step_ends(demo(10, (4, 10))) == (4, 9)
    assert step_ends(demo(4)) == (1, 2, 3)
    assert step_ends(demo(1)) == ()


def test_chunks_are_those_of_uft():
    for n_steps, chunks in itertools.product(range(2, 14), (1, 5, 10)):
        ends = tuple(3 * (i + 1) for i in range(n_steps))
        n = min(chunks, n_steps)
        separation = [round(i / n * n_steps) for i in range(n + 1)]  # rl_dataset.py, in steps
        expected = tuple(ends[k - 1] for k in separation[1:])
        assert chunk_ends(demo(ends[-1] + 1, ends[:-1]), chunks) == expected


@pytest.mark.parametrize("name", NAMES)
def test_without_demonstrations_rollouts_are_free_and_complete(name):
    strategy = build(name)
    groups, rounds = run(strategy, Step(0, 0.0, seed=3), [None, None, None], lambda *_: 0)
    assert all(request.prefix == request.hint == 0 for requests in rounds for request in requests)
    assert [len(group.rollouts) for group in groups] == [8, 8, 8]
    rows = strategy.route(groups, [], Step(0))
    assert len(rows) == 24 and all(row.role == Role.ROLLOUT for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_sampling_ends_when_rollouts_get_lost(name):
    strategy = build(name)
    groups, rounds = run(strategy, Step(0, 0.0), [demo(), demo(2), demo(1)], lambda *_: 0, lost=lambda g, j: True)
    assert len(rounds) <= 5
    assert strategy.route(groups, [], Step(0)) == []


@pytest.mark.parametrize("name", NAMES)
def test_demonstrations_are_not_trained_as_rows(name):
    strategy = build(name)
    groups, _ = run(strategy, Step(0, 0.0), [demo(), demo()], lambda g, prefix, hint, j: (prefix + hint + j) % 2)
    assert {row.role for row in strategy.route(groups, [], Step(0))} == {Role.ROLLOUT}


# --- Prefix-RFT ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hybrids(parity_batch):
    """The parity rows with rows 3 and 7 as hybrids, whose first 2 and 3 tokens are given."""
    lengths = torch.tensor([0, 0, 0, 2, 0, 0, 0, 3])
    prefix = (torch.arange(6) < lengths.unsqueeze(-1)).double()
    return replace(parity_batch, prefix=prefix, role=torch.zeros(8, dtype=torch.long))


@pytest.mark.parametrize("form", ["grpo", "dr_grpo", "dr_grpo_v2"])
def test_prefix_rft_advantages_match_the_original(form, golden, hybrids):
    names = {"grpo": "grpo_prefix", "dr_grpo": "dr_grpo_prefix", "dr_grpo_v2": "dr_grpo_prefix_v2"}
    expected = golden[f"Prefix-RFT compute_{names[form]}_outcome_advantage"]
    found = build("prefix_rft", advantage=form).advantages(hybrids)
    values = {
        "row0": found[0, 0],
        "row1": found[1, 0],
        "hyb_prefix": found[3, 0],
        "hyb_cont": found[3, 2],
        "hyb_b_prefix": found[7, 2],
    }
    for name, value in values.items():
        assert float(value) == pytest.approx(expected[name], rel=0, abs=6e-7), name


@pytest.mark.parametrize("form", ["grpo", "dr_grpo", "dr_grpo_v2"])
@pytest.mark.parametrize("prefixes", [[0, 0, 0, 3, 3], [0, 4], [0, 0, 0], [2, 5], [0, 0, 4, 4, 4, 6]])
def test_prefix_rft_advantages_follow_the_rule(form, prefixes):
    batch = random_batch(prefixes * 2, seed=len(prefixes), groups=[0] * len(prefixes) + [1] * len(prefixes))
    found = build("prefix_rft", advantage=form).advantages(batch)
    reward = batch.reward.tolist()

    def moments(rows):
        values = [reward[i] for i in rows]
        if not values or (len(values) == 1 and form != "dr_grpo_v2"):
            return 0.0, 1.0
        mean = sum(values) / len(values)
        return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))

    for i, p in enumerate(prefixes * 2):
        mine = [j for j in range(len(reward)) if batch.group[j] == batch.group[i]]
        same = [j for j in mine if (prefixes * 2)[j] == p]
        mean, deviation = moments(same)
        score = (reward[i] - mean) / (deviation + 1e-6 if form == "grpo" else 1.0)
        given = (score - moments([j for j in mine if (prefixes * 2)[j] == 0])[0]) / len(same)
        for t in range(batch.mask.shape[1]):
            value = found[i, t] if found.dim() == 2 else found[i]
            assert float(value) == pytest.approx(given if t < p else score, abs=1e-12)


def test_prefix_rft_low_matches_the_original(golden):
    expected = golden["Prefix-RFT low(0,125,250,375,500)"]
    for clock in ("steps", "scaled"):
        strategy = build("prefix_rft", clock=clock)
        found = [strategy.low(Step(t, t / 500)) for t in (0, 125, 250, 375, 500)]
        assert found == pytest.approx(expected, abs=1e-8)
    assert strategy.low(Step(900, 1.0)) == 0.05


def test_prefix_rft_gives_one_rollout_a_uniform_share():
    strategy, n = build("prefix_rft"), 1000
    shares = []
    for seed in range(40):
        step = Step(250, 0.5, seed=seed)
        groups, rounds = run(strategy, step, [demo(n), demo(n), None], lambda *_: 0)
        assert len(rounds) == 1
        prefixes = [[row.prefix for row in group.rollouts] for group in groups]
        assert [len(rows) for rows in prefixes] == [8, 8, 8]
        assert all(sum(p > 0 for p in rows) == 1 for rows in prefixes[:2]) and not any(prefixes[2])
        shares += [max(rows) / n for rows in prefixes[:2]]
    assert min(shares) >= 0.5 and max(shares) < 0.95
    # mean and deviation of U(0.5, 0.95), of 80 draws
    assert sum(shares) / 80 == pytest.approx(0.725, abs=4 * 0.13 / math.sqrt(80))
    assert torch.tensor(shares).std() == pytest.approx(0.45 / math.sqrt(12), rel=0.2)
    assert len(set(shares)) > 70
    first = run(strategy, Step(0, 0.0, seed=1), [demo(n)], lambda *_: 0)[0]
    assert max(row.prefix for row in first[0].rollouts) == 950


def most_uncertain_by_hand(entropy, given, share):
    kept = torch.zeros_like(given)
    places = sorted((float(entropy[i, t]), i, t) for i, t in given.nonzero().tolist())
    for _, i, t in places[math.floor(len(places) * (1 - share) + 1e-9) :]:
        kept[i, t] = True
    return kept


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_most_uncertain_tokens_of_a_row_or_of_all(share):
    batch = random_batch([0, 3, 5, 10, 1], seed=4)
    given = batch.prefix > 0
    rows = [most_uncertain_by_hand(batch.entropy[i : i + 1], given[i : i + 1], share) for i in range(5)]
    assert torch.equal(most_uncertain(batch.entropy, given, share, True), torch.cat(rows))
    assert torch.equal(
        most_uncertain(batch.entropy, given, share, False), most_uncertain_by_hand(batch.entropy, given, share)
    )


@pytest.mark.parametrize("scope", ["sequence", "micro"])
@pytest.mark.parametrize("aggregation", ["constant", "token", "sequence"])
def test_prefix_rft_gradient_is_that_of_its_loss(scope, aggregation):
    batch = random_batch([0, 0, 0, 6, 0, 0, 9, 0], seed=7, groups=[0, 0, 0, 0, 1, 1, 1, 1])
    batch = replace(batch, reward=torch.tensor([1.0, 0, 0, 1, 1, 1, 0, 1]).double())
    strategy = build("prefix_rft", entropy_scope=scope, aggregation=aggregation)
    found = gradient(strategy, batch, Step(0))
    advantage = strategy.advantages(batch).clone()
    given = batch.prefix > 0
    if scope == "micro":
        kept = most_uncertain_by_hand(batch.entropy, given, 0.2)
    else:
        kept = torch.cat([most_uncertain_by_hand(batch.entropy[i : i + 1], given[i : i + 1], 0.2) for i in range(8)])
    advantage[given & ~kept] = 0.0
    assert kept.sum() == (3 if scope == "micro" else 4)

    def loss(logp):
        ratio = (logp - batch.old_logp).exp()
        clipped = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2))
        value = torch.where(advantage < 0, torch.minimum(clipped, -advantage * 3.0), clipped) * batch.mask
        if aggregation == "token":
            return value.sum() / batch.mask.sum()
        if aggregation == "sequence":
            return (value.sum(-1) / batch.mask.sum(-1)).mean()
        return value.sum() / (8 * SIZES.max_response)

    close(found, autograd(loss, batch))
    assert found[given & kept].abs().sum() > 0


def test_prefix_rft_without_hybrids_is_its_rl():
    batch = replace(random_batch([0] * 6, seed=3), prefix=None)
    rl = registry.build("grpo", {"normalize_std": False, "aggregation": "constant", "dual_clip": 3.0}, SIZES)
    for options in ({}, {"prefixed": 0}):
        strategy = build("prefix_rft", **options, entropy_coefficient=0.0)
        close(gradient(strategy, batch, Step(0)), gradient(rl, batch, Step(0)), 1e-15)
    assert strategy.requires == rl.requires
    plan = strategy.plan(Step(0))
    assert (plan.rollouts, plan.expert, plan.later) == (8, 0, 0) and strategy.more([], Step(0)) == ()


# --- UFT -----------------------------------------------------------------------------------------------------------


def test_uft_probability_matches_the_original(golden):
    expected = golden["UFT p(0,75,150,225,300) = .05+.45*(1+cos(pi t/300))"]
    strategy = build("uft", clock="steps")
    assert [strategy.p(Step(t)) for t in (0, 75, 150, 225, 300)] == pytest.approx(expected, abs=1e-8)
    assert [strategy.p(Step(t)) for t in (301, 500)] == [0.0, 0.0]
    scaled = build("uft")
    assert [scaled.p(Step(7, t / 500)) for t in (0, 75, 150, 225, 300)] == pytest.approx(expected, abs=1e-8)
    assert scaled.p(Step(7, 0.601)) == 0.0


def drawn_chunks(strategy, step, demonstration, n):
    ends = (0, *chunk_ends(demonstration, 5))
    found = []
    for seed in range(n):
        groups, rounds = run(strategy, replace(step, seed=seed), [demonstration, demonstration], lambda *_: 0)
        assert len(rounds) == 1
        for group in groups:
            assert len({row.prefix for row in group.rollouts}) == 1 and len(group.rollouts) == 8
            found.append(ends.index(group.rollouts[0].prefix))
    return found


@pytest.mark.parametrize(("time", "p"), [(0, 0.95), (150, 0.5), (300, 0.05)])
def test_uft_hints_are_binomial(time, p):
    found = drawn_chunks(build("uft"), Step(0, time / 500), demo(51, tuple(range(5, 50, 5))), 150)
    for k in range(6):
        share = math.comb(5, k) * p**k * (1 - p) ** (5 - k)
        assert found.count(k) / 300 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 300) + 0.004)


def test_uft_stages_and_uniform_hints():
    demonstration = demo(51, tuple(range(5, 50, 5)))
    stage = build("uft", schedule="stage", clock="steps")
    for time in range(0, 320, 10):
        expected = max(5 - time // (300 // 6), 0) if time <= 300 else 0
        found = drawn_chunks(stage, Step(time), demonstration, 1) if time <= 300 else [0, 0]
        assert found == [expected] * 2
    uniform = drawn_chunks(build("uft", schedule="uniform"), Step(0, 0.9), demonstration, 150)
    assert all(uniform.count(k) == pytest.approx(50, abs=4 * math.sqrt(300 * 5 / 36)) for k in range(6))


def test_uft_with_p_1_gives_all_chunks_and_with_p_0_is_grpo_with_kl():
    always = build("uft", p_high=1.0, p_low=1.0)
    demos = [demo(20, (3, 9)), demo(6), demo(2), demo(1), None]
    groups, _ = run(always, Step(0, 0.1), demos, lambda *_: 0)
    assert [{row.prefix for row in group.rollouts} for group in groups] == [{19}, {5}, {1}, {0}, {0}]
    never = build("uft", p_high=0.0, p_low=0.0, entropy_coefficient=0.0)
    grpo = registry.build("grpo", {"aggregation": "token", "kl_coefficient": 0.001}, SIZES)
    assert never.plan(Step(0)) == grpo.plan(Step(0)) and never.more([], Step(0)) == ()
    assert build("uft").plan(Step(0, 0.7)) == grpo.plan(Step(0))
    batch = replace(random_batch([0] * 6, seed=2), prefix=None)
    close(gradient(never, batch, Step(0)), gradient(grpo, batch, Step(0)), 0.0)
    assert never.requires == grpo.requires


def test_uft_gradient_is_that_of_its_loss():
    batch = random_batch([4, 4, 4, 4, 7, 7, 7, 7], seed=9, groups=[0] * 4 + [1] * 4)
    strategy = build("uft", sft_coefficient=0.3, kl_coefficient=0.2)
    advantage = estimator.group_advantage(batch.reward, batch.group).unsqueeze(-1)
    given, own = batch.prefix * batch.mask, (1 - batch.prefix) * batch.mask

    def loss(logp):
        ratio = (logp - batch.old_logp).exp()
        policy = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2))
        gap = batch.ref_logp - logp
        kl = gap.exp() - gap - 1
        rl = ((policy + 0.2 * kl) * own).sum() / own.sum()
        return rl - 0.3 * (logp * given).sum() / given.sum()

    close(gradient(strategy, batch, Step(0)), autograd(loss, batch))
    parts = estimator.coefficients(strategy, batch, Step(0))
    # the repeats of a hint leave the mean over hint tokens as it is over distinct hints
    once = replace(batch, mask=batch.mask * torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0]).unsqueeze(-1))
    distinct = autograd(lambda logp: -0.3 * (logp * batch.prefix * once.mask).sum() / 11, batch)
    close(parts["sft"].reshape(2, 4, -1).sum(1), -distinct.reshape(2, 4, -1).sum(1))


@pytest.mark.parametrize("name", ["uft", "trapo"])
@pytest.mark.parametrize("loss", ["plain", "dft", "phi", "trust_region", "psft", "iw_sft"])
def test_the_sft_loss_on_prefixes_is_a_choice(name, loss):
    batch = random_batch([4, 0, 6, 2], seed=5)
    given = replace(batch, mask=batch.mask * batch.prefix)
    strategy = build(name, sft_loss=loss, sft_aggregation="token")
    expected = strategy.sft.token_coefficient(given) / given.mask.sum()
    assert expected.abs().sum() > 0 and torch.equal(expected * batch.prefix, expected)
    found = estimator.coefficients(strategy, batch, Step(0))["sft"]
    close(found, expected * (0.001 if name == "uft" else 1.0))
    assert strategy.branches(replace(batch, advantage=strategy.advantages(batch)), Step(0))["sft"][0].part == "prefix"


@pytest.mark.parametrize("name", ["uft", "trapo"])
def test_full_vocabulary_targets_on_prefixes(name):
    batch = random_batch([4, 0, 6, 2], seed=5)
    parts = estimator.coefficients(build(name, sft_loss="asft", sft_aggregation="token"), batch, Step(0))
    scale = 0.001 if name == "uft" else 1.0
    close(parts["sft_kl"], 0.05 * scale * batch.prefix / 12)
    strategy = build(name, sft_loss="gift")
    target = strategy.soft_target(torch.full((1, 3), 1 / 3).log(), torch.tensor([1]))
    close(target, torch.tensor([[0.0, 20.0, 0.0]]).softmax(-1))
    assert "soft_target" in strategy.requires
