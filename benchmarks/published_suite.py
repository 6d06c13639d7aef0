"""A published suite: its definition, its problems on demand, and its grader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import definition, grading, rows, sources
from benchmarks.base import SPLITS, Problem, Suite, Verdict, digest


class PublishedSuite(Suite):
    """The suite that `file` defines, with rows from `data_dir`, or from the hub without one.

    Nothing is read but the definition until problems are asked for. `revision` is a commit of the hub's data set that
    replaces the definition's. ValueError in one sentence for a bad definition and for missing or other data.
    """

    def __init__(self, file: Path, data_dir: Path | None = None, revision: str | None = None) -> None:
        self.definition = definition.read(file)
        grading.check(self.definition.grader)
        if self.definition.format not in rows.FORMATS:
            known = ", ".join(rows.FORMATS)
            raise ValueError(f"{file}: unknown format {self.definition.format!r}: choose from {known}")
        self.name = self.definition.name
        self.domain = self.definition.domain
        self.summary = self.definition.summary
        self.presets = self.definition.presets
        self.macro = self.definition.macro
        self.instruction = self.definition.instruction
        self.size = self.definition.rows
        self.data_dir = data_dir
        self.revision = revision or (self.definition.hub.revision if self.definition.hub else None)
        if revision is not None:
            self._check_revision(revision)
        self._given = revision
        self._loaded: dict[str, list[Problem]] = {}

    def _check_revision(self, revision: str) -> None:
        if self.definition.hub is None:
            raise ValueError(f"suite {self.name} is not read from the hub: leave out @{revision}")
        if not definition.COMMIT.fullmatch(revision):
            raise ValueError(f"{self.name}@{revision} names no commit: give its 40 hex digits")

    @property
    def sha256(self) -> tuple[str, ...]:
        """Of the known local files, in the order of the definition."""
        return tuple(file.sha256 for file in self.definition.files if file.sha256)

    def identity(self) -> dict[str, Any]:
        """What the suite's scores depend on, except the rows themselves: plain values to hash and to store."""
        return {
            "definition": self.definition.digest(),
            "revision": self.revision if self.data_dir is None else None,
            "grader": self.definition.grader,
            "grader_version": self.definition.grader_version,
        }

    def problems(self, split: str, n: int, seed: int, levels: Sequence[int] | None = None) -> list[Problem]:
        """All of `split` in file order if there are no more than `n`, else `n` of them drawn by `seed`.

        Published suites have no split ood; train exists where files for it are known. `levels` are of procedural suites
        and change nothing.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        if split not in self.definition.splits:
            return []
        if split not in self._loaded:
            self._loaded[split] = self._load(split)
        found = self._loaded[split]
        if n >= len(found):
            return list(found)
        return sorted(found, key=lambda problem: digest(split, seed, problem.id))[:n]

    def _load(self, split: str) -> list[Problem]:
        table = sources.load(self.definition, split, self.data_dir, self._given)
        parse = rows.named(rows.FORMATS, self.definition.format, "format")
        found: dict[str, Problem] = {}
        for number, (file, row) in enumerate(table):
            try:
                problem = parse(row)
            except (ValueError, SyntaxError) as fault:
                raise ValueError(
                    f"row {number} of {Path(file.path).name} {fault}: it is not the file of suite {self.name}"
                ) from None
            if problem is None or not _in_range(problem.id, file.ids):
                continue
            problem = replace(problem, suite=self.name, split=split, family=file.family or problem.family)
            if self.definition.families and problem.family not in self.definition.families:
                continue
            problem = replace(problem, id=self._identity(problem, found), instruction=self._instruction())
            found[problem.id] = problem
        if split == "eval" and len(found) != self.definition.rows and any(file.rows is None for file, _ in table):
            raise ValueError(
                f"the data of suite {self.name} give {len(found)} problems instead of {self.definition.rows}: "
                f"{sources.advice(self.definition)}"
            )
        return list(found.values())

    def _identity(self, problem: Problem, taken: Mapping[str, Problem]) -> str:
        """The row's own number or a digest of its content; a number is added where it repeats."""
        content = f"{digest(problem.prompt):016x}"[:12]
        own = problem.id.removeprefix(f"{self.name}/") or content
        first = identity = f"{self.name}-{own}"
        count = 1
        while identity in taken:
            count += 1
            identity = f"{first}-{count}"
        return identity

    def _instruction(self) -> str:
        return f"\n\n{self.instruction}" if self.instruction else ""

    def demonstration(self, problem: Problem, variant: int = 0, wrong: bool = False) -> str:
        if not problem.demonstrations:
            raise ValueError(f"{problem.id} has no worked solution: train on it by reinforcement only")
        text = problem.demonstrations[variant % len(problem.demonstrations)]
        if not wrong:
            return text
        return rows.named(rows.FLAWS, self.definition.format, "flaw of format")(problem, text, variant)

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return grading.grader(self.definition.grader)(problems, responses)


def _in_range(identity: str, ids: tuple[int, int] | None) -> bool:
    """Whether the number at the end of a row's own id lies in the range."""
    if ids is None:
        return True
    number = identity.rpartition("/")[2]
    if not number.isdigit():
        raise ValueError(f"the row {identity!r} has no number: it cannot be put into a split")
    return ids[0] <= int(number) <= ids[1]
