"""Threads that take (work, future) pairs from a queue until they meet None, as the pools of processes have them."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Sequence


def end(owner: int, tasks: queue.SimpleQueue, threads: Sequence[threading.Thread]) -> bool:
    """Cancels what waits, ends the threads, and says whether this process, and not a fork of `owner`, had them."""
    if os.getpid() != owner:
        return False
    with contextlib.suppress(queue.Empty):
        while True:
            tasks.get_nowait()[1].cancel()
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.join()
    return True
