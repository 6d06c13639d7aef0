"""Hands a run's records on to sinks, each record once, and lives on when a sink does not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from harness.sinks import load
from harness.sinks.base import RunInfo, Sink
from harness.sinks.records import Record, of_evaluation, of_step, stored
from harness.store import RunDir, read_json, write_json

LONGEST = 300  # characters of what a library says of its failure


class Feed:
    """The sinks of one attempt. What each of them was sent is kept in sinks.json of the run directory.

    A resumed run repeats the steps since its newest checkpoint: a sink that has them already is not told again. (With a
    budget of seconds they may differ; it then keeps the first ones. TensorBoard's files are written anew every time.)
    """

    def __init__(self, names: Sequence[str], run: RunInfo, say: Callable[[str], None]) -> None:
        self.run = run
        self.say = say
        self.names = tuple(dict.fromkeys(names))
        self.sinks: dict[str, Sink] = {}  # those that are open
        self.path = run.path / "sinks.json"
        self.memories: dict[str, Any] = read_json(self.path) if self.names and self.path.exists() else {}

    def open(self) -> None:
        """Connects. ValueError if the user has to do something first."""
        for name in self.names:
            sink, memory = load(name), self.memories.setdefault(name, {})
            with self._guard(name, sink):
                held = sink.start(self.run, memory)
                held = memory["step"] = memory.get("step", -1) if held is None else held
                known = memory.get("evaluations", {}).items()
                memory["evaluations"] = {key: step for key, step in known if step <= held}
                self.sinks[name] = sink
                self.say(f"log {name}: {_without_secrets(sink.place)}")
        self._remember()

    def catch_up(self) -> None:
        """Sends what the files hold and a sink lacks: all, where a run began without it."""
        records = stored(RunDir(self.run.path), self.run.began) if self.sinks else []
        self._send(records)

    def metrics(self, line: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        self._send([of_step(line, timing, self.run.began)])

    def evaluation(self, key: str, suites: Mapping[str, Any]) -> None:
        self._send([of_evaluation(key, suites, self.run.began)])

    def close(self, done: bool) -> None:
        for name, sink in list(self.sinks.items()):
            with self._guard(name, sink):
                sink.close(done)

    def _send(self, records: Sequence[Record]) -> None:
        for name, sink in list(self.sinks.items()):
            memory = self.memories[name]
            for record in records:
                if not _held(memory, record):
                    with self._guard(name, sink, record.step):
                        sink.log(record.step, record.values, record.time)
                        _note(memory, record)
                if name not in self.sinks:
                    break
        self._remember()

    @contextmanager
    def _guard(self, name: str, sink: Sink, step: int | None = None) -> Iterator[None]:
        """Leaves a sink out that fails, and says so."""
        try:
            yield
        except sink.errors as problem:
            self.sinks.pop(name, None)
            reason = " ".join(_without_secrets(f"{type(problem).__name__}: {problem}").split())[:LONGEST]
            since = "" if step is None else f" from step {step} on"
            again = shlex.join(["harness", "show", str(self.run.path), "--log", name])
            self.say(
                f"warning: --log {name} failed and is left out{since} ({reason}); the run itself goes on. "
                f"Send what is missing with: {again}"
            )

    def _remember(self) -> None:
        if self.memories:
            write_json(self.path, self.memories)


def _held(memory: Mapping[str, Any], record: Record) -> bool:
    """Whether a sink has the record. Its last step may be there without the evaluation after it."""
    known = record.evaluation is None or record.evaluation in memory["evaluations"]
    return known and record.step <= memory["step"]


def _note(memory: dict[str, Any], record: Record) -> None:
    memory["step"] = max(memory["step"], record.step)
    if record.evaluation is not None:
        memory["evaluations"][record.evaluation] = record.step


def _without_secrets(text: str) -> str:
    """Addresses without user and password, and without tokens."""
    return re.sub(r"((?:token|key|password)=)[^&\s]+", r"\1...", re.sub(r"//[^/\s@]+@", "//...@", text))


def info(directory: RunDir, manifest: Mapping[str, Any]) -> RunInfo:
    """ValueError if the directory is none of a training run."""
    try:
        return RunInfo(directory.path, manifest["spec"], float(manifest["attempts"][0]["started"]))
    except (KeyError, IndexError):
        raise ValueError(f"{directory.path} is no training run: name a directory that `harness run` made") from None


def publish(names: Sequence[str], directory: RunDir, say: Callable[[str], None]) -> None:
    """Sends what the files of a run hold, finished or not, to sinks that lack it.

    ValueError if a process is writing to the run, which it then may log itself.
    """
    run = info(directory, directory.manifest)
    with directory.writer():
        feed = Feed(names, run, say)
        try:
            feed.open()
            feed.catch_up()
        finally:
            feed.close(directory.done)
