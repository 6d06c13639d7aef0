"""Intervals, families and designs against closed forms, brute force and simulated normal data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy import stats as scipy_stats

from harness.statistics.components import components, paired_differences
from harness.statistics.design import Design, minimal_detectable_effect
from harness.statistics.family import holm_array, holm_family, pooled_intervals
from harness.statistics.intervals import (
    crossed_interval,
    estimates_of,
    nested_interval,
    paired_interval,
    seed_interval,
)
from harness.statistics.margins import half_width, margin, p_value
from harness.statistics.rivals import satterthwaite, satterthwaite_p


def normal(rng, shape, seed=0.0, problem=0.0, noise=1.0):
    """[experiments, seeds, problems] of mean 0 with normal effects of these standard deviations."""
    experiments, seeds, problems = shape
    return (
        noise * rng.standard_normal(shape)
        + seed * rng.standard_normal((experiments, seeds, 1))
        + problem * rng.standard_normal((experiments, 1, problems))
    )


def test_components_are_the_mean_squares_of_the_two_way_layout():
    rng = np.random.default_rng(0)
    suites = [normal(rng, (1, 4, size), 0.5, 1.0)[0] for size in (6, 9)]
    parts = components(suites)
    seed_means = np.mean([suite.mean(axis=1) for suite in suites], axis=0)
    assert parts.seed_part == pytest.approx(seed_means.var(ddof=1) / 4)
    interaction = problem = 0.0
    for suite in suites:
        size = suite.shape[1]
        residual = suite - suite.mean(axis=1, keepdims=True) - suite.mean(axis=0) + suite.mean()
        interaction += (residual**2).sum() / (3 * (size - 1)) / (4 * size) / 4
        problem += suite.mean(axis=0).var(ddof=1) / size / 4
    assert parts.interaction_part == pytest.approx(interaction)
    assert parts.problem_part == pytest.approx(problem)
    assert parts.mean == pytest.approx(np.mean([suite.mean() for suite in suites]))


def test_parts_are_unbiased_for_the_variance_of_the_mean():
    data = normal(np.random.default_rng(1), (4000, 3, 20), 0.4, 0.7)
    parts = components([data])
    expected = 0.4**2 / 3 + 0.7**2 / 20 + 1 / 60
    assert (parts.seed_part + parts.problem_part - parts.interaction_part).mean() == pytest.approx(expected, rel=0.05)
    assert parts.mean.var() == pytest.approx(expected, rel=0.06)


def test_satterthwaite_is_that_of_the_two_way_analysis():
    x = np.random.default_rng(2).normal(size=(4, 7)) + np.arange(4)[:, None]
    seeds, problems = x.shape
    residual = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
    a = np.var(x.mean(axis=1), ddof=1) / seeds
    b = np.var(x.mean(axis=0), ddof=1) / problems
    c = (residual**2).sum() / (seeds - 1) / (problems - 1) / seeds / problems
    df = (a + b - c) ** 2 / (a**2 / (seeds - 1) + b**2 / (problems - 1) + c**2 / (seeds - 1) / (problems - 1))
    error = math.sqrt(a + b - c)
    parts = components([x])
    assert satterthwaite(parts, 0.95) == pytest.approx(scipy_stats.t.ppf(0.975, df) * error)
    assert satterthwaite_p(parts) == pytest.approx(2 * scipy_stats.t.sf(abs(x.mean()) / error, df))


def test_many_estimates_at_once_are_those_made_one_by_one():
    suites = [normal(np.random.default_rng(2), (30, 3, size), 0.2, 0.3) + 0.1 for size in (5, 40)]
    suites[0][7], suites[1][7] = 0.5, 0.5  # one experiment without any spread
    for i, found in enumerate(estimates_of(components(suites), 0.9)):
        one = crossed_interval([suite[i] for suite in suites], 0.9)
        assert (found.seeds, found.problems) == (one.seeds, one.problems) == (3, 45)
        for key in ("mean", "half_width", "standard_error", "df", "p_value"):
            assert getattr(found, key) == pytest.approx(getattr(one, key), nan_ok=True)
        assert math.isnan(found.half_width) == (i == 7)


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


@pytest.mark.parametrize("shape", [(3, 8), (2, 30), (10, 4), (6, 2)])
@pytest.mark.parametrize("scale", [0.0, 0.3, 2.0])
def test_p_value_is_the_level_at_which_the_interval_reaches_the_hypothesis(shape, scale):
    rng = np.random.default_rng(3)
    parts = components([0.5 + normal(rng, (50, *shape), scale, 0.4)])
    p = p_value(parts)
    inner = p > 1e-14
    assert margin(parts, p)[inner] == pytest.approx(np.abs(parts.mean)[inner], rel=1e-7)
    assert ((p < 0.05) == (np.abs(parts.mean) > half_width(parts))).all()
    assert p_value(parts, parts.mean) == pytest.approx(1.0)


def test_limits_are_student_intervals():
    rng = np.random.default_rng(4)
    one_seed = rng.normal(size=(1, 12))
    low, high = scipy_stats.t.interval(0.9, 11, one_seed.mean(), scipy_stats.sem(one_seed[0]))
    found = crossed_interval([one_seed], 0.9)
    assert (found.low, found.high, found.df) == pytest.approx((low, high, 11))
    assert found.problems_only
    assert found.p_value == pytest.approx(scipy_stats.ttest_1samp(one_seed[0], 0).pvalue)

    one_problem = rng.normal(size=(5, 1))
    low, high = scipy_stats.t.interval(0.95, 4, one_problem.mean(), scipy_stats.sem(one_problem[:, 0]))
    found = crossed_interval([one_problem])
    assert (found.low, found.high) == pytest.approx((low, high))

    # rows that differ by a constant: no interaction, and with equal problems no problem part either
    constant = np.array([[0.1], [0.4], [0.3]]) * np.ones((3, 50))
    assert crossed_interval([constant]).half_width == pytest.approx(seed_interval([constant]).half_width)


def test_formula_by_hand():
    rng = np.random.default_rng(5)
    suite = normal(rng, (1, 3, 40), 0.5, 1.5)[0]
    parts = components([suite])
    t = scipy_stats.t.ppf(0.975, [2, 39])
    extra = float(parts.problem_part - parts.interaction_part)
    assert extra > 0
    expected = ((t[0] ** 2 * parts.seed_part) ** 2 + (t[1] ** 2 * extra) ** 2) ** 0.25
    assert crossed_interval([suite]).half_width == pytest.approx(float(expected))


def test_seed_means_equal_by_chance_are_no_proof_of_precision():
    rng = np.random.default_rng(6)
    suite = rng.integers(0, 2, size=(3, 20)).astype(float)
    suite -= suite.mean(axis=1, keepdims=True) - 0.3
    parts = components([suite])
    assert parts.seed_part == pytest.approx(0, abs=1e-20)
    noise = parts.interaction_part + max(float(parts.problem_part - parts.interaction_part), 0)
    assert crossed_interval([suite]).half_width >= 0.5 * 1.9599 * math.sqrt(noise)


@pytest.mark.parametrize(("seeds", "seed", "problem"), [(3, 0, 0), (3, 0.3, 0), (3, 1, 0), (3, 0.2, 1), (5, 0.3, 1)])
def test_paired_intervals_cover_normal_differences(seeds, seed, problem):
    rng = np.random.default_rng([seeds, int(10 * seed), problem])
    parts = components(
        paired_differences([0.7 + normal(rng, (4000, seeds, 30), seed, problem)], [np.full((4000, seeds, 30), 0.5)])
    )
    covered = np.abs(parts.mean - 0.2) <= half_width(parts)
    assert 0.94 <= covered.mean() <= 0.972


def test_few_problems_and_many_seeds_change_roles():
    rng = np.random.default_rng(7)
    parts = components([normal(rng, (4000, 12, 3), 0.3, 1.0)])
    assert 0.94 <= (np.abs(parts.mean) <= half_width(parts)).mean() <= 0.975


def test_no_spread_gives_no_interval():
    found = crossed_interval([np.full((3, 10), 0.7)])
    assert found.mean == pytest.approx(0.7)
    assert math.isnan(found.half_width) and math.isnan(found.p_value) and math.isnan(found.standard_error)


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


def test_bad_levels_and_shapes_are_refused():
    table = np.eye(3)
    for interval in (crossed_interval, seed_interval):
        with pytest.raises(ValueError, match="level"):
            interval([table], 1.0)
    with pytest.raises(ValueError, match="shapes differ"):
        paired_interval([table], [np.ones((3, 2))])
    with pytest.raises(ValueError, match="at least two"):
        seed_interval([np.ones((1, 4))])
    with pytest.raises(ValueError, match="same two or more seeds"):
        nested_interval([[np.ones(3)]])


def test_seed_and_nested_intervals_are_t_tests_on_seed_means():
    rng = np.random.default_rng(8)
    suites = [rng.normal(size=(4, 6)), rng.normal(size=(4, 9))]
    means = (suites[0].mean(axis=1) + suites[1].mean(axis=1)) / 2
    expected = scipy_stats.ttest_1samp(means, 0)
    low, high = expected.confidence_interval(0.95)
    for found in (seed_interval(suites), nested_interval([list(suite) for suite in suites])):
        assert (found.low, found.high, found.p_value) == pytest.approx((low, high, expected.pvalue))
    assert nested_interval([[np.arange(3.0), np.arange(5.0)]]).mean == pytest.approx(1.5)


def test_holm_by_definition_and_counts_what_is_missing():
    rng = np.random.default_rng(9)
    values = rng.uniform(size=(20, 6)) ** 3
    for row, adjusted in zip(values, holm_array(values), strict=True):
        # adjusted p of a test: the largest of (number of tests with a p at least as large) x p over smaller ones
        expected = [min(1.0, max(p * (row >= p).sum() for p in row if p <= own)) for own in row]
        assert adjusted == pytest.approx(expected)
    assert holm_array([0.01, 0.04, 0.03, math.nan])[:3] == pytest.approx([0.04, 0.09, 0.09])
    assert holm_array([]).tolist() == []
    found = holm_family(["a", "b", "c"], {"b": 0.01, "a": 0.04})
    assert list(found) == ["a", "b", "c"]
    assert found["b"] == pytest.approx(0.03) and found["a"] == pytest.approx(0.08) and math.isnan(found["c"])
    assert holm_family([], {}) == {}
    with pytest.raises(ValueError, match="not declared: d"):
        holm_family(["a"], {"d": 0.5})
    with pytest.raises(ValueError, match="twice"):
        holm_family(["a", "a"], {})
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm_family(["a"], {"a": 1.5})


def test_pooled_seed_part_is_the_residual_of_strategies_by_seeds():
    rng = np.random.default_rng(10)
    strategies = {name: [rng.normal(size=(3, 50)) + rng.normal(size=(3, 1))] for name in "abcd"}
    base = [rng.normal(size=(3, 50)) + rng.normal(size=(3, 1))]
    found = pooled_intervals(strategies, base)
    table = np.array([strata[0].mean(axis=1) for strata in (*strategies.values(), base)])
    fitted = table.mean(axis=0) + table.mean(axis=1, keepdims=True) - table.mean()
    mean_square = ((table - fitted) ** 2).sum() / 8
    for name, estimate in found.items():
        assert estimate.df == 8
        assert estimate.mean == pytest.approx(strategies[name][0].mean() - base[0].mean())
        extra = components(paired_differences(strategies[name], base))
        rest = max(float(extra.problem_part - extra.interaction_part), 0.0)
        assert estimate.standard_error == pytest.approx(math.sqrt(2 * mean_square / 3 + rest))
    with pytest.raises(ValueError, match="at least two"):
        pooled_intervals({"a": [np.ones((1, 4))]}, [np.zeros((1, 4))])
    assert pooled_intervals({}, base) == {}


def test_power_is_that_of_the_t_test_where_only_seeds_vary():
    design = Design(scarce=4.0, rest=0.0, noise=0.0, df=4.0, rest_df=99.0)
    quantile = scipy_stats.t.ppf(0.975, 4)
    for difference in (0.0, 3.0, 8.0):
        shifted = scipy_stats.nct(4, difference / 2.0)
        assert design.power(difference) == pytest.approx(shifted.sf(quantile) + shifted.cdf(-quantile), abs=1e-3)
    exact = optimize.brentq(lambda d: scipy_stats.nct(4, d / 2).sf(quantile) - 0.8, 1, 30)
    assert design.detectable() == pytest.approx(exact, rel=2e-3)


def test_power_of_both_parts_by_integration():
    """Density of A against the sum over its quantiles, with the half-width written out."""
    design = Design(scarce=1.5, rest=1.0, noise=0.5, df=2.0, rest_df=50.0)
    t = scipy_stats.t.ppf(0.975, [2, 50])

    def found(a):
        half = max(((t[0] ** 2 * a) ** 2 + t[1] ** 4) ** 0.25, 0.5 * 1.959964 * math.sqrt(1.5))
        return scipy_stats.norm.sf((half - 4) / math.sqrt(2.5)) + scipy_stats.norm.cdf((-half - 4) / math.sqrt(2.5))

    expected, _ = integrate.quad(lambda a: found(a) * math.exp(-a / 1.5) / 1.5, 0, 60, limit=200)
    assert design.power(4.0) == pytest.approx(expected, abs=1e-3)


def test_detectable_difference_is_found_in_four_of_five_simulated_comparisons():
    rng = np.random.default_rng(11)
    pilot = normal(rng, (1, 5, 60), 0.1, 0.5)[0]
    effect = minimal_detectable_effect([pilot], [np.zeros_like(pilot)])
    design = Design.of(components([pilot]))
    seed = math.sqrt(5 * (design.scarce - design.noise))
    data = effect + normal(rng, (3000, 5, 60), seed, math.sqrt(60 * design.rest), math.sqrt(300 * design.noise))
    assert (p_value(components([data])) < 0.05).mean() == pytest.approx(0.8, abs=0.03)
    with pytest.raises(ValueError, match="Power"):
        design.detectable(power=0.01)
