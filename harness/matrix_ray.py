"""The jobs of a matrix as tasks of Ray, which places them on its machines and repeats those that fail.

Ray is imported here only. The machines need this package and the same results directory under the same path.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.matrix_jobs import Job, cores, write_spec
from harness.matrix_run import end, run_arguments, start, why
from harness.store import RunDir

WAIT = 0.2  # seconds between two looks of a task at its process
STOPPED = 30.0  # seconds that cancelled tasks have to end their processes


def run_cell(arguments: list[str], directory: str, log: str, folder: str) -> None:
    """The task: a child process as on one machine. RuntimeError with its last line if it fails."""
    run, output = RunDir(Path(directory)), Path(log)
    while run.locked:  # the process of a worker that died may outlive it
        time.sleep(WAIT)
    begun = output.stat().st_size if output.exists() else 0
    # Ray blocks SIGINT in its workers, and a child inherits that
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    process = start(arguments, output, folder)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        while process.poll() is None:  # a call that waits would not see Ray's cancellation
            time.sleep(WAIT)
    except BaseException:
        end([process])
        raise
    if process.returncode:
        raise RuntimeError(why(process.returncode, output, begun))
    if not run.done:
        raise RuntimeError("ended without an error and without DONE")


def connect() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS or of this machine, else to a local Ray started here.

    ValueError if Ray is not installed or RAY_ADDRESS does not answer.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("--on ray needs Ray: install it with pip install -c constraints.txt -e '.[ray]'") from None
    if ray.is_initialized():
        return ray
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError as problem:
        if os.environ.get("RAY_ADDRESS"):
            reason = str(problem).strip().splitlines()[0]
            raise ValueError(f"the Ray cluster of RAY_ADDRESS does not answer: {reason}") from None
        ray.init(num_cpus=cores(), include_dashboard=False, **quiet)
    return ray


class RayPool:
    """Every job is a task with as many CPUs as threads and `gpus` GPUs; Ray repeats it up to `retries` times."""

    def __init__(self, gpus: float = 0.0, retries: int = 0) -> None:
        self.ray = connect()
        self.gpus = gpus
        self.retries = retries
        self.tasks: dict[Any, tuple[Job, int]] = {}  # task -> job, its run's attempts before
        self.work = self.ray.remote(run_cell)

    def close(self) -> None:
        self.ray.shutdown()

    def submit(self, job: Job) -> None:
        """ValueError if no machine of the cluster is large enough for the job, which would wait for ever."""
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= job.cores and node.get("GPU", 0) >= self.gpus for node in machines):
            raise ValueError(
                f"no machine of the Ray cluster has {job.cores} CPUs and {self.gpus:g} GPUs for cell "
                f"{job.cell.label}: lower runtime.threads or --gpus-per-cell"
            )
        write_spec(job)
        work = self.work.options(
            name=job.cell.label, num_cpus=job.cores, num_gpus=self.gpus, max_retries=self.retries, retry_exceptions=True
        )
        task = work.remote(run_arguments(job), str(job.directory.path), str(job.log), os.getcwd())
        self.tasks[task] = (job, _attempts(job))

    @property
    def busy(self) -> bool:
        return bool(self.tasks)

    def poll(self) -> Iterator[Job]:
        ready, waiting = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)
        for task in ready:
            job, _ = self.tasks.pop(task)
            self._ended(job, task)
            yield job
        for task in waiting:
            job, before = self.tasks[task]
            tries = _attempts(job) - before
            if tries > job.tries:
                job.state, job.tries, job.started = "running", tries, time.monotonic()
                yield job

    def _ended(self, job: Job, task: Any) -> None:
        job.seconds = time.monotonic() - job.started if job.started else 0.0
        try:
            self.ray.get(task)
            job.state = "done"
        except self.ray.exceptions.RayTaskError as problem:
            job.state, job.fault = "failed", str(problem.cause)
        except self.ray.exceptions.RayError as problem:
            job.state, job.fault = "failed", str(problem).strip().splitlines()[0]

    def stop(self) -> None:
        for task in self.tasks:
            self.ray.cancel(task, force=False)
        if self.tasks:
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=STOPPED)
        for job, _ in self.tasks.values():
            job.state = "waiting"
        self.tasks.clear()


def _attempts(job: Job) -> int:
    """Attempts that the run's manifest counts: the sign, visible on every machine, that a task has begun."""
    if not (job.directory.path / "manifest.json").exists():
        return 0
    return len(job.directory.manifest["attempts"])


__all__ = ["RayPool", "connect", "run_cell"]
