"""A phase that hangs ends the process with the stacks in the log; one that ends in time leaves no trace."""

from __future__ import annotations

import subprocess
import sys
import time

SCRIPT = """
import sys, time
from harness.watchdog import Watchdog
with open(sys.argv[1], "w") as log:
    watchdog = Watchdog(1.0, log)
    with watchdog.phase():
        pass
    time.sleep(1.5)
    log.write("outlived the first phase\\n")
    log.flush()
    with watchdog.phase():
        def stuck_in_here():
            time.sleep(600)
        stuck_in_here()
print("never")
"""


def test_a_stuck_phase_exits_1_with_stacks(root, tmp_path):
    log = tmp_path / "log"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(log)], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert time.monotonic() - started > 2.5
    first, rest = log.read_text().split("\n", 1)
    assert first == "outlived the first phase"
    assert "Timeout" in rest and "stuck_in_here" in rest
    assert "never" not in done.stdout
