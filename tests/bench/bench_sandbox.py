"""Measure honest sandbox jobs per second; prints one JSON object. Run: python tests/bench/bench_sandbox.py"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.sandbox import LEVELS, VERSION, Job, Sandbox

SOURCE = """
from collections import Counter

def most_common(words, n):
    return sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0]))[:n]
"""


def measure(workers: int, num_jobs: int, levels: Sequence[str] = LEVELS) -> dict[str, object]:
    """Return the throughput of `num_jobs` jobs of five calls each, under the first level that works."""
    inputs = tuple((["a", "b", "a", "c"] * i, 2) for i in range(1, 6))
    begin = time.perf_counter()
    with Sandbox(workers=workers, levels=levels) as sandbox:
        start_ms = 1000 * (time.perf_counter() - begin)
        begin = time.perf_counter()
        outcomes = sandbox.run([Job(SOURCE, "most_common", inputs)] * num_jobs)
        seconds = time.perf_counter() - begin
    assert all(outcome.status == "ok" for outcome in outcomes), {o.status for o in outcomes}
    return {
        "version": VERSION,
        "level": outcomes[0].level,
        "workers": workers,
        "jobs": num_jobs,
        "jobs_per_second": round(num_jobs / seconds, 1),
        "median_job_ms": round(statistics.median(outcome.ms for outcome in outcomes), 2),
        "start_ms": round(start_ms, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--level", choices=LEVELS, help="isolation level (default: the strongest that works)")
    arguments = parser.parse_args()
    levels = (arguments.level,) if arguments.level else LEVELS
    print(json.dumps(measure(arguments.workers, arguments.jobs, levels)))
