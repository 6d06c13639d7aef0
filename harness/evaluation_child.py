"""The process that samples and grades for `harness eval`; started and watched by `harness.supervisor`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BEAT_EVERY = 1.0  # seconds between signs of life, at least


def encode(options: argparse.Namespace) -> dict[str, Any]:
    """Options as plain JSON values, to be read by `decode`."""
    return {key: {"path": str(value)} if isinstance(value, Path) else value for key, value in vars(options).items()}


def decode(values: dict[str, Any]) -> argparse.Namespace:
    return argparse.Namespace(
        **{key: Path(value["path"]) if isinstance(value, dict) else value for key, value in values.items()}
    )


def main() -> None:
    """Reads one line of JSON, {"options", "messages"}, evaluates, and writes a line of JSON for everything it tells.

    Messages go to the file descriptor "messages": {"say": text}, {"report": [...]}, {"beat": true}, {"error": text}
    for a user's error, {"done": true} at the end. The process interrupts itself when its standard input ends, which is
    when the one that started it is gone.
    """
    given = json.loads(sys.stdin.readline())
    os.set_inheritable(given["messages"], False)
    channel = os.fdopen(given["messages"], "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")

    from harness.cli import is_user_error

    try:
        _evaluate(decode(given["options"]), tell)
    except ValueError as problem:
        if not is_user_error(problem):
            raise
        tell(error=str(problem))
        return
    tell(done=True)


def _end_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)


def _evaluate(options: argparse.Namespace, tell: Any) -> None:
    from harness import evaluation_run
    from harness.commands.evaluate import prepare
    from harness.watchdog import Watchdog

    chosen, directory = prepare(options)
    watchdog = Watchdog(chosen.spec.runtime.deadline, sys.stderr)
    beaten = float("-inf")

    @contextmanager
    def guard() -> Iterator[None]:
        nonlocal beaten
        if time.monotonic() - beaten >= BEAT_EVERY:
            tell(beat=True)
            beaten = time.monotonic()
        with watchdog.phase():
            yield

    def say(text: str) -> None:
        tell(say=text)

    def report(*numbers: float) -> None:
        tell(report=numbers)

    evaluation_run.execute(chosen, options.split, directory, say, report, guard)
