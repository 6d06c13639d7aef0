"""Critical differences: the test against published critical values and Friedman's formula, and its diagram."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from harness.report.figures import FIGURES
from harness.report.figures.critical_difference import Ranking, rank


def test_critical_differences_are_those_of_the_paper():
    """Demsar 2006, sec. 3.2.3: four classifiers, 14 data sets: 1.25 at 0.05 and 1.12 at 0.10."""
    scores = dict(zip("abcd", np.random.default_rng(0).random((4, 14)), strict=True))
    assert rank(scores, 0.05).distance == pytest.approx(1.25, abs=0.005)
    assert rank(scores, 0.10).distance == pytest.approx(1.12, abs=0.005)


def test_ranks_and_friedman_by_the_formula():
    table = np.random.default_rng(1).random((9, 5))  # [blocks, rows], no ties
    found = rank(dict(zip("abcde", table.T, strict=True)), 0.05)
    ranks = np.array([[1 + sum(other > value for other in block) for value in block] for block in table])
    means = ranks.mean(axis=0)
    assert list(found.ranks.values()) == pytest.approx(sorted(means))
    assert {name: found.ranks[name] for name in "abcde"} == pytest.approx(dict(zip("abcde", means, strict=True)))
    statistic = 12 * 9 / (5 * 6) * ((means**2).sum() - 5 * 36 / 4)
    assert found.p == pytest.approx(chi2.sf(statistic, 4))


def test_ties_share_their_rank_and_all_ties_are_no_evidence():
    found = rank({"a": np.array([1.0, 1.0]), "b": np.array([1.0, 0.0]), "c": np.array([0.0, 0.0])}, 0.05)
    assert dict(found.ranks) == {"a": 1.25, "b": 2.0, "c": 2.75}
    same = rank({name: np.ones(3) for name in "abc"}, 0.05)
    assert same.p == 1.0 and set(same.ranks.values()) == {2.0}


def test_groups_are_the_widest_runs_within_the_difference():
    ranks = {"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.5, "e": 5.2}
    assert Ranking(ranks, 1.6, 0.01, 10).groups() == [(0, 2), (3, 4)]
    assert Ranking(ranks, 2.1, 0.01, 10).groups() == [(0, 2), (2, 3), (3, 4)]
    assert Ranking(ranks, 9.0, 0.01, 10).groups() == [(0, 4)]
    assert Ranking(ranks, 0.1, 0.01, 10).groups() == []


def test_the_diagram_shows_mean_ranks_over_seeds_and_suites(sources, make_item, matrix):
    drawn = FIGURES["critical_difference"]([sources["small"]], make_item("critical_difference", "figure"))
    axis = drawn.figure.axes[0]
    names = ("mixer", "plain_rl", "third")
    blocks = np.concatenate(
        [[matrix("small", name, s).mean(axis=1) for name in names] for s in ("arithmetic", "coding")], 1
    )
    assert blocks.shape == (3, 6)
    wanted = rank(dict(zip(names, blocks, strict=True)), 0.05)
    lines = {line.get_label(): line for line in axis.lines if line.get_label() in names}
    assert {name: line.get_xdata()[0] for name, line in lines.items()} == pytest.approx(dict(wanted.ranks))
    assert sum(line.get_label() == "_group" for line in axis.lines) == len(wanted.groups())
    scale = next(line for line in axis.lines if line.get_label() == "_cd")
    assert np.diff(scale.get_xdata())[0] == pytest.approx(wanted.distance)
    assert "6 blocks" in drawn.alt and f"{wanted.distance:.2f}" in drawn.alt


def test_sources_are_pooled_and_too_few_rows_refused(sources, make_item):
    item = make_item("critical_difference", "figure")
    with pytest.raises(ValueError, match="mean ranks need three rows"):
        FIGURES["critical_difference"]([sources["large"]], item)
    twice = FIGURES["critical_difference"]([sources["small"], sources["small"]], item)
    assert "12 blocks" in twice.alt
    with pytest.raises(ValueError, match="option alpha must lie between 0 and 1"):
        FIGURES["critical_difference"]([sources["small"]], make_item("critical_difference", "figure", alpha=2))
