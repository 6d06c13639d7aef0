"""Statistics of one evaluation against closed forms and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.stats import avg_at_k, clustered_standard_error, pass_at_k


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
