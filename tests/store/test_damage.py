"""Runs that meet a lock, torn files, damaged checkpoints and a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

import harness.evaluate
import harness.store
import harness.trainer
from harness import checkpoint, cli
from harness.run import directory_for
from harness.run import execute as run_spec
from harness.store import RunDir, append_lines, keep_lines, read_json, read_lines, write_json
from tests.store.runs import content, leftovers, lines, repeated

HOLDER = """
import sys
from pathlib import Path
from harness.store import RunDir
with RunDir(Path(sys.argv[1])).writer():
    print("held", flush=True)
    sys.stdin.read()
"""


class Stop(Exception):
    """Ends a run in the middle, in the way of a fault that nothing in the program expects."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(harness.evaluate, "CHUNK", 8)


@pytest.fixture(scope="module")
def whole(make_spec, tmp_path_factory):
    """Content of the uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.evaluate, "CHUNK", 8)
        return content(run_spec(make_spec(), tmp_path_factory.mktemp("whole"), quiet=True).path)


@pytest.fixture(scope="module")
def stopped_runs(make_spec, tmp_path_factory):
    """(index) -> results with a run that stopped after so many optimiser steps; made once for each index."""

    @cache
    def stop(index):
        def failing(path, records):
            if path.name == "metrics.jsonl" and records[0]["step"] > index:
                raise Stop
            append_lines(path, records)

        results = tmp_path_factory.mktemp("stopped")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(harness.evaluate, "CHUNK", 8)
            patch.setattr(harness.trainer, "append_lines", failing)
            with pytest.raises(Stop):
                run_spec(make_spec(), results, quiet=True)
        return results

    return stop


@pytest.fixture
def stopped(stopped_runs, make_spec, tmp_path):
    """(index) -> a fresh copy of such a run's directory."""

    def copy(index):
        shutil.copytree(stopped_runs(index), tmp_path / "results")
        return directory_for(make_spec(), tmp_path / "results")

    return copy


def resumed_like(directory, whole, execute, tmp_path):
    assert execute(tmp_path / "results").path == directory.path
    assert leftovers(directory.path) == [] and repeated(directory.path) == []
    assert content(directory.path) == whole
    return "".join(log.read_text() for log in sorted((directory.path / "logs").iterdir()))


def test_a_second_process_is_refused(make_spec, values, tmp_path, root, capsys):
    spec = make_spec()
    path = directory_for(spec, tmp_path).path
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "spec.toml").write_text("")
        assignments = [
            f"--set={section}.{key}={json.dumps(value)}"
            for section, entries in values().items()
            if isinstance(entries, dict)
            for key, value in entries.items()
        ]
        arguments = ["run", "--model", values()["model"], "--results", str(tmp_path), *assignments]
        for more in ([], ["--resume"]):
            assert cli.main([*arguments, *more]) == 2
            said = capsys.readouterr().err.strip()
            assert f"is being written by process {holder.pid}" in said and len(said.splitlines()) == 1
        holder.stdin.close()
    assert not (path / "metrics.jsonl").exists()
    with RunDir(path).writer():
        pass  # the lock went with its process


def test_an_unfinished_run_is_not_overwritten(stopped, make_spec, tmp_path):
    directory = stopped(3)
    before = directory.metrics.read_bytes()
    with pytest.raises(ValueError, match="--resume"):
        run_spec(make_spec(), tmp_path / "results", quiet=True)
    assert directory.metrics.read_bytes() == before


@pytest.mark.parametrize("torn", ['{"step": 4, "fr', "\x00\x00\x00", '{"step": 4}'])
def test_a_torn_last_line_is_redone(torn, stopped, whole, execute, tmp_path):
    directory = stopped(3)
    for path in (directory.metrics, directory.timing):
        with path.open("a") as stream:
            stream.write(torn)
    resumed_like(directory, whole, execute, tmp_path)


def test_a_torn_chunk_of_generations_is_redone(stopped, whole, execute, tmp_path):
    directory = stopped(3)
    text = directory.generations("math", 0.0).read_text()
    # 28 samples in chunks of 8: the second one is half there, its last line torn
    directory.generations("math", 0.0).write_text("".join(text.splitlines(True)[:12]) + '{"problem": "math-')
    # verdicts of three samples, the last one torn
    verdicts = directory.verdicts("math", 0.0)
    verdicts.write_text("".join(verdicts.read_text().splitlines(True)[:2]) + '{"problem"')
    evaluation = read_json(directory.evaluation)
    del evaluation["0.00"]
    write_json(directory.evaluation, evaluation)
    # as after a kill in the first evaluation: nothing is trained yet
    for step in checkpoint.list_steps(directory.checkpoints)[1:]:
        shutil.rmtree(directory.checkpoints / f"step_{step:06d}")
    assert checkpoint.list_steps(directory.checkpoints) == [0]
    resumed_like(directory, whole, execute, tmp_path)


def damage_truncate(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damage_flip(path):
    file = path / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def damage_manifest(path):
    (path / "manifest.json").write_bytes(b"\xff{")


def damage_missing(path):
    (path / "state.json").unlink()


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_manifest, damage_missing])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, stopped, whole, execute, tmp_path):
    directory = stopped(7)
    assert checkpoint.list_steps(directory.checkpoints) == [4, 6]
    damage(directory.checkpoints / "step_000006")
    said = resumed_like(directory, whole, execute, tmp_path)
    assert "step_000006" in said and "falling back" in said and "resumed at step 4" in said


def test_without_an_intact_checkpoint_the_run_starts_again(stopped, whole, execute, tmp_path):
    directory = stopped(7)
    for step in (4, 6):
        damage_truncate(directory.checkpoints / f"step_{step:06d}")
    said = resumed_like(directory, whole, execute, tmp_path)
    assert said.count("falling back") == 2 and "resumed" not in said


def test_falling_back_redoes_the_evaluations_after_it(stopped, whole, execute, tmp_path):
    """Their samples may be of other weights, where a run is not repeatable: nothing of them is kept."""
    directory = stopped(5)
    assert set(read_json(directory.evaluation)) == {"0.00", "0.50"}
    damage_truncate(directory.checkpoints / "step_000004")
    for path in (directory.generations("math", 0.5), directory.verdicts("math", 0.5)):
        path.write_text(path.read_text().replace('"sample"', '"of other weights": 1, "sample"'))
    resumed_like(directory, whole, execute, tmp_path)


def test_a_checkpoint_of_another_specification_is_refused(stopped, make_spec, tmp_path):
    directory = stopped(3)
    other = directory_for(make_spec(seed=1), tmp_path / "results")
    shutil.copytree(directory.path / "checkpoints", other.path / "checkpoints")
    with pytest.raises(ValueError, match="belong to another specification"):
        run_spec(make_spec(seed=1), tmp_path / "results", resume=True, quiet=True)
    shutil.rmtree(other.path)
    shutil.copytree(directory.path, other.path)
    with pytest.raises(ValueError, match="belongs to another specification"):
        run_spec(make_spec(seed=1), tmp_path / "results", resume=True, quiet=True)


@pytest.mark.parametrize("full_at", ["metrics.jsonl", "math@0.50.jsonl"])
def test_a_full_disk_ends_the_run_and_keeps_what_is_there(full_at, make_spec, whole, execute, tmp_path, monkeypatch):
    """Half of the text is written before the disk is full."""
    spec = make_spec()
    directory = directory_for(spec, tmp_path / "results")
    opened = open
    written = 0

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def write(self, text):
            self.stream.write(text[: len(text) // 2])
            self.stream.flush()
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_on_full_disk(path, mode="r", **options):
        nonlocal written
        stream = opened(path, mode, **options)
        if mode != "a" or os.path.basename(path) != full_at:
            return stream
        written += 1
        return Full(stream) if written == 4 or full_at != "metrics.jsonl" else stream

    with monkeypatch.context() as patch:
        patch.setattr(harness.store, "open", open_on_full_disk, raising=False)
        with pytest.raises(OSError, match="No space left"):
            run_spec(spec, tmp_path / "results", quiet=True)
    assert not directory.done
    steps = [row["step"] for row in read_lines(directory.metrics)]
    assert steps == ([1, 2, 3] if full_at == "metrics.jsonl" else [1, 2, 3, 4])
    assert directory.metrics.read_bytes().startswith(b"".join(whole["metrics.jsonl"].splitlines(True)[:3]))
    assert set(read_json(directory.evaluation)) == {"0.00"}
    assert "No space left" in (directory.path / "logs" / "attempt_1.log").read_text()
    resumed_like(directory, whole, execute, tmp_path)


def test_a_finished_run_is_not_run_again(execute, tmp_path, make_spec):
    directory = execute(tmp_path / "results", budget={"limit": 1}, eval={"fractions": []})
    before = {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")}
    assert execute(tmp_path / "results", budget={"limit": 1}, eval={"fractions": []}).path == directory.path
    assert {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")} == before


# ---- the functions themselves


def test_lines_survive_a_torn_end_and_not_a_torn_middle(tmp_path):
    path = tmp_path / "x.jsonl"
    assert read_lines(path) == []
    append_lines(path, [{"a": 1}, {"a": 2}])
    with path.open("a") as stream:
        stream.write('{"a": 3')
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    keep_lines(path, read_lines(path))
    append_lines(path, [{"a": 3}])
    assert lines(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    path.write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_lines(path)
    with pytest.raises(ValueError):
        append_lines(path, [{"a": float("nan")}])


def test_json_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(harness.store.os, "fsync", fail)
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    path.write_text('{"a"')
    with pytest.raises(ValueError, match="damaged"):
        read_json(path)
    with pytest.raises(ValueError, match="does not exist"):
        read_json(tmp_path / "missing.json")


def test_checkpoints_are_kept_by_number_and_exact(tmp_path):
    import torch

    tensors = {"model": {"w": torch.tensor([0.1, 1e-40, -0.0, 3.0]), "half": torch.tensor([1.5], dtype=torch.bfloat16)}}
    state = {"x": 0.1 + 0.2, "n": 2**60}
    beside = []
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, tensors, state, 2, lambda path: beside.append((path / "config").write_text("")))
    assert checkpoint.list_steps(tmp_path) == [2, 3] and len(beside) == 3
    assert (tmp_path / "step_000003" / "config").exists()
    found, back = checkpoint.load(tmp_path / "step_000003")
    assert back == state
    for name, value in tensors["model"].items():
        assert found["model"][name].dtype == value.dtype
        assert (
            found["model"][name].numpy(force=True).tobytes() == value.numpy(force=True).tobytes()
            if (value.dtype != torch.bfloat16)
            else torch.equal(found["model"][name], value)
        )
    # after a fall back to 2 a damaged 3 must not push the new ones out
    checkpoint.tidy(tmp_path, 2, 2)
    assert checkpoint.list_steps(tmp_path) == [2]
    (tmp_path / ".step_000004.tmp").mkdir()
    checkpoint.tidy(tmp_path, 2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000002"]


def test_the_optimiser_goes_on_exactly(tmp_path):
    import torch

    def train(weight, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            (weight * torch.arange(1.0, 6.0) * (step + 1)).sin().sum().backward()
            optimizer.step()

    weight = torch.nn.Parameter(torch.arange(5.0))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    train(weight, optimizer, range(3))
    checkpoint.save(
        tmp_path, 3, {"model": {"w": weight.detach()}, "optimizer": checkpoint.optimizer_tensors(optimizer)}, {}, 1,
        lambda path: None,
    )  # fmt: skip
    tensors, _ = checkpoint.load(tmp_path / "step_000003")
    again = torch.nn.Parameter(tensors["model"]["w"])
    other = torch.optim.AdamW([again], lr=0.1)
    checkpoint.load_optimizer(other, tensors["optimizer"])
    train(weight, optimizer, range(3, 6))
    train(again, other, range(3, 6))
    assert torch.equal(weight, again)
