"""The default run, measured: time with evaluation, resident memory, gain over the base model, controller share, and
whether the same seed gives the same bytes. Prints JSON; `--twice` repeats the run for the last."""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(results: Path, extra: list[str]) -> tuple[float, Path]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "harness", "run", "--strategy", "gac", "--results", str(results), "--quiet"]
    subprocess.run([*command, *extra], check=True)
    return time.perf_counter() - started, next(results.rglob("DONE")).parent


def digest(directory: Path) -> str:
    """One hash over everything that must be reproducible."""
    files = [directory / "metrics.jsonl", *sorted((directory / "generations").iterdir())]
    content = b"".join(file.name.encode() + file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:16]


def four_suite_mean(evaluation: dict[str, dict[str, dict[str, float]]], fraction: str) -> float:
    scores = [summary["avg_at_k"] for summary in evaluation[fraction].values()]
    return 100 * sum(scores) / len(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twice", action="store_true")
    options, extra = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        seconds, directory = run(Path(scratch) / "first", extra)
        evaluation = json.loads((directory / "evaluation.json").read_text())
        timing = [json.loads(line) for line in (directory / "timing.jsonl").read_text().splitlines()]
        before, after = four_suite_mean(evaluation, "0.00"), four_suite_mean(evaluation, "1.00")
        report = {
            "wall_seconds": round(seconds, 1),
            "peak_resident_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
            "base_mean": round(before, 1),
            "final_mean": round(after, 1),
            "gain_points": round(after - before, 1),
            "training_seconds": round(timing[-1]["cumulative_seconds"], 1),
            "controller_share_percent": round(
                100 * sum(t["controller"] for t in timing) / sum(t["seconds"] for t in timing), 3
            ),
            "suites": {
                name: [round(100 * evaluation[f][name]["avg_at_k"], 1) for f in ("0.00", "1.00")]
                for name in evaluation["0.00"]
            },
        }
        if options.twice:
            _, again = run(Path(scratch) / "second", extra)
            report["same_seed_same_bytes"] = digest(directory) == digest(again)
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
