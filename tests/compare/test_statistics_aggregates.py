"""Aggregates, resampling, pass@k and effect sizes against brute force and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness import stats
from harness.statistics import aggregates
from harness.statistics.effects import cohen_d, correction, paired_dz
from harness.statistics.intervals import crossed_interval
from harness.statistics.passk import pass_at_k_interval, pass_at_k_scores
from harness.statistics.resampling import bootstrap_interval, jackknife_interval


def tables(count=25):
    rng = np.random.default_rng(0)
    for _ in range(count):
        suites = rng.integers(1, 6)
        yield rng.integers(0, 6, (rng.integers(2, 7), suites)) / 5, rng.integers(0, 6, (rng.integers(1, 7), suites)) / 5


def test_point_estimates_are_those_of_rliable_written_out():
    """Its formulas: 25% trimmed mean of all scores, gamma - mean(min), Mann-Whitney U / (n m), share above tau."""
    for x, y in tables():
        assert aggregates.interquartile_mean(x) == pytest.approx(scipy_stats.trim_mean(x, 0.25, axis=None))
        assert aggregates.mean(x) == pytest.approx(np.mean([np.mean(column) for column in x.T]))
        assert aggregates.median(x) == pytest.approx(np.median([np.mean(column) for column in x.T]))
        gap = 0.7 - np.mean([min(value, 0.7) for value in x.ravel()])
        assert aggregates.optimality_gap(x, 0.7) == pytest.approx(gap)
        share = [
            scipy_stats.mannwhitneyu(a, b, method="asymptotic").statistic / (len(a) * len(b))
            for a, b in zip(x.T, y.T, strict=True)
        ]
        assert aggregates.probability_of_improvement(x, y) == pytest.approx(np.mean(share))
        for tau, found in zip(
            (0.0, 0.2, 0.5, 1.0), aggregates.performance_profile(x, [0.0, 0.2, 0.5, 1.0]), strict=True
        ):
            assert found == pytest.approx(np.mean([value > tau for value in x.ravel()]))


def test_aggregates_take_many_experiments_at_once():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(7, 5, 3)), rng.uniform(size=(7, 4, 3))
    for name in ("mean", "median", "interquartile_mean", "optimality_gap"):
        function = getattr(aggregates, name)
        assert function(x) == pytest.approx(np.array([function(one) for one in x]))
    improved = [aggregates.probability_of_improvement(a, b) for a, b in zip(x, y, strict=True)]
    assert aggregates.probability_of_improvement(x, y) == pytest.approx(np.array(improved))


def test_interquartile_mean_of_three_runs_of_one_suite_trims_nothing():
    assert aggregates.interquartile_mean([[0.0], [0.0], [0.9]]) == pytest.approx(0.3)


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="non-empty"):
        aggregates.mean([0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        aggregates.mean([[0.1, math.nan]])
    with pytest.raises(ValueError, match="same suites"):
        aggregates.probability_of_improvement([[1.0]], [[1.0, 2.0]])


def test_jackknife_of_a_mean_is_the_t_interval():
    x = np.random.default_rng(2).normal(size=(4, 3))
    estimate, half = jackknife_interval(aggregates.mean, x)
    low, high = scipy_stats.ttest_1samp(x.mean(axis=1), 0).confidence_interval(0.95)
    assert (estimate - half, estimate + half) == pytest.approx((low, high))


def test_jackknife_of_a_difference_is_welch_or_paired():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(4, 2)), 2 * rng.normal(size=(4, 2))

    def gap(a, b):
        return aggregates.mean(a) - aggregates.mean(b)

    estimate, half = jackknife_interval(gap, x, y)
    welch = scipy_stats.ttest_ind(x.mean(axis=1), y.mean(axis=1), equal_var=False).confidence_interval(0.95)
    assert (estimate - half, estimate + half) == pytest.approx((welch.low, welch.high))
    estimate, half = jackknife_interval(gap, x, y, paired=True)
    paired = scipy_stats.ttest_rel(x.mean(axis=1), y.mean(axis=1)).confidence_interval(0.95)
    assert (estimate - half, estimate + half) == pytest.approx((paired.low, paired.high))


def test_jackknife_refuses_one_seed_and_is_undefined_without_spread():
    with pytest.raises(ValueError, match="at least two"):
        jackknife_interval(aggregates.mean, [[1.0, 2.0]])
    with pytest.raises(ValueError, match="same seeds"):
        jackknife_interval(aggregates.probability_of_improvement, np.eye(2), np.ones((3, 2)), paired=True)
    _, half = jackknife_interval(aggregates.probability_of_improvement, np.ones((3, 2)), np.zeros((3, 2)))
    assert math.isnan(half)


def test_bootstrap_has_the_exact_distribution_of_few_seeds():
    """3 seeds have 27 resamples, which can all be listed."""
    x = np.array([[0.1, 0.5], [0.4, 0.2], [0.9, 0.6]])
    means = [x[list(rows)].mean() for rows in itertools.product(range(3), repeat=3)]
    low, high = bootstrap_interval(aggregates.mean, x, repetitions=20000)
    assert low == pytest.approx(np.quantile(means, 0.025, method="inverted_cdf"), abs=1e-9)
    assert high == pytest.approx(np.quantile(means, 0.975, method="inverted_cdf"), abs=1e-9)
    assert bootstrap_interval(aggregates.mean, x, seed=1) == bootstrap_interval(aggregates.mean, x, seed=1)
    cells = bootstrap_interval(aggregates.mean, x, unit="cell", repetitions=4000)
    assert cells != (low, high) and 0.1 <= cells[0] < cells[1] <= 0.9
    with pytest.raises(ValueError, match="unit"):
        bootstrap_interval(aggregates.mean, x, unit="row")


@pytest.mark.parametrize(("samples", "k"), [(1, 1), (4, 2), (8, 8), (64, 16), (256, 100)])
def test_pass_at_k_of_arrays_is_that_of_stats(samples, k):
    counts = np.arange(samples + 1)
    expected = [stats.pass_at_k(samples, int(c), k) for c in counts]
    assert pass_at_k_scores(counts, samples, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_1_is_the_score_and_its_interval_too():
    counts = np.random.default_rng(4).binomial(8, 0.3, size=(3, 25))
    found, expected = pass_at_k_interval([counts], 8, 1), crossed_interval([counts / 8])
    assert (found.mean, found.half_width, found.p_value) == pytest.approx(
        (expected.mean, expected.half_width, expected.p_value)
    )


def test_pass_at_k_refuses_what_it_cannot_estimate():
    with pytest.raises(ValueError, match="draw more samples"):
        pass_at_k_scores([1], 4, 5)
    for counts in ([5], [-1], [0.5], [math.nan]):
        with pytest.raises(ValueError, match="integers from 0 to 4"):
            pass_at_k_scores(counts, 4, 2)


def test_correction_is_the_expectation_of_the_standard_normal_ratio():
    """E[Z + d] / sqrt(chi2 / df) = d / J."""
    assert correction(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert correction(1e4) == pytest.approx(1 - 3 / (4e4 - 1), abs=1e-8)
    for df in (3, 7):
        assert scipy_stats.nct.mean(df, 1.3) * correction(df) == pytest.approx(1.3)
    assert math.isnan(correction(1))


def test_corrected_effect_sizes_are_unbiased():
    rng = np.random.default_rng(5)
    first, second = 1.0 + rng.normal(size=(600, 4)), rng.normal(size=(600, 3))
    values = [cohen_d(a, b) for a, b in zip(first, second, strict=True)]
    assert np.mean([effect.value for effect in values]) == pytest.approx(1.0, abs=0.1)
    assert np.mean([effect.raw for effect in values]) > 1.1
    assert np.mean([effect.low <= 1.0 <= effect.high for effect in values]) == pytest.approx(0.95, abs=0.03)


def test_effect_sizes_by_hand():
    effect = paired_dz([3.0, 5.0, 4.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    gaps = np.array([2.0, 3.0, 1.0, 4.0])
    assert effect.raw == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert effect.value == pytest.approx(correction(3) * effect.raw)
    t = effect.raw * 2
    assert scipy_stats.nct.cdf(t, 3, effect.high * 2) == pytest.approx(0.025, rel=1e-3)
    assert scipy_stats.nct.sf(t, 3, effect.low * 2) == pytest.approx(0.025, rel=1e-3)
    assert cohen_d([1.0, 3.0], [0.0, 2.0]).raw == pytest.approx(1 / math.sqrt(2))
    assert math.isnan(paired_dz([1.0, 2.0], [0.0, 1.0]).value)
    huge = paired_dz([1e4, 1e4 + 1], [0.0, 0.0])
    assert 0 < huge.low < huge.raw < huge.high < math.inf
    with pytest.raises(ValueError, match="same seeds"):
        paired_dz([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least three"):
        cohen_d([1.0], [2.0])
    with pytest.raises(ValueError, match="NaN"):
        cohen_d([1.0, math.nan], [2.0, 3.0])
