"""The sandbox against a list of grader cheats and accidents: each has one verdict, and nothing is left running."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.sandbox import Job, Opaque, Outcome, Sandbox, matches, pool
from benchmarks.sandbox.values import NotPlain, decode, encode

NAMESPACES = "namespaces+rlimits"
ROOT = Path(__file__).resolve().parents[2]
ADD = "def f(a, b):\n    return a + b\n"
INPUTS, EXPECTED = ((2, 3), (4, 5)), (5, 9)
CASE_FILE = Path(__file__).with_name("sandbox_cases.toml")


class Case(NamedTuple):
    name: str
    source: str
    verdict: str
    inputs: tuple = INPUTS
    expected: tuple = EXPECTED
    detail: str = ""


def load(entry: dict) -> Case:
    for key in {"inputs", "expected"} & entry.keys():
        entry[key] = tuple(tuple(item) if key == "inputs" else item for item in entry[key])
    return Case(**entry)


def verdict(outcome: Outcome, expected: tuple) -> str:
    if outcome.status != "ok":
        return outcome.status
    assert len(outcome.values) == len(expected)
    return "pass" if all(map(matches, outcome.values, expected)) else "fail"


def returns(expression: str, verdict: str, expected: object = 5, name: str = "") -> Case:
    return Case(name or f"returns {expression}", f"def f():\n    return {expression}\n", verdict, ((),), (expected,))


# Values and characters that TOML cannot write.
EXTRA = (
    Case("33 huge integer", "def f(a, b): return 10**10000", "fail", expected=(10**10000,) * 2),
    Case("33 huge string", "def f(a, b): return 'x' * 10**8", "fail", expected=("x" * 10**8,) * 2),
    Case("33 huge list", "def f(a, b): return [0] * 2_000_000", "fail", expected=([0] * 2_000_000,) * 2),
    Case("40 lone surrogate", "x = '\ud800'\n" + ADD, "error"),
)
CASES = [*(load(entry) for entry in tomllib.loads(CASE_FILE.read_text())["case"]), *EXTRA]


def processes(root: int) -> set[int]:
    """Return the descendants of a process, zombies included."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, new = set(), {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


def vanish(pids: set[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def sandbox():
    before = processes(os.getpid())
    with Sandbox(workers=3, wall_seconds=2.0) as box:
        workers = processes(os.getpid()) - before
        assert workers
        yield box
        assert processes(os.getpid()) - before == workers, "a job left a process behind or killed a worker"
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


def need_namespaces(sandbox: Sandbox) -> None:
    if sandbox.level != NAMESPACES:
        pytest.skip(f"this machine gives only {sandbox.level}")


def test_network_is_out_of_reach(sandbox: Sandbox) -> None:
    need_namespaces(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = "import socket\ndef f(port): return socket.create_connection(('127.0.0.1', port), 0.5).getpeername()"
        (outcome,) = sandbox.run([Job(source, "f", ((port,),))])
        assert outcome.status == "error" and "OSError" in outcome.detail
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_files_of_the_host_are_out_of_reach(sandbox: Sandbox, tmp_path: Path) -> None:
    need_namespaces(sandbox)
    answers = tmp_path / "answers.json"
    answers.write_text("[5, 9]")
    paths = [str(answers), __file__, pool.__file__, "/etc/passwd", "/proc/1/environ", "/proc/self/maps"]
    source = (
        "def f(path):\n    try:\n        open(path).close()\n        return True\n    except OSError as e:\n"
        "        return type(e).__name__"
    )
    (outcome,) = sandbox.run([Job(source, "f", tuple((path,) for path in paths))])
    assert outcome.values == ("FileNotFoundError",) * len(paths)


def test_writing_outside_the_scratch_is_denied_and_the_scratch_is_emptied(sandbox: Sandbox) -> None:
    need_namespaces(sandbox)
    source = (
        "import os\ndef f():\n    done = []\n"
        "    library = os.path.dirname(os.__file__)\n"
        "    for path in ('/x', '/usr/lib/x', '/dev/x', os.__file__, library + '/x', 'inside'):\n"
        "        try:\n            open(path, 'a').close()\n            done.append(path)\n"
        "        except OSError: pass\n    try: os.chmod('.', 0)\n    except OSError: pass\n    return done"
    )
    seen = "import os\ndef f(): return [os.listdir('.'), oct(os.stat('.').st_mode)[-4:]]"
    outcomes = sandbox.run([Job(source, "f", ((),)), Job(seen, "f", ((),))] * 6)
    assert [outcome.values for outcome in outcomes] == [(["inside"],), ([[], "1777"],)] * 6, outcomes


def test_parent_cannot_be_killed(sandbox: Sandbox) -> None:
    need_namespaces(sandbox)  # kill(-1) would be no joke elsewhere
    source = (
        "import os, signal\ndef f():\n    for pid in (os.getppid(), 1, -1):\n        for s in (15, 9, 19):\n"
        "            try: os.kill(pid, s)\n            except OSError: pass\n    return 'alive'"
    )
    workers = processes(os.getpid())
    (outcome,) = sandbox.run([Job(source, "f", ((),))])
    assert outcome.values == ("alive",)
    assert processes(os.getpid()) == workers


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
    with Sandbox(workers=1, namespaces=False) as box:  # the private root has no /proc to find the memory with
        control, echoed, after = box.run([Job(scan, "f", ((half, marker),)), echo, Job(scan, "f", ((half,),))])
        assert control.values[0] > 0, control
        assert echoed.values == (padded,)
        assert after.values == (0,), after


def test_memory_limit_holds_for_all_processes_together(sandbox: Sandbox) -> None:
    need_namespaces(sandbox)
    source = "import os, time\nfor _ in range(6):\n    if os.fork() == 0: break\nx = b'x' * (40 << 20)\ntime.sleep(1e6)"
    with Sandbox(workers=1, wall_seconds=20, memory_mb=128) as box:
        (outcome,) = box.run([Job(source, "f", ((),))])
    assert outcome.status == "memory" and "together" in outcome.detail


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
        monkeypatch.setattr(pool, "_CHILD", Path("/nonexistent/child.py"))
        (outcome,) = box.run([job])
        assert outcome.status == "infra" and outcome.values == ()
        monkeypatch.undo()
        assert box.run([job])[0].values == EXPECTED


def test_start_that_fails_is_an_error_that_names_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHILD", Path("/nonexistent/child.py"))
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


WEAK_CASES = (
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


def test_without_namespaces_the_verdicts_are_the_same_and_nothing_is_left() -> None:
    cases = [case for case in CASES if case.name.startswith(WEAK_CASES)]
    assert len(cases) == len(WEAK_CASES)
    before = processes(os.getpid())
    with Sandbox(workers=2, wall_seconds=1.0, namespaces=False) as box:
        workers = processes(os.getpid()) - before
        assert box.level == ("uid+rlimits" if os.geteuid() == 0 else "rlimits")
        outcomes = box.run([Job(case.source, "f", case.inputs) for case in cases])
        assert processes(os.getpid()) - before == workers
    for case, outcome in zip(cases, outcomes, strict=True):
        assert verdict(outcome, case.expected) in case.verdict.split("|"), (case.name, outcome)
        assert outcome.level == box.level
    assert vanish(workers)


HOLDER = """
import sys
from benchmarks.sandbox import Job, Sandbox
box = Sandbox(workers=2, wall_seconds=60, cpu_seconds=60)
print("ready", flush=True)
box.run([Job("import time\\ntime.sleep(1e6)", "f", ((),))] * 4)
"""


@pytest.mark.parametrize("namespaces", [True, False])
def test_workers_and_jobs_die_with_a_killed_parent(namespaces: bool, tmp_path: Path) -> None:
    source = HOLDER.replace("cpu_seconds=60", f"cpu_seconds=60, namespaces={namespaces}")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
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


PLAIN = [
    None, True, False, 0, -1, 2**63, -(2**64), 2**14000, 0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, 1 + 2j,
    "", "\0\n\x7f", "\U0001f600 \u00e9", "\ud83d", "\ud83d\ude00", b"\x00\xff", [], (), {}, set(), frozenset(),
    [1, 1.0, True, None], (1, [2, (3,)]), {1: "a", (1, 2): [3], None: {}, "k": {"l": b""}}, {1, (2,), frozenset({4})},
    ["l", "t"], ["o", "x"],
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN)
def test_values_survive_the_round_trip(sandbox: Sandbox, value: object) -> None:
    (outcome,) = sandbox.run([Job("def f(x): return x", "f", ((value,),))])
    if type(value) is not set:  # whose order may change
        assert repr(outcome.values[0]) == repr(value)
    assert matches(outcome.values[0], value)


MALFORMED = [[], [5], ["?"], ["i", 5], ["d", [1]], ["S", ["l"]], ["u", ["a"]], ["b", "zz"], {}, math.nan]


@pytest.mark.parametrize("form", MALFORMED)
def test_malformed_values_are_refused(form: object) -> None:
    with pytest.raises(ValueError, match=r"encoded|tag|hex|unpack"):
        decode(form)


def test_nan_and_limits_of_the_encoding() -> None:
    assert math.isnan(decode(encode(math.nan)))
    with pytest.raises(NotPlain, match="size"):
        encode([0] * 10, max_size=10)
    with pytest.raises(NotPlain, match="OrderedDict"):
        encode(OrderedDict())


EQUAL = [
    (1, 1), (1, 1.0), (1.0, 1), (True, True), (0.1 + 0.2, 0.3), (math.inf, math.inf), ([1, 2], [1, 2]), ("a", "a"),
    ([1, [0.1 + 0.2]], [1, [0.3]]), (None, None), ({1: 0.1 + 0.2}, {1: 0.3}), ({1: 2}, {1.0: 2}), ({1, 2}, {2, 1}),
]  # fmt: skip
DIFFERENT = [
    (1, 2), (True, 1), (1, True), (0.3001, 0.3), (1e-12, 0.0), (10**400, 1e308), (2**53 + 1, 2**53), (1 + 0j, 1),
    (math.inf, -math.inf), (math.nan, math.nan), ([math.nan], [math.nan]), ({math.nan}, {math.nan}), ([1, 2], (1, 2)),
    ([1], [1, 2]), ("a", b"a"), (None, 0), (0, False), ("", None), ({1: 2}, {True: 2}), ({1: 2}, {1: 2, 3: 4}),
    ({1}, {True}), ({1}, frozenset({1})), ({(1, True)}, {(1, 1)}), (Opaque("x"), Opaque("x")), ([Opaque("x")], [5]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), EQUAL)
def test_values_that_match(value: object, expected: object) -> None:
    assert matches(value, expected) is True


@pytest.mark.parametrize(("value", "expected"), DIFFERENT)
def test_values_that_do_not_match(value: object, expected: object) -> None:
    assert matches(value, expected) is False


def test_opaque_never_equals() -> None:
    opaque = Opaque("x")
    assert opaque != opaque and not matches(opaque, opaque)
    assert opaque in {opaque: 1}  # identity, by the language's own rule for containers
