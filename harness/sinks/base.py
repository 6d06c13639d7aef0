"""What a sink is: one service that is told of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class RunInfo:
    """What services are told of a run. `began`: Unix time of its first attempt."""

    path: Path
    spec: Mapping[str, Any]
    began: float

    @property
    def run_id(self) -> str:
        return self.path.resolve().name

    @property
    def experiment(self) -> str:
        return str(self.spec["experiment"])


class Sink(Protocol):
    """One service. Its library is imported in `check` and `start` only.

    `errors`: what the library raises when its service, network or disk fails; everything else is a fault of ours.
    `place`: where the data are to be seen, after `start`.
    """

    errors: tuple[type[Exception], ...]
    place: str

    def check(self) -> None:
        """ValueError if the settings cannot work; the library is there."""

    def start(self, run: RunInfo, memory: dict[str, Any]) -> int | None:
        """Opens the run, the one that `memory` names if there is one; `memory` is plain JSON, kept beside the run.

        Returns the last step that the service says it holds, -1 if it holds none; None if it cannot say.
        ValueError if the user has to do something first.
        """

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Finite numbers by name at an optimiser step. Several calls a step have names of their own. `time` is Unix."""

    def close(self, done: bool) -> None:
        """Sends what is left; `done`: the run is complete, otherwise it may be resumed."""


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with names joined by dots."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
