"""`harness compare` on many runs, measured: wall and processor seconds of a new process, peak memory, size of output.
Run directories are whole: 13 methods x 5 seeds x settings; 4 suites x 3 moments x 100 problems x k samples; metrics.
Prints one JSON object for each number of runs. Run: python tests/bench/bench_compare.py --runs 1000 10000"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import score_file
from harness.spec import RunSpec
from harness.store import RunDir, keep_lines, write_json

ROOT = Path(__file__).resolve().parents[2]
METHODS, SEEDS = 13, 5
SUITES = {"math": "number", "code": "program", "science": "quantity", "logic": "string"}
MOMENTS = ("0.00", "0.50", "1.00")
PROBLEMS, OOD = 75, 25
DISTINCT = 130  # runs with scores and metrics of their own; the others are copies of them with other settings
GAUGES = (
    "mu", "alpha", "sigma_r2", "sigma_s2", "delta_g2", "sigma_r2_raw", "sigma_s2_raw", "delta_g2_raw", "mu_raw",
    "mu_sensitivity", "prior", "estimator_share", "d_mu", "loss", "grad_norm", "skipped", "learning_rate",
    "effective_mix", "entropy", "mismatch", "reward", "response_length", "truncated", "no_answer", "kl",
    "groups_none_correct", "groups_all_correct", "kl_drift_area", "validation_nll",
)  # fmt: skip
COUNTERS = (
    "large_dmu_events", "updates", "prompts", "rollouts", "generated_tokens", "trained_tokens_rollout",
    "trained_tokens_demo", "discarded_rollouts", "flops_generate", "flops_train", "flops_reference", "flops",
)  # fmt: skip


def settings(number: int) -> dict[str, Any]:
    """The specification of run `number`; every 65 runs share all settings but method and seed."""
    spec = RunSpec(strategy=f"method_{number % METHODS:02d}", seed=number // METHODS % SEEDS).as_dict()
    spec["train"]["learning_rate"] = round(1e-4 * (1 + number // (METHODS * SEEDS)), 8)
    spec["eval"] |= {"k": 2, "problems": PROBLEMS, "ood_problems": OOD}
    return spec


def make_steps(path: Path, rng: random.Random, steps: int) -> None:
    rows, times = [], []
    for step in range(1, steps + 1):
        gauges = {key: rng.gauss(0.5, 0.1) for key in GAUGES}
        rows.append({"step": step, **gauges, **{key: 1000 * step for key in COUNTERS}})
        seconds = {"seconds": 1.5, "rollout": 0.6, "update": 0.9, "controller": 0.001, "cumulative_seconds": 1.5 * step}
        times.append({"step": step, **seconds, "memory_mb": 870.0 + rng.random()})
    keep_lines(path / "metrics.jsonl", rows)
    keep_lines(path / "timing.jsonl", times)


def make_verdicts(run: RunDir, rng: random.Random, suite: str, moment: str, skill: float, k: int) -> None:
    rows = []
    for number in range(PROBLEMS + OOD):
        split = "eval" if number < PROBLEMS else "ood"
        level = 1 + number % 3 + 2 * (split == "ood")
        chance = random.Random(f"{suite} {number}").random() ** (level - 2 * skill)
        for sample in range(k):
            right = rng.random() < chance
            rows.append(
                {
                    "problem": f"{suite}-family-{level}-{random.Random(f'{number}').getrandbits(64):016x}",
                    "sample": sample,
                    "status": "pass" if right else "fail",
                    "score": float(right),
                    "family": "family",
                    "level": level,
                    "split": split,
                    "truncated": rng.random() < 0.01,
                    "n_tokens": rng.randint(5, 60),
                    "extracted": str(rng.randint(0, 999)),
                    "grader": SUITES[suite],
                    "grader_version": "1",
                    "sandbox": "namespaces+rlimits" if suite == "code" else "",
                }
            )
    keep_lines(run.verdicts(suite, float(moment)), rows)


def make_run(path: Path, number: int, steps: int, k: int) -> None:
    """A finished run as training leaves it, without weights and generations."""
    rng = random.Random(number)
    run = RunDir(path)
    path.mkdir(parents=True)
    make_steps(path, rng, steps)
    evaluation: dict[str, Any] = {}
    for i, moment in enumerate(MOMENTS):
        done = {key: 1000 * i * steps // 2 for key in COUNTERS} | {"seconds": 0.75 * i * steps, "step": i * steps // 2}
        for suite in SUITES:
            make_verdicts(run, rng, suite, moment, 0.2 + 0.03 * i * (number % METHODS), k)
            block = {
                "n": PROBLEMS, "k": k, "samples": PROBLEMS * k, "avg_at_k": 0.5, "se": 0.03,
                "pass_at_k": {"1": 0.5, "2": 0.6}, "pass_se": {"1": 0.03, "2": 0.03}, "cons_at_k": 0.5, "cons_se": 0.03,
                "truncated": 0.01, "no_answer": 0.0, "infra": 0.0, "mean_tokens": 20.0,
                "statuses": {"fail": 75, "pass": 75}, "data_hash": "0123456789abcdef", "repeated": 0.1,
            }  # fmt: skip
            harder = {**block, "n": OOD}
            evaluation.setdefault(moment, {})[suite] = {**block, "ood": harder, "at": done}
    write_json(run.evaluation, evaluation)
    score_file.write(run)
    finish(run, number)


def finish(run: RunDir, number: int) -> None:
    write_json(run.path / "manifest.json", {"schema": 1, "spec": settings(number), "spec_hash": f"{number:016x}"})
    run.finish()


def make(root: Path, runs: int, steps: int, k: int) -> None:
    os.fsync = lambda handle: None  # nothing here has to survive a power cut
    first = []
    for number in range(runs):
        spec = settings(number)
        path = root / "study" / f"{spec['strategy']}-1m-s{spec['seed']}-{number:08x}"
        if number < DISTINCT:
            make_run(path, number, steps, k)
            first.append(path)
        else:
            shutil.copytree(first[number % DISTINCT], path)
            finish(RunDir(path), number)


def measure(root: Path, out: Path, *options: str) -> dict[str, Any]:
    """One call of the program in a new process."""
    command = [sys.executable, "-m", "harness", "compare", str(root), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    begin = time.perf_counter()
    with open(out.with_suffix(".txt"), "w") as stream:
        child = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    text = out.with_suffix(".txt").read_text()
    if status:
        raise SystemExit(text)
    return {
        "seconds": round(wall, 2),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
        "lines_printed": len(text.splitlines()),
        "mb_written": round(sum(file.stat().st_size for file in out.iterdir()) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--k", type=int, default=2)
    parser.add_argument("--where", type=Path, help="directory for the runs, which are kept there and used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for runs in options.runs:
            root = (options.where or Path(scratch)) / f"runs{runs}"
            if not root.exists():
                make(root, runs, options.steps, options.k)
            found = measure(root, Path(scratch) / f"out{runs}", "--baseline", "method_00")
            print(json.dumps({"runs": runs, **found, "cores": os.cpu_count()}), flush=True)


if __name__ == "__main__":
    main()
