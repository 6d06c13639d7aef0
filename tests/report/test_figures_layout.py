"""Every kind of figure with many rows: nothing outside the page, no text upon another, marks of forced comparisons."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from matplotlib.text import Text

from harness.report.figures import FIGURES
from harness.report.figures.labels import LONGEST, spread
from harness.report.figures.style import DPI

ROWS = (
    "plain_rl", "mixer", "mixer_shuffled", "mixer_prior_only", "third", "fourth", "fifth_then_rl", "sixth", "seventh",
    "eighth", "random_reward", "twelfth", "an_arm_of_a_very_long_name_indeed",
)  # fmt: skip
OWN = (
    "learning_curves",
    "dynamics",
    "controller",
    "scaling",
    "forest",
    "critical_difference",
    "profile",
    "bars",
    "noise",
)
OPTIONS = {"scaling": {"parameters": {"0.2m": 2e5, "1m": 1e6}}, "learning_curves": {"y": "both"}}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, write_run, make_source):
    """Thirteen rows of two seeds: clean, of a larger model, and noisy."""
    root = tmp_path_factory.mktemp("crowd")
    specs = {
        "clean": {"model": "0.2m"},
        "large": {"model": "1m"},
        "noisy": {"model": "0.2m", "data": {"demo_noise": 0.4}},
    }
    for experiment, spec in specs.items():
        for i, name in enumerate(ROWS):
            for seed in (0, 1):
                few = {"problems": 6, "samples": 2, "steps": 5 + i % 3, "has_mu": name.startswith("mixer")}
                spent = spec | {"budget": {"kind": "flops", "limit": 7e9}}
                write_run(root, name, seed, 0.3 + 0.04 * i, experiment=experiment, spec=spent, **few)
    return {name: make_source(root / name, name, force=True) for name in specs}


def _sources(kind, crowd):
    return {"scaling": ["clean", "large"], "noise": ["clean", "noisy"]}.get(kind, ["clean"])


@pytest.mark.parametrize("width", ["single", "double"])
@pytest.mark.parametrize("kind", OWN)
def test_text_lies_on_the_page_and_not_upon_other_text(kind, width, crowd, make_item, monkeypatch):
    item = make_item(kind, "figure", width=width, **OPTIONS.get(kind, {}))
    figure = FIGURES[kind]([crowd[name] for name in _sources(kind, crowd)], item).figure
    assert figure.get_figwidth() == {"single": 3.4, "double": 7.0}[width]
    drawn = []
    original = Text.draw

    def record(text, renderer, *rest, **options):
        if text.get_visible() and text.get_text().strip():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))
        return original(text, renderer, *rest, **options)

    monkeypatch.setattr(Text, "draw", record)
    figure.canvas.draw()
    assert len(drawn) > len(ROWS)
    page = figure.bbox
    for name, box in drawn:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1, name
    slack = 0.012 * DPI  # the boxes of letters are higher than the letters
    for i, (name, box) in enumerate(drawn):
        for other, rival in drawn[i + 1 :]:
            across = min(box.x1, rival.x1) - max(box.x0, rival.x0)
            down = min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert across <= slack or down <= slack, (name, other)


@pytest.mark.parametrize("kind", OWN)
def test_alternative_text_names_the_best_and_the_worst_with_numbers(kind, crowd, make_item):
    sources = [crowd[name] for name in _sources(kind, crowd)]
    alt = FIGURES[kind](sources, make_item(kind, "figure", **OPTIONS.get(kind, {}))).alt
    assert alt.endswith(".") and any(character.isdigit() for character in alt)
    if kind in ("dynamics", "controller"):
        assert "mixer" in alt
        return
    means = {row.name: row.scores["eval"].mean.mean for row in sources[0].comparison.rows}
    if kind == "forest":
        del means["plain_rl"]
    best, worst = max(means, key=means.get), min(means, key=means.get)
    assert best in alt
    if kind not in ("scaling", "noise"):  # which show extremes at each size and level
        assert worst in alt


def test_long_names_are_cut_but_sources_and_alternative_texts_keep_them(crowd, make_item):
    drawn = FIGURES["bars"]([crowd["clean"]], make_item("bars", "figure"))
    names = [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()]
    assert max(map(len, names)) <= LONGEST
    assert ROWS[-1] in drawn.alt


@pytest.mark.parametrize("kind", ["learning_curves", "critical_difference", "question_heatmap"])
def test_forced_and_unequal_comparisons_are_marked(kind, crowd, make_item):
    comparison = replace(crowd["clean"].comparison, forced=["The graders differ."], unequal=["The cost is not equal."])
    source = replace(crowd["clean"], comparison=comparison)
    figure = FIGURES[kind]([source], make_item(kind, "figure")).figure
    assert figure.get_suptitle().replace("\n", " ").startswith("NOT COMPARABLE (forced): The graders differ.")
    written = " ".join(text.get_text() for text in [*figure.texts, figure._suptitle])
    assert "The cost is not equal." in written.replace("\n", " ")
    heading = figure._suptitle.get_window_extent(figure.canvas.get_renderer())
    assert heading.y1 <= figure.bbox.y1 + 1
    assert all(heading.y0 > axis.get_window_extent().y1 for axis in figure.axes)
    quiet = replace(source, comparison=replace(comparison, forced=[], unequal=[]))
    assert not FIGURES[kind]([quiet], make_item(kind, "figure")).figure.get_suptitle()


def test_positions_of_names_keep_order_and_distance():
    places = spread([0.5, 0.5, 0.51, 0.99, 1.0], 0.1)
    assert all(b - a >= 0.1 - 1e-12 for a, b in itertools.pairwise(places))
    assert places[0] >= 0 and places[-1] <= 1 + 1e-12
    assert spread([0.2, 0.8], 0.1) == pytest.approx([0.2, 0.8])
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])  # least squares: symmetric about the wish
