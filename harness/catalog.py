"""Runs of a results directory: state, scores and cost at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.store import RunDir, find_runs, read_json, read_lines


@dataclass(frozen=True)
class Entry:
    """One training run. `first` and `last` are means over suites of avg@k at the first and last evaluation so far."""

    run: RunDir
    spec: dict[str, Any]
    state: str  # done | running | interrupted at step N | damaged
    updates: int
    first: float | None
    last: float | None
    seconds: float | None
    started: float | None  # Unix time of the newest attempt

    @property
    def experiment(self) -> str:
        return self.run.path.resolve().parent.name


def mean_score(suites: dict[str, Any]) -> float | None:
    """Unweighted mean over suites of one evaluation; None where a suite has no score."""
    scores = [summary.get("avg_at_k") for summary in suites.values()]
    return sum(scores) / len(scores) if scores and None not in scores else None


def entry(run: RunDir) -> Entry:
    """What there is to say of one run, whatever its state."""
    try:
        manifest = run.manifest
        spec = manifest["spec"]
        metrics, timing = read_lines(run.metrics), read_lines(run.timing)
        evaluations = read_json(run.evaluation) if run.evaluation.exists() else {}
    except (ValueError, KeyError):
        return Entry(run, {}, "damaged", 0, None, None, None, None)
    updates = metrics[-1]["step"] if metrics else 0
    state = "done" if run.done else "running" if run.locked else f"interrupted at step {updates}"
    points = sorted(evaluations, key=float)
    attempts = manifest.get("attempts") or []
    return Entry(
        run=run,
        spec=spec,
        state=state,
        updates=updates,
        first=mean_score(evaluations[points[0]]) if points else None,
        last=mean_score(evaluations[points[-1]]) if len(points) > 1 else None,
        seconds=timing[-1]["cumulative_seconds"] if timing else None,
        started=attempts[-1]["started"] if attempts else None,
    )


def entries(results: Path) -> list[Entry]:
    """All training runs below `results`, by path. ValueError if there are none."""
    runs = [entry(run) for run in find_runs(results)]
    if not runs:
        raise ValueError(f"no runs under {results}: make one with `harness run`")
    return runs


def newest(results: Path) -> RunDir:
    """The run whose newest attempt started last."""
    return max(entries(results), key=lambda found: found.started or 0.0).run
