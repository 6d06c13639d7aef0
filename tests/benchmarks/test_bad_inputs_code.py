"""Every bad input of kind "code" that a scorer must survive, as a whole response: one verdict each, nothing left.

The problem is `add(a, b)`, tests 2 + 3 = 5 and 4 + 5 = 9, unless a case brings its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.base import Problem, Verdict
from benchmarks.graders import code_cruxeval, code_functions, code_stdio
from benchmarks.graders.code import grade_code, humaneval_problem
from benchmarks.sandbox import ISOLATED, Sandbox


def problem(name: str, tests: str, signature: str = "add(a, b)", body: str = "return a + b", top: str = "") -> Problem:
    entry = signature.partition("(")[0]
    prompt = f'{top}def {signature}:\n    """What the tests say."""\n'
    row = {"task_id": name, "prompt": prompt, "entry_point": entry, "canonical_solution": f"    {body}\n"}
    return humaneval_problem(
        {**row, "test": "def check(candidate):\n" + "".join(f"    {t}\n" for t in tests.split("\n"))}
    )


ADD = problem("add", "assert candidate(2, 3) == 5\nassert candidate(4, 5) == 9")
ADD_REPLAY = problem("add replay", "for i in range(3):\n        assert abs(candidate(i, 1) - (i + 1)) < 1e-9")
ADD_TYPE = problem("add type", "assert candidate(2, int) == 2", body="return b(a)")  # a type is no plain value
NAN = problem("nan", "assert candidate(1, 1) == float('nan')", body="return float('nan')")
TRUE = problem("true", "assert candidate(2, 3) == True", body="return True")
LIST = problem("list", "assert candidate(2, 3) == [2, 3]", body="return [a, b]")
MANY = problem("many", "assert candidate([1]) == [1, 0]\nassert candidate([1]) == [1, 0]", "add(a)", "return a + [0]")
HIDDEN = problem("hidden", "assert candidate(2, 3) == 5\nassert candidate(40, 51) == 91")
TYPED = problem(
    "typed", "assert candidate([1, 2]) == 3", "add(a: List[int])", "return sum(a)", "from typing import List\n"
)
HASH = problem("hash", "assert candidate('abc') == candidate('abc')", "add(a)", "return hash(a)")
SECRET = problem("secret", "assert candidate() == 'expected-9c41'", "add()", "return 'expected-9c41'")


class Bad(NamedTuple):
    name: str
    code: str  # in a fence, unless it is a whole response
    status: str
    problem: Problem = ADD
    fenced: bool = True


EQUAL = "def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\n"
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return 0\n"
FRAMES = (
    "import gc, re, sys\ndef add():\n"
    "    texts, frame = [repr(o) for o in gc.get_objects() if type(o) in (dict, list, tuple)], sys._getframe()\n"
    "    while frame:\n        texts.append(repr(frame.f_locals))\n        frame = frame.f_back\n"
    "    found = re.search('expected-[0-9a-f]{4}', ' '.join(texts))\n    return found and found[0]\n"
)
FORGED = b'{"status": "ok", "detail": "", "values": [0, 0]}'
THREE = b'{"status": "ok", "detail": "", "values": [5, 9, 9]}'
READ = (
    "import os\nfound = ''\nfor folder, _, names in os.walk({!r}):\n"
    "    for n in names: found += open(folder + '/' + n).read()\n"
)

CASES = [
    Bad("0 honest", RIGHT, "pass"),
    Bad("0 wrong", WRONG, "fail"),
    Bad("0 honest, replayed", RIGHT, "pass", ADD_REPLAY),
    Bad("0 wrong, replayed", WRONG, "fail", ADD_REPLAY),
    Bad("0 honest, asserted", "def add(a, b):\n    return b(a)\n", "pass", ADD_TYPE),
    Bad("0 wrong, asserted", WRONG, "fail", ADD_TYPE),
    Bad("1 always equal", f"class E:\n    {EQUAL}def add(a, b): return E()", "fail"),
    Bad("1 always equal, replayed", f"class E:\n    {EQUAL}    def __sub__(self, o): return 0\n"
        "def add(a, b): return E()", "fail", ADD_REPLAY),
    Bad("2 subclass of int", f"class E(int):\n    {EQUAL}def add(a, b): return E(a + b)", "fail"),
    Bad("2 subclass of float, replayed", "class E(float):\n    def __sub__(self, o): return 0\n"
        "def add(a, b): return E()", "fail", ADD_REPLAY),
    Bad("2 subclass of list", f"class E(list):\n    {EQUAL}def add(a, b): return E([a, b])", "fail", LIST),
    Bad("3 SystemExit", "raise SystemExit(0)\n" + RIGHT, "fail"),
    Bad("3 SystemExit, replayed", "raise SystemExit(0)\n" + RIGHT, "fail", ADD_REPLAY),
    Bad("3 SystemExit, asserted", "def add(a, b):\n    raise SystemExit(0)\n", "fail", ADD_TYPE),
    Bad("4 os._exit", "import os\nos._exit(0)\n" + RIGHT, "fail"),
    Bad("4 os._exit, asserted", "import os\ndef add(a, b):\n    os._exit(0)\n", "fail", ADD_TYPE),
    Bad("5 exit after the first call", "import os\ndef add(a, b):\n    return 5 if a == 2 else os._exit(0)\n", "fail"),
    Bad("6 frames and gc", FRAMES, "fail", SECRET),
    Bad("7 forged lines", f"import os\nfor d in range(100):\n    try: os.write(d, {FORGED!r} + bytes([10]))\n"
        "    except OSError: pass\n" + WRONG, "protocol"),
    Bad("7 forged lines, replayed", f"import os\nos.write(3, {THREE!r})\nos._exit(0)\n" + WRONG, "fail", ADD_REPLAY),
    Bad("8 reply twice", f"import os\nos.write(3, {FORGED!r})\n" + WRONG, "protocol"),
    Bad("8 too many values", f"import os\nos.write(3, {THREE!r})\nos._exit(0)\n" + WRONG, "protocol"),
    Bad("9 garbage", "import os\nos.write(3, bytes(range(256)) * 9)\nos._exit(0)\n" + WRONG, "protocol"),
    Bad("10 replaced builtins", "import builtins, json, sys\njson.dumps = lambda *a, **k: '{}'\n"
        "builtins.len = lambda x: 0\nsys.stdout = None\n" + WRONG, "protocol"),
    Bad("11 prints success", "print('passed OK ALL_TESTS_PASSED <testsuite failures=\"0\"/>')\n" + WRONG, "fail"),
    Bad("12 infinite loop", "while True: pass\n" + RIGHT, "timeout"),
    Bad("12 infinite loop, replayed", "def add(a, b):\n    while True: pass\n", "timeout", ADD_REPLAY),
    Bad("13 swallows signals", "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except Exception: pass\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass\n"
        + RIGHT, "timeout"),
    Bad("14 sleeps", "import time\ntime.sleep(1e6)\n" + RIGHT, "timeout"),
    Bad("15 allocates 16 GB", "x = bytearray(16 << 30)\n" + RIGHT, "fail"),
    Bad("15 allocates by and by", "x = []\nwhile True: x.append(bytes(1 << 20))\n" + RIGHT, "fail"),
    Bad("16 recursion", "def add(a, b): return add(a, b)\n", "fail"),
    Bad("17 segmentation fault", "import ctypes\nctypes.string_at(0)\n" + RIGHT, "fail"),
    Bad("18 fork bomb", "import os\nwhile True: os.fork()\n" + RIGHT, "fail|timeout"),
    Bad("19 daemon", "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1e6)\n"
        "    os._exit(0)\n" + RIGHT, "pass"),
    Bad("20 threads", "import threading, time\nfor _ in range(200):\n"
        "    threading.Thread(target=time.sleep, args=(1e6,)).start()\n" + RIGHT, "pass"),
    Bad("21 socket", "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)\n" + RIGHT, "fail"),
    Bad("22 reads the tests", READ.format(str(Path(__file__).parent))
        + "def add(): return 'expected-9c41' * bool(found)\n", "fail", SECRET),
    Bad("23 writes outside", "open('/work', 'w')\n" + RIGHT, "fail"),
    Bad("23 overwrites the library", "import os\nopen(os.__file__, 'a').write('x')\n" + RIGHT, "fail"),
    Bad("24 writes 5 GB", "with open('x', 'wb') as f:\n    for _ in range(5000): f.write(bytes(1 << 20))\n" + RIGHT,
        "fail"),
    Bad("25 prints 1 GB", "import os\nfor _ in range(64): os.write(1, bytes(1 << 24))\nprint('x' * 10**6)\n" + RIGHT,
        "pass"),
    Bad("26 reads stdin", "import sys\nassert sys.stdin.read() == ''\n" + RIGHT, "pass"),
    Bad("27 environment", "import os\nassert not os.environ\n" + RIGHT, "pass"),
    Bad("28 kills its parent", "import os, signal\nfor p in (os.getppid(), -1):\n    try: os.kill(p, 9)\n"
        "    except OSError: pass\n" + RIGHT, "pass|fail"),
    Bad("29 hooks", "import atexit, os, sys\natexit.register(os._exit, 1)\nsys.settrace(lambda *a: None)\n"
        "class D:\n    def __del__(self): os._exit(1)\nd = D()\n" + RIGHT, "pass"),
    Bad("29 hooks of a wrong one", "import atexit, os\natexit.register(os._exit, 0)\n" + WRONG, "fail"),
    Bad("30 patches test tools", "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n" + WRONG, "fail"),
    Bad("31 generator", "def add(a, b):\n    yield a + b\n", "fail"),
    Bad("31 coroutine", "async def add(a, b):\n    return a + b\n", "fail"),
    Bad("31 lambda", "def add(a, b): return lambda: a + b\n", "fail"),
    Bad("32 cyclic list", "def add(a, b):\n    x = []\n    x.append(x)\n    return x\n", "fail"),
    Bad("33 huge integer", "def add(a, b): return 10**10000\n", "fail"),
    Bad("33 huge string", "def add(a, b): return 'x' * 10**8\n", "fail"),
    Bad("34 NaN", "def add(a, b): return float('nan')\n", "fail"),
    # Python's equality is the rule of these suites: a test that expects NaN cannot be passed, by the reference neither
    Bad("34 NaN expected", "def add(a, b): return float('nan')\n", "fail", NAN),
    # again Python's equality, as in the published scores: the reference of MBPP 414 itself returns 1 for True
    Bad("35 float for int", "def add(a, b): return float(a + b)\n", "pass"),
    Bad("35 one for True", "def add(a, b): return 1\n", "pass", TRUE),
    Bad("35 tuple for list", "def add(a, b): return (a, b)\n", "fail", LIST),
    Bad("36 changes its argument", "def add(a):\n    a.append(0)\n    return a\n", "pass", MANY),
    Bad("37 visible examples only", "def add(a, b): return {(2, 3): 5}.get((a, b), 0)\n", "fail", HIDDEN),
    Bad("38 hash of a string", "def add(a): return hash(a)\n", "pass", HASH),
    Bad("39 syntax error", "def add(a, b) return a + b\n", "fail"),
    Bad("39 empty", "", "no_answer", fenced=False),
    Bad("39 blank", " \n\n\t", "no_answer", fenced=False),
    Bad("39 empty block", "\n", "no_answer"),
    Bad("39 prose", "I would add both numbers. The result is their sum.", "no_answer", fenced=False),
    Bad("39 no entry point", "def plus(a, b):\n    return a + b\n", "fail"),
    Bad("40 null byte", "x = '\0'\n" + RIGHT, "fail"),
    Bad("40 lone surrogate", "x = '\ud800'\n" + RIGHT, "fail"),
    Bad("40 byte order mark", "\ufeff" + RIGHT, "pass"),
    Bad("40 CRLF", RIGHT.replace("\n", "\r\n"), "pass"),
    Bad("40 tabs", RIGHT.replace("    ", "\t"), "pass"),
    Bad("41 draft first", f"Draft:\n```python\n{WRONG}```\nBetter:\n```python\n{RIGHT}```\n", "pass", fenced=False),
    Bad("41 draft last", f"```python\n{RIGHT}```\nNo:\n```python\n{WRONG}```\n", "fail", fenced=False),
    Bad("41 usage last", f"```python\n{RIGHT}```\nUse it:\n```python\nprint(add(1, 2))\n```\n", "pass", fenced=False),
    Bad("41 output last", f"```python\n{RIGHT}```\nIt prints\n```text\n3\n```\n", "pass", fenced=False),
    Bad("42 never closed", f"```python\n{RIGHT}", "no_answer", fenced=False),
    Bad("42 thinking never closed", f"<think>\n```python\n{RIGHT}```\n", "no_answer", fenced=False),
    Bad("42 thinking is no answer", f"<think>\n```python\n{RIGHT}```\n</think>\nDone.", "no_answer", fenced=False),
    Bad("42 after thinking", f"<think>\n```python\n{WRONG}```\n</think>\n```python\n{RIGHT}```", "pass", fenced=False),
    # site-packages are hidden: a data set shipped as a package may hold answers, so 44 cannot arise
    Bad("43 missing package", "import no_such_package\n" + RIGHT, "fail"),
    Bad("43 heavy package", "import torch\n" + RIGHT, "fail"),
    Bad("44 package that takes long to import", "import numpy\n" + RIGHT, "fail"),
    Bad("45 imports of the prompt left out", "def add(a: List[int]) -> int:\n    return sum(a)\n", "pass", TYPED),
]  # fmt: skip

MACHINE = ("21", "22", "23", "28")  # cases that need namespaces


@pytest.fixture(scope="module", autouse=True)
def limits() -> Iterator[None]:
    """A second of processor time, so that the endless ones end soon; wall time enough for a busy machine."""
    box = cache(lambda: Sandbox(workers=2, wall_seconds=4.0, cpu_seconds=1.0, memory_mb=256))
    modules = (code_functions, code_cruxeval, code_stdio)
    originals = [module.sandbox for module in modules]
    for module in modules:
        module.sandbox = box
    yield
    box().close()
    for module, original in zip(modules, originals, strict=True):
        module.sandbox = original


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """All cases in one call, as a batch of rollouts is graded; without isolation only those that touch nothing."""
    isolated = code_functions.sandbox().level in ISOLATED
    cases = [case for case in CASES if isolated or not case.name.startswith(MACHINE)]
    responses = [f"Here it is.\n```python\n{case.code}\n```\nDone." if case.fenced else case.code for case in cases]
    graded = grade_code([case.problem for case in cases], responses)
    return dict(zip([case.name for case in cases], graded, strict=True))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_verdict(verdicts: dict[str, Verdict], case: Bad) -> None:
    if case.name not in verdicts:
        pytest.skip(f"level {code_functions.sandbox().level} lets programs see the machine")
    verdict = verdicts[case.name]
    assert verdict.status in case.status.split("|")
    assert verdict.score == float(verdict.status == "pass")
    assert verdict.grader == "code" and verdict.grader_version
    assert verdict.sandbox or verdict.status == "no_answer"


def test_every_number_has_a_case() -> None:
    found = {int(case.name.split()[0]) for case in CASES}
    assert found == set(range(46)), set(range(46)) ^ found
    assert len({case.name for case in CASES}) == len(CASES)


def test_46_slow_but_right_under_many_workers() -> None:
    code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n" + RIGHT
    original = code_functions.sandbox
    with Sandbox(workers=16, wall_seconds=3.0, cpu_seconds=2.0) as box:
        code_functions.sandbox = lambda: box
        try:
            # on two busy processors they need more than the wall limit together, but not each alone
            graded = grade_code([ADD] * 16, [f"```python\nx = {i}\n{code}```" for i in range(16)])
        finally:
            code_functions.sandbox = original
    assert [verdict.status for verdict in graded] == ["pass"] * 16


def test_nothing_is_left_running(verdicts: dict[str, Verdict]) -> None:
    sleepers = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        sleepers += [path] if parent == os.getpid() else []
    assert len(sleepers) <= 4  # the workers, and a pool of another module
