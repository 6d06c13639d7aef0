"""Statistics against closed forms, brute force and simulated coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.stats import (
    avg_at_k,
    clustered_standard_error,
    crossed_interval,
    holm,
    paired_interval,
    pass_at_k,
)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 1), (5, 2, 1), (5, 2, 3), (6, 6, 2), (7, 1, 7), (8, 3, 4)])
def test_pass_at_k_is_the_share_of_draws_with_a_success(n, c, k):
    draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


def test_pass_at_k_is_undefined_for_too_few_samples():
    assert math.isnan(pass_at_k(3, 3, 4))
    with pytest.raises(ValueError, match="0 <= c <= n"):
        pass_at_k(3, 4, 1)


def test_avg_and_clustered_error_treat_a_problem_as_one_observation():
    scores = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, np.nan], [np.nan] * 4])
    means = [0.5, 1.0, 0.0]
    assert avg_at_k(scores) == pytest.approx(0.5)
    assert clustered_standard_error(scores) == pytest.approx(scipy_stats.sem(means))
    assert clustered_standard_error(np.repeat(scores, 9, axis=1)) == pytest.approx(clustered_standard_error(scores))
    assert math.isnan(clustered_standard_error([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="at least one scored sample"):
        avg_at_k([[np.nan]])


def test_one_seed_gives_the_t_interval_over_problems_and_says_so():
    values = np.random.default_rng(0).uniform(size=(1, 20))
    interval = crossed_interval([values])
    expected = scipy_stats.t.interval(0.95, 19, values.mean(), scipy_stats.sem(values[0]))
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert interval.problems_only and interval.seeds == 1 and interval.problems == 20


def test_one_problem_gives_the_t_interval_over_seeds():
    values = np.random.default_rng(1).uniform(size=(6, 1))
    interval = crossed_interval([values], level=0.9)
    expected = scipy_stats.t.interval(0.9, 5, values.mean(), scipy_stats.sem(values[:, 0]))
    assert (interval.low, interval.high) == pytest.approx(expected)


def test_the_variance_is_that_of_the_two_way_analysis():
    x = np.random.default_rng(2).normal(size=(4, 7)) + np.arange(4)[:, None]
    seeds, problems = x.shape
    residual = 0.0
    for s, p in itertools.product(range(seeds), range(problems)):
        residual += (x[s, p] - x[s].mean() - x[:, p].mean() + x.mean()) ** 2
    interaction = residual / (seeds - 1) / (problems - 1)
    a = np.var(x.mean(axis=1), ddof=1) / seeds
    b = np.var(x.mean(axis=0), ddof=1) / problems
    c = interaction / seeds / problems
    interval = crossed_interval([x])
    assert interval.standard_error**2 == pytest.approx(a + b - c)
    df = (a + b - c) ** 2 / (a**2 / (seeds - 1) + b**2 / (problems - 1) + c**2 / (seeds - 1) / (problems - 1))
    assert interval.df == pytest.approx(df)
    assert interval.half_width == pytest.approx(scipy_stats.t.ppf(0.975, df) * math.sqrt(a + b - c))
    assert interval.p_value == pytest.approx(2 * scipy_stats.t.sf(abs(x.mean()) / math.sqrt(a + b - c), df))


def test_a_seed_effect_shared_by_suites_does_not_average_out():
    effect = np.array([[0.1], [0.4], [0.9]])
    one = crossed_interval([np.repeat(effect, 5, axis=1)])
    four = crossed_interval([np.repeat(effect, 5, axis=1)] * 4)
    assert four.standard_error == pytest.approx(one.standard_error)
    assert one.df == pytest.approx(2)


def test_problems_of_different_suites_average_out_with_one_weight_a_suite():
    rng = np.random.default_rng(3)
    suites = [rng.uniform(size=(1, 10)), rng.uniform(size=(1, 40))]
    interval = crossed_interval(suites)
    assert interval.mean == pytest.approx((suites[0].mean() + suites[1].mean()) / 2)
    parts = [scipy_stats.sem(suite[0]) ** 2 / 4 for suite in suites]
    assert interval.standard_error == pytest.approx(math.sqrt(sum(parts)))


def test_equal_scores_give_no_interval_rather_than_an_empty_one():
    interval = crossed_interval([np.full((3, 10), 0.7)])
    assert interval.mean == pytest.approx(0.7)
    assert math.isnan(interval.half_width) and math.isnan(interval.p_value)


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ([], "at least one suite"),
        ([np.empty((2, 0))], "non-empty"),
        ([np.array([[1.0, np.nan]])], "NaN"),
        ([np.ones((2, 3)), np.ones((3, 3))], "same seeds"),
    ],
)
def test_bad_strata_are_refused(strata, message):
    with pytest.raises(ValueError, match=message):
        crossed_interval(strata)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, float("nan")])[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def _scores(rng, easiness, seed_effect, samples, share):
    """Binary outcomes of success chance (1 - share) * easiness + share * seed effect; mean known in closed form."""
    chance = (1 - share) * easiness + share * seed_effect
    return rng.binomial(samples, chance) / samples


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("suites", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_intervals_cover_the_true_mean(seeds, suites, share):
    rng = np.random.default_rng([seeds, suites, int(100 * share)])
    repetitions, problems, samples = 800, 60, 4
    truth = (1 - share) * 0.6 / 2.2 + share * 0.5
    hits = 0
    for _ in range(repetitions):
        effect = rng.beta(4, 4, size=(seeds, 1))
        strata = [_scores(rng, rng.beta(0.6, 1.6, size=problems), effect, samples, share) for _ in range(suites)]
        interval = crossed_interval(strata)
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / repetitions <= 0.98


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_paired_differences_cover_and_are_tighter_than_unpaired_ones(seeds):
    """Both methods face the same problems; the first gains more on some problems than on others."""
    rng = np.random.default_rng(seeds)
    repetitions, problems, samples, share = 800, 60, 4, 0.08
    truth = 0.1 * (1.0 - 0.6 / 2.2) * (1 - share) + share * (0.75 - 0.5)
    hits, paired_error, unpaired_error = 0, 0.0, 0.0
    for _ in range(repetitions):
        easiness = rng.beta(0.6, 1.6, size=problems)
        helped = easiness + (1.0 - easiness) * rng.beta(0.3, 2.7, size=problems)
        first = _scores(rng, helped, rng.beta(6, 2, size=(seeds, 1)), samples, share)
        second = _scores(rng, easiness, rng.beta(4, 4, size=(seeds, 1)), samples, share)
        interval = paired_interval([first], [second])
        hits += interval.low <= truth <= interval.high
        paired_error += interval.standard_error
        unpaired_error += math.hypot(*(crossed_interval([scores]).standard_error for scores in (first, second)))
    assert 0.92 <= hits / repetitions <= 0.98
    assert paired_error < 0.7 * unpaired_error
