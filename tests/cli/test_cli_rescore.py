"""`harness rescore`: of trained runs and evaluations, one or many, what it says and what it leaves alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained import run_of

from benchmarks.graders import answers
from harness.store import RunDir, find_runs, keep_lines, read_json, read_lines, write_json
from tests.store.stored import change_verdicts, files, make, older


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "run", "math", "logic").path


@pytest.fixture
def stored(made: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(made, tmp_path / "evaluations" / "stored")))


def test_a_trained_run_is_graded_as_it_was(say: Callable[..., Any], results: Path) -> None:
    """Programs as well, and all three evaluations."""
    run = run_of(results, "gac", 0)
    before = files(run)
    said = say("rescore", run)
    assert said.code == 0 and "nothing has changed" in said.out
    assert files(run) == before
    rows = [line.split() for line in said.out.splitlines() if line.startswith(("math ", "code "))]
    assert [row[:5] for row in rows if row[2] == "eval"] == [
        [suite, at, "eval", "20", "0"] for at in ("0%", "50%", "100%") for suite in ("math", "code")
    ]
    assert [row[1] for row in rows if row[2] == "ood"] == ["0%", "0%", "100%", "100%"]


def test_verdicts_of_an_older_grader_become_those_of_today(say: Callable[..., Any], results: Path) -> None:
    run = RunDir(run_of(results, "gac", 0))
    before = files(run.path)
    path = run.verdicts("math", 0.5)
    rows = read_lines(path)
    keep_lines(path, [{**row, "status": "pass", "score": 1.0, "grader_version": "0"} for row in rows])
    evaluation = read_json(run.evaluation)
    evaluation["0.50"]["math"]["avg_at_k"] = 1.0
    write_json(run.evaluation, evaluation)
    wrong = sum(row["status"] != "pass" for row in rows)
    assert wrong > 3
    dry = say("rescore", run.path, "--dry-run")
    assert dry.code == 0 and "nothing was written" in dry.out and not (run.path / "rescores").exists()
    said = say("rescore", run.path, "--list")
    (line,) = [line.split() for line in said.out.splitlines() if line.startswith("math ") and " 50% " in line][:1]
    now = 100 * json.loads(before["evaluation.json"])["0.50"]["math"]["avg_at_k"]
    assert line[:7] == ["math", "50%", "eval", "20", str(wrong), "100.00", f"{now:.2f}"]
    assert f"graded by number 0, now by number {answers.VERSION}" in said.out
    listed = [line for line in said.out.splitlines() if " pass -> " in line and "math-" in line]
    assert len(listed) == wrong
    assert str(run.path / "rescores" / "1") in said.out
    after = files(run.path)
    assert after["verdicts/math@0.50.jsonl"] == before["verdicts/math@0.50.jsonl"]
    assert after["evaluation.json"] == before["evaluation.json"]
    # what it cost to get there, and all other files, are as they were
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: before[name] for name in before if name != "manifest.json"
    }
    assert say("show", run.path, "--samples", "0").code == 0


def test_a_folder_with_runs_and_evaluations(say: Callable[..., Any], results: Path, stored: RunDir) -> None:
    shutil.move(stored.path, results / "evaluations" / "stored")
    change_verdicts(RunDir(results / "evaluations" / "stored"), "math", older)
    said = say("rescore", results)
    assert said.code == 0
    found = [*find_runs(results), *find_runs(results, "evaluation")]
    assert all(str(run.path) in said.out for run in found)
    assert f"in {len(found)} directories" in said.out
    assert (results / "evaluations" / "stored" / "rescores" / "1").is_dir()


def test_what_cannot_be_rescored_does_not_stop_the_others(
    say: Callable[..., Any], stored: RunDir, tmp_path: Path
) -> None:
    other = RunDir(Path(shutil.copytree(stored.path, tmp_path / "evaluations" / "another")))
    evaluation = read_json(other.evaluation)
    evaluation["0.00"]["math"]["data_hash"] = "0" * 16
    write_json(other.evaluation, evaluation)
    change_verdicts(stored, "math", older)
    before = files(other.path)
    said = say("rescore", tmp_path / "evaluations")
    assert said.code == 2
    assert "left out: the problems of suite math are not those" in said.err and str(other.path) in said.err
    assert files(other.path) == before
    assert stored.manifest["rescores"]
    alone = say("rescore", other.path)
    assert alone.code == 2 and len(alone.err.strip().splitlines()) == 1


def test_paths_without_runs(say: Callable[..., Any], stored: RunDir, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("empty", "missing"):
        said = say("rescore", tmp_path / path)
        assert said.code == 2 and len(said.err.strip().splitlines()) == 1
    said = say("rescore", stored.path, "--suite", "code")
    assert said.code == 2 and "math, logic" in said.err
    change_verdicts(stored, "math", older)
    assert say("rescore", stored.path, "--suite", "logic").code == 0
    assert "rescores" not in stored.manifest


def test_neither_torch_nor_a_model_is_loaded(stored: RunDir, root: Path) -> None:
    change_verdicts(stored, "math", older)
    code = (
        "import sys; from harness.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or ('torch' in sys.modules) or ('transformers' in sys.modules))"
    )
    command = [sys.executable, "-c", code, "rescore", str(stored.path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "fail -> pass" in done.stdout
