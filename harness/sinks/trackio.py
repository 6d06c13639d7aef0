"""trackio: a database under TRACKIO_DIR, or the server of TRACKIO_SPACE_ID or TRACKIO_SERVER_URL.

It keeps what it cannot send, sends it later, and warns of that itself on standard error, without an exception.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from os import devnull
from typing import Any

from harness.sinks.base import RunInfo


@contextmanager
def _quiet() -> Iterator[None]:
    """It prints to standard output, where the run's own progress is."""
    with open(devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


class Writer:
    """A run of a project is known there by its name."""

    errors: tuple[type[Exception], ...] = (OSError, sqlite3.Error)
    place = ""

    def check(self) -> None:
        """Its settings are read at the start."""

    def start(self, run: RunInfo, memory: dict[str, Any]) -> None:
        import httpx
        import trackio

        self.errors = (OSError, sqlite3.Error, httpx.HTTPError)
        try:
            with _quiet():
                self.run = trackio.init(
                    project=run.experiment,
                    name=run.run_id,
                    config=dict(run.spec),
                    resume="allow" if "id" in memory else "never",
                    embed=False,
                    auto_log_cpu=False,
                    auto_log_gpu=False,
                )
        except ValueError as problem:
            raise ValueError(f"--log trackio: {problem}") from None
        if memory.get("id") != self.run.id:  # new, or its database is gone
            memory.clear()
            memory["id"] = self.run.id
        self.place = f"project {run.experiment} (trackio show --project {run.experiment})"

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        self.run.log(dict(values), step=step)

    def close(self, done: bool) -> None:
        import trackio

        with _quiet():
            trackio.finish()
