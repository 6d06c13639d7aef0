"""A matrix as tasks of a local Ray. The runs are the program of test_matrix_run."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import matrix_ray
from tests.cli.test_matrix_run import Stage

TOKEN = secrets.token_hex(32)  # without one Ray writes its own into the home directory


def test_without_ray_one_sentence(say: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "trial.toml").write_text("")
    said = say("matrix", "trial.toml", "--on", "ray")
    assert said.code == 2 and "pip install" in said.err and len(said.err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["trial.toml"]


@pytest.fixture
def stage(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    ray = pytest.importorskip("ray")
    made = Stage(tmp_path)
    monkeypatch.setattr(matrix_ray, "run_arguments", made.arguments)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield made
    ray.shutdown()


@pytest.mark.slow
def test_cells_run_as_tasks_and_ray_repeats_them(stage: Stage, say: Callable[..., Any]) -> None:
    stage.plan({0: ["fail", "done"], 1: ["fail", "fail"]})
    said = say("matrix", stage.file(4, "[base.runtime]\nthreads = 1\n"), "--on", "ray", "--retries", "1")
    assert said.code == 1, said
    assert sorted(stage.seen("begin")) == [0, 0, 1, 1, 2, 3]
    assert stage.most_at_once() <= 2
    assert "3 of 4 done, 1 failed" in said.out
    assert "seed=1  ValueError: seed 1 is bad" in said.out
    assert "next: harness compare results/trial" in said.out


@pytest.mark.slow
def test_a_cell_that_fits_no_machine(stage: Stage, say: Callable[..., Any]) -> None:
    said = say("matrix", stage.file(1), "--on", "ray", "--gpus-per-cell", "3")
    assert said.code == 2 and "3 GPUs" in said.err
    assert stage.journal() == []


@pytest.mark.slow
def test_interrupt_ends_the_tasks(stage: Stage, say: Callable[..., Any]) -> None:
    stage.plan({0: ["wait"], 1: ["wait"], 2: ["wait"]})

    def interrupt() -> None:
        limit = time.monotonic() + 60
        while len(stage.seen("begin")) < 2 and time.monotonic() < limit:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    said = say("matrix", stage.file(3, "[base.runtime]\nthreads = 1\n"), "--on", "ray")
    other.join()
    assert said.code == 130 and "Continue with: harness matrix" in said.err and "--on ray" in said.err
    assert sorted(stage.seen("stopped")) == sorted(stage.seen("begin"))
    assert len(stage.seen("begin")) == 2
