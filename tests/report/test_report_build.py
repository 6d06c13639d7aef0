"""`harness report`: one specification becomes a folder, the same bytes each time, and errors of one sentence."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.report.build import build, write
from harness.report.document import FigureBlock, Report, TableBlock

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = """
title = "A small study"
summary = "Every method spends the **same** budget."

[sources.small]
path = "{study}/small"
label = "0.2m"
baseline = "plain_rl"

[sources.large]
path = "{study}/large"
label = "1m"
baseline = "plain_rl"

[sources.noisy]
path = "{study}/noisy"
label = "noise"
baseline = "plain_rl"
"""
ITEMS = """
[[item]]
kind = "heading"
text = "Main result"

[[item]]
kind = "text"
text = "As `compare` gives it."

[[item]]
kind = "table"
show = "scores"
name = "main"
sources = ["small"]
caption = "Scores at the end."

[[item]]
kind = "table"
show = "scaling"
name = "sizes"
sources = ["small", "large"]

[[item]]
kind = "table"
show = "noise"
name = "noise"
sources = ["small", "noisy"]
options = {{ key = "data.demo_noise" }}

[[item]]
kind = "figure"
show = "learning_curves"
name = "curves"
sources = ["small"]
title = "Learning curves"
caption = "Bands are intervals."
"""


@pytest.fixture
def spec(study, tmp_path):
    """(items, sources) -> path of a specification."""

    def make(items: str = ITEMS, sources: str = SPEC, name: str = "small.toml") -> Path:
        path = tmp_path / name
        path.write_text((sources + items).format(study=study), encoding="utf-8")
        return path

    return make


@pytest.fixture(scope="module")
def folder(study, tmp_path_factory):
    """A report written by the command."""
    root = tmp_path_factory.mktemp("report")
    path = root / "small.toml"
    path.write_text((SPEC + ITEMS).format(study=study), encoding="utf-8")
    assert main(["report", str(path), "--out", str(root / "out")]) == 0
    return root / "out"


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folder_holds_every_form(folder):
    expected = {"report.md", "report.tex", "index.html", "report.json"}
    expected |= {f"tables/{name}.{suffix}" for name in ("main", "sizes", "noise") for suffix in ("md", "tex", "csv")}
    expected |= {f"figures/curves.{suffix}" for suffix in ("png", "pdf", "svg")}
    found = contents(folder)
    assert set(found) == expected
    listed = json.loads((folder / "report.json").read_text())["files"]
    assert listed == {name: digest for name, digest in found.items() if name != "report.json"}


def test_the_same_results_give_the_same_bytes_in_another_process(folder, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness", "report", str(folder.parent / "small.toml"), "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(folder)
    assert "source small: 9 runs, 3 rows" in done.stdout and "table main (scores)" in done.stdout


def test_markdown_links_what_is_there(folder):
    text = (folder / "report.md").read_text()
    assert text.startswith("# A small study\n") and "## Main result" in text
    assert "](figures/curves.png)" in text and "**Scores.** Scores at the end." in text
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert len(links) == 3 * 3 + 1 + 3
    assert all((folder / link).is_file() for link in links)


def test_csv_files_hold_the_numbers_of_the_report(folder, study, make_source):
    rows = list(csv.DictReader((folder / "tables" / "main.csv").open()))
    comparison = make_source(study / "small").comparison
    for row, line in zip(comparison.rows, rows, strict=True):
        assert line["strategy"] == row.label and line["forced"] == "no"
        assert float(line["mean"]) == row.scores["eval"].mean.mean
        assert float(line["mean_half_width"]) == row.scores["eval"].mean.half_width


def test_a_report_can_be_built_without_writing(spec):
    report = build(spec())
    assert isinstance(report, Report) and list(report.sources) == ["small", "large", "noisy"]
    assert [type(block).__name__ for block in report.blocks] == [
        "Heading", "Text", "TableBlock", "TableBlock", "TableBlock", "FigureBlock",
    ]  # fmt: skip
    figure = report.blocks[-1]
    assert isinstance(figure, FigureBlock) and figure.title == "Learning curves" and len(figure.alt) > 20
    assert report.provenance["source small"].startswith("9 runs of small, sha256 ")
    assert report.command == "harness report small.toml"


def test_paths_are_relative_to_the_specification_and_read_once(study, tmp_path, monkeypatch):
    from harness.report import sources

    shutil.copytree(study / "small", tmp_path / "data" / "small")
    (tmp_path / "specs").mkdir()
    path = tmp_path / "specs" / "x.toml"
    text = 'title = "x"\n'
    for name in ("a", "b"):
        text += f'[sources.{name}]\npath = "../data/small"\nbaseline = "plain_rl"\n'
    text += 'strategies = ["mixer", "plain_rl"]\n'
    path.write_text(text + '[[item]]\nkind = "table"\nshow = "scores"\nname = "t"\n')
    calls = []
    monkeypatch.setattr(sources, "load_runs", lambda root, load=sources.load_runs: (calls.append(root), load(root))[1])
    report = build(path)
    assert len(calls) == 1
    block = report.blocks[0]
    assert isinstance(block, TableBlock)
    assert [row[0].value for row in block.table.rows] == ["a"] * 3 + ["b"] * 2
    assert [row[1].value for row in block.table.rows[3:]] == ["mixer", "plain_rl"]


def test_only_unchanged_files_of_an_earlier_build_are_removed(spec, tmp_path):
    out = tmp_path / "out"
    table = '[[item]]\nkind = "table"\nshow = "{}"\nname = "{}"\nsources = ["small"]\n'
    names = [("cost", "first"), ("levels", "second"), ("settings", "third")]
    write(build(spec("".join(table.format(*one) for one in names), SPEC)), out)
    (out / "tables" / "second.md").write_text("edited by hand")
    (out / "tables" / "mine.md").write_text("not of the report")
    write(build(spec(table.format("settings", "third"), SPEC)), out)
    left = {path.name for path in (out / "tables").iterdir()}
    assert left == {"third.md", "third.csv", "third.tex", "second.md", "mine.md"}
    (out / "report.json").unlink()  # without its list nothing is removed
    write(build(spec(table.format("cost", "first"), SPEC)), out)
    assert {path.name for path in (out / "tables").iterdir()} == left | {"first.md", "first.csv", "first.tex"}


def test_a_list_cannot_point_out_of_the_folder(spec, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    digest = hashlib.sha256(b"mine").hexdigest()
    (out / "report.json").write_text(json.dumps({"files": {"../victim.txt": digest, str(victim): digest}}))
    write(build(spec('[[item]]\nkind = "table"\nshow = "cost"\nname = "c"\n', SPEC)), out)
    assert victim.read_text() == "mine"


def test_unfinished_missing_and_forced_runs_are_told(tmp_path, write_run):
    done = [write_run(tmp_path, "plain_rl", seed, experiment="e") for seed in (0, 1)]
    write_run(tmp_path, "mixer", 0, experiment="e", grader_version="2")
    write_run(tmp_path, "mixer", 1, experiment="e", done=False)
    cells = {path.name: {"arm": None, "axes": {"strategy": "plain_rl"}} for path in done}
    cells["mixer-never-s2"] = {"arm": None, "axes": {"strategy": "mixer"}}
    (tmp_path / "e" / "m.matrix.json").write_text(json.dumps({"cells": cells}))
    text = 'title = "x"\n[sources.main]\npath = "e"\nbaseline = "plain_rl"\nforce = true\n'
    item = '[[item]]\nkind = "table"\nshow = "scores"\nname = "t"\n'
    path = tmp_path / "x.toml"
    path.write_text(text + item)
    report = build(path)
    told = "\n".join(report.notices)
    assert "NOT COMPARABLE (forced): The graders of arithmetic differ" in told
    assert "1 of 3 planned runs are missing: mixer-never-s2." in told
    assert "Left out as unfinished (no DONE): e/mixer-" in told
    assert "The seeds differ" in told
    write(report, tmp_path / "out")
    for name in ("report.md", "report.tex", "tables/t.md", "tables/t.tex"):
        assert "NOT COMPARABLE (forced)" in (tmp_path / "out" / name).read_text(), name
    rows = list(csv.DictReader((tmp_path / "out" / "tables" / "t.csv").open()))
    assert {row["forced"] for row in rows} == {"yes"}
    # of other strategies than those that are asked for nothing is told
    path.write_text(text.replace("force = true", 'strategies = ["plain_rl"]') + item)
    assert build(path).notices == []


BAD = [
    ("title = 3\n", "", "title"),
    (SPEC, '[[item]]\nkind = "table"\nshow = "scorse"\nname = "x"\n',
     "there is no table 'scorse' (did you mean scores?); tables are: scores, "),
    (SPEC, '[[item]]\nkind = "figure"\nshow = "learning_curve"\nname = "x"\n',
     "there is no figure 'learning_curve' (did you mean learning_curves?)"),
    (SPEC, '[[item]]\nkind = "table"\nshow = "scores"\nname = "x"\noptions = {{ splt = "ood" }}\n',
     "table x (scores) has no option 'splt' (did you mean split?)"),
    (SPEC, '[[item]]\nkind = "table"\nshow = "scores"\nname = "x"\noptions = {{ split = "test" }}\n',
     "table x (scores): No suite was evaluated on the split 'test'"),
    (SPEC.replace("{study}/large", "nowhere"), ITEMS, "source large (nowhere): There is no directory"),
    (SPEC.replace("{study}/large", "{study}"), ITEMS, "source large ({study}): These runs are not comparable. The"),
    (SPEC.replace('label = "1m"', 'strategies = ["mixr"]'), ITEMS,
     "source large ({study}/large): there is no finished run of 'mixr' (did you mean mixer?)."),
    (SPEC.replace('label = "1m"\nbaseline = "plain_rl"', 'baseline = "sft"'), ITEMS,
     "source large ({study}/large): There is no finished run of the baseline 'sft'"),
]  # fmt: skip


@pytest.mark.parametrize(("sources", "items", "words"), BAD)
def test_bad_specifications_are_one_sentence_and_exit_code_2(spec, study, tmp_path, capsys, sources, items, words):
    out = tmp_path / "out"
    assert main(["report", str(spec(items, sources)), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert words.format(study=study) in error and error.startswith("harness report: ")
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_refused_comparisons_say_how_to_force_them(spec, capsys):
    assert main(["report", str(spec(ITEMS, SPEC.replace("{study}/large", "{study}")))]) == 2
    assert "With force = true they are compared and every output says so." in capsys.readouterr().err


def test_a_partial_report_names_what_it_lacks(spec, tmp_path, capsys):
    tables = [(show, names) for show in ("scores", "scaling") for names in ('"small"', '"large"', '"small", "large"')]
    items = "".join(
        f'[[item]]\nkind = "table"\nshow = "{show}"\nname = "{show}{i}"\nsources = [{names}]\n'
        for i, (show, names) in enumerate(tables)
    )
    path = spec(items, SPEC.replace("{study}/large", "nowhere"))
    assert main(["report", str(path)]) == 2
    assert "--partial" in capsys.readouterr().err
    out = tmp_path / "out"
    # a fault of an item whose sources are all there stays one
    assert main(["report", str(path), "--out", str(out), "--partial"]) == 2
    assert "scaling3" in capsys.readouterr().err and not out.exists()
    path.write_text(
        path.read_text().replace(items, items.replace('"scaling"\nname = "scaling3"', '"cost"\nname = "c"'))
    )
    assert main(["report", str(path), "--out", str(out), "--partial"]) == 0
    assert "note: The source large has no runs here (nowhere)" in capsys.readouterr().err
    made = {file.stem for file in (out / "tables").glob("*.csv")}
    assert made == {"scores0", "scores2", "c"}
    text = (out / "report.md").read_text()
    for name in ("scores1", "scaling4", "scaling5"):
        assert f"**{name}**: left out, because there are no runs of large here." in text


def test_the_folder_must_not_be_a_file(spec, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["report", str(spec()), "--out", str(tmp_path / "taken")]) == 2
    assert "taken is a file: give a folder" in capsys.readouterr().err


def test_a_missing_specification(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_the_default_folder_is_named_after_the_specification(spec, tmp_path, monkeypatch):
    path = spec('[[item]]\nkind = "table"\nshow = "cost"\nname = "c"\n', SPEC, "mine.toml")
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(path)]) == 0
    assert (tmp_path / "results" / "reports" / "mine" / "tables" / "c.csv").is_file()
