"""What a run says while it works: a live bar on a terminal, plain lines elsewhere, everything in the log file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, TextIO

from harness.sinks.feed import Feed

LINE_EVERY = 5.0  # seconds between plain progress lines


class Progress:
    """One line a step in the attempt's log; on the terminal as much as a reader can take."""

    def __init__(self, log: Path, kind: str, limit: float, quiet: bool = False) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log: TextIO = open(log, "a", buffering=1)  # noqa: SIM115 - closed in close()
        self.kind, self.limit, self.quiet = kind, limit, quiet
        self.started = time.monotonic()
        self.first: float | None = None
        self.shown = 0.0
        self.bar: Any = None
        self.feed: Feed | None = None  # other services that are told of the run
        if not quiet and sys.stdout.isatty():
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self.bar = Bars(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(), TimeRemainingColumn(),
            )  # fmt: skip
            self.bar.start()
            self.task = self.bar.add_task("training", total=1.0, note="")

    def note(self, text: str) -> None:
        """A message for the log alone."""
        self.log.write(f"{time.monotonic() - self.started:8.1f}s {text}\n")

    def say(self, text: str) -> None:
        """A message for both."""
        self.note(text)
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, flush=True)

    def step(self, line: dict[str, Any], timing: dict[str, float]) -> None:
        """One optimiser step, from its metrics and timing records, which are stored by now."""
        if self.feed is not None:
            self.feed.metrics(line, timing)
        text = self._text(line, timing)
        self.log.write(f"{time.monotonic() - self.started:8.1f}s {text}\n")
        if self.quiet:
            return
        fraction = line["fraction"] or 0.0
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=fraction, note=text)
        elif now - self.shown > LINE_EVERY or fraction >= 1:
            self.shown = now
            print(text + self._remaining(fraction), flush=True)

    def restored(self) -> None:
        """The run's files hold what the run goes on from."""
        if self.feed is not None:
            self.feed.catch_up()

    def evaluated(self, key: str, suites: dict[str, Any]) -> None:
        """One evaluation, from its record, which is stored by now."""
        if self.feed is not None:
            self.feed.evaluation(key, suites)

    def _remaining(self, fraction: float) -> str:
        if self.first is None:
            self.first = fraction
            self.began = time.monotonic()
            return ""
        done = fraction - self.first
        if done <= 0 or fraction >= 1:
            return ""
        return f"  {(1 - fraction) * (time.monotonic() - self.began) / done:.0f} s left"

    @staticmethod
    def _text(line: dict[str, Any], timing: dict[str, float]) -> str:
        parts = [f"step {line['step']:4d}"]
        if line["fraction"] is not None:
            parts.append(f"{100 * line['fraction']:3.0f}%")
        for key, form in (
            ("reward", ".2f"),
            ("mu", ".3f"),
            ("kl", ".4f"),
            ("entropy", ".2f"),
            ("response_length", ".0f"),
        ):
            if line.get(key) is not None:
                parts.append(f"{key} {line[key]:{form}}")
        parts.append(f"{timing['seconds']:.2f} s/step")
        return "  ".join(parts)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        self.log.close()
