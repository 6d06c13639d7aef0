"""Stored generations graded once more, by the graders of today. Needs no model: problems come from their suites."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.base import Problem, Suite, Verdict
from harness import rescore_store, samples
from harness.evaluate import data_hash
from harness.run_report import evaluations
from harness.scores import by_family, summarise, verdict_row
from harness.spec import RunSpec
from harness.store import RunDir, append_lines, keep_lines, read_lines

BATCH = 1024  # samples graded and stored together

Row = dict[str, Any]
Report = Callable[[int, int], None]  # samples done, samples in all


@dataclass(frozen=True)
class Change:
    """A sample whose status or score is another one. `before` is None where it had no verdict."""

    suite: str
    key: str
    before: Row | None
    after: Row

    @property
    def transition(self) -> str:
        """old status -> new status"""
        return f"{self.before['status'] if self.before else 'none'} -> {self.after['status']}"


@dataclass(frozen=True)
class Regraded:
    """One suite of one evaluation: verdicts and summaries (evaluation.json's) before and after."""

    suite: str
    key: str
    before: Sequence[Row]
    after: Sequence[Row]
    old: Mapping[str, Any]
    new: Mapping[str, Any]

    @cached_property
    def changes(self) -> list[Change]:
        known = {(row["problem"], row["sample"]): row for row in self.before}
        pairs = [(known.get((row["problem"], row["sample"])), row) for row in self.after]
        return [
            Change(self.suite, self.key, before, after)
            for before, after in pairs
            if before is None or (before["status"], before["score"]) != (after["status"], after["score"])
        ]

    @property
    def different(self) -> bool:
        """Whether there is anything to write, be it a grader's version alone."""
        return list(self.before) != list(self.after) or dict(self.old) != dict(self.new)

    def transitions(self, split: str | None = None) -> dict[str, int]:
        """Numbers of changed samples by old and new status, the most frequent first."""
        chosen = (change for change in self.changes if split in (None, change.after["split"]))
        return dict(Counter(change.transition for change in chosen).most_common())

    def blocks(self) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        """(split, summary before, summary after) of the splits there are."""
        found = [("eval", self.old, self.new)] if "n" in self.old else []
        return found + ([("ood", self.old["ood"], self.new["ood"])] if "ood" in self.old else [])

    def entry(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "samples": len(self.after),
            "changed": len(self.changes),
            "transitions": self.transitions(),
            "graders_before": graders(self.before),
            "graders": graders(self.after),
            "avg_at_k": {split: [old.get("avg_at_k"), new["avg_at_k"]] for split, old, new in self.blocks()},
        }


@dataclass(frozen=True)
class Outcome:
    """What became of one directory. `number`: of the rescore in its manifest, None if nothing was written.

    `completed`: it was an earlier call that had graded everything and was killed before it had written it all.
    """

    run: RunDir
    evaluations: list[Regraded]
    number: int | None
    completed: bool = False


def graders(rows: Sequence[Row]) -> list[str]:
    """The graders behind verdicts, with their versions."""
    return sorted({f"{row.get('grader', '?')} {row.get('grader_version', '?')}" for row in rows})


def rescore(
    run: RunDir, dry_run: bool = False, only: Sequence[str] = (), report: Report = lambda done, total: None
) -> Outcome:
    """Grades every stored generation of the finished evaluations again, of the suites `only` if any are named.

    Old verdicts are kept in rescores/N/. With `dry_run` nothing is written. A call that was killed is taken up by the
    next one. ValueError in one sentence, with nothing changed, if the directory has no evaluation, its problems are
    missing or are not those of today, or another process writes to it.
    """
    spec = samples.spec_of(run)
    if dry_run:
        return Outcome(run, _grade_all(run, spec, only, False, report), None)
    with run.writer():
        finished = rescore_store.finish(run)
        if finished is not None:
            return Outcome(run, _replaced(run, finished), finished["number"], completed=True)
        found = _grade_all(run, spec, only, True, report)
        changed = [item for item in found if item.different]
        if not changed:
            rescore_store.clear(run)
            return Outcome(run, found, None)
        number = rescore_store.next_number(run)
        rescore_store.commit(
            run,
            {"number": number, "time": time.time(), "evaluations": _nested(changed, Regraded.entry)},
            [(item.suite, item.key) for item in changed],
            _nested(changed, lambda item: item.new),
        )
        return Outcome(run, found, number)


def _nested(items: Sequence[Regraded], value: Callable[[Regraded], Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        found.setdefault(item.key, {})[item.suite] = value(item)
    return found


def _replaced(run: RunDir, entry: Mapping[str, Any]) -> list[Regraded]:
    """What a rescore has changed, from the files it replaced and those it made."""
    old = rescore_store.replaced(run, entry["number"])
    before, after = evaluations(old), evaluations(run)
    return [
        Regraded(
            suite,
            key,
            read_lines(old.verdicts(suite, float(key))),
            read_lines(run.verdicts(suite, float(key))),
            before[key][suite],
            after[key][suite],
        )
        for key, suites in entry["evaluations"].items()
        for suite in suites
    ]


# ---- grading


@dataclass(frozen=True)
class _Task:
    """The stored generations of one suite and evaluation with their problems."""

    suite: Suite
    key: str
    generations: list[Row]
    problems: Mapping[str, Problem]
    summary: Mapping[str, Any]


def _grade_all(run: RunDir, spec: RunSpec, only: Sequence[str], staging: bool, report: Report) -> list[Regraded]:
    tasks = _tasks(run, spec, only)
    total = sum(len(task.generations) for task in tasks)
    done = 0
    found = []
    for task in tasks:
        path = rescore_store.staged(run, task.suite.name, task.key) if staging else None
        rows = _continued(path, task) if path else []
        for start in range(len(rows), len(task.generations), BATCH):
            report(done + start, total)
            batch = _graded(task, task.generations[start : start + BATCH])
            if path:
                append_lines(path, batch)
            rows += batch
        done += len(rows)
        report(done, total)
        before = read_lines(run.verdicts(task.suite.name, float(task.key)))
        found.append(Regraded(task.suite.name, task.key, before, rows, task.summary, _summary(task, rows)))
    return found


def _tasks(run: RunDir, spec: RunSpec, only: Sequence[str]) -> list[_Task]:
    """Everything to grade; all of it is checked before any is graded."""
    stored = evaluations(run)
    names = list(dict.fromkeys(name for summaries in stored.values() for name in summaries))
    if not names:
        raise ValueError(f"{run.path} has no finished evaluation: let it go on first")
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ValueError(f"{run.path} was not evaluated on {unknown[0]!r}: choose from {', '.join(names)}")
    suites = samples.suites_of(spec)
    problems: dict[str, dict[str, Problem]] = {}
    tasks = []
    for key, summaries in stored.items():
        for name in (name for name in summaries if not only or name in only):
            if name not in suites:
                raise ValueError(f"{run.path} was evaluated on {name}, which its specification does not name")
            if name not in problems:
                problems[name] = samples.problems_of(spec, suites[name])
            generations = read_lines(run.generations(name, float(key)))
            task = _Task(suites[name], key, generations, problems[name], summaries[name])
            _check(run, task)
            tasks.append(task)
    return tasks


def _check(run: RunDir, task: _Task) -> None:
    """ValueError if the problems of today are not those that the model was asked."""
    ids = dict.fromkeys(row["problem"] for row in task.generations)  # in the order that they were asked in
    same = bool(ids) and ids.keys() <= task.problems.keys()
    known = [task.problems[identity] for identity in ids] if same else []
    for split, block in (("eval", task.summary), ("ood", task.summary.get("ood", {}))):
        asked = [problem for problem in known if (problem.split or "eval") == split]
        # files of old versions have no hash: the ids have to do
        same = same and block.get("data_hash", wanted := data_hash(asked)) == wanted if "n" in block else same
    if not same:
        raise ValueError(
            f"the problems of suite {task.suite.name} are not those that {run.path} was evaluated on: get the data and "
            "the version of the suite of that time, nothing was changed"
        )


def _continued(path: Path, task: _Task) -> list[Row]:
    """Verdicts that a killed call has left, if the graders of today would give the same ones; else none."""
    rows = read_lines(path)
    first_of: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows[: len(task.generations)]):
        first_of.setdefault((row["grader"], row["grader_version"]), i)
    again = _graded(task, [task.generations[i] for i in first_of.values()])
    same = [(row["grader"], row["grader_version"]) for row in again] == list(first_of)
    places = [(row["problem"], row["sample"]) for row in task.generations[: len(rows)]]
    if not same or [(row["problem"], row["sample"]) for row in rows] != places:
        rows = []
    keep_lines(path, rows)  # without a torn last line
    return rows


def _graded(task: _Task, generations: Sequence[Row]) -> list[Row]:
    """Verdicts as they are stored. Equal responses to the same problem are graded once."""
    pairs = list(dict.fromkeys((row["problem"], row["text"]) for row in generations))
    if not pairs:
        return []
    graded = task.suite.grade([task.problems[problem] for problem, _ in pairs], [text for _, text in pairs])
    verdicts: dict[tuple[str, str], Verdict] = dict(zip(pairs, graded, strict=True))
    return [verdict_row(task.problems[r["problem"]], r, verdicts[r["problem"], r["text"]]) for r in generations]


def _summary(task: _Task, rows: Sequence[Row]) -> dict[str, Any]:
    """evaluation.json's entry with the new scores; what does not depend on verdicts stays."""

    def block(old: Mapping[str, Any], split: str) -> dict[str, Any]:
        k = old.get("k") or max(Counter(row["problem"] for row in rows).values())
        families = by_family(rows, split, task.suite.macro) if task.suite.presets else {}
        return {**old, **summarise(rows, split, k), **families}

    found = block(task.summary, "eval") if "n" in task.summary else dict(task.summary)
    if "ood" in task.summary:
        found["ood"] = block(task.summary["ood"], "ood")
    return found
