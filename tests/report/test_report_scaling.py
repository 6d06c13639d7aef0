"""Scaling tables against slopes fitted by hand to the verdicts as they are on disk."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.models.ladder import parameters, resolve
from harness.report.contrasts import adjusted, slope_weights
from harness.report.tables import TABLES
from harness.statistics.family import holm_array
from harness.statistics.intervals import crossed_interval

SUITES = ("arithmetic", "coding")
DECADES = math.log10(parameters(resolve("1m").config)) - math.log10(parameters(resolve("0.2m").config))


def cells(table, label):
    line = next(row for row in table.rows if row[0].value == label)
    return dict(zip([one.key for one in table.columns], line, strict=True))


def keys(table, start):
    return [one.key for one in table.columns if one.key.startswith(start)]


@pytest.fixture(scope="module")
def table(sources, make_item):
    return TABLES["scaling"]([sources["large"], sources["small"]], make_item("scaling"))


def test_weights_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    x, y = np.array([5.3, 6.0, 6.7, 8.0]), rng.normal(size=4)
    assert np.dot(slope_weights(x), y) == pytest.approx(np.polyfit(x, y, 1)[0])


def test_sizes_ascend_and_scores_are_the_comparisons(table, sources):
    first, second = keys(table, "score_")
    for key, name in ((first, "small"), (second, "large")):
        for row in sources[name].comparison.rows:
            assert cells(table, row.label)[key].interval == row.scores["eval"].mean
    assert [column.header for column in table.columns[1:3]] == ["0.203M", "0.996M"]


def test_trend_of_the_score_with_its_interval(table, matrix):
    slopes = [
        (matrix("large", "mixer", suite) - matrix("small", "mixer", suite)) / DECADES for suite in SUITES
    ]  # the least-squares line through two points
    truth = crossed_interval(slopes)
    found = cells(table, "mixer")["trend"]
    assert found.value == pytest.approx(truth.mean)
    assert found.interval.half_width == pytest.approx(truth.half_width)


def test_trend_of_the_difference_is_paired_with_the_baselines(table, matrix):
    gaps = {
        name: [matrix(name, "mixer", suite) - matrix(name, "plain_rl", suite) for suite in SUITES]
        for name in ("small", "large")
    }
    truth = crossed_interval([(b - a) / DECADES for a, b in zip(gaps["small"], gaps["large"], strict=True)])
    found = cells(table, "mixer")["difference_trend"]
    assert found.value == pytest.approx(truth.mean)
    assert found.interval.half_width == pytest.approx(truth.half_width)
    assert found.p == pytest.approx(truth.p_value)  # a family of one
    for key, name in zip(keys(table, "difference_")[:2], ("small", "large"), strict=True):
        assert cells(table, "mixer")[key].value == pytest.approx(np.mean(gaps[name]))
    assert cells(table, "plain_rl")["difference_trend"].value is None


def test_missing_cells_are_marked(table):
    line = cells(table, "third")
    assert line[keys(table, "score_")[1]].value is None and line["trend"].value is None
    assert "Not run: third (large)." in table.notes


def test_three_sizes_are_fitted_together(tmp_path, write_run, make_source, make_item, problem_means):
    sizes = {"a": 1e6, "b": 1e7, "c": 3e8}
    values: dict[str, np.ndarray] = {}
    for name, skill in zip(sizes, (0.3, 0.5, 0.9), strict=True):
        seeds = []
        for seed in (0, 1, 2):
            path = write_run(tmp_path, "mixer", seed, skill, experiment=name, spec={"model": f"{name}/model"})
            seeds.append([list(problem_means(path, suite).values()) for suite in SUITES])
        values[name] = np.array(seeds)  # [seeds, suites, problems]
    sources = [make_source(tmp_path / name, name, baseline=None) for name in sizes]
    given = {f"{name}/model": size for name, size in sizes.items()}
    table = TABLES["scaling"](sources, make_item("scaling", parameters=given))
    x = np.log10(list(sizes.values()))
    y = np.array([values[name] for name in sizes])
    slopes = np.polyfit(x, y.reshape(3, -1), 1)[0].reshape(y.shape[1:])
    truth = crossed_interval([slopes[:, i] for i in range(len(SUITES))])
    found = cells(table, "mixer")["trend"]
    assert (found.value, found.interval.half_width) == pytest.approx((truth.mean, truth.half_width))
    with pytest.raises(ValueError, match=r"the size of model a/model of source a is not known here; give it as"):
        TABLES["scaling"](sources, make_item("scaling"))


def test_what_cannot_be_a_scaling_table(sources, make_item, tmp_path, write_run, make_source):
    with pytest.raises(ValueError, match="two or more sources, each of another model size"):
        TABLES["scaling"]([sources["small"]], make_item("scaling"))
    with pytest.raises(ValueError, match="two or more sources, each of another model size"):
        TABLES["scaling"]([sources["small"], sources["noisy"]], make_item("scaling"))
    write_run(tmp_path, "mixer", 0, spec={"model": "1m", "eval": {"temperature": 0.1, "samples": 4}}, ood=True)
    other = make_source(tmp_path, "other", baseline=None)
    with pytest.raises(ValueError, match=r"small, other are not comparable with each other.*temperature differs"):
        TABLES["scaling"]([sources["small"], other], make_item("scaling"))


def test_adjusted_skips_what_is_missing():
    class One:
        def __init__(self, p):
            self.p_value = p

    assert adjusted([One(0.01), None, One(0.04)]) == [
        *holm_array([0.01, 0.04])[:1],
        None,
        *holm_array([0.01, 0.04])[1:],
    ]
    assert adjusted([None]) == [None]
