"""Ends a run whose phase outlasts its deadline, with the stacks of all threads, instead of waiting for ever."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Watchdog:
    """`with watchdog.phase():` must end within `deadline` seconds, else the stacks go to `stream` and the process exits
    with code 1. The timer is C code: it fires even when Python is stuck in a call that holds the interpreter lock."""

    def __init__(self, deadline: float, stream: TextIO) -> None:
        self.deadline = deadline
        self.stream = stream

    @contextmanager
    def phase(self) -> Iterator[None]:
        faulthandler.dump_traceback_later(self.deadline, exit=True, file=self.stream)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
