"""What a program can reach at each isolation level, which level is used, and that nothing outlives its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_cases import ADD, CASES, EXPECTED, INPUTS, ROOT, processes, vanish, verdict

from benchmarks.sandbox import ISOLATED, LEVELS, Job, Sandbox, allow_weak, pool
from benchmarks.sandbox.isolation import BUBBLEWRAP, RLIMITS
from benchmarks.sandbox.scratch import make_scratch, remove_leftovers


@pytest.fixture(scope="module", autouse=True)
def weak_levels() -> Iterator[None]:
    """The programs of these tests are known, so that resource limits alone will do."""
    allow_weak()
    yield
    allow_weak(False)


@pytest.fixture(scope="module", params=ISOLATED)
def isolated(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of each level that shows a program nothing of the machine."""
    try:
        box = Sandbox(workers=2, levels=(request.param,))
    except RuntimeError as reason:
        pytest.skip(f"this machine has no level {request.param}: {reason}")
    with box:
        assert box.level == request.param
        yield box


def test_network_is_out_of_reach(isolated: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = "import socket\ndef f(port): return socket.create_connection(('127.0.0.1', port), 0.5).getpeername()"
        (outcome,) = isolated.run([Job(source, "f", ((port,),))])
        assert outcome.status == "error" and outcome.detail.startswith(("OSError", "ConnectionRefusedError"))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_files_of_the_host_are_out_of_reach(isolated: Sandbox, tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text("[5, 9]")
    paths = [str(answers), __file__, pool.__file__, "/etc/passwd", "/proc/1/environ", "/proc/self/maps"]
    source = (
        "def f(path):\n    try:\n        open(path).close()\n        return True\n    except OSError as e:\n"
        "        return type(e).__name__"
    )
    (outcome,) = isolated.run([Job(source, "f", tuple((path,) for path in paths))])
    assert outcome.values == ("FileNotFoundError",) * len(paths)


def test_writing_outside_the_scratch_is_denied_and_the_scratch_is_emptied(isolated: Sandbox) -> None:
    source = (
        "import os\ndef f():\n    done = []\n"
        "    library = os.path.dirname(os.__file__)\n"
        "    for path in ('/x', '/usr/lib/x', '/dev/x', os.__file__, library + '/x', 'inside'):\n"
        "        try:\n            open(path, 'a').close()\n            done.append(path)\n"
        "        except OSError: pass\n    try: os.chmod('.', 0)\n    except OSError: pass\n    return done"
    )
    seen = "import os\ndef f(): return [os.listdir('.'), oct(os.stat('.').st_mode)[-4:]]"
    outcomes = isolated.run([Job(source, "f", ((),)), Job(seen, "f", ((),))] * 6)
    assert [outcome.values for outcome in outcomes] == [(["inside"],), ([[], "1777"],)] * 6, outcomes


def test_parent_cannot_be_killed(isolated: Sandbox) -> None:
    source = (
        "import os, signal\ndef f():\n    for pid in (os.getppid(), 1, -1):\n        for s in (15, 9, 19):\n"
        "            try: os.kill(pid, s)\n            except OSError: pass\n    return 'alive'"
    )
    workers = processes(os.getpid())
    (outcome,) = isolated.run([Job(source, "f", ((),))])
    assert outcome.values == ("alive",)
    assert processes(os.getpid()) == workers


def test_memory_limit_holds_for_all_processes_together(isolated: Sandbox) -> None:
    source = "import os, time\nfor _ in range(6):\n    if os.fork() == 0: break\nx = b'x' * (40 << 20)\ntime.sleep(1e6)"
    with Sandbox(workers=1, wall_seconds=20, memory_mb=128, levels=(isolated.level,)) as box:
        (outcome,) = box.run([Job(source, "f", ((),))])
    assert outcome.status == "memory" and "together" in outcome.detail


FEW_CASES = (
    "honest",
    "wrong",
    "7 ",
    "12 ",
    "14 sleeps",
    "15 allocates 16",
    "18 fork bomb, err",
    "19 ",
    "24 lar",
    "27 ",
)


@pytest.mark.parametrize("level", LEVELS)
def test_at_every_level_the_verdicts_are_the_same_and_nothing_is_left(level: str) -> None:
    cases = [case for case in CASES if case.name.startswith(FEW_CASES)]
    assert len(cases) == len(FEW_CASES)
    before = processes(os.getpid())
    if level == RLIMITS and os.geteuid() == 0:
        pytest.skip("root has no process limit, which the fork bomb needs")
    try:
        box = Sandbox(workers=2, wall_seconds=3.0, levels=(level,))
    except RuntimeError as reason:
        pytest.skip(f"this machine has no level {level}: {reason}")
    with box:
        workers = processes(os.getpid()) - before
        assert box.level == level
        outcomes = box.run([Job(case.source, "f", case.inputs) for case in cases])
        assert processes(os.getpid()) - before == workers
    for case, outcome in zip(cases, outcomes, strict=True):
        assert verdict(outcome, case.expected) in case.verdict.split("|"), (case.name, outcome)
        assert outcome.level == level
    assert vanish(workers)


def test_a_level_that_does_not_work_gives_way_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with Sandbox(workers=1) as box:
        assert box.level != BUBBLEWRAP
        assert box.run([Job(ADD, "f", INPUTS)])[0].values == EXPECTED


def test_resource_limits_alone_are_refused_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_weak(False)
    try:
        monkeypatch.delenv(pool.WEAK_VARIABLE, raising=False)
        before = processes(os.getpid())
        with pytest.raises(ValueError, match="install bubblewrap, or set HARNESS_ALLOW_WEAK_SANDBOX=1") as error:
            Sandbox(workers=1, levels=(RLIMITS,))
        assert str(error.value).count(".") == 1
        assert processes(os.getpid()) == before
        monkeypatch.setenv(pool.WEAK_VARIABLE, "1")
        with Sandbox(workers=1, levels=(RLIMITS,)) as box:
            assert box.run([Job(ADD, "f", INPUTS)])[0].level == box.level == RLIMITS
    finally:
        allow_weak()
    monkeypatch.delenv(pool.WEAK_VARIABLE)
    with Sandbox(workers=1, levels=(RLIMITS,)) as box:
        assert box.level == RLIMITS


HOLDER = """
import sys
from benchmarks.sandbox import Job, Sandbox
box = Sandbox(workers=2, wall_seconds=60, cpu_seconds=60)
print("ready", flush=True)
box.run([Job("import time\\ntime.sleep(1e6)", "f", ((),))] * 4)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_workers_and_jobs_die_with_a_killed_parent(level: str, tmp_path: Path) -> None:
    try:
        Sandbox(workers=1, levels=(level,)).close()
    except RuntimeError as reason:
        pytest.skip(f"this machine has no level {level}: {reason}")
    source = HOLDER.replace("cpu_seconds=60", f"cpu_seconds=60, levels=({level!r},)")
    environment = {**os.environ, "TMPDIR": str(tmp_path), pool.WEAK_VARIABLE: "1"}
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, cwd=ROOT, env=environment) as holder:
        assert holder.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        workers = processes(holder.pid)
        assert len(workers) >= 4  # two workers, two jobs
        holder.kill()
        holder.wait()
    assert vanish(workers)


def test_ctrl_c_and_normal_exit_leave_no_orphan() -> None:
    source = HOLDER.replace("wall_seconds=60", "wall_seconds=1")
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as holder:
        assert holder.stdout.readline() == b"ready\n"
        time.sleep(0.2)
        workers = processes(holder.pid)
        os.killpg(holder.pid, signal.SIGINT)  # what a terminal sends
        assert b"KeyboardInterrupt" in holder.stderr.read()
    assert workers and vanish(workers)


def test_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, cwd=ROOT, env=environment) as holder:
        assert holder.stdout.readline() == b"ready\n"
        workers = processes(holder.pid)
        (left,) = tmp_path.iterdir()
        assert remove_leftovers() == 0 and left.exists()  # its owner lives
        holder.kill()
        holder.wait()
    assert vanish(workers)
    foreign = tmp_path / "sandbox-foreign"  # no owner file: nothing that this program made
    foreign.mkdir()
    mine, lock = make_scratch()
    with Sandbox(workers=1) as box:
        assert set(tmp_path.iterdir()) == {foreign, mine, box.scratch}
    os.close(lock)
    assert remove_leftovers() == 1
    assert list(tmp_path.iterdir()) == [foreign]
