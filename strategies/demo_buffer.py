"""A bounded buffer of demonstrations, newest first, that survives as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from strategies.rows import Role, Row

TEXT = ("problem", "suite")
TOKENS = ("prompt", "response", "steps")


class DemoBuffer:
    """At most `bound` demonstrations; the oldest leave first. Rows lose what belonged to their step."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.rows: list[Row] = []

    def __len__(self) -> int:
        return len(self.rows)

    def push(self, rows: Sequence[Row]) -> None:
        """Puts `rows` in front, in their order."""
        fresh = [replace(row, group=0, given_logp=None) for row in rows]
        self.rows = [*fresh, *self.rows][: self.bound]

    def take(self, n: int) -> tuple[Row, ...]:
        """The `n` newest rows, which leave the buffer, each a group of its own; nothing if there are fewer."""
        if len(self.rows) < n:
            return ()
        taken, self.rows = self.rows[:n], self.rows[n:]
        return tuple(replace(row, group=i) for i, row in enumerate(taken))

    def state(self) -> list[dict[str, Any]]:
        """The rows as JSON values."""
        return [
            {name: getattr(row, name) for name in (*TEXT, "reward", "truncated")}
            | {name: list(getattr(row, name)) for name in TOKENS}
            for row in self.rows
        ]

    def load(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Restores what `state` gave."""
        self.rows = [
            Row(**{**row, **{name: tuple(row[name]) for name in TOKENS}}, group=0, role=Role.DEMO) for row in state
        ]
