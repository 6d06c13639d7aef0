"""Running a matrix: what is skipped, resumed, tried again and stopped. Most runs are a program that trains nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import matrix_run, matrix_view, terminal
from harness.matrix import expand, load
from harness.matrix_cost import estimate, remaining
from harness.matrix_jobs import Job, cores, last_record, prepare, progress
from harness.spec import Budget
from harness.store import RunDir, read_json, read_lines
from harness.trial import Rates
from tests.cli.test_cli_start import HEAVY, loaded

# plays a run: what it does in try n is entry n of the plan for its seed, and after the plan it is done
PROGRAM = """
import json, os, signal, sys, time, tomllib
from pathlib import Path

folder, home = Path(sys.argv[1]).parent, Path(sys.argv[2])
spec = tomllib.loads(Path(sys.argv[1]).read_text())
seed = str(spec["seed"])

def note(what):
    with open(home / "journal", "a") as stream:
        print(json.dumps([what, int(seed), time.monotonic(), os.getpid(), spec["runtime"]["threads"]]), file=stream)

tried = sum(line.startswith(f'["begin", {seed},') for line in (home / "journal").read_text().splitlines())
plan = json.loads((home / "plan").read_text()).get(seed, [])
action = plan[tried] if tried < len(plan) else "done"
manifest = {"spec": {**spec, "strategy": "gac", "model": "1m"}, "attempts": [{"started": time.time()}] * (tried + 1)}
(folder / "manifest.json").write_text(json.dumps(manifest))
note("begin")
if action == "stubborn":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if action in ("interrupt", "terminate", "stubborn"):
    os.kill(os.getppid(), signal.SIGTERM if action == "terminate" else signal.SIGINT)
if action == "ignored":
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(0.5)
    note("unmoved")
    os.kill(os.getppid(), signal.SIGTERM)
    action = "wait"
try:
    time.sleep(60 if action in ("interrupt", "terminate", "stubborn", "wait") else 0.15)
except KeyboardInterrupt:
    note("stopped")
    sys.exit(130)
line = {"step": 3, "fraction": 0.75, "reward": 0.5, "flops": 1000}
(folder / "metrics.jsonl").write_text(json.dumps(line) + "\\n")
(folder / "timing.jsonl").write_text('{"step": 3, "cumulative_seconds": 6.0}\\n')
if action == "fail":
    note("failed")
    print("Traceback\\n  somewhere", file=sys.stderr)
    print(f"ValueError: seed {seed} is bad\\n", file=sys.stderr)
    sys.exit(3)
if action == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if action == "done":
    (folder / "DONE").write_text("{}")
note("end")
"""


class Stage:
    """A matrix over seeds, in a directory of its own, whose runs are PROGRAM."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "program.py").write_text(PROGRAM)
        (home / "journal").write_text("")
        self.plan({})

    def plan(self, plan: dict[int, list[str]]) -> None:
        (self.home / "plan").write_text(json.dumps(plan))

    def arguments(self, job: Job) -> list[str]:
        return ["-I", "-S", str(self.home / "program.py"), str(job.spec_file), str(self.home)]

    def file(self, seeds: int, more: str = "") -> Path:
        path = self.home / "trial.toml"
        path.write_text(f"[axes]\nseed = {list(range(seeds))}\n{more}")
        return path

    def seen(self, what: str) -> list[int]:
        return [entry[1] for entry in self.journal() if entry[0] == what]

    def journal(self) -> list[list[Any]]:
        return [json.loads(line) for line in (self.home / "journal").read_text().splitlines()]

    def most_at_once(self) -> int:
        at, most = 0, 0
        for what, *_ in sorted(self.journal(), key=lambda entry: entry[2]):
            at += 1 if what == "begin" else -1
            most = max(most, at)
        return most

    def directory(self, seed: int) -> Path:
        (found,) = (self.home / "results" / "trial").glob(f"*-s{seed}-*")
        return found


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(tmp_path)
    monkeypatch.setattr(matrix_run, "run_arguments", made.arguments)
    return made


Say = Callable[..., Any]


def test_all_cells_run_some_at_a_time(stage: Stage, say: Say) -> None:
    said = say("matrix", stage.file(5), "--jobs", "2")
    assert said.code == 0, said
    assert sorted(stage.seen("end")) == list(range(5))
    assert stage.most_at_once() == 2
    assert {entry[4] for entry in stage.journal()} == {max(1, cores() // 2)}
    assert "trial: 5 cells, 0 done before, 5 to run 2 at a time" in said.out
    assert "[5/5] done" in said.out and "5 of 5 done" in said.out
    assert "next: harness compare results/trial" in said.out and not said.err


def test_a_finished_cell_is_not_run_again(stage: Stage, say: Say) -> None:
    say("matrix", stage.file(2))
    said = say("matrix", stage.file(3))
    assert said.code == 0 and "3 cells, 2 done before, 1 to run" in said.out
    assert "3 of 3 done (2 before)" in said.out
    assert sorted(stage.seen("begin")) == [0, 1, 2]
    again = say("matrix", stage.file(3))
    assert again.code == 0 and "0 to run" in again.out and len(stage.seen("begin")) == 3
    assert "next: harness compare results/trial" in again.out


def test_a_failure_stops_no_other_cell(stage: Stage, say: Say) -> None:
    stage.plan({0: ["fail"], 1: ["kill"], 2: ["quiet"]})
    said = say("matrix", stage.file(5), "--jobs", "1")
    assert said.code == 1
    assert sorted(stage.seen("begin")) == list(range(5))
    assert "2 of 5 done, 3 failed" in said.out
    table = said.out[said.out.index("\nfailed") :]
    for seed, why in ((0, "ValueError: seed 0 is bad"), (1, "ended by SIGKILL"), (2, "without DONE")):
        (row,) = [line for line in table.splitlines() if line.startswith(f"seed={seed} ")]
        assert why in row and str(stage.directory(seed) / "logs" / "matrix.log") in row
    assert "somewhere" in (stage.directory(0) / "logs" / "matrix.log").read_text()
    # the same command again runs those only
    assert say("matrix", stage.file(5)).code == 0
    assert sorted(stage.seen("begin")) == [0, 0, 1, 1, 2, 2, 3, 4]


def test_several_files_run_one_by_one_and_all_are_read_first(stage: Stage, say: Say) -> None:
    stage.plan({1: ["fail"]})
    first = stage.file(2)
    second = stage.home / "second.toml"
    second.write_text("[axes]\nseed = [7]\n")
    said = say("matrix", first, second)
    assert said.code == 1, said
    assert stage.seen("end") == [0, 7]
    broken = stage.home / "broken.toml"
    broken.write_text("[axes]\nseeds = [1]\n")
    stage.plan({})
    assert say("matrix", first, broken).code == 2
    assert stage.seen("end") == [0, 7], "nothing runs where a later file is wrong"


def test_retries(stage: Stage, say: Say) -> None:
    stage.plan({0: ["fail", "kill"], 1: ["fail", "fail", "fail"]})
    said = say("matrix", stage.file(2), "--retries", "2", "--jobs", "2")
    assert said.code == 1
    assert sorted(stage.seen("begin")) == [0] * 3 + [1] * 3
    assert (stage.directory(0) / "DONE").exists() and not (stage.directory(1) / "DONE").exists()
    assert "again    seed=0, after: ValueError: seed 0 is bad" in said.out and "(try 3)" in said.out


def test_the_last_error_is_of_the_last_try(stage: Stage, say: Say) -> None:
    stage.plan({0: ["fail", "kill"]})
    said = say("matrix", stage.file(1), "--retries", "1")
    table = said.out[said.out.index("\nfailed") :]
    assert "SIGKILL" in table and "is bad" not in table


@pytest.mark.parametrize("action", ["interrupt", "terminate"])
def test_interrupt_ends_the_children_and_says_how_to_continue(stage: Stage, say: Say, action: str) -> None:
    stage.plan({0: ["done"], 1: ["wait"], 2: [action]})
    said = say("matrix", stage.file(4), "--jobs", "2", "--retries", "1")
    assert said.code == 130
    assert sorted(stage.seen("stopped")) == [1, 2] and 3 not in stage.seen("begin")
    assert "interrupted: 1 of 4 done, 3 waiting" in said.err
    command = said.err.strip().rpartition("Continue with: ")[2].split()
    assert command == ["harness", "matrix", str(stage.home / "trial.toml"), "--jobs", "2", "--retries", "1"]
    for entry in stage.journal():
        with pytest.raises(ProcessLookupError):
            os.kill(entry[3], 0)
    assert say(*command[1:]).code == 0
    assert sorted(stage.seen("end")) == [0, 1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_was_ignored_stays_so_and_children_take_it(stage: Stage, say: Say) -> None:
    """As in a background job of a shell, which can be ended by SIGTERM only."""
    stage.plan({0: ["ignored"]})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        said = say("matrix", stage.file(1))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert said.code == 130
    assert stage.seen("unmoved") == stage.seen("stopped") == [0]


def test_a_child_that_ignores_the_interrupt_is_killed(stage: Stage, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_run, "GRACE", 0.3)
    stage.plan({0: ["stubborn"]})
    assert say("matrix", stage.file(1)).code == 130
    (entry,) = stage.journal()
    with pytest.raises(ProcessLookupError):
        os.kill(entry[3], 0)


def test_a_directory_that_another_process_writes_is_waited_for(stage: Stage, say: Say) -> None:
    (cell,) = expand(load(stage.file(1)), stage.home / "results")
    directory = RunDir(stage.home / "results" / "trial" / cell.spec.run_id)
    entered = threading.Event()

    def write() -> None:
        with directory.writer():
            entered.set()
            time.sleep(0.5)
            (stage.home / "journal").write_text('["freed", 0, 0, 0, 0]\n')

    other = threading.Thread(target=write)
    other.start()
    entered.wait()
    said = say("matrix", stage.file(1))
    other.join()
    assert said.code == 0 and "in use   seed=0" in said.out
    assert [entry[0] for entry in stage.journal()] == ["freed", "begin", "end"]


def test_threads_and_jobs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.matrix_jobs.cores", lambda: 8)

    def planned(more: str, at_once: int | None) -> tuple[list[int], int]:
        jobs, number = prepare(expand(load(stage.file(1, more)), stage.home), stage.home, at_once)
        return [job.threads for job in jobs], number

    assert planned("", None) == ([1], 8)
    assert planned("", 3) == ([2], 3)
    assert planned("", 9) == ([1], 9)
    assert planned("[base.runtime]\nthreads = 4\n", None) == ([4], 2)
    assert planned("[base.runtime]\nthreads = 4\n", 8) == ([4], 8)
    assert planned("[base.runtime]\nthreads = 0\n", None) == ([0], 1)
    arms = '[[arms]]\nname = "a"\nruntime.threads = 3\n[[arms]]\nname = "b"\ntrain.group = 2\n'
    assert planned(arms, None) == ([3, 1], 2)


def test_a_run_that_has_begun_keeps_its_threads(stage: Stage, say: Say) -> None:
    stage.plan({0: ["fail"]})
    say("matrix", stage.file(1), "--jobs", str(2 * cores()))
    begun = stage.journal()[0][4]
    manifest = stage.directory(0) / "manifest.json"
    content = json.loads(manifest.read_text())
    content["spec"]["runtime"]["threads"] = begun + 4
    manifest.write_text(json.dumps(content))
    assert say("matrix", stage.file(1), "--jobs", "1").code == 0
    assert [entry[4] for entry in stage.journal() if entry[0] == "begin"] == [begun, begun + 4]


def test_names_of_arms_are_kept_beside_the_runs(stage: Stage, say: Say) -> None:
    arms = '[[arms]]\nname = "{}"\noptions.alpha = {}\n'
    say("matrix", stage.file(1, arms.format("soft", 0.1) + arms.format("hard", 0.9)))
    say("matrix", stage.file(1, arms.format("gentle", 0.1) + arms.format("middle", 0.5)))
    kept = read_json(stage.home / "results" / "trial" / "trial.matrix.json")
    assert kept["matrix"] == "trial"
    options = {
        kept["cells"][path.parent.name]["arm"]: read_json(path)["spec"]["options"]["alpha"]
        for path in (stage.home / "results" / "trial").glob("*/manifest.json")
    }
    assert options == {"gentle": 0.1, "hard": 0.9, "middle": 0.5}
    assert all(cell["axes"] == {"seed": 0} for cell in kept["cells"].values())


# ---- progress


def test_progress_of_a_growing_run(tmp_path: Path) -> None:
    run, budget = RunDir(tmp_path), Budget()
    assert progress(run, budget) == progress(RunDir(tmp_path / "none"), budget)
    assert progress(run, budget).left is None
    long = json.dumps({"step": 14, "fraction": 0.2, "reward": 0.4, "noise": "x" * 200_000})
    run.metrics.write_text(f'{long}\n{{"step": 15, "fraction": 0.25, "reward": 0.5}}\n{{"step": 16, "fr')
    run.timing.write_text('{"step": 15, "cumulative_seconds": 10.0}\n')
    found = progress(run, budget)
    assert (found.step, found.fraction, found.reward) == (15, 0.25, 0.5)
    assert found.left == pytest.approx(30.0)
    run.metrics.write_text('{"step": 15, "fraction": null, "reward": null}\n')
    timed = progress(run, Budget("seconds", 40))
    assert (timed.fraction, timed.reward, timed.left) == (0.25, None, pytest.approx(30.0))
    assert last_record(tmp_path / "none.jsonl") == {}


def test_the_live_table(stage: Stage, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stage.plan({0: ["fail"], 2: ["fail"]})
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(matrix_view, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(sys, "stdout", screen)
    code = say("matrix", stage.file(3), "--jobs", "1", "--retries", "1").code
    text = screen.getvalue()
    assert code == 0
    assert terminal.on_terminal()
    # after its first try a run has three steps behind it
    for part in ("seed=0", "3/60", "75%", "0.50", "2.0 s", "1 of 3 done", "1 running", "again", "3 of 3 done"):
        assert part in text, part


# ---- dry run

RATES = Rates(
    prompt=10, demonstration=20, response=15, longest=30, step=0.01, token=0.001, grade=0.002, flop=1e-9, basis="given"
)


def jobs_of(stage: Stage, seeds: int, more: str = "") -> list[Job]:
    return prepare(expand(load(stage.file(seeds, more)), stage.home / "results"), stage.home / "results", 1)[0]


def test_costs_of_finished_seeds_are_those_of_the_others(stage: Stage, say: Say) -> None:
    stage.plan({1: ["fail"]})
    say("matrix", stage.file(2), "--jobs", "1")
    asked: list[Any] = []

    def trial(values: Any) -> Rates:
        asked.append(values)
        return RATES

    jobs = jobs_of(stage, 3, '[[arms]]\nname = "a"\n[[arms]]\nname = "b"\noptions.alpha = 0.1\n')
    # the finished run took threads that these cells do not take: seconds of others are no measurement
    found = estimate(jobs, trial)
    first, second, third, *others = (found.cells[job] for job in jobs)
    assert first.measured and first.flops == 1000 and first.seconds is not None
    assert 0.1 < first.seconds < 5
    assert (second.flops, second.seconds) == (first.flops, first.seconds) == (third.flops, third.seconds)
    assert remaining(jobs[0], first) == (0.0, 0.0)
    assert remaining(jobs[1], second) == pytest.approx((250.0, first.seconds / 4))  # it is at three quarters
    assert remaining(jobs[2], third) == (1000, first.seconds)
    # one trial for three cells
    assert len(asked) == 1 and not any(cost.measured for cost in others)
    assert all(cost.flops and cost.flops > 1e11 for cost in others)
    assert "given" in found.notes


def test_estimated_seconds_are_those_of_a_dry_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import estimate as single
    from harness.models import ladder
    from harness.run import preflight

    (job,) = jobs_of(stage, 1)
    spec = job.cell.spec
    monkeypatch.setattr(single, "try_out", lambda spec, ref: RATES)
    text = single.describe(spec, preflight(spec), job.directory)
    cost = estimate([job], lambda values: RATES).cells[job]
    assert cost.flops is not None and cost.seconds is not None and cost.disk is not None
    assert f"compute      {cost.flops:.2e} FLOPs" in text
    assert f"time         {terminal.duration(cost.seconds)}:" in text
    weights = ladder.parameters(ladder.resolve("1m").config or {})
    assert 24 * weights < cost.disk < 24 * weights + 5e6


def test_costs_that_are_not_known(stage: Stage) -> None:
    def trial(values: Any) -> Rates:
        raise RuntimeError("no memory")

    jobs = jobs_of(stage, 1, '[[arms]]\nname = "a"\nmodel = "nobody/none"\n[[arms]]\nname = "b"\n')
    found = estimate(jobs, trial)
    assert all((cost.flops, cost.seconds, cost.disk) == (None, None, None) for cost in found.cells.values())
    assert any("nobody/none" in note for note in found.notes) and any("no memory" in note for note in found.notes)


def test_dry_run_tells_states_and_totals_without_torch(stage: Stage, say: Say, root: Path) -> None:
    stage.plan({1: ["fail"]})
    say("matrix", stage.file(2), "--jobs", "1")
    stage.file(3)
    before = {path: path.stat().st_mtime_ns for path in stage.home.rglob("*")}
    said = say("matrix", "trial.toml", "--dry-run", "--jobs", "1")
    assert said.code == 0
    rows = [line.split() for line in said.out.splitlines() if "trial/gac-1m" in line]
    assert [row[2] for row in rows] == ["done", "interrupted", "new"]
    assert stage.directory(0).name in said.out
    assert "3 cells: 1 done, 2 to do, 1 at a time" in said.out
    assert "compute  1.25e+03 FLOPs" in said.out  # a quarter of one run, and a whole one
    assert "time  " in said.out and "in all" in said.out and "disk  " in said.out
    assert not loaded(root, stage.home, "matrix", "trial.toml", "--dry-run", "--jobs", "1") & set(HEAVY)
    assert {path: path.stat().st_mtime_ns for path in stage.home.rglob("*")} == before


# ---- with real runs


def test_a_killed_run_is_resumed_to_the_same_end(tmp_path: Path, values: Callable[..., Any], root: Path) -> None:
    """A matrix as the user starts it; the first try of its run is killed between two steps."""
    small = values(
        budget={"limit": 4}, probe={"every": 0}, eval={"fractions": []}, runtime={"checkpoint_every": 1, "threads": 1}
    )
    text = f"[base]\nmodel = {json.dumps(small['model'])}\n"
    for section, table in small.items():
        if isinstance(table, dict):
            lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
            text += "\n".join([f"[base.{section}]", *lines, ""])
    (tmp_path / "trial.toml").write_text(text + "[axes]\nseed = [0]\n")
    killer = (
        "import os, signal, sys\n"
        "from harness import matrix_run\n"
        "usual = matrix_run.run_arguments\n"
        "def arguments(job):\n"
        "    given = usual(job)\n"
        "    if job.tries > 1: return given\n"
        "    code = 'import os, sys; from harness import trainer, cli; real = trainer.append_lines\\n'\n"
        "    code += 'def append(path, records):\\n real(path, records)\\n'\n"
        "    code += ' if records[0][\"step\"] == 3: os.kill(os.getpid(), 9)\\n'\n"
        "    code += 'trainer.append_lines = append; sys.exit(cli.main(sys.argv[1:]))'\n"
        "    return ['-c', code, *given[2:]]\n"
        "matrix_run.run_arguments = arguments\n"
        "from harness.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", killer, "matrix", "trial.toml", "--retries", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "again    seed=0, after: ended by SIGKILL" in done.stdout
    (path,) = (tmp_path / "results" / "trial").glob("*/DONE")
    run = RunDir(path.parent)
    assert [line["step"] for line in read_lines(run.metrics)] == [1, 2, 3, 4]
    assert len(run.manifest["attempts"]) == 2


def test_what_a_child_is_called_with() -> None:
    job: Any = SimpleNamespace(spec_file=Path("/a/b/c/spec.toml"), results=Path("/a"), sinks=())
    expected = "-m harness run /a/b/c/spec.toml --resume --quiet --results /a"
    assert matrix_run.run_arguments(job) == expected.split()
