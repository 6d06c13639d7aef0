"""scores.jsonl: the same numbers as the verdicts, used only where it belongs to them, and how fast it makes loading."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

from harness import compare_verdicts, problem_scores, rescore, run_steps, score_file
from harness.compare import compare_runs
from harness.compare_load import load_run
from harness.store import RunDir
from tests.store.stored import change_verdicts, make, older

KEYS = ("samples", "statuses", "truncated", "graders", "sandboxes", "data_hash", "ledger")


@pytest.fixture
def path(tmp_path, write_run):
    return write_run(tmp_path, "a", has_mu=True, ood=True)


@pytest.fixture
def unread(monkeypatch):
    """Names of the files of verdicts and steps that are parsed from now on."""
    found = []
    verdicts, steps = compare_verdicts.read, run_steps.read
    monkeypatch.setattr(compare_verdicts, "read", lambda file, *rest: found.append(file.name) or verdicts(file, *rest))
    monkeypatch.setattr(run_steps, "read", lambda file: found.append(file.name) or steps(file))
    return found


def rewrite(file, change):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


def equal(one, other):
    """Whether two loaded runs say the same."""
    assert one.evaluations.keys() == other.evaluations.keys() and one.totals == other.totals
    for key, found in one.evaluations.items():
        assert all(getattr(found, name) == getattr(other.evaluations[key], name) for name in KEYS)
        assert found.problems.equals(other.evaluations[key].problems)
    return True


def test_the_file_gives_what_the_verdicts_give_without_reading_them(path, unread):
    file = path / "verdicts" / "coding@1.00.jsonl"

    def mixed(rows):  # scores between 0 and 1, samples without one, a problem without any
        for i, row in enumerate(rows):
            row["score"] = None if i % 7 == 3 or i < 4 else round((i % 5) / 4, 2)
        return rows

    rewrite(file, mixed)
    slow = load_run(path)
    assert sorted(unread) == sorted([*(p.name for p in (path / "verdicts").iterdir()), "metrics.jsonl", "timing.jsonl"])
    score_file.write(RunDir(path))
    unread.clear()
    assert equal(load_run(path), slow) and unread == []
    problems = slow.evaluations["coding", "1.00"].problems
    assert np.isnan(problems.loc["coding-000", "score"]) and (problems["scored"] < 4).any()


def test_a_copy_elsewhere_and_later_is_as_good(path, unread, tmp_path):
    score_file.write(RunDir(path))
    shutil.copytree(path, tmp_path / "copy", copy_function=shutil.copyfile)  # with times of its own
    unread.clear()
    assert equal(load_run(tmp_path / "copy"), load_run(path)) and unread == []
    # made again, of the same or of a file that is there already, it has the same bytes
    content = (path / "scores.jsonl").read_bytes()
    for _ in range(2):
        score_file.write(RunDir(tmp_path / "copy"))
        assert (tmp_path / "copy" / "scores.jsonl").read_bytes() == content
        (tmp_path / "copy" / "scores.jsonl").unlink()


def test_an_edited_verdict_of_the_same_length_counts(path, unread):
    score_file.write(RunDir(path))
    before = load_run(path)
    file = path / "verdicts" / "coding@1.00.jsonl"
    text = file.read_text()
    place = text.index('"score": 0.0, "family": "f", "level": 1, "split": "eval"')
    file.write_text(text[: place + 9] + "1" + text[place + 10 :])
    assert len(file.read_text()) == len(text)
    unread.clear()
    after = load_run(path)
    assert unread == ["coding@1.00.jsonl"]
    passed = {at: [run.evaluations["coding", at].passed for run in (before, after)] for at in ("0.50", "1.00")}
    assert passed["1.00"][1].sum() - passed["1.00"][0].sum() == 1
    assert (passed["0.50"][0] == passed["0.50"][1]).all()


def test_steps_that_have_changed_are_read_again(path, unread):
    score_file.write(RunDir(path))
    assert load_run(path).cost["flops"] == 12e9
    rewrite(path / "metrics.jsonl", lambda rows: [{**row, "flops": 2 * row["flops"]} for row in rows])
    assert load_run(path).cost["flops"] == 24e9
    (path / "timing.jsonl").unlink()
    assert "seconds" not in load_run(path).cost


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "schema", "entry"])
def test_a_file_that_is_not_whole_is_not_used(path, unread, damage):
    before = load_run(path)
    score_file.write(RunDir(path))
    file = path / "scores.jsonl"
    content = file.read_bytes()
    passed = content.index(b'"passed": [') + 11
    changed = {
        "flip": content[:passed] + (b"1" if content[passed : passed + 1] != b"1" else b"2") + content[passed + 1 :],
        "cut": content[: len(content) // 2],
        "empty": b"",
        "schema": content.replace(b'{"schema": 1', b'{"schema": 9', 1),
        "entry": content.replace(b'"k": 4', b'"k": 5'),
    }[damage]
    assert changed != content
    file.write_bytes(changed)
    unread.clear()
    assert equal(load_run(path), before)
    assert len(unread) == 8


def test_a_file_that_contradicts_evaluation_json_is_not_used(path):
    score_file.write(RunDir(path))
    evaluation = json.loads((path / "evaluation.json").read_text())
    evaluation["1.00"]["coding"]["n"] += 1
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(ValueError, match="verdicts on 24 different problems, but 25 were evaluated"):
        load_run(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "samples of problem"),
        (lambda rows: [{**rows[0], "split": "other"}, *rows[1:]], "in the splits"),
        (lambda rows: [{**rows[0], "score": float("nan")}, *rows[1:]], "has the score nan"),
        (lambda rows: [], "is empty"),
    ],
)
def test_verdicts_without_a_condensed_form_are_left_to_be_found(path, change, message):
    rewrite(path / "verdicts" / "coding@1.00.jsonl", change)
    score_file.write(RunDir(path))
    assert "coding@1.00.jsonl" not in score_file.read(path, {}).scores
    with pytest.raises(ValueError, match=message):
        load_run(path)


def test_problems_are_kept_once_for_all_runs(tmp_path, write_run):
    for seed in range(3):
        path = write_run(tmp_path, "a", seed)
        if seed:  # one run has no file and reads its verdicts
            score_file.write(RunDir(path))
    runs = compare_runs(tmp_path, None, False).rows[0].runs
    asked = {id(found.questions) for run in runs for found in run.evaluations.values()}
    assert len(asked) == 2  # one for each suite


def test_matrices_keep_to_what_all_runs_have_scored():
    def made(ids, means):
        line = problem_scores.line(ids, ["eval"] * len(ids), [1] * len(ids))
        scores = {"k": 2, "scored": [2 * (m is not None) for m in means], "passed": [0] * len(ids), "means": means}
        rest = {"statuses": {}, "truncated": 0, "graders": [], "sandboxes": []}
        return problem_scores.decode(problem_scores.questions(line, shared), scores | rest, None, {})

    shared = {}
    one, two = made(["a", "b", "c"], [0.5, None, 1.0]), made(["a", "b", "c"], [0.25, 0.5, 0.75])
    three = made(["b", "c", "d"], [0.0, 0.125, 1.0])
    same = problem_scores.matrix([one, two], "eval")
    assert same.ids.tolist() == ["a", "c"] and same.values.tolist() == [[0.5, 1.0], [0.25, 0.75]]
    other = problem_scores.matrix([one, three], "eval")
    assert other.ids.tolist() == ["c"] and other.values.tolist() == [[1.0], [0.125]]
    left, right = problem_scores.paired(problem_scores.matrix([two], "eval"), problem_scores.matrix([three], "eval"))
    assert left.tolist() == [[0.5, 0.75]] and right.tolist() == [[0.0, 0.125]]
    assert problem_scores.matrix([two], "ood").empty


def test_loading_condensed_runs_is_many_times_faster(tmp_path, write_run):
    path = write_run(tmp_path, "a", problems=300, samples=8)
    begin = time.process_time()
    load_run(path)
    slow = time.process_time() - begin
    score_file.write(RunDir(path))
    begin = time.process_time()
    load_run(path)
    assert time.process_time() - begin < slow / 4


def test_a_rescore_makes_the_file_anew(tmp_path):
    run = make(tmp_path / "run", "math", problems=4, ood=1)
    change_verdicts(run, "math", older)
    rescore.rescore(run)
    assert not (run.path / "scores.jsonl").exists()  # a run of an old version stays one
    change_verdicts(run, "math", older)
    score_file.write(run)
    before = score_file.read(run.path, {})
    rescore.rescore(run)
    after = score_file.read(run.path, {})
    file = run.verdicts("math", 0.0)
    assert after.scores[file.name]["sha256"] == score_file.digest(file) != before.scores[file.name]["sha256"]
    assert after.scores[file.name]["passed"] != before.scores[file.name]["passed"]
    assert after.questions[file.name].ids == before.questions[file.name].ids
