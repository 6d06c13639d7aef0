"""Curves over training: the numbers on the axes against the files of the runs, and seeds that spend differently."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.compare_load import Run
from harness.report.figures import FIGURES, data
from harness.report.figures.style import of
from harness.run_steps import of_columns


def _lines(axis):
    return {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}


def _run(seed, metrics, seconds=None):
    steps = list(range(1, len(metrics["y"]) + 1))
    timing = of_columns(steps, {"cumulative_seconds": seconds} if seconds else {})
    spec = {"strategy": "mixer", "model": "m", "seed": seed}
    return Run("e", f"r{seed}", spec, {}, steps=lambda: (of_columns(steps, metrics), timing))


def test_seeds_are_interpolated_on_the_costs_that_both_reached():
    flat = [10.0, 20.0, 30.0, 40.0, 50.0]
    runs = [_run(0, {"flops": flat, "y": flat}), _run(1, {"flops": [5, 25, 45], "y": [7, 27, 47]})]
    found = data.course(runs, "y", "flops")
    assert (found.x[0], found.x[-1], len(found.x)) == (10, 45, 5)
    assert found.mean == pytest.approx(found.x + 1)  # both are straight lines, one 2 above the other
    assert found.low == pytest.approx(found.x) and found.high == pytest.approx(found.x + 2)


def test_updates_stay_whole_and_equal_costs_as_they_are():
    runs = [_run(0, {"y": [1.0, 2.0, 3.0, 4.0]}), _run(1, {"y": [3.0, 4.0, 5.0]})]
    found = data.course(runs, "y", "updates")
    assert found.x.tolist() == [1, 2, 3] and found.mean.tolist() == [2, 3, 4]
    same = data.course([runs[1]], "y", "updates")
    assert same.x.tolist() == [1, 2, 3] and same.low.tolist() == same.high.tolist() == [3, 4, 5]


def test_unknown_values_and_other_clocks():
    nan = float("nan")
    run = _run(0, {"flops": [1.0, 2.0, nan, 4.0], "y": [5.0, nan, 6.0, 7.0]}, seconds=[3.0, 4.0, 6.0, 9.0])
    assert data.course([run], "y", "flops").x.tolist() == [1, 4]
    timed = data.course([run], "y", "seconds")
    assert timed.x.tolist() == [3, 6, 9] and timed.mean.tolist() == [5, 6, 7]
    assert data.course([run], "absent", "flops") is None
    assert data.course([_run(0, {"generated_tokens": [0.0, 0.0], "y": [1.0, 2.0]})], "y", "generated_tokens") is None
    apart = [_run(0, {"flops": [1.0, 2.0], "y": [0.0, 1.0]}), _run(1, {"flops": [3.0, 4.0], "y": [0.0, 1.0]})]
    assert data.course(apart, "y", "flops") is None


def test_scores_on_the_axes_are_those_of_the_verdicts(study, sources, make_item, problem_means):
    figure = FIGURES["learning_curves"]([sources["small"]], make_item("learning_curves", "figure", x="updates")).figure
    lines = _lines(figure.axes[0])
    assert set(lines) == {"mixer", "plain_rl", "third"}
    for name, line in lines.items():
        expected = []
        for fraction in ("0.00", "0.50", "1.00"):
            runs = (study / "small").glob(f"{name}-*")
            scores = [
                np.mean(list(problem_means(path, suite, "eval", fraction).values()))
                for path in runs
                for suite in ("arithmetic", "coding")
            ]
            expected.append(100 * np.mean(scores))
        assert line.get_ydata() == pytest.approx(expected)
        assert list(line.get_xdata()) == [0, 6, 12]
        assert {key: getattr(line, f"get_{key}")() for key in ("color", "marker")} == {
            key: of(name)[key] for key in ("color", "marker")
        }
    named = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(filter(None, named)) == ["mixer", "plain_rl", "third"]
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts if text.get_text()}
    assert sorted(heights, key=heights.get) == sorted(lines, key=lambda name: lines[name].get_ydata()[-1])


def test_bands_are_intervals_within_the_range_of_scores(sources, make_item):
    figure = FIGURES["learning_curves"](
        [sources["small"]], make_item("learning_curves", "figure", rows=["mixer"])
    ).figure
    (band,) = figure.axes[0].collections
    row = next(row for row in sources["small"].comparison.rows if row.name == "mixer")
    last = row.curve[-1].score
    corners = band.get_paths()[0].vertices
    edge = sorted({round(y, 6) for x, y in corners if x == corners[:, 0].max()})
    wanted = (100 * max(last.low, 0), 100 * min(last.high, 1))
    assert (edge[0], edge[-1]) == pytest.approx(wanted, abs=1e-5)


def test_dynamics_show_the_chosen_metrics(study, sources, make_item):
    item = make_item("dynamics", "figure", metrics=["kl", "entropy"], x="updates")
    figure = FIGURES["dynamics"]([sources["small"]], item).figure
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["KL to the start (nats)", "entropy (nats)"]
    paths = sorted((study / "small").glob("third-*"))
    rows = [[json.loads(line)["entropy"] for line in (path / "metrics.jsonl").open()] for path in paths]
    line = _lines(figure.axes[1])["third"]
    assert line.get_ydata() == pytest.approx(np.mean(rows, axis=0))
    assert list(line.get_xdata()) == list(range(1, 13))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mixer", "plain_rl", "third"]


def test_the_controller_has_two_panels_a_row_that_records_it(study, sources, make_item):
    figure = FIGURES["controller"]([sources["small"]], make_item("controller", "figure")).figure
    assert len(figure.axes) == 2  # mixer alone has a mu
    left, right = (_lines(axis) for axis in figure.axes)
    assert set(left) == {"mu", "prior", "mu_raw"} and set(right) == {"sigma_r2", "sigma_s2", "delta_g2"}
    assert left["mu"].get_color() == of("mixer")["color"]
    paths = sorted((study / "small").glob("mixer-*"))
    for signal, line in {**left, **right}.items():
        rows = [[json.loads(text)[signal] for text in (path / "metrics.jsonl").open()] for path in paths]
        assert line.get_ydata() == pytest.approx(np.mean(rows, axis=0))
    assert figure.axes[1].get_yscale() == "log"


def test_several_sources_have_a_panel_each(sources, make_item):
    both = [sources["small"], sources["large"]]
    figure = FIGURES["learning_curves"](both, make_item("learning_curves", "figure", y="both", width="double")).figure
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["small", "small", "large", "large"]
    assert {axis.get_ylabel() for axis in figure.axes} == {"avg@k, mean over suites (%)", "training reward"}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("dynamics", {"metrics": ["absent"]}, "recorded the metric 'absent'"),
        ("dynamics", {"x": "money"}, "option x must be one of flops"),
        ("learning_curves", {"rows": ["mixr"]}, "there is no row 'mixr' (did you mean mixer?)"),
        ("learning_curves", {"y": "speed"}, "option y must be one of score, reward, both"),
        ("learning_curves", {"width": "wide"}, "option width must be one of single, double"),
        ("controller", {"rows": ["third"]}, "No run recorded delta_g2, mu, mu_raw, prior, sigma_r2 and sigma_s2"),
        ("controller", {"colour": "red"}, "has no option 'colour'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(kind, options, words, sources, make_item):
    with pytest.raises(ValueError) as problem:
        FIGURES[kind]([sources["small"]], make_item(kind, "figure", **options))
    assert words in str(problem.value)
