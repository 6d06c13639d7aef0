"""Answers of the model to lm-eval, one JSONL file a task: what an interrupted evaluation does not ask again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.store import RunDir, append_lines, keep_lines, read_lines

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

FRACTION = 0.0  # in file names; a model that is evaluated by itself is at no point of a budget


class Key(NamedTuple):
    """One request: document `problem` of a task, its choice, and which of the repeats. `digest`: of what is asked."""

    task: str
    problem: int
    choice: int
    sample: int
    digest: str


def keys(requests: Sequence[Instance]) -> list[Key]:
    """A key for every request; the n-th time that the same one is in the list is its sample n."""
    seen: Counter[tuple[str, int, int]] = Counter()
    found = []
    for request in requests:
        place = (request.task_name or "", request.doc_id or 0, request.idx)
        content = json.dumps([request.request_type, *request.args], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        found.append(Key(*place, seen[place], digest))
        seen[place] += 1
    return found


def file_name(task: str) -> str:
    return task.replace("/", "--")


class Answers:
    """A store in the directory of a run, or in memory alone. Each answer is written once and whole."""

    def __init__(self, directory: RunDir | None = None) -> None:
        self.directory = directory
        self._stored: dict[str, dict[Key, dict[str, Any]]] = {}

    def get(self, key: Key) -> dict[str, Any] | None:
        """The stored answer to this request."""
        return self._of(key.task).get(key)

    def add(self, asked: Sequence[Key], answers: Sequence[Mapping[str, Any]]) -> None:
        """Stores answers, before anything is computed from them."""
        records: dict[str, list[dict[str, Any]]] = {}
        for key, answer in zip(asked, answers, strict=True):
            self._of(key.task)[key] = dict(answer)
            records.setdefault(key.task, []).append({**key._asdict(), **answer})
        if self.directory is not None:
            for task, rows in records.items():
                append_lines(self.directory.generations(file_name(task), FRACTION), rows)

    def _of(self, task: str) -> dict[Key, dict[str, Any]]:
        if task not in self._stored:
            rows = []
            if self.directory is not None:
                path = self.directory.generations(file_name(task), FRACTION)
                rows = read_lines(path)
                keep_lines(path, rows)  # without a torn last line
            self._stored[task] = {Key(*(row[field] for field in Key._fields)): row for row in rows}
        return self._stored[task]
