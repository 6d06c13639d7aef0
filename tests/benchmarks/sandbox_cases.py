"""Cases of the sandbox tests, and the processes of this machine."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import NamedTuple

from benchmarks.sandbox import Outcome, matches

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
