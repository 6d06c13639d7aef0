"""A few graded sample generations of a run, for readers of a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from harness.compare_load import Run
from harness.run_steps import records
from harness.store import RunDir, read_json

if TYPE_CHECKING:
    from benchmarks.base import Problem

Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One response as it was graded. `prompt` is empty and `expected` None where the suite's data are not here.

    `expected`: the gold answer; None as well for a problem that has none, as programs that are tested only.
    """

    suite: str
    fraction: str
    problem: str
    split: str
    level: int | None
    prompt: str
    response: str
    expected: str | None
    status: str
    score: float | None


def examples(run: Run, wanted: int) -> list[Example]:
    """`wanted` samples of the last evaluation: suites, splits, and right and wrong responses in turn.

    From the run's directory, or its pack, which may hold fewer; none for a run that is loaded from neither. The same
    ones every time, and fewer are the first of more.
    """
    if run.packed_examples is not None:
        return [Example(**found) for found in run.packed_examples()[:wanted]]
    if run.path is None or wanted <= 0:
        return []
    fraction = run.fractions[-1]
    queues = [_turns(run, suite, fraction, i) for i, suite in enumerate(run.suites_at(fraction))]
    found: list[Example] = []
    for turn in zip_longest(*queues):
        found += [example for example in turn if example is not None]
        if len(found) >= wanted:
            break
    return found[:wanted]


def _turns(run: Run, suite: str, fraction: str, number: int) -> Iterator[Example]:
    """Samples of one suite; every second suite starts with a failure, so that few examples show both."""
    directory = RunDir(run.path)
    # the last verdict of a sample holds
    verdicts = {(row["problem"], row["sample"]): row for row in records(directory.verdicts(suite, float(fraction)))}
    generations = records(directory.generations(suite, float(fraction)))
    texts = {(row["problem"], row["sample"]): row["text"] for row in generations}
    problems = _problems(_asked(directory), suite)
    groups: dict[tuple[str, bool], list[Row]] = {}
    for place, row in verdicts.items():
        if place in texts:
            groups.setdefault((row.get("split", "eval"), row["status"] == "pass"), []).append(row)
    order = sorted(groups, key=lambda group: (group[0] != "eval", group[0], group[1] == bool(number % 2)))
    for turn in zip_longest(*(groups[group] for group in order)):
        for row in turn:
            if row is not None:
                text = texts[row["problem"], row["sample"]]
                yield _example(suite, fraction, row, text, problems.get(row["problem"]))


def _example(suite: str, fraction: str, row: Mapping[str, Any], text: str, problem: Problem | None) -> Example:
    return Example(
        suite=suite,
        fraction=fraction,
        problem=row["problem"],
        split=row.get("split", "eval"),
        level=row.get("level"),
        prompt="" if problem is None else "\n\n".join(filter(None, (problem.prompt, problem.instruction))),
        response=text,
        expected=None if problem is None else problem.answer or None,
        status=row["status"],
        score=row["score"],
    )


def _asked(directory: RunDir) -> str:
    """What the problems follow from; runs that differ in other settings share it."""
    spec = read_json(directory.path / "manifest.json")["spec"]
    return json.dumps({key: spec[key] for key in ("data", "eval") if key in spec}, sort_keys=True)


@lru_cache(maxsize=64)
def _problems(asked: str, suite: str) -> Mapping[str, Problem]:
    """Problems by id; empty where the suite or its data are not on this machine."""
    from harness import samples
    from harness import spec as specification

    try:
        spec = specification.build(json.loads(asked))
        return samples.problems_of(spec, samples.suites_of(spec)[suite])
    except (ValueError, KeyError):
        return {}
