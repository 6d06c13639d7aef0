"""Files and terminal text of a comparison: same numbers everywhere, marks on every output, equal bytes."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare import compare_runs, render_terminal, write
from harness.figures import draw_figures
from harness.statistics.intervals import Estimate
from harness.table_formats import Cell, Column, Table, latex_escape, latex_table, markdown_table, show
from harness.tables import write_tables

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory, write_run):
    root = tmp_path_factory.mktemp("results")
    for seed in (0, 1, 2):
        write_run(root, "plain_rl", seed, 0.3)
        write_run(root, "mixer", seed, 0.9, has_mu=True, ood=False)
    write_run(root, "once", 0, 0.4)
    return root


@pytest.fixture(scope="module")
def comparison(results):
    return compare_runs(results, "plain_rl", False)


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return {path.name: path for path in write(comparison, out)}


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_exist_and_are_not_empty(written):
    expected = {"comparison.md", *(f"{name}.{kind}" for name in ("learning_curves", "controller", "dynamics")
                                   for kind in ("png", "pdf"))}  # fmt: skip
    tables = ("scores", "differences", "levels", "levels_by_suite", "cost", "reasons", "evaluations", "runs")
    expected |= {f"{name}.{kind}" for name in tables for kind in ("csv", "tex")}
    assert set(written) == expected
    assert all(path.stat().st_size > 100 for path in written.values())


def test_csv_keeps_full_precision(comparison, written):
    for row, line in zip(comparison.rows, _rows(written["scores.csv"]), strict=True):
        scores = row.scores["eval"]
        assert line["strategy"] == row.label and line["forced"] == "no"
        assert float(line["mean"]) == scores.mean.mean
        assert float(line["mean_half_width"]) == scores.mean.half_width
        assert float(line["suite_coding_se"]) == scores.by_suite["coding"].standard_error
        if scores.difference is not None:
            assert float(line["difference_p_holm"]) == scores.holm


def test_the_same_rounded_numbers_stand_in_every_form(comparison, written):
    text = render_terminal(comparison, 400)
    markdown = written["comparison.md"].read_text()
    latex = written["scores.tex"].read_text()
    for row in comparison.rows:
        mean = row.scores["eval"].mean
        value, half = f"{100 * mean.mean:.1f}", f"{100 * mean.half_width:.1f}"
        assert f"{value} \u00b1 {half}" in text
        assert f"{value} \u00b1 {half}" in markdown
        assert rf"{value} $\pm$ {half}" in latex


def test_significance_and_single_seeds_are_marked(comparison, written):
    mixer = next(row for row in comparison.rows if row.label == "mixer").scores["eval"]
    assert mixer.holm < 0.05
    half = f"{100 * mixer.difference.half_width:.1f}"
    lines = written["comparison.md"].read_text().splitlines()
    assert any(line.startswith("| mixer |") and rf"{half}\* |" in line for line in lines)
    assert all("\u2020" in line for line in lines if line.startswith("| once | 1 |"))
    assert r"$^{\dagger}$" in written["scores.tex"].read_text()
    assert "Holm-adjusted p < 0.05" in render_terminal(comparison, 100)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_fits_and_never_breaks_a_number(comparison, width):
    text = render_terminal(comparison, width)
    assert max(len(line) for line in text.splitlines()) <= width
    wide = render_terminal(comparison, 1000)
    pattern = re.compile(r"[+-]?\d+\.\d \u00b1 \d+\.\d")
    assert sorted(pattern.findall(text)) == sorted(pattern.findall(wide))


def test_pass_at_k_and_counts_in_the_evaluation_table(results, written):
    lines = _rows(written["evaluations.csv"])
    line = next(row for row in lines if (row["strategy"], row["suite"]) == ("once", "coding"))
    path = next((results / "exp").glob("once-*")) / "verdicts" / "coding@1.00.jsonl"
    passed = {}
    for row in map(json.loads, path.read_text().splitlines()):
        passed.setdefault(row["problem"], []).append(row["score"])
    assert float(line["pass_4"]) == pytest.approx(sum(max(scores) for scores in passed.values()) / len(passed))
    assert float(line["pass_1"]) == pytest.approx(float(line["avg"]))
    assert (line["problems"], line["k"], line["truncated"], line["grader"]) == ("24", "4", "1", "exact 1")


def test_single_runs_can_be_traced(comparison, written):
    lines = _rows(written["runs.csv"])
    assert sorted(line["run"] for line in lines) == sorted(run.name for row in comparison.rows for run in row.runs)


def test_force_marks_every_output(tmp_path, write_run):
    write_run(tmp_path / "r", "a", has_mu=True)
    write_run(tmp_path / "r", "b", grader_version="2")
    comparison = compare_runs(tmp_path / "r", None, True)
    mark = "NOT COMPARABLE (forced)"
    assert mark in render_terminal(comparison, 100)
    (tmp_path / "out").mkdir()
    for path in write_tables(comparison, tmp_path / "out", []):
        if path.suffix == ".csv":
            assert {row["forced"] for row in _rows(path)} == {"yes"}
        elif path.suffix in (".md", ".tex"):
            assert mark in path.read_text().replace("**", "").replace("\\_", "_")
    assert all(mark in figure.get_suptitle() for figure in draw_figures(comparison).values())


def test_unequal_cost_is_on_the_face_of_every_output(tmp_path, write_run):
    write_run(tmp_path / "r", "a", has_mu=True, flops=1e9)
    write_run(tmp_path / "r", "b", flops=5e9)
    comparison = compare_runs(tmp_path / "r", None, False)
    (sentence,) = comparison.unequal
    assert sentence.startswith("The cost is not equal: FLOPs from 1.2e+10 (a) to 6e+10 (b)")
    assert sentence in " ".join(render_terminal(comparison, 100).split())
    (tmp_path / "out").mkdir()
    for path in write_tables(comparison, tmp_path / "out", []):
        if path.suffix == ".csv":
            assert {(row["forced"], row["unequal_cost"]) for row in _rows(path)} == {("no", sentence)}
        elif path.suffix in (".md", ".tex"):
            assert sentence in path.read_text()
    assert all(sentence in " ".join(figure.get_suptitle().split()) for figure in draw_figures(comparison).values())


def test_of_many_settings_the_best_are_shown_and_files_hold_all(tmp_path, write_run):
    for number in range(45):
        write_run(tmp_path / "r", "mixer", 0, number / 45, spec={"options": {"weight": number}}, problems=4, samples=1,
                  steps=2, has_mu=True, suites=("coding",))  # fmt: skip
    comparison = compare_runs(tmp_path / "r", None, False)
    best = {row.label for row in sorted(comparison.rows, key=lambda row: -row.scores["eval"].mean.mean)[:5]}
    text = render_terminal(comparison, 200)
    assert "Shown are the 40 of 45 settings with the highest mean; the tables in files hold all." in text
    shown = set(re.findall(r"^mixer \(weight=\d+\)", text, re.MULTILINE))
    assert len(shown) == 40 and best <= shown
    for name, figure in draw_figures(comparison).items():
        assert "Shown are the 8 of 45 settings" in figure.get_suptitle(), name
        assert all(len(axis.texts) == 8 for axis in figure.axes)
    (tmp_path / "out").mkdir()
    for path in write_tables(comparison, tmp_path / "out", []):
        if path.suffix == ".csv":
            assert len({row["strategy"] for row in _rows(path)}) == 45
    # sentences that would name every row name some
    assert all(len(warning) < 1000 for warning in comparison.warnings)
    assert any("37 more" in warning for warning in comparison.warnings)


def test_every_line_is_named_inside_the_figure(comparison):
    for name, figure in draw_figures(comparison).items():
        for axis in figure.axes:
            labels = [text.get_text() for text in axis.texts]
            assert set(labels) == ({"mixer"} if name == "controller" else {"mixer", "once", "plain_rl"})
            assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in axis.texts)


def test_equal_results_give_equal_bytes_whatever_the_hash_seed(results, written, tmp_path):
    code = (
        "import sys; from pathlib import Path; from harness.compare import compare_runs, write;"
        "write(compare_runs(Path(sys.argv[1]), 'plain_rl', False), Path(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code, str(results), str(tmp_path)], check=True, env=environment)
    assert {path.name for path in tmp_path.iterdir()} == set(written)
    for name, path in written.items():
        assert (tmp_path / name).read_bytes() == path.read_bytes(), name


def test_cells_of_each_kind():
    interval = Estimate(0.1234, 0.05, 0.02, 9.0, 0.01, 3, 40)
    undefined = Estimate(0.5, *[float("nan")] * 4, 3, 40)
    assert show(Cell(0.1234, interval), Column("x", "x", "signed")) == "+12.3 \u00b1 5.0"
    assert show(Cell(-0.0001), Column("x", "x", "signed")) == "+0.0"
    assert show(Cell(0.5, undefined), Column("x", "x", "percent")) == "50.0"
    assert show(Cell(1234567.0), Column("x", "x", "count")) == "1,234,567"
    assert show(Cell(3.14159e18), Column("x", "x", "scientific")) == "3.14e+18"
    assert show(Cell(), Column("x", "x", "number")) == show(Cell(float("nan")), Column("x", "x", "number")) == "-"


def test_markup_is_escaped():
    columns = [Column("a", "50% & more", "text"), Column("n", "n|m", "count")]
    table = Table("t", "T", columns, [[Cell("a_b|c{}"), Cell(1234.0)]], ["x < y"])
    latex = latex_table(table, [], [])
    assert r"50\% \& more & n\textbar{}m \\" in latex
    assert r"a\_b\textbar{}c\{\} & 1{,}234 \\" in latex
    assert latex_escape("\\~^") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}"
    assert r"| a\_b\|c{} | 1,234 |" in markdown_table(table)
