"""What the cells of a matrix will cost: from finished runs that differ in the seed only, else from a short trial."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.estimate import Course, evaluation_samples, longest_answer, sampling_seconds, simulate
from harness.ledger import Cost
from harness.matrix_jobs import Job, last_record, progress
from harness.matrix_trial import measure
from harness.models import ladder, published
from harness.spec import RunSpec
from harness.trial import Rates

TRAINED_BYTES = 12  # per weight in a checkpoint: float32 weights and two states of Adam
RECORD_BYTES = 400  # of an evaluated sample with its verdict, measured on the embedded models


@dataclass(frozen=True)
class CellCost:
    """A whole run: FLOPs, seconds with evaluations, bytes that it leaves. None where it is not known."""

    flops: float | None
    seconds: float | None
    disk: float | None
    measured: bool = False  # on a finished run, not estimated


@dataclass(frozen=True)
class Estimate:
    """`cells`: of every job; `notes`: sentences on what the numbers rest on and why some are missing."""

    cells: dict[Job, CellCost]
    notes: list[str]


def estimate(jobs: Sequence[Job], trial: Callable[[Mapping[str, Any]], Rates] = measure) -> Estimate:
    """The cost of every job. One trial serves all cells that sample and train alike, whatever their strategy."""
    finished: dict[str, list[CellCost]] = {}
    cells: dict[Job, CellCost] = {}
    for job in jobs:
        if job.state == "done":
            cells[job] = _spent(job)
            threads = job.directory.manifest["spec"]["runtime"]["threads"]
            finished.setdefault(_but_seed(job.cell.spec, threads), []).append(cells[job])
    rates: dict[str, Rates | None] = {}
    notes: dict[str, None] = {}
    for job in jobs:
        if job in cells:
            continue
        peers = [cost for cost in finished.get(_but_seed(job.cell.spec, job.threads), []) if cost.seconds is not None]
        if peers:
            cells[job] = CellCost(*(_mean([getattr(cost, name) for cost in peers]) for name in _FIELDS), True)
            notes["cells that differ from finished ones in the seed only: as measured there"] = None
            continue
        config = published.config(ladder.resolve(job.cell.spec.model))
        if config is None:
            cells[job] = CellCost(None, None, None)
            notes[f"no estimate for model {job.cell.spec.model}: its configuration is not on this machine"] = None
            continue
        key = _alike(job)
        if key not in rates:
            rates[key] = None
            values = job.cell.spec.as_dict()
            values["runtime"]["threads"] = job.threads
            try:
                rates[key] = trial(values)
            except RuntimeError as problem:
                notes[f"no estimate for cells like {job.cell.label}, their trial failed: {problem}"] = None
        found = rates[key]
        if found is not None:
            notes[found.basis] = None
        cells[job] = CellCost(None, None, None) if found is None else _foretold(job.cell.spec, config, found)
    return Estimate(cells, list(notes))


def remaining(job: Job, cost: CellCost) -> tuple[float | None, float | None]:
    """(FLOPs, seconds) that are still to be spent on a job."""
    if job.state == "done":
        return 0.0, 0.0
    share = 1.0 - progress(job.directory, job.cell.spec.budget).fraction
    return (
        None if cost.flops is None else share * cost.flops,
        None if cost.seconds is None else share * cost.seconds,
    )


_FIELDS = ("flops", "seconds", "disk")


def _foretold(spec: RunSpec, config: dict[str, Any], rates: Rates) -> CellCost:
    cost = Cost.of(config)
    course = simulate(spec, cost, rates)
    samples = sum(evaluation_samples(spec, fraction) for fraction in set(spec.eval.fractions))
    disk = spec.runtime.keep_checkpoints * TRAINED_BYTES * ladder.parameters(config) + RECORD_BYTES * samples
    return CellCost(course.flops, _seconds(spec, cost, rates, course), disk)


def _seconds(spec: RunSpec, cost: Cost, rates: Rates, course: Course) -> float:
    """Rollouts, updates, evaluations and probes."""
    longest = longest_answer(spec) if rates.longest >= spec.rollout.max_tokens else rates.longest
    evaluated = sum(
        sampling_seconds(rates, evaluation_samples(spec, fraction), longest) for fraction in set(spec.eval.fractions)
    )
    probes = course.steps // spec.probe.every if spec.probe.every else 0
    forward = cost.train(round(rates.prompt), round(rates.response)) * rates.flop / 3
    probed = sampling_seconds(rates, spec.probe.prompts, rates.longest) + 2 * spec.probe.prompts * forward
    return course.seconds + evaluated + probes * probed


def _spent(job: Job) -> CellCost:
    """Of a finished run; seconds only if it was made in one attempt, since an attempt's end is not recorded."""
    flops = last_record(job.directory.metrics).get("flops")
    attempts = job.directory.manifest["attempts"]
    seconds = None
    if len(attempts) == 1:
        seconds = (job.directory.path / "DONE").stat().st_mtime - attempts[0]["started"]
    disk = sum(path.stat().st_size for path in job.directory.path.rglob("*") if path.is_file())
    return CellCost(flops, seconds, disk, True)


def _but_seed(spec: RunSpec, threads: int) -> str:
    content = {**spec.as_dict(), "threads": threads}
    for key in ("seed", "experiment", "runtime"):
        del content[key]
    return json.dumps(content, sort_keys=True)


def _alike(job: Job) -> str:
    """What the rates of a trial depend on."""
    spec = job.cell.spec
    data = (spec.data.source, spec.data.suites, spec.data.levels, spec.data.style)
    parts = (spec.model, data, spec.rollout.max_tokens, spec.train.dtype, spec.runtime.device, job.threads)
    return json.dumps(parts)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


__all__ = ["CellCost", "Estimate", "estimate", "remaining"]
