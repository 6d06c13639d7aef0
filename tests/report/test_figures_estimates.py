"""Figures of estimates: positions, lengths and fillings on the axes against numbers computed from the verdicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from harness.report.figures import FIGURES
from harness.report.figures.profile import table
from harness.report.figures.style import of

SUITES = ("arithmetic", "coding")
SIZES = {"0.2m": 2e5, "1m": 1e6}


def _marks(axis):
    return {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}


def _mean(matrix, experiment, strategy, split="eval", **noise):
    return 100 * np.mean([matrix(experiment, strategy, suite, split, **noise).mean() for suite in SUITES])


def test_forest_is_sorted_and_filled_by_significance(sources, make_item, matrix):
    comparison = sources["small"].comparison
    rows = {row.name: row.scores["eval"] for row in comparison.rows}
    for significant in (True, False):
        changed = [
            replace(row, scores={"eval": replace(row.scores["eval"], holm=0.01 if significant else 0.2)})
            for row in comparison.rows
        ]
        source = replace(sources["small"], comparison=replace(comparison, rows=changed))
        axis = FIGURES["forest"]([source], make_item("forest", "figure")).figure.axes[0]
        marks = _marks(axis)
        assert set(marks) == {"mixer", "third"}
        for name, mark in marks.items():
            face = of(name)["color"] if significant else "white"
            assert to_rgb(mark.get_markerfacecolor()) == to_rgb(face)
    names = [label.get_text() for label in axis.get_yticklabels()]
    gaps = {name: _mean(matrix, "small", name) - _mean(matrix, "small", "plain_rl") for name in marks}
    assert names == sorted(gaps, key=lambda name: -gaps[name])
    for line, name in enumerate(names):
        assert marks[name].get_xdata()[0] == pytest.approx(gaps[name]) and marks[name].get_ydata()[0] == line
        bar = next(bar for bar in axis.collections if bar.get_segments()[0][0][1] == line)
        ends = sorted(point[0] for point in bar.get_segments()[0])
        assert ends == pytest.approx([max(100 * rows[name].difference.low, -100), 100 * rows[name].difference.high])
        suites = next(mark for mark in axis.lines if mark.get_label() == "_suites" and mark.get_ydata()[0] == line)
        alone = [matrix("small", name, s).mean() - matrix("small", "plain_rl", s).mean() for s in SUITES]
        assert list(suites.get_xdata()) == pytest.approx([100 * value for value in alone])


def test_bars_have_the_length_of_scores_best_on_top(sources, make_item, matrix):
    figure = FIGURES["bars"]([sources["small"]], make_item("bars", "figure", split="ood")).figure
    axis = figure.axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    means = {name: _mean(matrix, "small", name, "ood") for name in names}
    assert names == sorted(means, key=lambda name: -means[name]) and len(names) == 3
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([means[name] for name in names])
    line = _marks(axis)["plain_rl"]
    assert line.get_xdata()[0] == pytest.approx(means["plain_rl"])
    assert [text.get_text() for text in axis.texts] == [f"{means[name]:.1f}" for name in names]


def test_bars_of_differences_and_of_one_suite(sources, make_item, matrix):
    item = make_item("bars", "figure", value="difference", suites=["coding"])
    axis = FIGURES["bars"]([sources["small"]], item).figure.axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    base = matrix("small", "plain_rl", "coding").mean()
    wanted = [100 * (matrix("small", name, "coding").mean() - base) for name in names]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx(wanted)


def test_scaling_joins_rows_of_all_sizes(sources, make_item, matrix):
    item = make_item("scaling", "figure", parameters=SIZES)
    figure = FIGURES["scaling"]([sources["large"], sources["small"]], item).figure
    upper, lower = figure.axes
    assert upper.get_xscale() == "log"
    assert list(upper.get_xticks()) == sorted(SIZES.values())
    assert [label.get_text() for label in upper.get_xticklabels()] == ["0.2M", "1M"]
    for axis, less in ((upper, 0), (lower, 1)):
        for name, line in _marks(axis).items():
            experiments = ["small"] if name == "third" else ["small", "large"]
            wanted = [_mean(matrix, e, name) - less * _mean(matrix, e, "plain_rl") for e in experiments]
            assert line.get_ydata() == pytest.approx(wanted)
            # side by side: nearer to their own size than to the other one
            assert np.abs(np.log10(line.get_xdata()) - np.log10(list(SIZES.values())[: len(wanted)])).max() < 0.3
    assert set(_marks(upper)) == {"mixer", "plain_rl", "third"} and set(_marks(lower)) == {"mixer", "third"}


def test_noise_takes_clean_rows_from_another_source(sources, make_item, matrix):
    figure = FIGURES["noise"]([sources["small"], sources["noisy"]], make_item("noise", "figure")).figure
    lines = _marks(figure.axes[0])
    clean = _mean(matrix, "small", "mixer")
    wanted = [clean, *(_mean(matrix, "noisy", "mixer", noise=level) for level in (0.3, 0.6))]
    assert lines["mixer"].get_ydata() == pytest.approx(wanted)
    assert lines["mixer"].get_xdata() == pytest.approx([0, 30, 60], abs=3)
    assert len(lines["third"].get_ydata()) == 1
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "30", "60"]


def test_profiles_count_runs_and_suites_above_each_score(sources, make_item, matrix):
    item = make_item("profile", "figure", rows=["mixer", "plain_rl"])
    figure = FIGURES["profile"]([sources["small"]], item).figure
    for name, line in _marks(figure.axes[0]).items():
        scores = np.concatenate([matrix("small", name, suite).mean(axis=1) for suite in SUITES])
        wanted = [100 * np.mean(100 * scores > x + 1e-9) for x in line.get_xdata()]
        assert line.get_ydata() == pytest.approx(wanted)
    row = next(row for row in sources["small"].comparison.rows if row.name == "mixer")
    assert table(row, "eval", SUITES) == pytest.approx(
        np.stack([matrix("small", "mixer", suite).mean(axis=1) for suite in SUITES], axis=1)
    )
    assert len(figure.axes[0].collections) == 2  # few rows have bands
    bare = FIGURES["profile"]([sources["small"]], make_item("profile", "figure", bands="off")).figure
    assert not bare.axes[0].collections


@pytest.mark.parametrize(
    ("kind", "names", "options", "words"),
    [
        ("scaling", ["small"], {"parameters": SIZES}, "needs two or more sources"),
        ("scaling", ["small", "noisy"], {"parameters": SIZES}, "each of another model size"),
        ("noise", ["small"], {}, "no row has a data.demo_noise above zero"),
        ("noise", ["noisy"], {"key": "data.style"}, "which is no level of noise"),
        ("forest", ["small"], {"split": "absent"}, "No suite was evaluated on the split 'absent'"),
        ("bars", ["small"], {"suites": ["absent"]}, "The suite 'absent' was not evaluated"),
        ("forest", ["small"], {"rows": ["plain_rl"]}, "No row has a difference to a baseline"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(kind, names, options, words, sources, make_item):
    with pytest.raises(ValueError) as problem:
        FIGURES[kind]([sources[name] for name in names], make_item(kind, "figure", **options))
    assert words in str(problem.value)
