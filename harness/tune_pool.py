"""Runs what a tuning still lacks through the job pool of matrices, so that several workers share the work.

A source hands out jobs one by one, when there is room for them: trials, of which TPE chooses each from those before,
and re-runs. What one worker has taken on, no other does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from harness.matrix import Cell
from harness.matrix_jobs import Job, prepare, progress
from harness.matrix_run import LocalPool
from harness.tune import Outcome, RerunCell, last_score, scores, spent
from harness.tune_locks import Claims
from harness.tune_store import Store, Taken

LOOK = 1.0  # seconds between two looks at what others have done, and at the scores of trials that may be pruned
ENDED = {"done": "done", "failed": "failed", "pruned": "cut off"}  # state of a trial -> of its job
UNSCORED = "a suite has no score, since none of its samples could be graded"


class Source(Protocol):
    """Jobs that are handed out one by one."""

    jobs: list[Job]  # those that this process knows of, with their state

    def next(self) -> Job | None:
        """A job that is now this process's to run; None if there is none at this moment."""

    def left(self) -> int:
        """Jobs that have not come to their end, in this process or in others."""

    def ended(self, job: Job) -> None:
        """Told that a job of this process is done, has failed or was cut off."""

    def hopeless(self, job: Job) -> bool:
        """Whether a job that runs should be cut off."""


class Trials:
    """The trials of a tuning."""

    def __init__(self, store: Store, results: Path, share: int | None) -> None:
        """`share`: of how many jobs at a time each takes its threads."""
        self.store = store
        self.results = results
        self.share = share
        self.taken: dict[Job, Taken] = {}
        self.jobs = [
            _job(o.cell, results, share, ENDED[o.state], True) for o in store.outcomes() if o.state != "waiting"
        ]

    def next(self) -> Job | None:
        taken = self.store.take()
        if taken is None:
            return None
        job = _job(taken.cell, self.results, self.share)
        self.jobs[:] = [*(other for other in self.jobs if other.cell.number != job.cell.number), job]
        self.taken[job] = taken
        return job

    def left(self) -> int:
        return self.store.left

    def ended(self, job: Job) -> None:
        taken = self.taken.pop(job)
        found = trial_outcome(taken, job)
        if found.state == "failed":
            job.state, job.fault = "failed", found.fault
        self.store.report(taken, scores(job.directory))
        self.store.tell(taken, found)

    def hopeless(self, job: Job) -> bool:
        return self.store.report(self.taken[job], scores(job.directory))


def trial_outcome(taken: Taken, job: Job) -> Outcome:
    """Of a job that has come to its end."""
    flops = spent(job.directory)
    if job.state == "cut off":
        share = progress(job.directory, job.cell.spec.budget).fraction or 1.0
        return Outcome(taken.cell, "pruned", flops=flops, saved=flops * (1 - share) / share)
    score = last_score(job.directory) if job.state == "done" else None
    if score is None:
        return Outcome(taken.cell, "failed", flops=flops, fault=job.fault or UNSCORED)
    return Outcome(taken.cell, "done", score, flops)


class Reruns:
    """The runs on fresh seeds. One that has failed is not tried again by this process."""

    def __init__(self, cells: Sequence[RerunCell], results: Path, share: int | None, claims: Claims) -> None:
        self.claims = claims
        self.jobs = [_job(cell, results, share) for cell in cells]
        for job in self.jobs:
            if job.directory.done:
                job.state, job.earlier = "done", True

    def next(self) -> Job | None:
        for job in self.jobs:
            if job.state != "waiting" or job.directory.done or not self.claims.take(job.cell.spec.run_id):
                continue
            if not job.directory.done:
                return job
            self.claims.release(job.cell.spec.run_id)  # another worker has just finished it
        return None

    def left(self) -> int:
        for job in self.jobs:  # what others have done is done
            if job.state == "waiting" and job.directory.done:
                job.state = "done"
        return sum(job.state not in ("done", "failed") for job in self.jobs)

    def ended(self, job: Job) -> None:
        self.claims.release(job.cell.spec.run_id)

    def hopeless(self, job: Job) -> bool:
        return False


def _job(cell: Cell, results: Path, share: int | None, state: str = "waiting", earlier: bool = False) -> Job:
    (job,), _ = prepare([cell], results, share)
    job.state, job.earlier = state, earlier  # type: ignore[assignment]
    return job


class SharedPool:
    """A pool of matrices that is fed from a source. Without `stay` it ends when nothing is left to take on."""

    def __init__(self, source: Source, at_once: int, retries: int, stay: bool = True) -> None:
        self.source = source
        self.local = LocalPool(at_once, retries)
        self.stay = stay
        self.looked = -LOOK
        self.left = True

    def submit(self, job: Job) -> None:
        raise AssertionError("jobs come from the source")

    @property
    def busy(self) -> bool:
        return self.left or self.local.busy

    def poll(self) -> Iterator[Job]:
        for job in self.local.poll():
            if job.state in ("done", "failed"):
                self.source.ended(job)
                self.looked = -LOOK
            yield job
        now = time.monotonic()
        if now - self.looked < LOOK:
            return
        self.looked = now
        for job in list(self.local.running):
            if self.source.hopeless(job):
                self.local.cut_off(job)
                self.source.ended(job)
                yield job
        yield from self._fill()
        self.left = bool(self.source.left()) and (self.stay or self.local.busy)

    def _fill(self) -> Iterator[Job]:
        while len(self.local.running) + len(self.local.queue) < self.local.at_once:
            job = self.source.next()
            if job is None:
                return
            if not job.directory.done:
                self.local.submit(job)
                continue
            job.state, job.earlier = "done", True
            self.source.ended(job)
            yield job

    def stop(self) -> None:
        self.local.stop()

    def close(self) -> None:
        self.local.close()


__all__ = ["Reruns", "SharedPool", "Source", "Trials", "trial_outcome"]
