"""A run that is killed at any moment and resumed gives, bit for bit, what an uninterrupted run gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.store.runs import content, leftovers, repeated


@pytest.fixture
def kill(values, root, tmp_path):
    """(mode, count, seed) -> the report of tests.store.killing."""

    def run(mode: str, count: int, seed: int) -> dict:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps(values()))
        # one thread: a library that starts threads when it is loaded would make the forks unsafe
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-m", "tests.store.killing", spec, tmp_path / "results", mode, str(count), str(seed)]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def check(report: dict) -> None:
    whole = content(Path(report["whole"]))
    assert len(whole["metrics.jsonl"].splitlines()) == 8
    assert sum(name.startswith("generations/") for name in whole) == 6
    assert set(whole["evaluation.json"]) == {"0.00", "0.50", "1.00"}
    for directory in map(Path, report["directories"]):
        assert (directory / "DONE").exists()
        assert leftovers(directory) == []
        assert repeated(directory) == []
        found = content(directory)
        assert [name for name in {**found, **whole} if found.get(name) != whole.get(name)] == []


def test_killed_at_random_moments(kill):
    report = kill("moments", 24, 0)
    check(report)
    hits = Counter(report["kills"])
    assert sum(hits.values()) >= 20
    assert hits["training"] >= 2 and hits["evaluation"] >= 2, hits


def test_killed_between_durable_operations(kill):
    report = kill("writes", 6, 1)
    check(report)
    assert len(report["kills"]) >= 6
    assert report["operations"] > 100


def test_interrupt_exits_130_and_resume_completes(values, root, tmp_path, execute):
    spec = tmp_path / "spec.toml"
    spec.write_text(f"strategy = 'gac'\nmodel = {json.dumps(values()['model'])}\n")
    settings = [
        f"{section}.{key}={json.dumps(value)}"
        for section, content_ in values().items()
        if isinstance(content_, dict)
        for key, value in content_.items()
    ]
    settings = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "harness", "run", str(spec), "--results", str(tmp_path / "results"), *settings]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        metrics: list[Path] = []
        while not metrics and process.poll() is None and time.monotonic() < deadline:
            metrics = list((tmp_path / "results").rglob("metrics.jsonl"))
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    directory = metrics[0].parent
    assert not (directory / "DONE").exists()

    again = subprocess.run([*command, "--quiet"], cwd=root, capture_output=True, text=True, timeout=300)
    assert again.returncode == 2
    assert "--resume" in again.stderr and len(again.stderr.strip().splitlines()) == 1

    assert execute(tmp_path / "results").path == directory
    assert content(directory) == content(execute(tmp_path / "uninterrupted").path)


def test_the_same_seed_repeats_and_another_seed_differs(execute, tmp_path):
    first, second = (content(execute(tmp_path / name).path) for name in ("a", "b"))
    assert first == second
    other = content(execute(tmp_path / "c", seed=1).path)
    assert other["metrics.jsonl"] != first["metrics.jsonl"]
    assert any(other[name] != first[name] for name in first if name.startswith("generations/"))
