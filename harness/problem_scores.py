"""Scores of one evaluation problem by problem, as arrays: what comparisons are made of.

They come from verdicts, or from the condensed form that `harness.score_file` keeps of them; both give the same numbers.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Questions:
    """The problems of an evaluation in the order of their ids. Evaluations of the same problems share one object."""

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    levels: tuple[int | None, ...]
    _places: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _ids: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def places(self, split: str) -> np.ndarray:
        """Positions of the problems of a split."""
        if split not in self._places:
            self._places[split] = np.flatnonzero([own == split for own in self.splits])
        return self._places[split]

    def ids_of(self, split: str) -> np.ndarray:
        """Ids of a split; the same array every time."""
        if split not in self._ids:
            self._ids[split] = np.array(self.ids, dtype=object)[self.places(split)]
        return self._ids[split]

    @property
    def line(self) -> bytes:
        """What `questions` makes it of."""
        return line(self.ids, self.splits, self.levels)

    @cached_property
    def known_splits(self) -> frozenset[str]:
        """Splits that have problems."""
        return frozenset(self.splits)

    @cached_property
    def level_array(self) -> np.ndarray:
        """Levels; -1 where a problem has none."""
        return np.array([-1 if level is None else level for level in self.levels])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One suite evaluated at one moment of one run, with an entry for each of `questions`.

    `scored`: samples with a score; `passed`: those of score 1; `means`: mean score of the scored samples, None where
    every score is 0 or 1, so that passed / scored is the mean. `graders` holds (grader, version) pairs.
    """

    questions: Questions
    samples: int
    scored: np.ndarray
    passed: np.ndarray
    means: np.ndarray | None
    statuses: dict[str, int]
    truncated: int
    graders: frozenset[tuple[str, str]]
    sandboxes: frozenset[str]
    data_hash: str | None
    ledger: dict[str, float]

    @property
    def score(self) -> np.ndarray:
        """Mean score of each problem; NaN where no sample is scored."""
        if self.means is not None:
            return self.means
        with np.errstate(invalid="ignore"):
            return self.passed / self.scored

    def ids(self, split: str) -> frozenset[str]:
        """Ids of the problems of a split."""
        return frozenset(self.questions.ids_of(split))

    @cached_property
    def problems(self) -> pd.DataFrame:
        """The same as a table: index = problem id; columns split, level, score, scored, passed."""
        import pandas as pd

        return pd.DataFrame(
            {
                "split": self.questions.splits,
                "level": self.questions.levels,
                "score": self.score,
                "scored": self.scored.astype(int),
                "passed": self.passed.astype(int),
            },
            index=pd.Index(self.questions.ids, name="problem"),
        )


def line(ids: Sequence[str], splits: Sequence[str], levels: Sequence[int | None]) -> bytes:
    """Problems as a JSON object on one line; equal problems have equal lines."""
    return json.dumps({"ids": ids, "splits": splits, "levels": levels}).encode()


def condense(rows: Sequence[Row]) -> tuple[bytes, Row]:
    """(`line` of the problems, scores) of the verdicts of one suite and moment; `decode` makes an Evaluation of them.

    A sample that was graded again is appended again: its last verdict holds. Raises ValueError where samples are
    missing, a problem is in two splits, or a score is no finite number: such verdicts have no condensed form.
    """
    last = {(row["problem"], row["sample"]): row for row in rows}
    by_problem: dict[str, list[Row]] = {}
    for row in last.values():
        by_problem.setdefault(row["problem"], []).append(row)
    ids = sorted(by_problem)
    counts = {len(by_problem[name]) for name in ids}
    splits = [{row.get("split", "eval") for row in by_problem[name]} for name in ids]
    scores = [[row["score"] for row in by_problem[name] if row["score"] is not None] for name in ids]
    if len(counts) != 1 or any(len(own) > 1 for own in splits):
        raise ValueError("the problems have unequal numbers of samples, or are in two splits")
    if not all(math.isfinite(score) for own in scores for score in own):
        raise ValueError("a score is no finite number")
    scored = [len(own) for own in scores]
    means = [math.fsum(own) / len(own) if own else None for own in scores]
    passed = [sum(score >= 1.0 for score in own) for own in scores]
    plain = all(not n or mean == hits / n for n, mean, hits in zip(scored, means, passed, strict=True))
    (k,) = counts
    found = last.values()
    levels = [by_problem[name][0].get("level") for name in ids]
    return line(ids, [own.pop() for own in splits], levels), {
        "k": k,
        "scored": k if scored == [k] * len(scored) else scored,
        "passed": passed,
        "means": None if plain else means,
        "statuses": dict(sorted(Counter(str(row["status"]) for row in found).items())),
        "truncated": sum(bool(row.get("truncated")) for row in found),
        "graders": sorted({(str(row.get("grader")), str(row.get("grader_version"))) for row in found}),
        "sandboxes": sorted({str(row.get("sandbox")) for row in found}),
    }


def questions(line: bytes, shared: dict[bytes, Questions]) -> Questions:
    """Of a `line` of theirs. `shared` has those that were made before, by their line, and takes up new ones."""
    if line not in shared:
        problems = json.loads(line)
        shared[line] = Questions(tuple(problems["ids"]), tuple(problems["splits"]), tuple(problems["levels"]))
    return shared[line]


def decode(asked: Questions, scores: Mapping[str, Any], data_hash: str | None, ledger: dict[str, float]) -> Evaluation:
    """From scores as `condense` gives them; what many evaluations have alike is kept once."""
    size = len(asked.ids)
    scored = scores["scored"]
    return Evaluation(
        questions=asked,
        samples=scores["k"] * size,
        scored=_constant(scored, size) if isinstance(scored, int) else np.array(scored, dtype=np.uint16),
        passed=np.array(scores["passed"], dtype=np.uint16),
        means=None if scores["means"] is None else np.array(scores["means"], dtype=float),
        statuses=scores["statuses"],
        truncated=scores["truncated"],
        graders=_pairs(tuple(map(tuple, scores["graders"]))),
        sandboxes=_texts(tuple(scores["sandboxes"])),
        data_hash=data_hash,
        ledger=ledger,
    )


def encode(found: Evaluation) -> dict[str, Any]:
    """What `decode` makes it of, as `condense` gives it."""
    size = len(found.questions.ids)
    k = found.samples // size
    scored = found.scored.tolist()
    return {
        "k": k,
        "scored": k if scored == [k] * size else scored,
        "passed": found.passed.tolist(),
        "means": found.means if found.means is None else [None if x != x else x for x in found.means.tolist()],
        "statuses": found.statuses,
        "truncated": found.truncated,
        "graders": sorted(found.graders),
        "sandboxes": sorted(found.sandboxes),
    }


@lru_cache(maxsize=1024)
def _constant(value: int, size: int) -> np.ndarray:
    found = np.full(size, value, dtype=np.uint16)
    found.flags.writeable = False
    return found


_pairs = lru_cache(maxsize=1024)(frozenset)
_texts = lru_cache(maxsize=1024)(frozenset)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Mean scores [runs, problems] of the problems that every run has scored, with their ids (ascending) and levels."""

    ids: np.ndarray
    levels: np.ndarray
    values: np.ndarray

    @property
    def empty(self) -> bool:
        return self.values.shape[1] == 0

    def at_level(self, level: int) -> Matrix:
        """Its problems of one level."""
        chosen = self.levels == level
        return Matrix(self.ids[chosen], self.levels[chosen], self.values[:, chosen])


def matrix(evaluations: Sequence[Evaluation], split: str) -> Matrix:
    """The scores of several runs on one suite and split."""
    asked = evaluations[0].questions
    if all(found.questions is asked for found in evaluations):
        places = asked.places(split)
        ids, levels = asked.ids_of(split), asked.level_array[places]
        if any(found.means is not None for found in evaluations):
            values = np.array([found.score[places] for found in evaluations])
        else:
            with np.errstate(invalid="ignore"):
                passed, scored = ([getattr(found, key) for found in evaluations] for key in ("passed", "scored"))
                values = np.array(passed)[:, places] / np.array(scored)[:, places]
    else:
        shared = sorted(set.intersection(*(set(found.ids(split)) for found in evaluations)))
        ids = np.array(shared, dtype=object)
        rows = [dict(zip(found.questions.ids, found.score, strict=True)) for found in evaluations]
        known = dict(zip(asked.ids, asked.level_array, strict=True))
        levels = np.array([known[name] for name in shared], dtype=int)
        values = np.array([[row[name] for name in shared] for row in rows]).reshape(len(evaluations), len(shared))
    unknown = np.isnan(values).any(axis=0)
    if unknown.any():
        ids, levels, values = ids[~unknown], levels[~unknown], values[:, ~unknown]
    return Matrix(ids, levels, values)


def paired(first: Matrix, second: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Their values on the problems that both have, in the same order."""
    if first.ids is second.ids:
        return first.values, second.values
    places = {name: place for place, name in enumerate(second.ids)}
    shared = [(i, places[name]) for i, name in enumerate(first.ids) if name in places]
    left, right = ([pair[side] for pair in shared] for side in (0, 1))
    return first.values[:, left], second.values[:, right]
