"""A tuning whose runs are a program that trains nothing: it scores as its learning rate and seed say."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.matrix_jobs import Job

SCORE_AT = 1e-3  # the best learning rate
PROBLEMS = {1: range(0, 40), 0: range(30, 70)}  # of an evaluation's seed

# what a run does in try n is entry n of the plan for "strategy-seed"; after the plan it ends well
PROGRAM = """
import fcntl, json, math, os, signal, sys, time, tomllib
from pathlib import Path

folder, home = Path(sys.argv[1]).parent, Path(sys.argv[2])
spec = tomllib.loads(Path(sys.argv[1]).read_text())
name = f"{spec['strategy']}-{spec['seed']}"
rate = spec.get("train", {}).get("learning_rate", 5e-4)

def note(what):
    with open(home / "journal", "a") as stream:
        stream.write(json.dumps([what, name, rate, os.getppid()]) + chr(10))

tried = (home / "journal").read_text().count(f'["begin", "{name}",')
plan = json.loads((home / "plan").read_text()).get(name, [])
action = plan[tried] if tried < len(plan) else "done"
lock = open(folder / "run.lock", "a")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
note("begin")
content = {"spec": spec, "attempts": [{"started": time.time()}], "provenance": {}}
(folder / "manifest.json").write_text(json.dumps(content))
if action in ("interrupt", "murder"):
    os.kill(os.getppid(), signal.SIGINT if action == "interrupt" else signal.SIGKILL)
    if action == "murder":
        sys.exit(0)
try:
    time.sleep(60 if action in ("interrupt", "wait") else 0.1)
except KeyboardInterrupt:
    note("stopped")
    sys.exit(130)
if action == "fail":
    print("RuntimeError: it diverged", file=sys.stderr)
    sys.exit(1)
quality = max(0.0, 1 - abs(math.log10(rate / SCORE_AT)))
seed = spec["eval"]["seed"]

def passes(problem, share):
    return (7 * problem + 3 * spec["seed"]) % 20 < 20 * quality * share

moments = {}
for share in spec["eval"]["fractions"]:
    scores = {problem: float(passes(problem, share)) for problem in range(*PROBLEMS[seed])}
    rows = [
        {"problem": f"p{problem:03d}", "sample": 0, "split": "eval", "level": 1, "score": score, "truncated": False,
         "status": "pass" if score else "fail", "grader": "g", "grader_version": "1", "sandbox": ""}
        for problem, score in scores.items()
    ]
    (folder / "verdicts").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + chr(10) for row in rows)
    (folder / "verdicts" / f"math@{share:.2f}.jsonl").write_text(text)
    score = sum(scores.values()) / len(scores)
    moments[f"{share:.2f}"] = {"math": {
        "n": len(scores), "k": 1, "samples": len(scores), "avg_at_k": score, "statuses": {}, "data_hash": str(seed),
        "at": {"flops": 1000 * share}}}
    (folder / "new.json").write_text(json.dumps(moments))
    (folder / "new.json").replace(folder / "evaluation.json")
    line = {"step": round(8 * share), "fraction": share, "reward": 0.5, "flops": 1000 * share}
    with open(folder / "metrics.jsonl", "a") as stream:
        stream.write(json.dumps(line) + chr(10))
    (folder / "timing.jsonl").write_text('{"step": 1, "seconds": 1.0, "cumulative_seconds": 1.0}' + chr(10))
    if share == 0.5 and action == "slow":
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            note("cut")
            sys.exit(130)
(folder / "DONE").write_text("{}")
note("end")
"""

FILE = """
tuning = "study"
strategies = ["sft", "hpt"]
[base]
model = "0.2m"
budget = {{ kind = "flops", limit = 1000.0 }}
runtime = {{ threads = 1 }}
eval = {{ seed = 1, fractions = {fractions}, problems = 40, k = 1 }}
[search]
seed = 7
{search}
[space]
"train.learning_rate" = {{ low = 1e-4, high = 4e-3, log = true }}
{more}
[rerun]
seeds = [100, 101, 102]
eval = {{ seed = 0, fractions = [1.0] }}
"""

# `harness` with the program in place of runs: python -c DRIVER FOLDER-OF-THIS-FILE HOME tune ...
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from harness import matrix_run
from tuned import arguments
home = Path(sys.argv[2])
matrix_run.run_arguments = lambda job: arguments(home, job)
from harness.cli import main
sys.exit(main(sys.argv[3:]))
"""


def arguments(home: Path, job: Job) -> list[str]:
    """What Python is called with for a run."""
    return ["-I", "-S", str(home / "program.py"), str(job.spec_file), str(home)]


def right(problem: int, seed: int, rate: float) -> bool:
    """Whether a run of the program solves a problem at the end of its budget."""
    return (7 * problem + 3 * seed) % 20 < 20 * max(0.0, 1 - abs(math.log10(rate / SCORE_AT)))


class Stage:
    """A directory with the program, its plan, and the journal of what ran."""

    def __init__(self, home: Path, root: Path) -> None:
        self.home, self.root = home, root
        program = PROGRAM.replace("SCORE_AT", repr(SCORE_AT))
        ranges = {seed: (problems.start, problems.stop) for seed, problems in PROBLEMS.items()}
        (home / "program.py").write_text(program.replace("PROBLEMS", repr(ranges)))
        (home / "journal").write_text("")
        self.plan({})

    def plan(self, plan: dict[str, list[str]]) -> None:
        (self.home / "plan").write_text(json.dumps(plan))

    def file(self, search: str = "trials = 3", fractions: str = "[1.0]", more: str = "") -> Path:
        path = self.home / "study.toml"
        path.write_text(FILE.format(search=search, fractions=fractions, more=more))
        return path

    def seen(self, what: str) -> list[str]:
        """Names, strategy-seed, in the order of the journal."""
        return [entry[1] for entry in self.journal() if entry[0] == what]

    def journal(self) -> list[list[Any]]:
        return [json.loads(line) for line in (self.home / "journal").read_text().splitlines()]

    def found(self) -> dict[str, Any]:
        """The content of the tuning's file."""
        return json.loads((self.home / "results" / "study" / "study.tuning.json").read_text())

    def start(self, *more: str) -> subprocess.Popen[str]:
        """`harness tune study.toml` in a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        here = str(Path(__file__).parent)
        command = [sys.executable, "-c", DRIVER, here, str(self.home), "tune", "study.toml", *more]
        return subprocess.Popen(
            command, cwd=self.home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


NAMES = [f"{strategy}-{seed}" for strategy in ("hpt", "sft") for seed in (0, 1, 2)]  # of three trials in one study
