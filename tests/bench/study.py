"""Runs strategies x seeds on one model, `--jobs` at a time with one thread each; finished runs are skipped.

The comparison of the README: python tests/bench/study.py --jobs 2 && harness compare results/study
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from strategies import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", nargs="+", default=registry.names())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--experiment", default="study")
    parser.add_argument("--jobs", type=int, default=1)
    options, extra = parser.parse_known_args()

    def one(cell: tuple[int, str]) -> bool:
        seed, strategy = cell
        command = [sys.executable, "-m", "harness", "run", "--strategy", strategy, "--seed", str(seed), "--resume"]
        command += ["--experiment", options.experiment, "--set", "runtime.threads=1", "--quiet", *extra]
        done = subprocess.run(command, capture_output=True, text=True)
        state = "done" if done.returncode == 0 else "FAILED " + done.stderr[-500:]
        print(f"{strategy} seed {seed}: {state}", flush=True)
        return done.returncode == 0

    cells = [(seed, strategy) for seed in options.seeds for strategy in options.strategies]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, cells))
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
