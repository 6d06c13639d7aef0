"""Single-signal baselines, SFT then RL, and controls: losses as their papers write them, sampling, stages, rewards."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Group, Request, Role, SamplingPlan, Sizes, Step
from strategies.estimator import Counts, group_advantage
from strategies.policy_gradient import GrpoOptions, PolicyGradient

STEP = Step(0, 0.0)
SIZES = Sizes(prompts=2, group=4, demos=2, max_response=6)  # the originals divide by the padded width, 6
OFF = {"clip_low": "off", "clip_high": "off"}
VANILLA = {"dual_clip": 3.0, "overlong_cache": "off"}


def gradient(name, options, batch, step=STEP):
    """dL/dlogp of the surrogate, by autograd."""
    logp = batch.logp.clone().requires_grad_()
    strategy = registry.build(name, options, SIZES)
    return torch.autograd.grad(estimator.surrogate(strategy, replace(batch, logp=logp), step)[0], logp)[0]


def by_autograd(loss, batch):
    logp = batch.logp.clone().requires_grad_()
    return torch.autograd.grad(loss(logp), logp)[0]


def all_rollouts(batch):
    return replace(batch, role=torch.zeros_like(batch.role))


def advantage_of(batch, std=True):
    return group_advantage(batch.reward, batch.group, std=std).unsqueeze(-1)


def shifted(batch, size):
    """Rollouts whose log-ratios are spread over +- size, with a mean that differs from row to row."""
    tokens = torch.sin(torch.arange(batch.logp.numel(), dtype=torch.float64)).view_as(batch.logp)
    rows = torch.cos(2.0 * torch.arange(len(batch.logp), dtype=torch.float64)).unsqueeze(-1)
    return all_rollouts(replace(batch, old_logp=batch.logp - size * (0.5 * tokens + 0.5 * rows)))


# ---- parity with the original implementations


PARITY = [
    ("dapo", VANILLA, "verl vanilla token-mean eps=(0.2,0.28)"),
    ("dapo", {"overlong_cache": "off"}, "open-instruct dapo token-mean"),
    ("grpo", {"clip_high": 0.28, "dual_clip": 3.0}, "verl vanilla seq-mean-token-mean eps=(0.2,0.28)"),
    (
        "dr_grpo",
        {"normalize_std": True, "clip_high": 0.28, "dual_clip": 3.0, "aggregation": "constant_sum"},
        "verl vanilla seq-mean-token-sum-norm eps=(0.2,0.28)",
    ),
    ("dr_grpo", {**OFF, "aggregation": "constant_sum"}, "ReLIFT RL step (no clip, /Lmax)"),
    ("cispo", {"clip_low": 0.2}, "verl cispo token-mean eps=(0.2,0.28)"),
    ("cispo", {"cispo_clip": "open_instruct"}, "open-instruct cispo token-mean"),
    ("fixed", {"mu": 0.0, "variant": "cispo"}, "open-instruct cispo token-mean"),
]


@pytest.mark.parametrize(("name", "options", "case"), PARITY, ids=[f"{name}-{case}" for name, _, case in PARITY])
def test_gradients_and_values_equal_the_originals(name, options, case, golden, parity_batch):
    batch, expected = all_rollouts(parity_batch), golden[case]
    tolerance = 1e-8 if "seq-mean-token-mean" in case else 1e-9  # verl adds 1e-8 to the length of a row
    found = gradient(name, options, batch)
    numbers = {
        "grad_l1": found.abs().sum(),
        "grad_sum": found.sum(),
        "g_first": found[0, 0],
        "g_demo": found[3, 1],
    }
    strategy = registry.build(name, options, SIZES)
    batch = replace(batch, advantage=strategy.advantages(batch))
    aggregator = estimator.AGGREGATORS[strategy.policy.options.aggregation]
    weight = aggregator(batch, (Role.ROLLOUT,), Counts.of(batch), SIZES.max_response)
    numbers["loss"] = (weight * strategy.policy.values(batch)).sum()
    for number, value in numbers.items():
        assert float(value) == pytest.approx(expected[number], rel=0, abs=tolerance), number


# ---- losses as the papers write them, with ratios far from 1


@pytest.mark.parametrize("size", [0.001, 0.5, 3.0])
@pytest.mark.parametrize("options", [{}, {"clip_low": 0.2, "clip_high": 0.3}, {"clip_low": "off", "dual_clip": 1.5}])
def test_gspo_equals_autograd_of_the_paper(options, size, parity_batch):
    batch = shifted(parity_batch, size)
    low, high = options.get("clip_low", 3e-4), options.get("clip_high", 4e-4)
    bounds = (float("-inf") if low == "off" else 1 - low, 1 + high)

    def loss(logp):
        s = (((logp - batch.old_logp) * batch.mask).sum(-1) / batch.mask.sum(-1)).exp()
        advantage = advantage_of(batch).squeeze(-1)
        value = torch.minimum(s * advantage, s.clamp(*bounds) * advantage)
        if "dual_clip" in options:
            value = torch.where(advantage < 0, torch.maximum(value, options["dual_clip"] * advantage), value)
        return -value.mean()

    expected = by_autograd(loss, batch)
    assert expected.any()
    torch.testing.assert_close(gradient("gspo", options, batch), expected, rtol=1e-12, atol=1e-15)
    term = PolicyGradient.of_variant(registry.validate("gspo", options))
    values = term.values(replace(batch, advantage=advantage_of(batch).squeeze(-1)))
    per_row = (values * batch.mask).sum(-1) / batch.mask.sum(-1)
    torch.testing.assert_close(per_row.mean(), loss(batch.logp), rtol=1e-12, atol=1e-15)


def test_gspo_clips_whole_rows(parity_batch):
    batch = shifted(parity_batch, 0.5)
    found = gradient("gspo", {}, batch)
    trained = (found != 0).any(-1)
    assert 0 < trained.sum() < len(trained)
    assert torch.equal((found != 0)[trained], (batch.mask != 0)[trained])


def test_gspo_has_no_gradient_where_verl_clamps(parity_batch):
    batch = shifted(parity_batch, 0.0)
    batch = replace(batch, old_logp=batch.logp - torch.tensor([9.9, 10.1] * 4, dtype=torch.float64).unsqueeze(-1))
    batch = replace(batch, reward=torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1], dtype=torch.float64))  # rows 0, 1: A < 0
    found = gradient("gspo", {}, batch)
    assert found[0].any() and found[4].any()
    assert not found[[1, 2, 3, 5, 6, 7]].any()
    assert torch.isfinite(gradient("gspo", {}, replace(batch, old_logp=batch.logp - 1e6))).all()


def test_ratios_leave_out_the_given_prefix(parity_batch):
    batch = shifted(parity_batch, 0.5)
    prefix = torch.zeros_like(batch.mask)
    prefix[0, :3] = prefix[4, :2] = 1.0
    hybrid = replace(batch, prefix=prefix)
    options = {"clip_low": "off", "clip_high": "off"}
    own = batch.mask * (1 - prefix)

    def loss(logp):
        s = (((logp - batch.old_logp) * own).sum(-1) / own.sum(-1)).exp()
        return -(s * advantage_of(batch).squeeze(-1)).mean()

    torch.testing.assert_close(gradient("gspo", options, hybrid), by_autograd(loss, batch), rtol=1e-12, atol=1e-15)
    for name in ("grpo", "gspo", "cispo"):
        assert not (gradient(name, {}, hybrid) * prefix).any()
        term = PolicyGradient.of_variant(registry.validate(name, {}))
        values = term.values(replace(hybrid, advantage=advantage_of(batch).squeeze(-1)))
        assert torch.equal(values != 0, own != 0)


CISPO_FORMS = [
    ({}, (None, 1.28)),
    ({"clip_low": 0.2, "clip_high": 0.3}, (0.8, 1.3)),
    ({"cispo_clip": "open_instruct", "clip_high": 0.5}, (None, 1.5)),
    ({"cispo_clip": "trl"}, (None, 5.0)),
    ({"cispo_clip": "trl", "clip_high": 1.1}, (None, 1.1)),
    ({"clip_high": "off", "clip_low": 0.1}, (0.9, None)),
]


@pytest.mark.parametrize(("options", "bounds"), CISPO_FORMS)
def test_cispo_equals_autograd_of_each_form(options, bounds, parity_batch):
    batch = shifted(parity_batch, 4.0)
    ratio = (batch.logp - batch.old_logp).exp()
    weight = ratio.clamp(*bounds)
    assert (weight != ratio).any() and (weight == ratio).any()

    def loss(logp):
        return -(weight * advantage_of(batch) * logp * batch.mask).sum() / batch.mask.sum()

    expected = by_autograd(loss, batch)
    assert torch.equal(expected != 0, batch.mask != 0)  # no token is clipped out
    torch.testing.assert_close(gradient("cispo", options, batch), expected, rtol=1e-12, atol=1e-15)
    term = PolicyGradient.of_variant(registry.validate("cispo", options))
    values = term.values(replace(batch, advantage=advantage_of(batch).squeeze(-1)))
    torch.testing.assert_close(values.sum() / batch.mask.sum(), loss(batch.logp), rtol=1e-12, atol=1e-15)


def test_dual_clip_equals_autograd_and_its_values(parity_batch):
    batch = shifted(parity_batch, 4.0)
    advantage = advantage_of(batch)

    def value(logp):
        ratio = (logp - batch.old_logp).exp()
        lower = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        return -torch.where(advantage < 0, torch.maximum(lower, 3.0 * advantage), lower) * batch.mask

    expected = by_autograd(lambda logp: (value(logp).sum(-1) / batch.mask.sum(-1)).mean(), batch)
    torch.testing.assert_close(gradient("grpo", {"dual_clip": 3.0}, batch), expected, rtol=1e-12, atol=1e-15)
    ratio = (batch.logp - batch.old_logp).exp()
    assert ((advantage < 0) & (ratio > 3.0) & (batch.mask > 0)).any()
    term = PolicyGradient.of_variant(GrpoOptions(dual_clip=3.0))
    logp = batch.logp.clone().requires_grad_()
    found = term.values(replace(batch, logp=logp, advantage=advantage.squeeze(-1)))
    assert not found.requires_grad
    torch.testing.assert_close(found, value(batch.logp), rtol=1e-12, atol=1e-15)
    tokens = term.values(replace(batch, advantage=advantage.expand_as(batch.logp)))  # advantages per token
    assert torch.equal(tokens, found)


def test_values_are_of_rollouts_alone(random_batch):
    batch = random_batch()
    term = PolicyGradient.of_variant(GrpoOptions(variant="dapo"))
    padded = replace(batch, logp=batch.logp.masked_fill(batch.mask == 0, float("nan")))
    found = term.values(replace(padded, advantage=term.advantages(batch)))
    assert torch.isfinite(found).all()
    assert not found[batch.role != int(Role.ROLLOUT)].any() and found[batch.role == int(Role.ROLLOUT)].any()


# ---- variants: as strategies, and in mixtures


@pytest.mark.parametrize("variant", ["dr_grpo", "gspo", "cispo"])
def test_a_variant_and_its_strategy_are_the_same(variant, random_batch):
    batch = random_batch()
    assert torch.equal(gradient("grpo", {"variant": variant}, batch), gradient(variant, {}, batch))
    mixed = gradient("fixed", {"variant": variant, "mu": 0.3}, batch)
    expected = 0.7 * gradient(variant, {}, batch) + 0.3 * gradient("sft", {}, batch)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gspo", {"kl_coefficient": 0.1}), ("cispo", {"cispo_clip": "trl"}), ("dr_grpo", {}), ("dapo", {})],
)
@pytest.mark.parametrize("split", [[9, 8], [5, 0, 5, 7], [1] * 17])
def test_micro_batches_do_not_matter(name, options, split, random_batch):
    strategy = registry.build(name, options, SIZES)
    batch = random_batch()
    assert batch.prefix is not None
    batch = replace(batch, advantage=strategy.advantages(batch))
    counts = Counts.of(batch)

    def total(part):
        return sum(estimator.coefficients(strategy, part, STEP, counts).values())

    parts = torch.cat([total(batch.take(rows)) for rows in torch.arange(17).split(split)])
    torch.testing.assert_close(parts, total(batch), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gspo", {"aggregation": "token"}, 'aggregation must be "sequence" with the policy loss gspo'),
        ("fixed", {"variant": "gspo", "aggregation": "constant"}, 'aggregation must be "sequence"'),
        ("grpo", {"variant": "dapo", "policy_loss": "gspo"}, 'aggregation must be "sequence"'),
        ("grpo", {"cispo_clip": "trl"}, "cispo_clip has an effect with the policy loss cispo only"),
        ("cispo", {"dual_clip": 3.0}, "dual_clip has no effect with the policy loss cispo"),
        ("cispo", {"cispo_clip": "open_instruct", "clip_low": 0.2}, 'clip_low must be "off" with cispo_clip'),
        ("cispo", {"variant": "grpo"}, "strategy cispo has no option 'variant'"),
        ("dapo", {"drop_uniform_groups": False}, "drop_uniform_groups cannot be false while dynamic_sampling"),
        ("dapo", {"max_rounds": 0}, "max_rounds must be >= 1"),
        ("dapo", {"overlong_cache": 0}, 'overlong_cache must be >= 1 or "off"'),
        ("dapo", {"overlong_cache": 7}, "overlong_cache of strategy dapo is 7, above the run's longest response of 6"),
        ("dapo", {"overlong_factor": -1.0}, "overlong_factor must be >= 0"),
        ("random_reward", {"p": 1.5}, r'p must be in \[0, 1\] or "match"'),
        ("sft_then_rl", {"switch_on": "step"}, "switch_step and switch_on"),
        ("sft_then_rl", {"switch_on": "share", "switch_step": 3}, "switch_step and switch_on"),
        ("sft_then_rl", {"switch_step": 3, "rl_stage": "short"}, 'rl_stage = "short" needs switch_on = "share"'),
        ("sft_then_rl", {"patience": 0}, "patience must be >= 1"),
        ("sft_then_rl", {"tolerance": 1.5}, r"tolerance must be in \[0, 1\]"),
    ],
)
def test_options_that_do_not_go_together_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        registry.build(name, options, SIZES)


# ---- DAPO


def groups_of(row, *solved, first=0, size=4):
    """Groups with the given numbers of correct rollouts, of `size`."""
    return [Group(tuple(row(Role.ROLLOUT, first + g, float(i < n)) for i in range(size))) for g, n in enumerate(solved)]


def test_dapo_resamples_what_is_missing(row):
    strategy = registry.build("dapo", {}, Sizes(3, 4, 0, 10))
    assert strategy.plan(STEP) == SamplingPlan(prompts=3, rollouts=4)
    groups = groups_of(row, 0, 2, 4)
    assert strategy.more(groups, STEP) == [Request(4)] * 2  # new prompts: no group
    groups += groups_of(row, 1, 0, first=3)
    assert strategy.more(groups, STEP) == [Request(4)]
    groups += groups_of(row, 3, first=5)
    assert strategy.more(groups, STEP) == []
    assert {r.group for r in strategy.route(groups, [], STEP)} == {1, 3, 5}
    assert strategy.metrics() == {"dropped": 0.5, "resampled": 3.0}
    strategy.plan(Step(1))
    assert strategy.more(groups_of(row, 1, 1, 1), Step(1)) == []
    assert strategy.metrics()["resampled"] == 0.0


@pytest.mark.parametrize(("max_rounds", "asked"), [(1, 0), (2, 1), (10, 9)])
def test_dapo_gives_up_after_the_last_round(max_rounds, asked, row):
    strategy = registry.build("dapo", {"max_rounds": max_rounds}, Sizes(1, 4, 0, 10))
    strategy.plan(STEP)
    groups = groups_of(row, 0)
    rounds = 0
    while requests := strategy.more(groups, STEP):
        rounds += 1
        groups += groups_of(row, *[0] * len(requests), first=len(groups))
    assert rounds == asked
    assert registry.validate("dapo", {}).max_rounds == 10
    assert strategy.route(groups, [], STEP) == []


def test_dapo_refills_by_batches_and_drops_what_is_too_many(row):
    strategy = registry.build("dapo", {"refill": "batch"}, Sizes(3, 4, 0, 10))
    strategy.plan(STEP)
    groups = groups_of(row, 0, 2, 2)
    assert strategy.more(groups, STEP) == [Request(4)] * 3
    groups += groups_of(row, 1, 1, 0, first=3)
    assert strategy.more(groups, STEP) == []
    assert {r.group for r in strategy.route(groups, [], STEP)} == {1, 2, 3}
    assert strategy.metrics()["dropped"] == pytest.approx(2 / 6)


def test_dapo_without_dynamic_sampling_drops_groups_or_not(row):
    groups = groups_of(row, 0, 2, 4)
    for options, kept in (({}, {1}), ({"drop_uniform_groups": False}, {0, 1, 2})):
        strategy = registry.build("dapo", {"dynamic_sampling": False, **options}, Sizes(3, 4, 0, 10))
        strategy.plan(STEP)
        assert strategy.more(groups, STEP) == []
        assert {r.group for r in strategy.route(groups, [], STEP)} == kept


def test_overlong_penalty_is_eq_13(random_batch):
    def penalties(lengths, longest, options=()):
        strategy = registry.build("dapo", dict(options), Sizes(2, 4, 0, longest))
        batch = random_batch()
        mask = (torch.arange(longest + 5) < torch.tensor(lengths).unsqueeze(-1)).double()
        batch = replace(batch.take(slice(0, len(lengths))), mask=mask)
        return strategy, strategy.penalty(batch).tolist()

    strategy, found = penalties([0, 16384, 16385, 18432, 20479, 20480, 20485], 20480)  # the paper's sizes
    assert strategy.cache == 4096
    assert found == pytest.approx([0, 0, -1 / 4096, -0.5, -4095 / 4096, -1, -1], rel=0, abs=1e-12)
    assert penalties([4, 6, 7, 9, 10], 10, {"overlong_cache": 4}.items())[1] == [0.0, 0.0, -0.25, -0.75, -1.0]
    assert penalties([9, 10], 10, {"overlong_cache": "off"}.items())[1] == [0.0, 0.0]
    assert [registry.build("dapo", {}, Sizes(2, 4, 0, n)).cache for n in (1, 2, 7, 8, 100)] == [1, 1, 1, 2, 20]


def test_overlong_penalty_joins_the_rewards(row, random_batch):
    batch = random_batch()
    batch = batch.take(batch.role == int(Role.ROLLOUT))
    strategy = registry.build("dapo", {"overlong_cache": 4, "overlong_factor": 0.5}, Sizes(2, 4, 0, 7))
    length = batch.mask.sum(-1)
    penalty = torch.tensor([min(0.0, (3.0 - n) / 4.0) for n in length.tolist()], dtype=torch.float64)
    assert penalty.unique().numel() > 2
    expected = group_advantage(batch.reward + 0.5 * penalty, batch.group)
    torch.testing.assert_close(strategy.advantages(batch), expected, rtol=0, atol=1e-14)
    # whether a group is uniform goes by correctness alone
    rollouts = tuple(row(Role.ROLLOUT, 0, 1.0, length=n) for n in (2, 7))
    assert strategy.policy.select([Group(rollouts)]) == []


# ---- RAFT


def test_raft_is_sft_on_correct_rollouts(row, random_batch):
    strategy = registry.build("raft", {}, SIZES)
    assert strategy.plan(STEP) == SamplingPlan(prompts=2, rollouts=4)
    groups = groups_of(row, 0, 3, 1)
    rows = strategy.route(groups, [], STEP)
    assert [(r.group, r.reward) for r in rows] == [(1, 1.0)] * 3 + [(2, 1.0)]
    assert strategy.metrics() == {"kept": 4 / 12}
    batch = all_rollouts(random_batch().take(slice(0, 7)))
    batch = replace(batch, prefix=None)
    as_demos = replace(batch, role=torch.ones_like(batch.role))
    for options in ({}, {"sft_loss": "dft"}, {"sft_loss": "phi", "sft_aggregation": "sequence"}):
        assert torch.equal(gradient("raft", options, batch), gradient("sft", options, as_demos))
    assert registry.build("raft", {}, SIZES).requires == frozenset()


def test_raft_keeps_one_of_each_prompt(row):
    strategy = registry.build("raft", {"best_of_n": "one"}, SIZES)
    groups = groups_of(row, 0, 3, 1)
    assert strategy.route(groups, [], STEP) == [groups[1].rollouts[0], groups[2].rollouts[0]]
    assert strategy.route(groups[:1], [], STEP) == []


def test_raft_plus_plus_is_the_clipped_ratio(parity_batch):
    batch = shifted(parity_batch, 0.8)

    def loss(logp):
        ratio = (logp - batch.old_logp).exp()
        return -(torch.minimum(ratio, ratio.clamp(0.8, 1.2)) * batch.mask).sum() / batch.mask.sum()

    options = {"sft_loss": "psft", "psft_clip": 0.2}
    expected = by_autograd(loss, batch)
    assert ((expected == 0) & (batch.mask > 0)).any()
    torch.testing.assert_close(gradient("raft", options, batch), expected, rtol=1e-12, atol=1e-15)
    assert registry.build("raft", options, SIZES).requires == {"old_logp"}


# ---- SFT, then RL


def stages(strategy, steps):
    found = []
    for step in steps:
        plan = strategy.plan(step)
        assert plan in (SamplingPlan(pool=2), SamplingPlan(prompts=2, rollouts=4))
        assert strategy.metrics() == {"stage": float(plan.pool == 0)}
        found.append("sft" if plan.pool else "rl")
    return found


@pytest.mark.parametrize(
    ("options", "sft"),
    [
        ({}, 50),
        ({"switch_on": "share", "switch": 0.25}, 25),
        ({"rl_stage": "short"}, 91),  # 10/11
        ({"rl_stage": "short", "switch": 0.2}, 72),  # .2 / .28
        ({"rl_stage": "short", "switch": 0.0}, 0),
        ({"rl_stage": "short", "switch": 1.0}, 100),
        ({"switch_step": 7}, 7),
        ({"switch_on": "step", "switch_step": 0}, 0),
    ],
)
def test_the_switch_by_share_and_by_step(options, sft):
    strategy = registry.build("sft_then_rl", options, SIZES)
    assert stages(strategy, [Step(i, i / 100) for i in range(100)]) == ["sft"] * sft + ["rl"] * (100 - sft)


def test_a_short_rl_stage_is_a_tenth_of_the_full_one():
    for switch in (0.1, 0.5, 0.8):
        full, short = (registry.validate("sft_then_rl", {"switch": switch, "rl_stage": n}) for n in ("full", "short"))
        assert full.share == pytest.approx(switch)
        ratio = [(1 - config.share) / config.share for config in (full, short)]
        assert ratio[1] == pytest.approx(0.1 * ratio[0])


@pytest.mark.parametrize(
    ("options", "losses", "sft"),
    [
        # the second of two measurements that are not 2% below 1.5
        ({}, [None, 2.0, 2.0, 1.5, 1.49, 1.49, 1.48, 1.0], 6),
        ({"patience": 1}, [None, 2.0, 2.0, 1.5, 1.49, 1.49], 4),
        # slow, but 2% in two measurements: the count begins again
        ({}, [1.0, 0.985, 0.97, 0.955, 0.94, 0.935, 0.93], 6),
        ({}, [1.0, 0.99, 0.985, 0.97], 2),
        ({"tolerance": 0.0}, [1.0, 0.99, 0.985, 0.97, 0.98, 0.99], 5),
        ({}, [1.0, 1.2, 1.4, 1.6], 2),  # overfitting
        ({}, [3.0, 2.0, 1.0, 0.5, 0.25], 5),  # never stops falling
        ({}, [None, 1.0, 1.0, 1.0, 1.0], 5),  # one measurement, repeated until the next
    ],
)
def test_the_switch_by_validation_loss(options, losses, sft):
    config = {"switch_on": "validation_loss", **options}
    strategy = registry.build("sft_then_rl", config, SIZES)
    assert "validation_nll" in strategy.requires
    steps = [Step(i, 0.99, validation_nll=loss) for i, loss in enumerate(losses)]
    expected = ["sft"] * sft + ["rl"] * (len(losses) - sft)
    assert stages(strategy, steps) == expected
    for cut in range(len(losses)):  # stopped and resumed anywhere
        first, second = (registry.build("sft_then_rl", config, SIZES) for _ in range(2))
        before = stages(first, steps[:cut])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert before + stages(second, steps[cut:]) == expected
    assert stages(strategy, [Step(99, 1.0, validation_nll=0.001)]) == expected[-1:]


def test_only_the_rule_that_needs_it_asks_for_validation():
    assert registry.build("sft_then_rl", {}, SIZES).requires == {"old_logp"}
    assert registry.build("sft_then_rl", {"sft_loss": "iw_sft"}, SIZES).requires == {"old_logp", "ref_logp"}


def test_the_stage_is_that_of_the_plan(random_batch):
    """Rows of one plan may take several optimiser steps, the budget passing the switch between them."""
    batch = random_batch()
    strategy = registry.build("sft_then_rl", {"sft_loss": "phi", "variant": "cispo"}, SIZES)

    def total(step):
        return sum(estimator.coefficients(strategy, batch, step).values())

    strategy.plan(Step(0, 0.49))
    assert torch.equal(total(Step(1, 0.51)), -gradient("sft", {"sft_loss": "phi"}, batch))
    strategy.plan(Step(2, 0.52))
    assert torch.equal(total(Step(2, 0.52)), -gradient("cispo", {}, batch))


def test_sft_then_rl_needs_demonstrations_for_sft_only():
    bare = Sizes(2, 4, 0, 6)
    assert registry.build("sft_then_rl", {"switch": 0.0}, bare).plan(STEP) == SamplingPlan(prompts=2, rollouts=4)
    assert registry.build("sft_then_rl", {"switch_step": 0}, bare).plan(STEP) == SamplingPlan(prompts=2, rollouts=4)
    for options in ({}, {"switch_step": 1}, {"switch_on": "validation_loss", "switch": 0.0}):
        with pytest.raises(ValueError, match="sft_then_rl needs demonstrations"):
            registry.build("sft_then_rl", options, bare)


# ---- controls


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_random_rewards_are_bernoulli(p, row):
    strategy = registry.build("random_reward", {"p": p, "drop_uniform_groups": False}, SIZES)
    groups = groups_of(row, *[0, 8, 3] * 100, size=8)
    rows = strategy.route(groups, [], Step(3, seed=11))
    assert len(rows) == 2400
    assert {r.reward for r in rows} <= {0.0, 1.0}
    mean = sum(r.reward for r in rows) / 2400
    assert mean == pytest.approx(p, abs=4 * (p * (1 - p) / 2400) ** 0.5)  # four standard errors
    assert strategy.metrics()["drawn"] == pytest.approx(mean)
    before = [r for group in groups for r in group.rollouts]
    # nothing but the reward changes, and it says nothing about the response
    assert [replace(new, reward=old.reward) for new, old in zip(rows, before, strict=True)] == before
    by_truth = [[new.reward for new, old in zip(rows, before, strict=True) if old.reward == r] for r in (0.0, 1.0)]
    means = [sum(rewards) / len(rewards) for rewards in by_truth]
    assert means[0] == pytest.approx(means[1], abs=4 * (p * (1 - p) * (1 / 1300 + 1 / 1100)) ** 0.5)


def test_random_rewards_follow_the_seed_of_the_step(row):
    strategy = registry.build("random_reward", {}, SIZES)
    groups = groups_of(row, *[2] * 20)

    def drawn(seed):
        return [r.reward for r in strategy.route(groups, [], Step(0, seed=seed))]

    assert drawn(1) == drawn(1) != drawn(2)


def test_random_rewards_can_match_the_mean(row):
    strategy = registry.build("random_reward", {"p": "match"}, SIZES)
    assert strategy.rate(groups_of(row, 0, 1, 4)) == pytest.approx(5 / 12)
    assert strategy.rate([]) == 0.0
    assert {r.reward for r in strategy.route(groups_of(row, 4, 4), [], Step(0, seed=1))} == {1.0}
    assert {r.reward for r in strategy.route(groups_of(row, 0, 0), [], Step(0, seed=1))} == {0.0}


def test_random_rewards_decide_which_groups_are_uniform(row):
    strategy = registry.build("random_reward", {"variant": "dapo"}, SIZES)
    rows = strategy.route(groups_of(row, *[4] * 200), [], Step(0, seed=5))
    groups = {r.group: [] for r in rows}
    for r in rows:
        groups[r.group].append(r.reward)
    assert all(len(set(rewards)) == 2 for rewards in groups.values())
    assert 1 - len(groups) / 200 == pytest.approx(0.125, abs=0.08) == strategy.metrics()["dropped"]


def test_random_reward_and_no_op_train_as_grpo(random_batch):
    batch = random_batch()
    for name in ("random_reward", "no_op"):
        assert torch.equal(gradient(name, {"variant": "gspo"}, batch), gradient("gspo", {}, batch))
        strategy = registry.build(name, {}, SIZES)
        assert strategy.plan(STEP) == SamplingPlan(prompts=2, rollouts=4)
        assert strategy.kind == "control"


def test_no_op_takes_no_step(row):
    strategy = registry.build("no_op", {}, SIZES)
    groups = groups_of(row, 0, 2)
    assert strategy.route(groups, [], STEP) == registry.build("grpo", {}, SIZES).route(groups, [], STEP)
    assert not any(strategy.accept(norm) for norm in (0.0, 1e-9, 1.0, float("inf")))
    assert registry.build("grpo", {}, SIZES).accept(1.0)
