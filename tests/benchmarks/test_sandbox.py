"""The sandbox against a list of grader cheats and accidents: each has one verdict, and nothing is left running."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_cases import ADD, CASES, EXPECTED, INPUTS, Case, processes, vanish, verdict

from benchmarks.sandbox import Job, Outcome, Sandbox, allow_weak, worker
from benchmarks.sandbox.isolation import RLIMITS, UID


@pytest.fixture(scope="module", autouse=True)
def weak_levels() -> Iterator[None]:
    """The programs of these tests are known, so that resource limits alone will do."""
    allow_weak()
    yield
    allow_weak(False)


@pytest.fixture(scope="module")
def sandbox():
    before = processes(os.getpid())
    with Sandbox(workers=3, wall_seconds=2.0) as box:
        workers = processes(os.getpid()) - before
        assert workers
        yield box
        # a worker that a busy machine kept waiting may have been replaced
        assert len(processes(os.getpid()) - before) == len(workers), "a job left a process behind or killed a worker"
        scratch = box.scratch
    assert vanish(workers)
    assert not scratch.exists()


@pytest.fixture(scope="module")
def outcomes(sandbox: Sandbox) -> dict[str, Outcome]:
    jobs = [Job(case.source, "f", case.inputs) for case in CASES]
    return dict(zip([case.name for case in CASES], sandbox.run(jobs), strict=True))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_verdict(outcomes: dict[str, Outcome], case: Case) -> None:
    outcome = outcomes[case.name]
    assert verdict(outcome, case.expected) in case.verdict.split("|"), outcome
    assert case.detail in outcome.detail
    assert outcome.detail.isascii()


def test_cases_have_their_own_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_earlier_jobs_leave_no_trace_in_memory() -> None:
    half = "4f1d" * 4
    marker = "trace-" + half * 2
    scan = (
        "import ctypes\ndef f(half, *more):\n    found, needle = 0, (half * 2).encode()\n"
        "    for line in open('/proc/self/maps'):\n        span, mode = line.split()[:2]\n"
        "        if mode.startswith('rw'):\n            start, end = (int(x, 16) for x in span.split('-'))\n"
        "            memory, at = ctypes.string_at(start, end - start), -1\n"
        "            while (at := memory.find(needle, at + 1)) >= 0:\n"
        "                found += memory[max(0, at - 6):at] == bytes([116, 114, 97, 99, 101, 45])\n    return found"
    )
    padded = "-" * 50_000 + marker  # the end of a long frame is not overwritten by a later short one
    echo = Job("def f(x): return x", "f", ((padded,),))
    with Sandbox(workers=1, levels=(UID, RLIMITS)) as box:  # the private root has no /proc to find the memory with
        control, echoed, after = box.run([Job(scan, "f", ((half, marker),)), echo, Job(scan, "f", ((half,),))])
        assert control.values[0] > 0, control
        assert echoed.values == (padded,)
        assert after.values == (0,), after


def test_order_is_kept_and_threads_may_share_the_sandbox(sandbox: Sandbox) -> None:
    source = "import time\ndef f(i):\n    time.sleep(0.02 * (i % 3))\n    return i"
    results: dict[int, list[int]] = {}

    def run(base: int) -> None:
        outcomes = sandbox.run([Job(source, "f", ((base + i,),)) for i in range(12)])
        results[base] = [outcome.values[0] for outcome in outcomes]

    threads = [threading.Thread(target=run, args=(base,)) for base in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {base: list(range(base, base + 12)) for base in (0, 100)}


def test_hash_seed_is_fixed() -> None:
    job = Job("def f(): return hash('abc')", "f", ((),))
    values = set()
    for _ in range(2):
        with Sandbox(workers=1) as box:
            values.add(box.run([job])[0].values)
    assert len(values) == 1


def test_dead_worker_is_replaced_and_never_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes(os.getpid())
    job = Job(ADD, "f", INPUTS)

    def kill_workers() -> None:
        for pid in processes(os.getpid()) - before:
            os.kill(pid, signal.SIGKILL)

    with Sandbox(workers=1) as box:
        kill_workers()
        assert box.run([job])[0].values == EXPECTED
        kill_workers()
        monkeypatch.setattr(worker, "_CHILD", Path("/nonexistent/child.py"))
        (outcome,) = box.run([job])
        assert outcome.status == "infra" and outcome.values == ()
        monkeypatch.undo()
        assert box.run([job])[0].values == EXPECTED


def test_start_that_fails_is_an_error_that_names_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_CHILD", Path("/nonexistent/child.py"))
    with pytest.raises(RuntimeError, match="does not start"):
        Sandbox(workers=1)


@pytest.mark.parametrize("limits", [{"workers": 0}, {"wall_seconds": 0}, {"cpu_seconds": math.nan}, {"memory_mb": 1}])
def test_limits_out_of_range_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sandbox needs"):
        Sandbox(**limits)


def test_inputs_that_are_not_plain_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="plain values"):
        sandbox.run([Job(ADD, "f", ((object(), 1),))])


def test_closed_sandbox_refuses_jobs() -> None:
    box = Sandbox(workers=1)
    box.close()
    box.close()
    with pytest.raises(RuntimeError, match="closed"):
        box.run([])


def test_limits_of_a_single_job(sandbox: Sandbox) -> None:
    loop = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\ndef f(): return 1"
    with Sandbox(workers=2, wall_seconds=3.0) as box:
        long, short = box.run([Job(loop.format(1.8), "f", ((),), cpu_seconds=10), Job(loop.format(9), "f", ((),))])
    assert long.status == "ok" and long.cpu >= 1.8 and short.status == "timeout"


def test_a_job_that_found_no_processor_is_run_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    starved = Outcome("timeout", (), "wall limit", "", 1000.0, cpu=0.2, waited=0.5)
    asleep = Outcome("timeout", (), "wall limit", "", 1000.0, cpu=0.2, waited=0.2)
    endless = Outcome("timeout", (), "CPU limit", "", 1000.0, cpu=1.0)
    fine = Outcome("ok", EXPECTED, "", "", 1.0)
    answers = [[starved, asleep, endless, starved, fine], [fine], [starved]]
    with Sandbox(workers=1, wall_seconds=1.0) as box:
        monkeypatch.setattr(box, "_run", lambda requests: answers.pop(0))
        assert box.run([Job(ADD, "f", INPUTS)] * 5) == [fine, asleep, endless, starved, fine]
    assert not answers


def test_time_without_a_processor_is_measured() -> None:
    source = "import time\nend = time.process_time() + 60\nwhile time.process_time() < end: pass\ndef f(): return 1"
    spin = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    crowd = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        with Sandbox(workers=1, wall_seconds=1.0, cpu_seconds=30) as box:
            (outcome,) = box.run([Job(source, "f", ((),))])
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert outcome.status == "timeout" and outcome.waited > 0.2 and outcome.cpu + outcome.waited > 0.5


def test_a_job_that_only_waits_is_not_run_again() -> None:
    with Sandbox(workers=1, wall_seconds=2.0) as box:
        begin = time.monotonic()
        (outcome,) = box.run([Job("import time\ntime.sleep(1e6)", "f", ((),))])
        assert outcome.status == "timeout" and time.monotonic() - begin < 3.8
