"""Aggregates against brute force on the verdicts as they are on disk."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.report.tables import TABLES
from harness.report.tables.layout import Bounded, bounded, expanded
from harness.statistics.design import minimal_detectable_effect
from harness.statistics.effects import paired_dz
from harness.table_formats import show

SUITES = ("arithmetic", "coding")


@pytest.fixture(scope="module")
def table(sources, make_item):
    return TABLES["aggregates"]([sources["small"]], make_item("aggregates", repetitions=500))


@pytest.fixture(scope="module")
def cell(table):
    keys = [one.key for one in table.columns]
    return lambda label, key: next(row for row in table.rows if row[0].value == label)[keys.index(key)]


def runs(matrix, strategy, split="eval"):
    """[seeds, suites]"""
    return np.stack([matrix("small", strategy, suite, split).mean(axis=1) for suite in SUITES], axis=1)


def test_point_values(cell, matrix):
    for strategy in ("mixer", "plain_rl", "third"):
        scores = runs(matrix, strategy)
        flat = np.sort(scores.ravel())
        assert cell(strategy, "iqm").number == pytest.approx(flat[1:-1].mean())  # 6 scores: a quarter is one
        assert cell(strategy, "median").number == pytest.approx(np.median(scores.mean(axis=0)))
        assert cell(strategy, "mean").number == pytest.approx(scores.mean())
        assert cell(strategy, "optimality_gap").number == pytest.approx(1 - scores.mean())


def test_bounds_are_quantiles_of_all_resamples(cell, matrix):
    """3 seeds: all 27 draws of a suite, 729 of both, in place of random ones."""
    scores = runs(matrix, "mixer")
    draws = list(itertools.product(range(3), repeat=3))
    means = [
        np.mean([scores[list(a), 0].mean(), scores[list(b), 1].mean()]) for a, b in itertools.product(draws, repeat=2)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    found = cell("mixer", "mean")
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_against_the_baseline(cell, matrix, sources):
    own, base = runs(matrix, "mixer"), runs(matrix, "plain_rl")
    wins = [
        np.mean([(a > b) + 0.5 * (a == b) for a in own[:, suite] for b in base[:, suite]])
        for suite in range(len(SUITES))
    ]
    assert cell("mixer", "improvement").number == pytest.approx(np.mean(wins))
    pairs = [[matrix("small", name, suite) for suite in SUITES] for name in ("mixer", "plain_rl")]
    scores = next(row for row in sources["small"].comparison.rows if row.label == "mixer").scores["eval"]
    assert cell("mixer", "difference").value == pytest.approx(np.mean(pairs[0]) - np.mean(pairs[1]))
    assert cell("mixer", "p_holm").value == scores.holm
    effect = paired_dz(own.mean(axis=1), base.mean(axis=1))
    assert (cell("mixer", "dz").number, cell("mixer", "dz").low) == pytest.approx((effect.value, effect.low))
    assert cell("mixer", "detectable").value == pytest.approx(minimal_detectable_effect(*pairs))
    assert cell("mixer", "detectable_holm").value == pytest.approx(minimal_detectable_effect(*pairs, rate=0.05 / 2))
    assert cell("plain_rl", "improvement").value is None


def test_columns_can_be_chosen_and_the_split(sources, make_item, matrix):
    item = make_item("aggregates", columns=["iqm", "improvement"], split="ood", repetitions=20)
    table = TABLES["aggregates"]([sources["small"]], item)
    assert [one.key for one in table.columns] == ["strategy", "seeds", "iqm", "improvement"]
    line = next(row for row in table.rows if row[0].value == "mixer")
    assert line[2].number == pytest.approx(np.sort(runs(matrix, "mixer", "ood").ravel())[1:-1].mean())
    with pytest.raises(ValueError, match="did you mean iqm"):
        TABLES["aggregates"]([sources["small"]], make_item("aggregates", columns=["igm"]))


def test_without_a_baseline_only_scores(study, make_source, make_item):
    source = make_source(study / "small", baseline=None)
    table = TABLES["aggregates"]([source], make_item("aggregates", repetitions=20))
    assert [one.key for one in table.columns][2:] == ["iqm", "median", "mean", "optimality_gap"]


def test_one_seed_has_no_bounds(tmp_path, write_run, make_source, make_item):
    write_run(tmp_path, "a", 0)
    write_run(tmp_path, "b", 0)
    table = TABLES["aggregates"]([make_source(tmp_path, baseline="a")], make_item("aggregates", repetitions=20))
    cells = dict(zip([one.key for one in table.columns], table.rows[1], strict=True))
    assert "[" not in cells["iqm"].value and np.isnan(cells["iqm"].low)
    assert "dz" not in cells  # nothing to measure it by
    assert any("One seed" in note for note in table.notes)


def test_bounded_cells_read_as_text_and_expand_to_numbers(table):
    assert bounded(0.5, 0.4, 0.75).value == "50.0 [40.0, 75.0]"
    assert bounded(-0.0001, float("nan"), 0.1).value == "0.0"
    assert bounded(float("nan"), 0.0, 1.0).value is None
    wide = expanded(table)
    keys = [one.key for one in wide.columns]
    place = [one.key for one in table.columns].index("iqm")
    assert keys[place : place + 3] == ["iqm", "iqm_low", "iqm_high"]
    for row, line in zip(table.rows, wide.rows, strict=True):
        assert isinstance(row[place], Bounded) and len(line) == len(wide.columns)
        numbers = [cell.value for cell in line[place : place + 3]]
        assert numbers == [row[place].number, row[place].low, row[place].high]
        assert show(row[place], table.columns[place]).startswith(f"{100 * numbers[0]:.1f} [")
