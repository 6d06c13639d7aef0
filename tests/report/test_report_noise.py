"""Noise tables against differences and slopes taken by hand from the verdicts as they are on disk."""

from __future__ import annotations

import numpy as np
import pytest

from harness.report.tables import TABLES
from harness.statistics.intervals import crossed_interval, paired_interval

KEY = "data.demo_noise"
LEVELS = (0.0, 0.3, 0.6)
SUITES = ("arithmetic", "coding")


@pytest.fixture(scope="module")
def table(sources, make_item):
    return TABLES["noise"]([sources["small"], sources["noisy"]], make_item("noise", key=KEY))


@pytest.fixture(scope="module")
def cell(table):
    keys = [one.key for one in table.columns]
    return lambda label, key: next(row for row in table.rows if row[0].value == label)[keys.index(key)]


@pytest.fixture(scope="module")
def scores(matrix):
    """(strategy) -> [level][suite] matrices"""

    def read(strategy):
        clean = [matrix("small", strategy, suite) for suite in SUITES]
        return [clean, *([matrix("noisy", strategy, suite, noise=at) for suite in SUITES] for at in LEVELS[1:])]

    return read


def test_scores_and_losses_against_the_clean_cell(cell, scores):
    for strategy in ("mixer", "plain_rl"):
        at = scores(strategy)
        for level, strata in zip(LEVELS, at, strict=True):
            assert cell(strategy, f"score_{level:g}").value == pytest.approx(np.mean([s.mean() for s in strata]))
        for level, strata in zip(LEVELS[1:], at[1:], strict=True):
            truth = paired_interval(strata, at[0])
            found = cell(strategy, f"loss_{level:g}")
            assert (found.value, found.interval.half_width) == pytest.approx((truth.mean, truth.half_width))
    assert cell("mixer", "loss_0.6").value < 0


def test_slopes_per_ten_points(cell, scores):
    def slopes(strategy):
        at = np.array(scores(strategy))  # [levels, suites, seeds, problems]
        return np.polyfit(LEVELS, at.reshape(3, -1), 1)[0].reshape(at.shape[1:]) / 10

    mixer, base = slopes("mixer"), slopes("plain_rl")
    truth = crossed_interval(list(mixer))
    found = cell("mixer", "slope")
    assert (found.value, found.interval.half_width) == pytest.approx((truth.mean, truth.half_width))
    truth = crossed_interval(list(mixer - base))
    found = cell("mixer", "slope_difference")
    assert (found.value, found.interval.half_width) == pytest.approx((truth.mean, truth.half_width))
    assert cell("plain_rl", "slope_difference").value is None


def test_ranks_follow_the_scores(table, cell):
    for level in LEVELS:
        order = sorted(("mixer", "plain_rl"), key=lambda name: -cell(name, f"score_{level:g}").value)
        assert [cell(name, f"rank_{level:g}").value for name in order] == [1, 2]


def test_what_has_one_level_is_named_and_gaps_are_marked(table, sources, make_item, tmp_path, write_run, make_source):
    assert "At one level only, not shown: third." in table.notes
    for noise in (0.3, 0.6):
        for seed in (0, 1, 2):
            spec = {"model": "0.2m", "data": {"demo_noise": noise}}
            write_run(tmp_path, "plain_rl", seed, spec=spec, ood=True)
            if noise == 0.3:
                write_run(tmp_path, "mixer", seed, spec=spec, ood=True)
    noisy = make_source(tmp_path, "gap")
    table = TABLES["noise"]([sources["small"], noisy], make_item("noise", key=KEY))
    assert "Not run: mixer at 0.6." in table.notes
    line = next(row for row in table.rows if row[0].value == "mixer")
    keys = [one.key for one in table.columns]
    assert line[keys.index("score_0.6")].value is None and line[keys.index("rank_0.6")].value is None
    assert line[keys.index("slope")].value is not None  # over the two levels that there are


def test_what_cannot_be_a_noise_table(sources, make_item, study, make_source):
    with pytest.raises(ValueError, match=r"table noise \(noise\) needs the option key"):
        TABLES["noise"]([sources["noisy"]], make_item("noise"))
    with pytest.raises(ValueError, match=r"the setting data.style of mixer .*is auto, which is no level of noise"):
        TABLES["noise"]([sources["noisy"]], make_item("noise", key="data.style"))
    with pytest.raises(ValueError, match=r"no strategy was run at two levels of data.demo_noise"):
        TABLES["noise"]([sources["small"]], make_item("noise", key=KEY))
    with pytest.raises(ValueError, match=r"two rows of mixer have data.demo_noise = 0"):
        twice = make_source(study / "small", "again")
        TABLES["noise"]([sources["small"], twice, sources["noisy"]], make_item("noise", key=KEY))
    with pytest.raises(ValueError, match=r"not comparable with each other. The base models differ"):
        TABLES["noise"]([sources["large"], sources["noisy"]], make_item("noise", key=KEY))
