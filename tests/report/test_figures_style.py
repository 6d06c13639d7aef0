"""Looks of strategies and files of figures: stable, distinct, the same bytes every time."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from matplotlib.colors import to_hex, to_rgb

from harness import figures as older
from harness.report.figures import FIGURES, KINDS
from harness.report.figures.style import COLORS, DASHES, MARKERS, files, looks, of
from strategies import registry

REPOSITORY = Path(__file__).resolve().parents[2]


def test_no_two_built_in_strategies_look_alike():
    package = registry.__name__.partition(".")[0]
    names = [name for name in registry.names() if registry.get(name).__module__.partition(".")[0] == package]
    assert len(names) > 30
    assert len({tuple(of(name).values()) for name in names}) == len(names)


def test_the_palette_can_be_told_apart_on_white():
    for color in COLORS:
        red, green, blue = to_rgb(color)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.72  # pale yellow has 0.84
    for one, other in itertools.combinations(COLORS, 2):
        assert sum((a - b) ** 2 for a, b in zip(to_rgb(one), to_rgb(other), strict=True)) > 0.04


def test_a_look_depends_on_the_name_alone():
    names = [f"third_party_{i}" for i in range(20)] + ["mixer", "arm-7"]
    whole = looks(names)
    assert {name: look["color"] for name, look in whole.items()} == {name: of(name)["color"] for name in names}
    for name in names:
        assert looks([name, "mixer"])[name] in (of(name), whole[name])
        assert looks([name]) == {name: of(name)}
        assert of(f"{name} (lr=0.1, budget=3 updates)") == of(name)


def test_relatives_share_the_colour_and_differ_in_dash_or_marker():
    found = looks(["mixer", "mixer_shuffled", "mixer_constant", "mixer (lr=1)", "mixer (lr=2)"])
    assert len({look["color"] for look in found.values()}) == 1
    assert len({(look["linestyle"], look["marker"]) for look in found.values()}) == 5


def test_as_many_rows_as_there_are_looks_of_a_colour_stay_distinct():
    labels = [f"mixer (seed={i})" for i in range(len(DASHES) * len(MARKERS))]
    found = looks(labels)
    assert len({tuple(look.values()) for look in found.values()}) == len(labels)
    assert looks(reversed(labels)) == found


def test_every_kind_is_a_module_that_draws():
    assert tuple(FIGURES) == KINDS
    for kind in KINDS:
        assert callable(import_module(f"harness.report.figures.{kind}").draw)


def test_files_are_byte_identical_and_say_nothing_of_time_or_version(sources, make_item):
    item = make_item("forest", "figure")
    first, second = (files(FIGURES["forest"]([sources["small"]], item).figure) for _ in range(2))
    assert first == second
    assert first["png"].startswith(b"\x89PNG") and first["pdf"].startswith(b"%PDF")
    assert first["svg"].startswith(b"<?xml") and b"<text" not in first["svg"]  # paths need no font
    for content in first.values():
        assert not any(word in content for word in (b"CreationDate", b"Matplotlib", b"matplotlib v", b"dc:date"))
    assert b"/Type3" not in first["pdf"]  # which many venues refuse


def test_another_process_has_the_same_looks_and_writes_the_same_bytes(study, sources, make_item):
    names = ["mixer", "plain_rl", "unheard-of", "mixer_x"]
    code = """
import hashlib, json, sys
from pathlib import Path
from harness.compare import compare_runs
from harness.report.document import Source
from harness.report.figures import FIGURES
from harness.report.figures.style import files, looks
from harness.report.spec import Item
source = Source("small", "small", compare_runs(Path(sys.argv[1]), "plain_rl", False))
found = files(FIGURES["dynamics"]([source], Item(kind="figure", show="dynamics", name="dynamics")).figure)
digests = [hashlib.sha256(content).hexdigest() for content in found.values()]
print(json.dumps([digests, looks(sys.argv[2:])]))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "99", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(study / "small"), *names]
    output = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    mine = files(FIGURES["dynamics"]([sources["small"]], make_item("dynamics", "figure")).figure)
    digests = [hashlib.sha256(content).hexdigest() for content in mine.values()]
    assert json.loads(output) == json.loads(json.dumps([digests, looks(names)]))


def test_the_figures_of_compare_have_the_same_colours(sources):
    drawn = older.draw_figures(sources["small"].comparison)
    names = ("mixer", "plain_rl", "third")
    assert {row.name for row in sources["small"].comparison.rows} == set(names)
    for kind, figure in drawn.items():
        axes = figure.axes[0]
        named = {text.get_text() for text in axes.texts} & set(names)
        assert named == ({"mixer"} if kind == "controller" else set(names)), kind
        assert {to_hex(line.get_color()).upper() for line in axes.lines} == {of(name)["color"] for name in named}
