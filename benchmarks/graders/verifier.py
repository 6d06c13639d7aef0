"""Compares expressions in a process of its own: run as `python -m benchmarks.graders.verifier CPU_SECONDS MEMORY_MB`.

A request on stdin is an 8-byte big-endian length and a JSON list of (gold, answer, rules). The reply is one byte for
each: "1" equal, "0" not. The work is done by a forked child, which the kernel ends when one comparison uses up its CPU
time; the parent process, which never parses anything, then writes "T" (time), "C" (crash) or "K" (ended from outside)
in place of the reply. After these, and after "M" (out of memory), the rest of the request is lost and a new child takes
the next one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import NoReturn

from benchmarks.graders import symbolic
from benchmarks.graders.comparison import Comparison, Rules

READY = b"R"
_RENEW = 3  # exit status of a child that ran out of memory
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_WARM_UP = (
    (r"\frac{\sqrt{3}}{2}+\log_2 x", r"\frac{1}{2}\sqrt{3}+\log_2 x"),
    ("[1,2)", r"1\le x<2"),
    (r"\pi^{2}", "9.87"),
)


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size and (part := os.read(0, size - len(data))):
        data += part
    return data


def serve(cpu_seconds: float) -> NoReturn:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while head := _read(8):
        for gold, answer, rules in json.loads(_read(int.from_bytes(head, "big"))):
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            try:
                reply = b"1" if Comparison(Rules(*rules), symbolic.equal).equal(gold, answer) else b"0"
            except MemoryError:
                os.write(1, b"M")
                os._exit(_RENEW)
            signal.setitimer(signal.ITIMER_PROF, 0)
            os.write(1, reply)
    os._exit(0)


def main(cpu_seconds: float, memory_mb: int) -> None:
    """Fork one child after the other to serve, and report how each ended."""
    for gold, answer in _WARM_UP:
        symbolic.equal(gold, answer, 0.0, 0.0)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(1, READY)
    while True:
        pid = os.fork()
        if not pid:
            serve(cpu_seconds)
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        if os.WIFSIGNALED(status):
            code = os.WTERMSIG(status)
            os.write(1, b"T" if code == signal.SIGPROF else b"C" if code in _CRASHES else b"K")
        elif os.WEXITSTATUS(status) != _RENEW:
            os.write(1, b"K")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
