"""Packs: the same comparison as the directories that they are made of, the same bytes every time, damage found."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from harness import cli, dynamics, pack_load, run_steps
from harness.compare import compare_loaded, compare_runs
from harness.compare_load import load_run, load_runs
from harness.examples import examples
from harness.pack import pack
from harness.run import execute as run_spec
from harness.store import RunDir, read_lines, write_json

CHANGES = {"probe": {"every": 1}, "budget": {"limit": 3}, "eval": {"fractions": [0.0, 1.0]}}


@pytest.fixture(scope="module")
def made(make_spec, tmp_path_factory):
    """Results with three finished runs, one of them graded without some scores, and files of a matrix and a search."""
    results = tmp_path_factory.mktemp("made")
    paths = [
        run_spec(make_spec(strategy=strategy, seed=seed, experiment="study", **CHANGES), results, quiet=True).path
        for strategy, seed in (("gac", 0), ("gac", 1), ("sft", 0))
    ]
    change(paths[1], lambda i, row: row | ({"status": "infra", "score": None} if i < 3 else {"score": 0.25 * (i % 5)}))
    cells = {path.name: {"arm": f"arm {path.name[:3]}", "axes": {}} for path in paths}
    write_json(results / "study" / "sweep.matrix.json", {"cells": cells})
    write_json(results / "study" / "search.tuning.json", {"best": 1})
    return results


@pytest.fixture
def results(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.fixture
def packed(results, tmp_path):
    pack([results], tmp_path / "packed")
    return tmp_path / "packed"


def change(run: Path, edit) -> None:
    path = RunDir(run).verdicts("math", 1.0)
    path.write_text("".join(json.dumps(edit(i, row)) + "\n" for i, row in enumerate(read_lines(path))))


def numbers(value):
    """Everything that a comparison says, as nested lists that can be compared; NaN as text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {str(key): numbers(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [numbers(own) for own in value]
    if hasattr(value, "rows"):
        return {field.name: numbers(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "runs"):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        label = value.baseline.label if value.baseline else None
        return numbers({**own, "runs": [run.name for run in value.runs], "baseline": label})
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: numbers(getattr(value, field.name)) for field in fields(value)}
    return value


def test_the_comparison_of_a_pack_is_that_of_its_directories(results, packed):
    expected = numbers(compare_runs(results, "sft", True))
    assert [row["label"] for row in expected["rows"]] == ["arm gac", "arm sft"]
    assert numbers(compare_runs(packed, "sft", True)) == expected
    assert numbers(compare_runs(packed / "study", "sft", True)) == expected


def test_a_pack_holds_what_its_directories_do(results, packed):
    (one, _), (other, left) = load_runs(results), load_runs(packed)
    assert left == [] and [run.name for run in one] == [run.name for run in other]
    for a, b in zip(one, other, strict=True):
        assert (a.spec, a.arm, a.cost, a.reasons, a.fractions) == (b.spec, b.arm, b.cost, b.reasons, b.fractions)
        assert a.evaluations.keys() == b.evaluations.keys()
        for key, found in a.evaluations.items():
            packed_one = b.evaluations[key]
            assert found.problems.equals(packed_one.problems)
            names = ("samples", "statuses", "truncated", "graders", "sandboxes", "data_hash", "ledger")
            assert all(getattr(found, name) == getattr(packed_one, name) for name in names)
        for name in ("metrics", "timing"):
            exact, rounded = getattr(a, name), getattr(b, name)
            assert list(exact.columns) == list(rounded.columns) and exact.index.equals(rounded.index)
            for column in exact:
                assert rounded[column].to_numpy() == pytest.approx(exact[column].to_numpy(), rel=5.1e-6, nan_ok=True)
        assert (a.metrics["flops"] == b.metrics["flops"]).all()  # whole numbers are not rounded
    assert any(math.isnan(score) for run in other for found in run.evaluations.values() for score in found.score)


def test_runs_and_packs_stand_beside_each_other(results, packed):
    shutil.move(packed / "study", results / "again")
    runs, _ = load_runs(results)
    assert len(runs) == 6
    assert compare_loaded(runs[:3], [], None, True).rows[0].label == "arm gac"


def test_packing_again_gives_the_same_bytes(results, packed, tmp_path):
    names = {"pack.json", "runs.jsonl.gz", "details.jsonl.gz", "sweep.matrix.json", "search.tuning.json"}
    before = {file.name: file.read_bytes() for file in (packed / "study").iterdir()}
    assert set(before) == names
    shutil.rmtree(packed / "study")
    moved = Path(shutil.copytree(results, tmp_path / "elsewhere"))
    for file in moved.rglob("scores.jsonl"):
        file.unlink()  # what is there only for speed changes nothing
    for _ in range(2):  # into nothing, and over a pack
        pack([moved], packed)
        assert {file.name: file.read_bytes() for file in (packed / "study").iterdir()} == before
    (moved / "study" / "search.tuning.json").unlink()
    pack([moved], packed)
    assert not (packed / "study" / "search.tuning.json").exists()


def test_unfinished_runs_are_left_out_and_counted(results, tmp_path):
    path = next((results / "study").glob("sft-*"))
    (path / "DONE").unlink()
    (done,) = pack([results], tmp_path / "packed", 0)
    assert (done.runs, done.unfinished) == (2, 1)
    assert [run.strategy for run in load_runs(tmp_path / "packed")[0]] == ["gac", "gac"]


# ---- sample generations


def test_examples_are_graded_samples_and_the_same_from_a_pack(results, packed):
    (one, _), (other, _) = load_runs(results), load_runs(packed)
    for a, b in zip(one, other, strict=True):
        found = examples(a, 8)
        assert found == examples(b, 8) and found[:3] == examples(a, 3) == examples(b, 3)
        assert {example.suite for example in found} == {"math", "code"}
        assert {example.split for example in found} == {"eval", "ood"}
        assert len(found) == 8 and examples(a, 0) == examples(b, 0) == []
        for example in found:
            directory = RunDir(a.path)
            rows = read_lines(directory.generations(example.suite, float(example.fraction)))
            assert example.response in [row["text"] for row in rows if row["problem"] == example.problem]
            assert example.fraction == "1.00" and example.prompt
            assert example.expected and example.level == int(example.problem.split("-")[2])


def test_right_and_wrong_examples_in_turn(results):
    path = next((results / "study").glob("sft-*"))
    for name in ("math", "code"):
        file = RunDir(path).verdicts(name, 1.0)
        rows = [row | {"status": "pass" if i % 4 == 0 else "fail"} for i, row in enumerate(read_lines(file))]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = examples(load_run(path), 8)
    assert {(e.suite, e.split, e.status == "pass") for e in found} == {
        (suite, split, right) for suite in ("math", "code") for split in ("eval", "ood") for right in (True, False)
    }
    assert found[0].status != found[1].status


def test_without_the_data_examples_have_no_prompt(results):
    path = next((results / "study").glob("sft-*"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["spec"]["data"]["suites"] = ["a suite that is not installed"]
    write_json(path / "manifest.json", manifest)
    (example,) = examples(load_run(path), 1)
    assert (example.prompt, example.expected) == ("", None) and example.problem


# ---- the commands


def test_the_commands_take_packs(results, tmp_path, capsys):
    assert cli.main(["pack", str(results), "--out", str(tmp_path / "out"), "--examples", "2"]) == 0
    assert "out/study: 3 runs, 0.0 MB" in capsys.readouterr().out
    run = load_runs(tmp_path / "out")[0][0]
    assert len(examples(run, 9)) == 2
    assert cli.main(["compare", str(tmp_path / "out"), "--force", "--out", str(tmp_path / "compared")]) == 0
    assert "arm gac" in capsys.readouterr().out


def test_dynamics_of_a_pack_are_those_of_its_directories(results, packed):
    def said(path):
        return [(arm.label, len(arm.runs), arm.values) for arm in dynamics.report([path], dynamics.Settings()).arms]

    for (label, count, values), (name, number, others) in zip(said(results), said(packed), strict=True):
        assert (label, count) == (name, number)
        assert others["kl_drift_area"] == pytest.approx(values["kl_drift_area"], rel=1e-5)
        assert others["events"] == values["events"] and others["steps"] == values["steps"]


# ---- refusals and damage


def test_what_must_not_be_packed_is_refused(results, packed, tmp_path):
    with pytest.raises(ValueError, match="must not be negative"):
        pack([results], tmp_path / "out", -1)
    with pytest.raises(ValueError, match="holds packs only"):
        pack([packed], tmp_path / "out")
    with pytest.raises(ValueError, match="is there and is no pack"):
        pack([results], results)
    copy = Path(shutil.copytree(results, tmp_path / "copy"))
    with pytest.raises(ValueError, match="two runs are named study/"):
        pack([results, copy], tmp_path / "out")
    assert pack([results, results / "study"], tmp_path / "out")[0].runs == 3
    with pytest.raises(ValueError, match="There is no directory"):
        pack([tmp_path / "nowhere"], tmp_path / "out")


def test_matrices_of_one_name_that_differ_are_refused(results, tmp_path):
    other = tmp_path / "other" / "study"
    other.mkdir(parents=True)
    shutil.move(next((results / "study").glob("sft-*")), other)
    write_json(other / "sweep.matrix.json", {"cells": {}})
    with pytest.raises(ValueError, match=r"sweep\.matrix\.json differ"):
        pack([results, other], tmp_path / "out")


def test_a_damaged_pack_is_found(packed):
    file = packed / "study" / pack_load.RUNS
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    whole = file.read_bytes()
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"runs\.jsonl\.gz is damaged"):
        load_runs(packed)
    file.write_bytes(whole)
    head = json.loads((packed / "study" / "pack.json").read_text())
    write_json(packed / "study" / "pack.json", {**head, "schema": 99})
    with pytest.raises(ValueError, match="schema 99"):
        load_runs(packed)
    (packed / "study" / "pack.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_runs(packed)


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "another"])
def test_damaged_details_are_found_when_they_are_asked_for(damage, packed):
    file = packed / "study" / pack_load.DETAILS
    runs, _ = load_runs(packed)
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[200] ^= 1
    # the details of the last run first: whole in themselves, but not those of the first run
    first = content.index(b"\x1f\x8b\x08", 10)
    changed = {"flip": bytes(flipped), "cut": content[:100], "another": content[first:] + content[:first]}
    file.unlink() if damage == "missing" else file.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=r"details\.jsonl\.gz is damaged or belongs to another pack"):
        _ = runs[0].metrics
    with pytest.raises(ValueError, match=r"details\.jsonl\.gz is damaged or belongs to another pack"):
        examples(runs[0], 1)


def test_steps_are_the_same_from_lines_and_from_columns():
    rows = [{"step": 2, "a": 1, "b": None}, {"step": 1, "a": 0.5, "c": "text"}, {"step": 2, "a": 3}]
    steps = run_steps.of_records(rows)
    assert steps.index.tolist() == [1, 2] and list(steps.columns) == ["a"]
    assert steps.columns["a"].tolist() == [0.5, 3.0]
    assert steps.rows() == [{"step": 1, "a": 0.5}, {"step": 2, "a": 3.0}]
