"""An evaluation in a process of its own: all memory comes back, a hang ends, and a crash costs no finished sample."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from harness.evaluation_child import BEAT_EVERY, encode
from harness.store import RunDir, read_lines

GRACE = 30.0  # seconds beyond the deadline until a process that did not end itself is killed
PATIENCE = 10.0  # seconds that a process has to end once it is interrupted or has done its work
LOOK_EVERY = 0.5  # seconds between two looks at whether the process is still there

# the modules are found where this process found them
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from harness.evaluation_child import main; main()"


class Failed(RuntimeError):
    """The process ended without finishing; the message is a sentence for the user."""


def evaluate(
    options: argparse.Namespace, directory: RunDir, deadline: float, say: Callable[[str], None], report: Callable
) -> None:
    """Runs the evaluation of `harness eval`'s `options`, which writes to `directory`, and passes on what it tells.

    `deadline`: seconds that loading, sampling some, or grading a suite may take. ValueError for a user's error, Failed
    if the process hangs, crashes or is killed. KeyboardInterrupt passes through when the process has ended.
    """
    log = _new_log(directory)
    reader, writer = os.pipe()
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            pass_fds=(writer,),
            start_new_session=True,  # Ctrl-C reaches it from here, once
        )
    os.close(writer)
    watched = _Watched(child, os.fdopen(reader, "rb", buffering=0), say, report)
    try:
        watched.start({"options": encode(options), "messages": writer})
        watched.listen(deadline + GRACE)
    except BaseException:
        child.send_signal(signal.SIGINT)
        raise
    finally:
        watched.end()
        if not log.stat().st_size:
            log.unlink()
    if watched.error is not None:
        _tidy(directory, log)
        raise ValueError(watched.error)
    if not watched.done:
        raise Failed(_sentence(child.returncode, watched.silence, deadline, directory, log))


class _Watched:
    """The process and what it has told."""

    def __init__(
        self, child: subprocess.Popen[bytes], messages: IO[bytes], say: Callable[[str], None], report: Callable
    ) -> None:
        self.child = child
        self.messages = messages
        self.say = say
        self.report = report
        self.heard = time.monotonic()
        self.silence = 0.0  # seconds from the last message to the end
        self.done = False
        self.error: str | None = None

    def start(self, task: dict[str, Any]) -> None:
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, which `listen` finds out
            self.child.stdin.write(json.dumps(task).encode() + b"\n")
            self.child.stdin.flush()

    def listen(self, longest: float) -> None:
        """Until the process has ended, is done or has failed; it is killed when silent for `longest` seconds."""
        rest = b""
        while not self.done and self.error is None:
            ended = self.child.poll() is not None  # asked first: what it wrote before is then read below
            ready, _, _ = select.select([self.messages], [], [], 0 if ended else LOOK_EVERY)
            block = self.messages.read(2**16) if ready else b""
            if block:
                self.heard = time.monotonic()
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
            elif ended:
                break
            elif time.monotonic() - self.heard > longest:
                self.child.kill()
                break
            elif ready:
                time.sleep(LOOK_EVERY)  # the pipe is closed, the process about to end
        self.silence = time.monotonic() - self.heard

    def _take(self, message: dict[str, Any]) -> None:
        if "say" in message:
            self.say(message["say"])
        elif "report" in message:
            self.report(*message["report"])
        elif "error" in message:
            self.error = message["error"]
        elif "done" in message:
            self.done = True

    def end(self) -> None:
        """Waits a little for the process, then kills it."""
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        finally:
            assert self.child.stdin is not None
            self.child.stdin.close()
            self.messages.close()


def _new_log(directory: RunDir) -> Path:
    folder = directory.path / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / f"evaluation_{number}.log"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path


def _tidy(directory: RunDir, log: Path) -> None:
    """Leaves no trace of an evaluation that never began."""
    log.unlink(missing_ok=True)
    for folder in (log.parent, directory.path):
        with suppress(OSError):  # there is something in it
            folder.rmdir()


def _sentence(code: int, silence: float, deadline: float, directory: RunDir, log: Path) -> str:
    stored = sum(len(read_lines(path)) for path in (directory.path / "generations").glob("*.jsonl"))
    after = f"{stored:,} finished samples are stored, and the same command goes on from them ({directory.path})"
    # the watchdog ends the process with code 1; without a watchdog's chance it was killed from here
    if silence >= deadline - 2 * BEAT_EVERY and code in (1, -signal.SIGKILL):
        return (
            f"nothing happened for {silence:.0f} seconds, so it was stopped: the stacks are in {log}; "
            f"--deadline gives it longer; {after}"
        )
    if code == -signal.SIGKILL:
        return f"its process was killed, as the system does when memory runs out: {after}"
    if code < 0:
        return f"its process ended with {signal.Signals(-code).name}: see {log}; {after}"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"{lines[-1] if lines else 'it ended without a word'}: see {log}; {after}"
