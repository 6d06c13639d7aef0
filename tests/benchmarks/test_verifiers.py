"""The processes that compare expressions: deadlines, losses, sharing and remembering."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.base import Problem
from benchmarks.graders import pool as pool_module
from benchmarks.graders.comparison import Rules
from benchmarks.graders.mathematics import grade_mathematics
from benchmarks.graders.pool import Verifiers

BOMB = r"9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def pool() -> Iterator[Verifiers]:
    with Verifiers(workers=2, cpu_seconds=0.5) as verifiers:
        yield verifiers


def test_only_the_culprit_times_out(pool):
    golds = [r"\frac{\sqrt{2}}{2}"] * 40
    answers = [rf"\frac{{{k}}}{{{k}\sqrt{{2}}}}" for k in range(2, 42)]
    answers[7], answers[8], answers[30] = BOMB, r"\sqrt{3}", "8" + BOMB
    problems = [Problem("i", "s", "p", gold) for gold in golds]
    got = [v.status for v in grade_mathematics(problems, [rf"\boxed{{{a}}}" for a in answers], pool=pool)]
    expected = ["pass"] * 40
    expected[7], expected[8], expected[30] = "timeout", "fail", "timeout"
    assert got == expected


def _verifier_processes() -> list[int]:
    """Verifiers started by this process, and their children."""
    found = {os.getpid(): ""}
    entries = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"benchmarks.graders.verifier" in command:
                entries.append((int(entry.name), parent))
    first = {pid for pid, parent in entries if parent in found}
    return sorted(pid for pid, parent in entries if parent in first)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize(("kills", "expected"), [(1, "timeout"), (2, "infra")])
def test_a_killed_process_is_no_verdict(kills, expected):
    """The first loss is made good, the second is infrastructure: score None, never 0."""
    before = set(_verifier_processes())
    answer = f"{kills}{BOMB}"
    verdicts = []
    with Verifiers(workers=1, cpu_seconds=1.0) as own:
        problem = Problem("i", "s", "p", "5")
        grade = threading.Thread(
            target=lambda: verdicts.extend(grade_mathematics([problem], [rf"\boxed{{{answer}}}"], pool=own))
        )
        grade.start()
        killed: set[int] = set()
        deadline = time.monotonic() + 60
        while len(killed) < kills and time.monotonic() < deadline and grade.is_alive():
            busy = [pid for pid in _verifier_processes() if pid not in before | killed and _cpu(pid) > 0.2]
            for pid in busy[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.02)
        grade.join(60)
        assert len(killed) == kills
        assert [(v.status, v.score) for v in verdicts] == [(expected, None if expected == "infra" else 0.0)]
        (after,) = grade_mathematics([Problem("i", "s", "p", r"\sqrt{8}")], [r"\boxed{2\sqrt2}"], pool=own)
        assert after.status == "pass"


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_timeouts_are_remembered_and_infra_is_not(monkeypatch):
    class Flaky:
        calls = 0

        def run(self, jobs):
            self.calls += 1
            return ["infra" if self.calls == 1 else "pass"] * len(jobs)

    flaky = Flaky()
    problem = Problem("i", "s", "p", r"\sqrt{77}")
    statuses = [grade_mathematics([problem], [r"\boxed{\sqrt{7}\sqrt{11}}"], pool=flaky)[0].status for _ in range(3)]
    assert statuses == ["infra", "pass", "pass"] and flaky.calls == 2


def test_equal_answers_are_compared_once():
    class Counting:
        jobs = 0

        def run(self, jobs):
            self.jobs += len(jobs)
            return ["fail"] * len(jobs)

    counting = Counting()
    problem = Problem("i", "s", "p", r"\sqrt{78}")
    grade_mathematics([problem] * 50, [r"\boxed{\sqrt{79}}"] * 50, pool=counting)
    assert counting.jobs == 1


def test_the_pool_refuses_bad_limits_and_use_after_closing():
    for wrong in ({"workers": 0}, {"cpu_seconds": 0.0}, {"memory_mb": 1}, {"cpu_seconds": 9.0, "wall_seconds": 5.0}):
        with pytest.raises(ValueError, match="verifiers need"):
            Verifiers(**wrong)
    closed = Verifiers(workers=1)
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.run([("5", "x", Rules())])


def test_several_threads_share_a_pool(pool):
    results: dict[int, list[str]] = {}

    def work(k: int) -> None:
        problems = [Problem("i", "s", "p", rf"\sqrt{{{k}}}+n")] * 6
        answers = [rf"n+\frac{{{k}}}{{\sqrt{{{k}}}}}" + "+0" * (j % 2) + "+n" * (j % 3 == 2) for j in range(6)]
        results[k] = [v.status for v in grade_mathematics(problems, [rf"\boxed{{{a}}}" for a in answers], pool=pool)]

    threads = [threading.Thread(target=work, args=(k,)) for k in (2, 3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys((2, 3, 5, 7), ["pass", "pass", "fail"] * 2)


class Stub:
    """In place of a process: the answer "crash" or "killed" ends it, every time or only the first."""

    ended: list[str] = []  # noqa: RUF012

    def __init__(self, *limits: float) -> None:
        pass

    def run(self, jobs: list, statuses: list[str]) -> None:
        for _, answer, _ in jobs:
            ends, _, how = answer.partition(" ")
            if ends in ("crash", "killed") and (how == "always" or answer not in self.ended):
                self.ended.append(answer)
                raise pool_module._Broken(ends)
            statuses.append("pass")

    def stop(self) -> None:
        pass


def test_the_job_that_ended_a_process_is_tried_once_more(monkeypatch):
    """A crash on the same answer twice is the answer's doing, an end from outside is not; all others are graded."""
    monkeypatch.setattr(pool_module, "_Worker", Stub)
    monkeypatch.setattr(Stub, "ended", [])
    answers = ["a", "crash once", "b", "crash always", "killed once", "c", "killed always", "killed always", "d"]
    with Verifiers(workers=1) as own:
        statuses = own.run([("5", answer, Rules()) for answer in answers])
    assert statuses == ["pass", "pass", "pass", "fail", "pass", "pass", "infra", "infra", "pass"]


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="reads limits from /proc")
def test_the_memory_of_a_process_is_limited():
    before = set(_verifier_processes())
    with Verifiers(workers=1, memory_mb=512) as own:
        assert own.run([("5", r"\sqrt{25}", Rules())]) == ["pass"]
        (pid,) = set(_verifier_processes()) - before
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (line,) = (line for line in limits if line.startswith("Max address space"))
    assert line.split()[3:5] == [str(512 << 20)] * 2
