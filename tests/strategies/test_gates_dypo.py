"""DYPO: three ways for a question, and the pairwise loss as advantages of single rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from strategies import estimator, registry
from strategies.base import Role
from strategies.estimator import Counts
from tests.strategies.gate_rows import SIZES, STEP, as_batch, solved, total


def roles(strategy, *groups):
    return [r.role for r in strategy.route(list(groups), [], STEP)]


@pytest.mark.parametrize("n_correct", range(9))
def test_dypo_has_three_ways(n_correct, row):
    strategy = registry.build("dypo", {}, SIZES)
    group = solved(row, n_correct, teachers=[1.0, 0.0])
    expected = {0: [Role.DEMO, Role.TEACHER], 8: []}.get(n_correct, [Role.ROLLOUT] * 8)
    assert roles(strategy, group) == expected
    metrics = {"gated": n_correct == 0, "skipped": n_correct == 8, "mixed": 0 < n_correct < 8}
    assert strategy.metrics() == {name: float(value) for name, value in metrics.items()}
    assert strategy.wants_signals(STEP) is (0 < n_correct < 8)


def test_dypo_leaves_out_what_it_can_learn_nothing_from(row):
    strategy = registry.build("dypo", {}, SIZES)
    assert roles(strategy, solved(row, 0, demo=False)) == []
    assert strategy.metrics() == {"gated": 0.0, "skipped": 0.0, "mixed": 0.0}
    assert roles(strategy, solved(row, 0, demo=False, teachers=[0.0])) == []
    assert strategy.route([], [], STEP) == []
    strategy.observe({}, STEP)
    assert total(strategy, as_batch([])).shape == (0, 7)


def test_dypo_is_grpo_or_sft_at_the_limits(row):
    strategy = registry.build("dypo", {"alpha": 1.0}, SIZES)
    mixed = as_batch(strategy.route([solved(row, 3, number=0), solved(row, 8, number=1)], [], STEP))
    assert not strategy.wants_signals(STEP)
    strategy.observe({}, STEP)
    assert torch.equal(total(strategy, mixed), total(registry.build("grpo", {}, SIZES), mixed))
    failed = as_batch(strategy.route([solved(row, 0, number=i) for i in range(3)], [], STEP))
    assert torch.equal(total(strategy, failed), total(registry.build("sft", {}, SIZES), failed))


def pairwise_loss(logp, batch, beta, score, reference):
    """Mean over questions, mean over pairs, brute force."""
    own = batch.part("continuation")
    gap = (logp - batch.ref_logp if reference else logp) * own
    scores = gap.sum(-1) / (own.sum(-1) if score == "mean" else 1.0)
    losses = []
    for number in batch.group.unique().tolist():
        rows = [i for i in range(len(batch.reward)) if batch.group[i] == number and batch.role[i] == int(Role.ROLLOUT)]
        pairs = [(s, f) for s in rows for f in rows if batch.reward[s] == 1 and batch.reward[f] == 0]
        if pairs:
            terms = [-torch.nn.functional.logsigmoid(beta * (scores[s] - scores[f])) for s, f in pairs]
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


def observed(strategy, batch, split=(4, 3, 20)):
    """Lets the strategy observe the signals of a batch that is given in micro-batches, then sorted into row order."""
    assert strategy.wants_signals(STEP)
    order = torch.randperm(len(batch.reward), generator=torch.Generator().manual_seed(5))
    parts, start = [], 0
    for size in split:
        parts.append(strategy.signals(batch.take(order[start : start + size])))
        start += size
    values = {name: torch.cat([part[name] for part in parts])[order.argsort()] for name in parts[0]}
    strategy.observe(values, STEP)
    return replace(batch, advantage=strategy.advantages(batch))


def mixed_batch(strategy, row):
    """Three mixed questions of which one has a single success, one failed and one solved; a row has a given prefix."""
    groups = [solved(row, n, number=i) for i, n in enumerate([3, 0, 1, 8, 7])]
    batch = as_batch(strategy.route(groups, [], STEP))
    assert len(batch.reward) == 25
    prefix = torch.zeros_like(batch.mask)
    prefix[2, : max(int(batch.mask[2].sum()) - 1, 0)] = 1.0
    return replace(batch, prefix=prefix)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("score", ["sum", "mean"])
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_dypo_pairs_equal_autograd_of_the_pairwise_loss(beta, score, reference, row):
    options = {"alpha": 0.0, "beta": beta, "score": score, "reference": reference}
    strategy = registry.build("dypo", options, SIZES)
    assert ("ref_logp" in strategy.requires) is reference
    batch = observed(strategy, mixed_batch(strategy, row))
    logp = batch.logp.clone().requires_grad_()
    expected = torch.autograd.grad(pairwise_loss(logp, batch, beta, score, reference), logp)[0]
    assert expected.any(-1).sum() == 24
    found = estimator.coefficients(strategy, batch, STEP)
    torch.testing.assert_close(found["gal"], -3 / 4 * expected, rtol=0, atol=1e-15)  # of 4 questions, 3 are mixed
    assert not found["policy"].any()
    # a pair's pull sums to zero over the rows' scores
    if score == "sum":
        assert float(strategy._pairs.sum()) == pytest.approx(0.0, abs=1e-15)


def test_dypo_does_not_depend_on_order_and_micro_batches(row):
    strategy = registry.build("dypo", {}, SIZES)
    batch = observed(strategy, mixed_batch(strategy, row))
    expected, counts = total(strategy, batch), Counts.of(batch)
    again = registry.build("dypo", {}, SIZES)
    again._mixed = strategy._mixed
    observed(again, batch, split=(1, 24))
    assert torch.equal(again._pairs, strategy._pairs)
    for size in (1, 4, 25):
        found = torch.zeros_like(expected)
        for part in torch.randperm(25, generator=torch.Generator().manual_seed(size)).split(size):
            found[part] = total(strategy, batch.take(part), counts)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "a", "b"),
    [({}, 0.5, 0.5), ({"alpha": 0.3}, 0.3, 0.7), ({"gal_coefficient": 0.2}, 1.0, 0.2)],
)
def test_dypo_mixes_policy_and_pairs(options, a, b, row):
    strategy = registry.build("dypo", options, SIZES)
    batch = observed(strategy, mixed_batch(strategy, row))
    found = estimator.coefficients(strategy, batch, STEP)
    grpo = estimator.coefficients(registry.build("grpo", {}, SIZES), batch, STEP)["policy"]
    alone = registry.build("dypo", {"alpha": 0.0}, SIZES)
    alone.route([solved(row, n, number=i) for i, n in enumerate([3, 0, 1, 8, 7])], [], STEP)
    pairs = estimator.coefficients(alone, observed(alone, batch), STEP)["gal"]
    torch.testing.assert_close(found["policy"], 3 / 4 * a * grpo, rtol=0, atol=1e-15)
    torch.testing.assert_close(found["gal"], b * pairs, rtol=0, atol=1e-15)


def test_dypo_definitions():
    code, paper = (registry.build("dypo", {"definition": name}, SIZES) for name in ("code", "paper"))
    assert (code.mix, paper.mix) == ((1.0, 0.001), (0.5, 0.5))
    assert (code.config.beta, paper.config.beta) == (0.1, 1.0)
    assert (code.policy.options.policy_loss, paper.policy.options.policy_loss) == ("gspo", "ppo")
    assert (code.entropy_coefficient, paper.entropy_coefficient) == (0.01, 0.0)
    assert "entropy" in code.requires and paper.requires == {"old_logp"}
    assert registry.build("dypo", {"definition": "code", "alpha": 0.25}, SIZES).mix == (0.25, 0.75)


def test_dypo_trains_expert_and_teachers_alike(row):
    strategy = registry.build("dypo", {"teachers": 2}, SIZES)
    groups = [solved(row, 0, number=0, teachers=[1.0, 1.0]), solved(row, 0, number=1, teachers=[0.0, 1.0])]
    batch = as_batch(strategy.route(groups, [], STEP))
    assert batch.role.tolist() == [1, 2, 2, 1, 2]
    strategy.observe({}, STEP)
    torch.testing.assert_close(total(strategy, batch), batch.mask / batch.mask.sum(), rtol=0, atol=1e-16)


def test_dypo_forgets_the_pairs_of_the_last_step(row):
    strategy = registry.build("dypo", {}, SIZES)
    observed(strategy, mixed_batch(strategy, row))
    strategy.route([solved(row, 0)], [], STEP)
    assert not strategy.wants_signals(STEP)
    strategy.observe({}, STEP)
    assert "gal" not in estimator.coefficients(strategy, as_batch([row(Role.DEMO, 0, 1.0)]), STEP)
