"""Rescoring stored generations: the same as a fresh evaluation, safe against kills, and with files of old versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.base import Problem, Verdict
from benchmarks.graders import answers
from harness import rescore, rescore_store
from harness.store import RunDir, read_json, read_lines, write_json
from tests.store.stored import change_verdicts, files, make, older


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("today") / "run", "math", "logic").path


@pytest.fixture
def fresh(today: Path, tmp_path: Path) -> RunDir:
    """Graded by the graders of today."""
    return RunDir(Path(shutil.copytree(today, tmp_path / "fresh")))


@pytest.fixture
def stale(today: Path, tmp_path: Path) -> RunDir:
    """The same, the verdicts on math being those of an older grader."""
    run = RunDir(Path(shutil.copytree(today, tmp_path / "stale")))
    change_verdicts(run, "math", older)
    return run


def results(run: RunDir) -> dict[str, Any]:
    return {
        name: content for name, content in files(run.path).items() if not name.startswith(("rescores/", "manifest"))
    }


def test_gives_what_an_evaluation_of_today_gives(stale: RunDir, fresh: RunDir) -> None:
    before = files(stale.path)
    assert results(stale) != results(fresh)
    outcome = rescore.rescore(stale)
    assert results(stale) == results(fresh)
    math, logic = outcome.evaluations
    rows = read_lines(fresh.verdicts("math", 0.0))
    wrongly = [row for i, row in enumerate(rows) if row["status"] == "pass" and i % 3 == 0]
    assert len(wrongly) >= 2
    assert math.transitions() == {"fail -> pass": len(wrongly)}
    assert [change.after for change in math.changes] == wrongly
    assert not logic.changes and not logic.different
    # what was replaced is kept, what was not is not copied
    assert outcome.number == 1
    kept = rescore_store.replaced(stale, 1)
    assert kept.verdicts("math", 0.0).read_bytes() == before["verdicts/math@0.00.jsonl"]
    assert kept.evaluation.read_bytes() == before["evaluation.json"]
    assert not kept.verdicts("logic", 0.0).exists()
    (entry,) = stale.manifest["rescores"]
    assert entry["evaluations"]["0.00"]["math"]["graders_before"] == ["number 0"]
    assert entry["evaluations"]["0.00"]["math"]["graders"] == [f"number {answers.VERSION}"]
    assert entry["evaluations"]["0.00"]["math"]["transitions"] == {"fail -> pass": len(wrongly)}


def test_a_second_time_changes_nothing(stale: RunDir) -> None:
    rescore.rescore(stale)
    before = files(stale.path)
    outcome = rescore.rescore(stale)
    assert outcome.number is None and not any(item.changes for item in outcome.evaluations)
    assert files(stale.path) == before
    change_verdicts(stale, "logic", older)
    assert rescore.rescore(stale).number == 2
    assert [entry["number"] for entry in stale.manifest["rescores"]] == [1, 2]
    assert results(stale) == {name: before[name] for name in results(stale)}


def test_dry_run_writes_nothing(stale: RunDir) -> None:
    before = {path: path.stat().st_mtime_ns for path in stale.path.rglob("*")}
    outcome = rescore.rescore(stale, dry_run=True)
    assert outcome.evaluations[0].changes and outcome.number is None
    assert {path: path.stat().st_mtime_ns for path in stale.path.rglob("*")} == before


def test_one_suite_alone(stale: RunDir, fresh: RunDir) -> None:
    change_verdicts(stale, "logic", older)
    before = stale.verdicts("math", 0.0).read_bytes()
    outcome = rescore.rescore(stale, only=["logic"])
    assert [item.suite for item in outcome.evaluations] == ["logic"]
    assert stale.verdicts("math", 0.0).read_bytes() == before
    assert stale.verdicts("logic", 0.0).read_bytes() == fresh.verdicts("logic", 0.0).read_bytes()
    with pytest.raises(ValueError, match="not evaluated on 'code'"):
        rescore.rescore(stale, only=["code"])


def test_files_of_an_old_version(fresh: RunDir, tmp_path: Path) -> None:
    """Without lengths, votes and hashes, and with a status that there is no more."""
    whole = results(fresh)

    def old(i: int, row: dict[str, Any]) -> dict[str, Any]:
        row = {key: value for key, value in row.items() if key not in ("n_tokens", "truncated", "family")}
        return {**row, "status": "error"} if i == 1 else row

    change_verdicts(fresh, "math", old)
    evaluation = read_json(fresh.evaluation)
    kept = ("n", "k", "avg_at_k", "pass_at_k", "se", "truncated", "no_answer", "infra", "at")
    math = {key: value for key, value in evaluation["0.00"]["math"].items() if key in kept}
    evaluation["0.00"]["math"] = {**math, "at": {"step": 3}}  # the summary of harder problems is gone as well
    write_json(fresh.evaluation, evaluation)
    outcome = rescore.rescore(fresh)
    assert next(iter(outcome.evaluations[0].transitions())).startswith("error -> ")
    found = results(fresh)
    assert found["verdicts/math@0.00.jsonl"] == whole["verdicts/math@0.00.jsonl"]
    block = json.loads(found["evaluation.json"])["0.00"]["math"]
    wanted = json.loads(whole["evaluation.json"])["0.00"]["math"]
    assert block.pop("at") == {"step": 3}
    assert block == {key: value for key, value in wanted.items() if key not in ("data_hash", "ood")}


# ---- refusals


def refused(run: RunDir, match: str) -> None:
    before = files(run.path)
    with pytest.raises(ValueError, match=match) as caught:
        rescore.rescore(run)
    assert "\n" not in str(caught.value)
    assert files(run.path) == before


def test_other_problems_are_refused(stale: RunDir) -> None:
    evaluation = read_json(stale.evaluation)
    evaluation["0.00"]["logic"]["ood"]["data_hash"] = "0" * 16
    write_json(stale.evaluation, evaluation)
    refused(stale, "problems of suite logic are not those")


def test_records_that_have_changed_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    rows = [{"question": f"{i}+1", "answer": f"so #### {i + 1}"} for i in range(5)]

    def write() -> None:
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write()
    data = {"source": str(source), "eval_source": str(source)}
    run = make(tmp_path / "run", data=data)
    name = next(iter(read_json(run.evaluation)["0.00"]))
    change_verdicts(run, name, older)
    assert rescore.rescore(run, dry_run=True).evaluations[0].different
    rows[2]["answer"] = "so #### 77"
    write()
    refused(run, "are not those")
    rows[2]["answer"], rows[2]["question"] = "so #### 3", "2 + 1"
    write()
    refused(run, "are not those")
    source.unlink()
    refused(run, "no data at")


def test_what_holds_no_evaluation_is_refused(stale: RunDir, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        rescore.rescore(RunDir(tmp_path))
    stale.evaluation.unlink()
    refused(stale, "no finished evaluation")
    write_json(stale.path / "manifest.json", {**stale.manifest, "kind": "lm_eval"})
    refused(stale, "no generations that suites have graded")


def test_a_running_evaluation_is_left_alone(stale: RunDir) -> None:
    with RunDir(stale.path).writer():
        refused(stale, "is being written by process")


# ---- kills


def test_killed_before_every_durable_operation(stale: RunDir, root: Path, tmp_path: Path) -> None:
    change_verdicts(stale, "logic", older)
    (tmp_path / "scratch").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.store.killing_rescore", stale.path, tmp_path / "scratch"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] > 40 and report["undecided"] > 20 and report["decided"] > 10, report


class Stop(BaseException):
    """Ends a rescore in the middle."""


def stopped_after(run: RunDir, batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rescore in batches of 4 that ends when so many of them are stored."""
    stored = 0
    original = rescore.append_lines

    def failing(path: Path, rows: Sequence[Any]) -> None:
        nonlocal stored
        if stored == batches:
            raise Stop
        stored += 1
        original(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(rescore, "BATCH", 4)
        patch.setattr(rescore, "append_lines", failing)
        with pytest.raises(Stop):
            rescore.rescore(run)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(problem, response) of everything that is graded from now on."""
    seen: list[tuple[str, str]] = []
    original = rescore._graded

    def graded(task: Any, generations: Sequence[Any]) -> Any:
        seen.extend((row["problem"], row["text"]) for row in generations)
        return original(task, generations)

    monkeypatch.setattr(rescore, "_graded", graded)
    return seen


def test_goes_on_where_it_stopped(stale: RunDir, fresh: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after(stale, 3, monkeypatch)
    path = rescore_store.staged(stale, "math", "0.00")
    with path.open("a") as stream:
        stream.write('{"problem": "ma')  # torn
    seen = counting(monkeypatch)
    rescore.rescore(stale)
    math, logic = (len(read_lines(fresh.generations(name, 0.0))) for name in ("math", "logic"))
    # of the 12 samples that were stored one is graded again, to see whether it is still the same grader
    assert len(seen) == math + logic - 12 + 1
    assert results(stale) == results(fresh)


def test_verdicts_of_another_grader_are_not_gone_on_from(
    stale: RunDir, fresh: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(answers, "VERSION", "0.5")
        stopped_after(stale, 3, patch)
    assert read_lines(rescore_store.staged(stale, "math", "0.00"))[0]["grader_version"] == "0.5"
    rescore.rescore(stale)
    assert results(stale) == results(fresh)


def test_a_decided_rescore_is_shown_by_the_call_that_completes_it(
    stale: RunDir, fresh: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run: RunDir) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(rescore_store, "finish", lambda run: None if not (run.path / "rescores").exists() else stop(run))
        with pytest.raises(Stop):
            rescore.rescore(stale)
    expected = rescore.rescore(stale, dry_run=True).evaluations[0]
    seen = counting(monkeypatch)
    outcome = rescore.rescore(stale)
    assert outcome.completed and outcome.number == 1 and not seen
    (math,) = outcome.evaluations
    assert math.changes == expected.changes and math.transitions() == expected.transitions()
    assert results(stale) == results(fresh)


def test_equal_responses_are_graded_once(stale: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.procedural.math import MathSuite

    asked: list[tuple[str, str]] = []

    def grade(self: MathSuite, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        asked.extend(zip((problem.id for problem in problems), responses, strict=True))
        return answers.grade_numbers(problems, responses)

    monkeypatch.setattr(MathSuite, "grade", grade)
    rescore.rescore(stale, dry_run=True)
    rows = read_lines(stale.generations("math", 0.0))
    pairs = {(row["problem"], row["text"]) for row in rows}
    assert len(pairs) < len(rows)
    assert sorted(asked) == sorted(pairs)
