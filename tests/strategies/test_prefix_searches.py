"""BREAD, GHPO and TRAPO: which prefixes and hints they ask for, what they keep, and their losses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from prefix_cases import SIZES, autograd, build, close, demo, gradient, random_batch, run

from strategies import estimator, registry
from strategies.base import Step
from strategies.bread import best_anchor, next_anchor
from strategies.prefixes import chunk_ends

# --- BREAD ---------------------------------------------------------------------------------------------------------


def test_bread_search_finds_what_trying_all_prefixes_finds():
    levels, anchors = (0.0, 0.125, 0.5, 0.875, 1.0), (3, 5, 8, 13, 21, 34, 40)
    for low, high in ((0.1, 0.9), (0.3, 0.6), (0.5, 0.5)):
        for rates in itertools.combinations_with_replacement(levels, len(anchors)):
            truth = dict(zip(anchors, rates, strict=True))
            probed = {}
            while (prefix := next_anchor(anchors, probed, low)) is not None:
                assert prefix not in probed
                probed[prefix] = truth[prefix]
            assert len(probed) <= 3  # log2 of 8
            within = [prefix for prefix in anchors if low <= truth[prefix] <= high]
            solved = [prefix for prefix in probed if truth[prefix] > 0]
            assert best_anchor(probed, low, high) == min(within or solved, default=None)


def test_bread_branches_groups_without_success():
    steps = tuple(range(4, 40, 4))  # ten steps of 4 tokens
    success = [
        lambda prefix: 8,
        lambda prefix: 0 if prefix < 24 else 4,
        lambda prefix: 0,
        lambda prefix: 8 * (prefix > 30),
    ]
    strategy = build("bread")

    def correct(g, prefix, hint, j):
        return prefix == 0 and j < 1 if g == 4 else j < success[g](prefix if g else 1)

    demos = [demo(41, steps)] * 4 + [None]
    groups, rounds = run(strategy, Step(0), demos, correct)
    rows = strategy.route(groups, [], Step(0))
    trained = [[row for row in rows if row.group == g] for g in range(5)]
    assert [len(rows) for rows in trained] == [8] * 5
    assert [{row.prefix for row in rows} for rows in trained] == [{0}, {24}, {0}, {32}, {0}]
    assert len(rounds) <= 4 and {request.group for requests in rounds for request in requests} == {1, 2, 3}
    assert all(request.rollouts == 8 for requests in rounds for request in requests)
    assert strategy.metrics() == {"branched": pytest.approx(2 / 5)}
    # brute force over the ten ends
    assert min(end for end in chunk_ends(demos[1], 10) if 0.1 <= success[1](end) / 8 <= 0.9) == 24


def test_bread_trains_continuations_as_grpo():
    batch = random_batch([5] * 4 + [0] * 4, seed=6, groups=[0] * 4 + [1] * 4)
    strategy, grpo = build("bread"), registry.build("grpo", {}, SIZES)
    close(gradient(strategy, batch, Step(0)), gradient(grpo, batch, Step(0)), 0.0)
    advantage = estimator.group_advantage(batch.reward, batch.group).unsqueeze(-1)
    own = (1 - batch.prefix) * batch.mask

    def loss(logp):
        ratio = (logp - batch.old_logp).exp()
        value = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)) * own
        return (value.sum(-1) / own.sum(-1)).mean()

    close(gradient(strategy, batch, Step(0)), autograd(loss, batch))


# --- GHPO ----------------------------------------------------------------------------------------------------------


def test_ghpo_shows_more_of_the_solution_while_nothing_is_right():
    needed = [0, 5, 10, 15, 99, 0]  # hint tokens without which a problem is not solved
    strategy = build("ghpo")
    demos = [demo(20)] * 5 + [None]
    groups, rounds = run(strategy, Step(0), demos, lambda g, prefix, hint, j: j < 2 and g < 5 and hint >= needed[g])
    assert [[(request.group, request.hint) for request in requests] for requests in rounds] == [
        [(1, 5), (2, 5), (3, 5), (4, 5)],
        [(2, 10), (3, 10), (4, 10)],
        [(3, 15), (4, 15)],
    ]
    rows = strategy.route(groups, [], Step(0))
    for g, hint in enumerate([0, 5, 10, 15, 15, 0]):
        assert [row.hint for row in rows if row.group == g] == [hint] * 8  # the others are replaced
    assert [sum(row.group == g for row in groups[g].rollouts) for g in range(6)] == [8, 16, 24, 32, 32, 8]  # all paid
    assert strategy.metrics() == {"hinted": pytest.approx(4 / 6)}


def test_ghpo_with_one_ratio_and_with_short_solutions():
    single = build("ghpo", hint_ratios=[0.5])
    _, rounds = run(single, Step(0), [demo(20)], lambda *_: 0)
    assert [request.hint for requests in rounds for request in requests] == [10]
    _, rounds = run(build("ghpo"), Step(0), [demo(2), demo(1)], lambda *_: 0)
    assert [request.hint for requests in rounds for request in requests] == [1]
    for ratios in ([0.5, 0.25], [0.0], [1.1], [0.5, 0.5]):
        with pytest.raises(ValueError, match="hint_ratios"):
            build("ghpo", hint_ratios=ratios)


def test_ghpo_trains_as_grpo_with_a_token_mean():
    batch = replace(random_batch([0] * 8, seed=6, groups=[0] * 4 + [1] * 4), prefix=None)
    grpo = registry.build("grpo", {"aggregation": "token"}, SIZES)
    close(gradient(build("ghpo"), batch, Step(0)), gradient(grpo, batch, Step(0)), 0.0)


# --- TRAPO ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "micro"), [(8, [4, 2, 1, 1]), (16, [8, 4, 2, 2]), (4, [2, 1, 1, 0]), (2, [1, 1, 0, 0]), (1, [1, 0, 0, 0])]
)
def test_trapo_micro_groups_scale(group, micro):
    assert build("trapo", replace(SIZES, group=group)).micro == micro


@pytest.mark.parametrize("definition", ["paper", "code"])
def test_trapo_prefixes_depend_on_the_success_so_far(definition):
    """All 16 outcomes of four groups' micro-groups, by the rule as the paper and `mix_trainer.py` have it."""
    strategy = build("trapo", definition=definition)
    length = 100
    shares = {"paper": (0.2, 0.5, 1.0), "code": (0.25, 0.5, 1.0)}[definition]
    for right in itertools.product((0, 1), (0, 1), (0, 1), (0, 1, 2, 3, 4)):
        outcomes = [1] * right[3] + [0] * (4 - right[3]) + list(right[:3]) + [0]
        drawn = iter(outcomes)
        groups, rounds = run(strategy, Step(0), [demo(length)], lambda *_, drawn=drawn: next(drawn))
        assert [requests[0].rollouts for requests in rounds] == [2, 1, 1]
        before = [sum(outcomes[:n]) for n in (4, 6, 7)]
        if definition == "code":  # total scores below 2, 4 and 7
            low = [before[0] < 2, before[1] < 4, before[2] < 7]
            cuts = [27, 52, 99]  # every token is a step: the first end whose token lies beyond the share
        else:
            low = [total / n < bound for total, n, bound in zip(before, (4, 6, 7), (0.5, 0.7, 0.9), strict=True)]
            cuts = [math.floor(share * length) for share in shares[:2]] + [99]
        assert [requests[0].prefix for requests in rounds] == [c if b else 0 for c, b in zip(cuts, low, strict=True)]
        assert len(groups[0].rollouts) == 8


def test_trapo_code_cuts_at_the_end_of_a_step():
    strategy = build("trapo", definition="code")
    _, rounds = run(strategy, Step(0), [demo(100, (10, 40, 90)), demo(100, (10, 70))], lambda *_: 0)
    assert [[request.prefix for request in requests] for requests in rounds] == [[40, 25], [50, 70], [99, 99]]


def test_trapo_without_success_gets_longer_prefixes():
    strategy = build("trapo")
    groups, _ = run(strategy, Step(0), [demo(50), demo(50), None], lambda g, *_: g == 1)
    assert [[row.prefix for row in group.rollouts] for group in groups] == [
        [0] * 4 + [10, 10, 25, 49],
        [0] * 8,
        [0] * 8,
    ]
    strategy.route(groups, [], Step(0))
    assert strategy.metrics() == {"prefixed": pytest.approx(4 / 24)}


def test_trapo_gradient_is_that_of_its_loss():
    """-p / stop_grad max(p, alpha) on one prefix a micro-group, and Dr.GRPO without a clip after it."""
    batch = random_batch([0, 0, 0, 0, 2, 2, 5, 10] * 2, seed=8, groups=[0] * 8 + [1] * 8)
    batch = replace(batch, logp=batch.logp * 2.0)  # some p below alpha
    advantage = estimator.group_advantage(batch.reward, batch.group, std=False).unsqueeze(-1)
    one = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1] * 2).double().unsqueeze(-1)  # the code's off_loss_mask

    def loss(logp):
        p = logp.exp()
        trust = -p / p.detach().clamp(min=0.1)
        policy = -advantage * (logp - batch.old_logp).exp()
        both = trust * one * batch.prefix + policy * (1 - batch.prefix)
        return (both * batch.mask).sum() / SIZES.max_response

    found, expected = gradient(build("trapo"), batch, Step(0)), autograd(loss, batch)
    # two rows with one prefix share its gradient, which is the same for the parameters
    shared = torch.zeros_like(expected)
    for first in (4, 12):
        at = slice(0, 2)
        shared[first : first + 2, at] = expected[first : first + 2, at].mean(0)
        close(batch.logp[first, at], batch.logp[first + 1, at])
    pair = batch.prefix * (torch.arange(16) % 8 // 2 == 2).unsqueeze(-1)
    close(found, torch.where(pair > 0, shared, expected))
    assert (batch.logp.exp() < 0.1)[batch.prefix > 0].any() and (batch.logp.exp() > 0.1)[batch.prefix > 0].any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("prefix_rft", {"prefixed": 8}),
        ("prefix_rft", {"low_start": 0.96}),
        ("prefix_rft", {"normalize_std": True}),
        ("prefix_rft", {"policy_loss": "cispo"}),
        ("prefix_rft", {"entropy_share": 1.5}),
        ("prefix_rft", {"horizon": 0}),
        ("uft", {"p_high": 1.2}),
        ("uft", {"chunks": 0}),
        ("uft", {"sft_coefficient": -1.0}),
        ("bread", {"episodes": 0}),
        ("bread", {"success_low": 0.5, "success_high": 0.4}),
        ("trapo", {"prefixes": [0.5]}),
        ("trapo", {"micro_groups": [4, 0, 1, 1]}),
        ("trapo", {"thresholds": [0.5, 0.7, 1.9]}),
        ("trapo", {"trust_alpha": 0.0}),
    ],
)
def test_bad_options_are_named(name, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build(name, **options)
