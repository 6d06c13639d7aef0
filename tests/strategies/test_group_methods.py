"""Methods with the demonstration in the group: originals' numbers, autograd of the losses, limits, edge cases."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Batch, Group, Request, Role, SamplingPlan, Sizes, Step
from strategies.estimator import Counts

STEP = Step(0, 0.5)
SIZES = Sizes(prompts=2, group=4, demos=0, max_response=6)  # the originals divide by the padded width, 6
DEMO_METHODS = ("luffy", "rl_plus", "srft")
CLIPPED = {"clip_low": 0.2, "clip_high": 0.2}
EVERY_OPTION = [
    ("luffy", {"aggregation": "sequence", "baseline": "rollouts", "normalize_std": True, "kl_coefficient": 0.2}),
    ("luffy", {"aggregation": "token", "reshape": "p_logp", **CLIPPED}),
    ("luffy", {"aggregation": "constant", "policy_loss": "cispo", "clip_high": 0.3, "drop_uniform_groups": True}),
    ("rl_plus", {"aggregation": "token", "exploration": 2.0}),
    ("rl_plus", {"aggregation": "constant", "importance": "none", "exploration": 0.0, "missing": "smaller"}),
    ("srft", {"definition": "paper", "aggregation": "token"}),
    ("srft", {"definition": "code", "aggregation": "constant", "sft_loss": "phi"}),
    ("srft", {"sft_loss": "gift", "sft_aggregation": "sequence", "entropy_level": "token", "sft_entropy": "plus"}),
    ("srft", {"sft_loss": "iw_sft", "definition": "code", "entropy_level": "sequence"}),
    ("gft", {"teacher": 0, "tau": 0.3}),
]


def gradient(name, options, batch, sizes=SIZES):
    """dL/dlogp of the surrogate, by autograd."""
    logp = batch.logp.clone().requires_grad_()
    loss, _ = estimator.surrogate(registry.build(name, options, sizes), replace(batch, logp=logp), STEP)
    return torch.autograd.grad(loss, logp)[0]


def total(strategy, batch, counts=None):
    parts = estimator.coefficients(strategy, batch, STEP, counts)
    return sum(parts.values(), torch.zeros_like(batch.logp))


def by_autograd(loss, batch):
    """d loss(logp) / d logp."""
    logp = batch.logp.clone().requires_grad_()
    return torch.autograd.grad(loss(logp), logp)[0]


def members(batch):
    """The batch without the roles and prefixes that these methods do not have: rollouts and one demonstration each."""
    keep = (batch.role != int(Role.TEACHER)) & (batch.group < 2)
    return replace(batch.take(keep), prefix=None)


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


# the originals' numbers


@pytest.mark.parametrize(
    ("case", "name", "options"),
    [
        ("LUFFY train.sh (p/(p+0.1), no clip, /Lmax)", "luffy", {}),
        ("LUFFY p/(p+0.1), no clip, token-mean", "luffy", {"aggregation": "token"}),
        (
            "LUFFY no_reshape, clip, token-mean",
            "luffy",
            {"aggregation": "token", "reshape": "no_reshape", **CLIPPED},
        ),
        ("SRFT as re-implemented in HPT repo (train_srft.sh)", "srft", {}),
        (
            "SRFT as re-implemented in HPT repo (train_srft.sh)",
            "srft",
            {"definition": "paper", "normalize_std": False, "reshape": "p_div_p", "sft_aggregation": "token_micro"},
        ),
        ("GFT tau=0.1 (GRPO-std advantages over teacher+student group)", "gft", {"tau": 0.1}),
    ],
)
def test_gradients_equal_the_originals(case, name, options, golden, parity_batch):
    found = gradient(name, options, parity_batch)
    numbers = {
        "grad_l1": found.abs().sum(),
        "grad_sum": found.sum(),
        "g_first": found[0, 0],
        "g_demo": found[3, 1],
    }
    for key, value in numbers.items():
        assert float(value) == pytest.approx(golden[case][key], rel=0, abs=1e-9), key


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("LUFFY adv nostd (row 0,1,3,7 tok0)", {}),
        ("LUFFY adv std   (row 0,1,3,7 tok0)", {"normalize_std": True}),
        ("LUFFY adv split (row 0,1,3,7 tok0)", {"baseline": "rollouts"}),
    ],
)
@pytest.mark.parametrize("name", DEMO_METHODS)
def test_advantages_equal_luffy(name, case, options, golden, parity_batch):
    found = registry.build(name, options, SIZES).advantages(parity_batch)
    assert found[[0, 1, 3, 7]].tolist() == pytest.approx(golden[case], rel=0, abs=1e-6)


def split_rule(rewards, is_rollout):
    """`compute_grpo_outcome_advantage_split` of one group: one rollout means mean 0, std 1; a std of 0 becomes 1."""
    own = [reward for reward, mine in zip(rewards, is_rollout, strict=True) if mine]
    mean = sum(own) / len(own) if len(own) > 1 else 0.0
    deviation = math.sqrt(sum((x - mean) ** 2 for x in own) / (len(own) - 1)) if len(set(own)) > 1 else 1.0
    return [(reward - mean) / (deviation + 1e-6) for reward in rewards]


@pytest.mark.parametrize(
    "rewards", [[0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0.1, 0.1, 0.1, 1]]
)
def test_split_baseline_with_deviation(rewards):
    role = torch.tensor([0, 0, 0, 1])
    reward = torch.tensor(rewards, dtype=torch.float64)
    batch = Batch(reward, reward, role=role, group=torch.zeros(4, dtype=torch.long), reward=reward)
    strategy = registry.build("luffy", {"baseline": "rollouts", "normalize_std": True}, SIZES)
    # where rollouts agree, the released rule divides by 1 + 1e-6 and this one by 1
    expected = torch.tensor(split_rule(rewards, [True] * 3 + [False]), dtype=torch.float64)
    close(strategy.advantages(batch), expected, atol=2e-6)


# the losses as papers and code write them, by autograd


def masked_mean(values, batch, how):
    """Over all rows of the batch, as the aggregation says."""
    values = values * batch.mask
    if how in ("token", "token_micro"):
        return values.sum() / batch.mask.sum()
    if how == "sequence":
        return (values.sum(-1) / batch.mask.sum(-1)).mean()
    return values.sum() / SIZES.max_response / (len(batch.mask) if how == "constant" else 1)


def group_mean(batch, rows=None):
    rows = torch.ones_like(batch.role, dtype=torch.bool) if rows is None else rows
    value = torch.zeros_like(batch.reward)
    for group in batch.group.unique():
        value[batch.group == group] = batch.reward[(batch.group == group) & rows].mean()
    return value


def mixed_loss(logp, batch, advantage, demo_value, how="constant_sum", clip=None, penalty=0.0):
    """-A r on rollouts, clipped or not, and -A demo_value on demonstrations."""
    demo = (batch.role == int(Role.DEMO)).unsqueeze(-1)
    advantage = advantage.unsqueeze(-1)
    ratio = (logp - batch.old_logp).exp()
    rollout = ratio * advantage
    if clip is not None:
        rollout = torch.minimum(rollout, ratio.clamp(1 - clip, 1 + clip) * advantage)
    difference = batch.ref_logp - logp if penalty else torch.zeros_like(logp)
    rollout = rollout - penalty * (difference.exp() - difference - 1)
    return -masked_mean(torch.where(demo, demo_value * advantage, rollout), batch, how)


SHAPES = {
    "p_div_p": lambda p: p / (p + 0.3),
    "no_reshape": lambda p: p,
    "logp": lambda p: 0.7 * p.log(),
    "p_logp": lambda p: p + 0.7 * p.log(),
    "square_root": lambda p: p.sqrt(),
    "pow": lambda p: p**0.4,
}
SHAPE_OPTIONS = {"gamma": 0.3, "reshape_weight": 0.7, "reshape_power": 0.4}


@pytest.mark.parametrize("reshape", SHAPES)
def test_every_reshape_equals_autograd(reshape, random_batch):
    batch = members(random_batch())
    advantage = batch.reward - group_mean(batch)

    def loss(logp):
        return mixed_loss(logp, batch, advantage, SHAPES[reshape](logp.exp()))

    close(gradient("luffy", {"reshape": reshape, **SHAPE_OPTIONS}, batch), by_autograd(loss, batch))


@pytest.mark.parametrize("reshape", SHAPES)
def test_every_reshape_survives_extreme_probabilities(reshape):
    logp = torch.tensor([[-1e4, -800.0, -30.0, -1e-12, 0.0]], dtype=torch.float64)
    batch = one_demonstration(logp)
    found = gradient("luffy", {"reshape": reshape, **SHAPE_OPTIONS}, batch)
    assert torch.isfinite(found).all()
    one = torch.ones(1, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(SHAPES[reshape](one).sum(), one)[0]  # at p = 1, d log p = d p
    close(found[0, -1], -slope[0] / SIZES.max_response)


@pytest.mark.parametrize("how", ["constant_sum", "constant", "token", "token_micro", "sequence"])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_luffy_aggregations_count_rollouts_and_demonstrations_together(how, clip, random_batch):
    batch = members(random_batch(3))
    advantage = batch.reward - group_mean(batch)

    def loss(logp):
        return mixed_loss(logp, batch, advantage, logp.exp() / (logp.exp() + 0.1), how, clip, penalty=0.3)

    options = {"aggregation": how, "kl_coefficient": 0.3}
    options |= {"clip_low": clip, "clip_high": clip} if clip else {}
    close(gradient("luffy", options, batch), by_autograd(loss, batch))


def test_luffy_of_the_papers_equations(random_batch):
    """Eq. 4-6: deviation over the whole group, clip on rollouts, one mean over all tokens."""
    batch = members(random_batch())
    advantage = torch.zeros_like(batch.reward)
    for group in batch.group.unique():
        rows = batch.group == group
        advantage[rows] = (batch.reward[rows] - batch.reward[rows].mean()) / (batch.reward[rows].std() + 1e-6)

    def loss(logp):
        return mixed_loss(logp, batch, advantage, logp.exp() / (logp.exp() + 0.1), "token", 0.2)

    options = {"normalize_std": True, "aggregation": "token", **CLIPPED}
    close(gradient("luffy", options, batch), by_autograd(loss, batch))


@pytest.mark.parametrize(
    ("importance", "exploration", "how"),
    [("multiple", 0.5, "constant_sum"), ("multiple", 2.0, "token"), ("none", 0.0, "constant")],
)
def test_rl_plus_equals_autograd(importance, exploration, how, random_batch):
    batch = members(random_batch())
    advantage = batch.reward - group_mean(batch)
    old = batch.old_logp.exp()

    def loss(logp):
        p = logp.exp()
        ratio = 2 * p / (old + 0.5 * (old + 1)) if importance == "multiple" else p
        return mixed_loss(logp, batch, advantage, ratio * (1 - p.detach()) ** exploration, how)

    options = {"importance": importance, "exploration": exploration, "aggregation": how}
    close(gradient("rl_plus", options, batch), by_autograd(loss, batch))


def row_entropy(batch):
    return (batch.entropy * batch.mask).sum(-1, keepdim=True) / batch.mask.sum(-1, keepdim=True)


def srft_loss(logp, batch, advantage, weight, rollout, shaped):
    """w_SFT NLL over demonstration tokens - A f(p) on them - the rollouts' term, sums over L_max."""
    demo = (batch.role == int(Role.DEMO)).unsqueeze(-1) * batch.mask
    sft = -(weight * logp * demo).sum() / demo.sum()
    rl = torch.where(demo > 0, advantage.unsqueeze(-1) * shaped, rollout) * batch.mask
    return sft - rl.sum() / SIZES.max_response


def test_srft_of_the_paper_equals_autograd(random_batch):
    batch = members(random_batch())
    entropy = row_entropy(batch)
    advantage = torch.zeros_like(batch.reward)
    for group in batch.group.unique():
        rows = batch.group == group
        advantage[rows] = (batch.reward[rows] - batch.reward[rows].mean()) / (batch.reward[rows].std() + 1e-6)
    signed = torch.where(batch.reward.unsqueeze(-1) == 1, 0.1 * entropy.exp(), -1.0)  # Eq. 12

    def loss(logp):
        return srft_loss(logp, batch, advantage, 0.5 * (-entropy).exp(), signed * logp, logp.exp())

    close(gradient("srft", {"definition": "paper"}, batch), by_autograd(loss, batch))


def test_srft_of_the_code_equals_autograd(random_batch):
    batch = members(random_batch())
    entropy = batch.entropy
    advantage = batch.reward - group_mean(batch)
    a = advantage.unsqueeze(-1)

    def loss(logp):
        positive = torch.where(a > 0, 0.1 * entropy.exp(), torch.ones_like(entropy))
        rollout = a * positive * (logp - batch.old_logp).exp()
        # - sft_loss * coefficient with coefficient -0.5
        return srft_loss(logp, batch, advantage, 0.5 * entropy.exp(), rollout, logp.exp() / (logp.exp() + 0.1))

    close(gradient("srft", {"definition": "code"}, batch), by_autograd(loss, batch))


@pytest.mark.parametrize("level", ["sequence", "token"])
@pytest.mark.parametrize("sign", ["minus", "plus"])
@pytest.mark.parametrize("sft_loss", ["plain", "phi", "iw_sft"])
def test_srft_weights_every_sft_loss(level, sign, sft_loss, random_batch):
    batch = members(random_batch())
    options = {"entropy_level": level, "sft_entropy": sign, "sft_loss": sft_loss, "sft_coefficient": 0.8}
    entropy = row_entropy(batch) if level == "sequence" else batch.entropy
    weight = 0.8 * (entropy if sign == "plus" else -entropy).exp()
    plain = estimator.coefficients(registry.build("sft", {"rows": 1, "sft_loss": sft_loss}, SIZES), batch, STEP)["sft"]
    found = estimator.coefficients(registry.build("srft", options, SIZES), batch, STEP)["sft"]
    close(found, plain * weight)
    assert found.abs().sum() > 0


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0])
def test_gft_has_the_sample_deviation_and_the_codes_threshold(tau, random_batch):
    batch = random_batch()
    advantage = torch.zeros_like(batch.reward)
    for group in batch.group.unique():
        rows = batch.group == group
        single = int(rows.sum()) == 1
        advantage[rows] = (
            batch.reward[rows]
            if single
            else (batch.reward[rows] - batch.reward[rows].mean()) / (batch.reward[rows].std(correction=1) + 1e-6)
        )

    def loss(logp):
        p = logp.detach().exp()
        value = advantage.unsqueeze(-1) * torch.where(p > tau, torch.ones_like(p), p) * logp
        return -(value * batch.mask).sum() / batch.mask.sum()

    close(gradient("gft", {"tau": tau}, batch, Sizes(2, 8, 0, 6)), by_autograd(loss, batch))


# the coefficient on grad log pi of one demonstration token with A = 1


def one_demonstration(logp):
    one = torch.ones(1, dtype=torch.float64)
    return Batch(
        logp,
        torch.ones_like(logp),
        role=torch.tensor([int(Role.DEMO)]),
        group=torch.zeros(1, dtype=torch.long),
        reward=one,
        old_logp=logp,
        entropy=torch.zeros_like(logp),
        advantage=one,
    )


@pytest.mark.parametrize(
    ("name", "options", "term", "expected"),
    [
        ("luffy", {}, "demonstration", [0.083, 0.25, 0.139, 0.09]),
        ("srft", {}, "demonstration", [0.083, 0.25, 0.139, 0.09]),
        ("srft", {"definition": "code"}, "demonstration", [0.083, 0.25, 0.139, 0.09]),
        ("srft", {"definition": "paper"}, "demonstration", [0.01, 0.1, 0.5, 0.9]),
        ("luffy", {"reshape": "no_reshape"}, "demonstration", [0.01, 0.1, 0.5, 0.9]),
        ("rl_plus", {}, "demonstration", [0.039, 0.292, 0.566, 0.308]),
        ("gft", {"tau": 0.1}, "group", [0.01, 0.1, 1.0, 1.0]),
    ],
)
def test_coefficient_table(name, options, term, expected):
    logp = torch.tensor([[0.01, 0.1, 0.5, 0.9]], dtype=torch.float64).log() - 1e-12  # the 0.1 not above tau
    sizes = Sizes(2, 8, 0, 1)
    found = estimator.coefficients(registry.build(name, options, sizes), one_demonstration(logp), STEP)[term]
    scale = 4 if name == "gft" else 1  # a mean over the four tokens
    assert (scale * found[0]).tolist() == pytest.approx(expected, rel=0, abs=6e-4)


def test_luffy_never_pushes_a_demonstration_token_by_more_than_a_quarter():
    logp = torch.linspace(-12, 0, 500, dtype=torch.float64).unsqueeze(0)
    for gamma in (0.1, 0.3, 0.5):
        strategy = registry.build("luffy", {"gamma": gamma}, Sizes(2, 8, 0, 1))
        found = estimator.coefficients(strategy, one_demonstration(logp), STEP)["demonstration"]
        assert 0.249 < float(found.max()) <= 0.25


# limits


@pytest.mark.parametrize("name", ["luffy", "rl_plus"])
def test_without_a_demonstration_it_is_unclipped_dr_grpo(name, random_batch):
    batch = random_batch()
    batch = batch.take(batch.role == int(Role.ROLLOUT))
    options = {"clip_low": "off", "clip_high": "off", "aggregation": "constant_sum"}
    expected = total(registry.build("dr_grpo", options, SIZES), batch)
    parts = estimator.coefficients(registry.build(name, {}, SIZES), batch, STEP)
    assert torch.equal(parts["policy"], expected) and expected.abs().sum() > 0
    assert torch.equal(parts["demonstration"], torch.zeros_like(expected))


def test_rl_plus_without_its_two_parts_is_unshaped_luffy(random_batch):
    batch = members(random_batch())
    found = total(registry.build("rl_plus", {"importance": "none", "exploration": 0.0}, SIZES), batch)
    assert torch.equal(found, total(registry.build("luffy", {"reshape": "no_reshape"}, SIZES), batch))


def test_srft_of_the_code_without_entropy_is_luffy_and_sft(random_batch):
    batch = members(random_batch())
    batch = replace(batch, entropy=torch.zeros_like(batch.entropy))
    options = {"definition": "code", "rollout_coefficient": 1.0, "sft_coefficient": 1.0}
    expected = total(registry.build("luffy", {}, SIZES), batch) + total(
        registry.build("sft", {"rows": 1}, SIZES), batch
    )
    close(total(registry.build("srft", options, SIZES), batch), expected, atol=1e-15)


def test_gft_is_sft_for_small_tau_and_dft_for_large(random_batch):
    batch = random_batch()
    demos = batch.take(batch.role == int(Role.DEMO))
    demos = replace(demos, advantage=torch.ones_like(demos.reward))
    for tau, sft_loss in ((1e-9, "plain"), (1.0, "dft")):
        expected = total(registry.build("sft", {"rows": 1, "sft_loss": sft_loss}, SIZES), demos)
        close(total(registry.build("gft", {"tau": tau}, SIZES), demos), expected, atol=1e-15)


# rows: groups without a demonstration, demonstrations that the verifier rejects


def group(row, number, rewards, demo=1.0):
    demos = () if demo is None else (row(Role.DEMO, number, demo),)
    return Group(tuple(row(Role.ROLLOUT, number, float(reward)) for reward in rewards), demos)


@pytest.mark.parametrize("name", DEMO_METHODS)
def test_a_group_without_a_demonstration_takes_one_more_rollout(name, row):
    strategy = registry.build(name, {}, SIZES)
    groups = [group(row, 0, [1, 0, 0]), group(row, 1, [0, 0, 0], demo=None)]
    for _ in range(2):  # steps
        assert strategy.plan(STEP) == SamplingPlan(2, 3, expert=1)
        assert list(strategy.more(groups, STEP)) == [Request(1, group=1)]
        assert list(strategy.more(groups, STEP)) == []  # once a step, even if the rollout could not be scored
    rows = strategy.route(groups, [], STEP)
    assert [r.role for r in rows] == [Role.ROLLOUT] * 3 + [Role.DEMO] + [Role.ROLLOUT] * 3
    assert strategy.metrics()["demo_groups"] == 0.5
    smaller = registry.build(name, {"missing": "smaller"}, SIZES)
    smaller.plan(STEP)
    assert list(smaller.more(groups, STEP)) == []


def scored(batch, demo_reward, rollout_reward=None):
    demo = batch.role == int(Role.DEMO)
    reward = batch.reward if rollout_reward is None else torch.full_like(batch.reward, rollout_reward)
    return replace(batch, reward=reward.masked_fill(demo, demo_reward))


@pytest.mark.parametrize("name", DEMO_METHODS)
def test_a_rejected_demonstration_is_pushed_down(name, random_batch):
    batch = scored(members(random_batch()), 0.0)
    strategy = registry.build(name, {}, SIZES)
    demo = (batch.role == int(Role.DEMO)).unsqueeze(-1) & (batch.mask > 0)
    assert (estimator.coefficients(strategy, batch, STEP)["demonstration"][demo] < 0).all()
    assert strategy.metrics()["demo_advantage"] < 0
    # nobody is right: nothing to prefer
    parts = estimator.coefficients(strategy, scored(batch, 0.0, 0.0), STEP)
    assert not parts["demonstration"].any()
    if name == "srft":  # which imitates it all the same, and pushes every wrong rollout down
        assert (parts["sft"][demo] > 0).all() and (parts["policy"].sum() < 0)
    else:
        assert not parts["policy"].any()


def test_a_demonstration_fades_as_rollouts_succeed(random_batch):
    """A of the demonstration is the share of the group that fails."""
    batch = members(random_batch())
    strategy = registry.build("luffy", {}, SIZES)
    strategy.advantages(scored(batch, 1.0, 0.0))
    assert strategy.metrics()["demo_advantage"] == pytest.approx(0.8)
    strategy.advantages(scored(batch, 1.0, 1.0))
    assert strategy.metrics()["demo_advantage"] == 0.0


def test_uniform_groups_count_the_demonstration(row):
    groups = [group(row, 0, [0, 0, 0]), group(row, 1, [1, 1, 1]), group(row, 2, [0, 0, 0], demo=0.0)]
    strategy = registry.build("luffy", {"drop_uniform_groups": True}, SIZES)
    assert {r.group for r in strategy.route(groups, [], STEP)} == {0}
    assert len(registry.build("luffy", {}, SIZES).route(groups, [], STEP)) == 12


def test_metrics(row, random_batch):
    groups = [group(row, 0, [1, 0, 0]), group(row, 1, [1, 1, 0], demo=0.0), group(row, 2, [0, 0, 0, 0], demo=None)]
    strategy = registry.build("srft", {}, SIZES)
    assert strategy.metrics().keys() == {"demo_groups", "demo_reward", "demo_advantage", "positive_share"}
    rows = strategy.route(groups, [], STEP)
    role = torch.tensor([int(r.role) for r in rows])
    reward = torch.tensor([r.reward for r in rows], dtype=torch.float64)
    batch = Batch(reward, reward, role=role, group=torch.tensor([r.group for r in rows]), reward=reward)
    strategy.advantages(batch)
    assert strategy.metrics() == pytest.approx(
        {"demo_groups": 2 / 3, "demo_reward": 0.5, "demo_advantage": 0.0, "positive_share": 0.3}
    )
    strategy.advantages(batch.take(role == 0))
    assert strategy.metrics()["demo_advantage"] == 0.0
    code = registry.build("srft", {"definition": "code"}, SIZES)
    code.advantages(replace(batch, reward=torch.ones_like(reward)))
    assert code.metrics()["positive_share"] == 0.0  # right, but with A = 0


def test_gft_metrics_and_groups(row):
    sizes = Sizes(2, 8, 0, 6)
    plans = {
        (1, 3): SamplingPlan(2, 4, expert=1, teacher=3),
        (1, 0): SamplingPlan(2, 7, expert=1),  # no mix
        (1, 7): SamplingPlan(2, 0, expert=1, teacher=7),
        (1, 5): SamplingPlan(2, 2, expert=1, teacher=5),
        (1, 1): SamplingPlan(2, 6, expert=1, teacher=1),
        (0, 0): SamplingPlan(2, 8),
    }
    for (expert, teacher), plan in plans.items():
        assert registry.build("gft", {"expert": expert, "teacher": teacher}, sizes).plan(STEP) == plan
    strategy = registry.build("gft", {}, sizes)
    mixed = group(row, 0, [1, 0])
    mixed = replace(mixed, demos=(*mixed.demos, row(Role.TEACHER, 0, 0.0)))
    rows = strategy.route([mixed, group(row, 1, [1, 1])], [], STEP)
    reward = torch.tensor([r.reward for r in rows], dtype=torch.float64)
    role = torch.tensor([int(r.role) for r in rows])
    strategy.advantages(Batch(reward, reward, role=role, group=torch.tensor([r.group for r in rows]), reward=reward))
    high = 0.5 / (math.sqrt(1 / 3) + 1e-6)
    assert strategy.metrics() == pytest.approx(
        {
            "given_share": 3 / 7,
            "uniform_groups": 0.5,
            "expert_advantage": high / 2,
            "teacher_advantage": -high,
            "own_advantage": 0.0,
        }
    )


# properties of options that are no defaults


@pytest.fixture(params=EVERY_OPTION, ids=lambda case: f"{case[0]}-{'-'.join(map(str, case[1].values()))}")
def strategy(request):
    return registry.build(*request.param, Sizes(3, 8, 5, 7))


@pytest.mark.parametrize("split", [[9, 8], [5, 0, 5, 7], [1] * 17])
def test_micro_batches_do_not_matter(strategy, split, random_batch):
    whole = random_batch()
    whole = replace(whole, advantage=strategy.advantages(whole))
    counts = Counts.of(whole)
    parts = [total(strategy, part, counts) for part in map(whole.take, torch.arange(17).split(split))]
    close(torch.cat(parts), total(strategy, whole))


def test_rows_of_other_roles_and_padding_leak_nothing(strategy, random_batch):
    batch = random_batch()
    expected = total(strategy, batch)
    empty = batch.mask == 0
    noisy = {name: getattr(batch, name).masked_fill(empty, math.nan) for name in ("logp", "old_logp", "ref_logp")}
    noisy |= {"entropy": batch.entropy.masked_fill(empty, math.inf)}
    close(total(strategy, replace(batch, **noisy)), expected, atol=0)
    if "given_logp" not in strategy.requires:
        given = (batch.role != int(Role.ROLLOUT)).unsqueeze(-1)
        spoilt = replace(batch, old_logp=batch.old_logp.masked_fill(given, math.nan))
        close(total(strategy, spoilt), expected, atol=0)


@pytest.mark.parametrize("role", [Role.ROLLOUT, Role.DEMO])
def test_absent_rows_give_exactly_nothing(strategy, role, random_batch):
    batch = random_batch()
    batch = batch.take(batch.role == int(role))
    for name, value in estimator.coefficients(strategy, batch, STEP).items():
        assert torch.isfinite(value).all()
        given = name in ("demonstration", "sft", "sft_kl")
        if name != "group" and given != (role == Role.DEMO):
            assert not value.any(), name


def test_branches_add_up_to_the_loss(strategy, random_batch):
    batch = random_batch()
    batch = replace(batch, advantage=strategy.advantages(batch))
    found = strategy.branches(batch, STEP)
    own = batch.is_role(Role.ROLLOUT)
    whole = torch.zeros_like(batch.logp)
    for name, components in found.items():
        for component in components:
            value = estimator.component_coefficients(component, batch, Counts.of(batch), 7)
            assert not value[~own if name == "rl" else own].any()
            whole = whole + value
    close(whole, total(strategy, batch))


def test_entropy_weights_have_no_gradient(random_batch):
    batch = members(random_batch())
    entropy = batch.entropy.clone().requires_grad_()
    for definition in ("unify", "paper", "code"):
        strategy = registry.build("srft", {"definition": definition, "entropy_coefficient": 0.0}, SIZES)
        logp = batch.logp.clone().requires_grad_()
        loss, _ = estimator.surrogate(strategy, replace(batch, logp=logp, entropy=entropy), STEP)
        assert torch.autograd.grad(loss, entropy, allow_unused=True)[0] is None


@pytest.mark.parametrize("name", DEMO_METHODS)
def test_entropy_bonus_is_a_token_mean_over_all_rows(name, random_batch):
    batch = members(random_batch())
    entropy = batch.entropy.clone().requires_grad_()
    loss, _ = estimator.surrogate(registry.build(name, {}, SIZES), replace(batch, entropy=entropy), STEP)
    close(torch.autograd.grad(loss, entropy)[0], -0.001 * batch.mask / batch.mask.sum(), atol=1e-16)


def test_what_they_require():
    def requires(name, options):
        return registry.build(name, {"entropy_coefficient": 0.0, **options}, SIZES).requires

    assert registry.build("luffy", {}, SIZES).requires == {"old_logp", "entropy"}
    assert requires("luffy", {}) == {"old_logp"}
    assert requires("luffy", {"kl_coefficient": 0.1}) == {"old_logp", "ref_logp"}
    assert requires("rl_plus", {}) == {"old_logp", "given_logp"}
    assert requires("rl_plus", {"importance": "none"}) == {"old_logp"}
    assert requires("srft", {}) == requires("srft", {"definition": "paper"}) == {"entropy"}
    assert requires("srft", {"definition": "code", "sft_loss": "psft"}) == {"entropy", "old_logp", "given_logp"}
    assert registry.build("gft", {}, SIZES).requires == frozenset()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("luffy", {"gamma": 0.0}, "option gamma must be > 0"),
        ("luffy", {"reshape_power": -1.0}, "option reshape_power must be > 0"),
        ("luffy", {"entropy_coefficient": -1.0}, "option entropy_coefficient must be >= 0"),
        ("luffy", {"reshape": "cube"}, "option 'reshape'"),
        ("luffy", {"cispo_clip": "trl"}, "cispo_clip"),
        ("rl_plus", {"exploration": -0.5}, "option exploration must be >= 0"),
        ("rl_plus", {"aggregation": "token", "policy_loss": "gspo"}, "aggregation"),
        ("srft", {"sft_coefficient": -0.5}, "option sft_coefficient must be >= 0"),
        ("srft", {"trust_alpha": 2.0}, "option trust_alpha"),
        ("srft", {"clip_low": 0.2}, "no option 'clip_low'"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        registry.validate(name, options)


@pytest.mark.parametrize("name", DEMO_METHODS)
def test_a_group_of_one_is_refused(name):
    with pytest.raises(ValueError, match="set the run's `group` to >= 2"):
        registry.build(name, {}, Sizes(2, 1, 0, 6))
