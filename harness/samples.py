"""Stored samples: an evaluation's generations with their verdicts, and their problems found again without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.base import Problem, Suite
from harness import spec as specification
from harness.data import evaluation_suites
from harness.evaluation_plan import plan_for
from harness.run_report import evaluations
from harness.spec import RunSpec
from harness.store import RunDir, read_lines

KINDS = (None, "evaluation")  # of directories whose generations are graded by suites
ALL = 10**9  # at least the number of problems of any published suite

Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One graded generation. `problem` is None where the suite's data are not at hand."""

    generation: Row
    verdict: Row
    problem: Problem | None

    @property
    def failed(self) -> bool:
        return self.verdict["status"] != "pass"


def spec_of(run: RunDir) -> RunSpec:
    """The specification behind a training run or a directory of `harness eval`; ValueError for anything else."""
    manifest = run.manifest
    if manifest.get("kind") not in KINDS or "spec" not in manifest:
        raise ValueError(
            f"{run.path} holds no generations that suites have graded: name a directory that `harness run` or "
            "`harness eval` made"
        )
    return specification.build(manifest["spec"])


def suites_of(spec: RunSpec) -> dict[str, Suite]:
    """The evaluated suites by the names that files are called after."""
    return {suite.name: suite for suite in evaluation_suites(spec.data, spec.eval)}


def problems_of(spec: RunSpec, suite: Suite, splits: Sequence[str] = ("eval", "ood")) -> dict[str, Problem]:
    """Every problem that the specification may evaluate, by id; which of them it did, the generations tell.

    Prompts that do not fit the model's context, for example, are among them.
    ValueError where the data are not on this machine.
    """
    plan = plan_for(spec.eval, suite)
    # all of a published suite: how many of them an evaluation took is not asked, its preset may be another one by now
    amounts = {"eval": ALL if suite.presets else plan.problems, "ood": plan.ood_problems}
    return {
        problem.id: problem
        for split in splits
        for problem in (suite.problems(split, amounts[split], plan.seed) if amounts[split] else [])
    }


def choose(run: RunDir, suite: str | None, at: float | None) -> tuple[str, str]:
    """(suite, evaluation's key): the last evaluation unless `at`, a fraction of the budget, names one.

    ValueError in one sentence where the choice is not clear or there is no such thing.
    """
    found = evaluations(run)
    if not found:
        raise ValueError(f"{run.path} is not evaluated yet: let it go on")
    key = list(found)[-1] if at is None else f"{at:.2f}"
    if key not in found:
        raise ValueError(f"{run.path} has no evaluation at {key} of its budget: choose from {', '.join(found)}")
    names = list(found[key])
    if suite is None and len(names) > 1:
        raise ValueError(f"{run.path} was evaluated on several suites: choose one with --suite from {', '.join(names)}")
    if suite is not None and suite not in names:
        raise ValueError(f"{run.path} was not evaluated on {suite!r}: choose from {', '.join(names)}")
    return suite or names[0], key


def read(run: RunDir, suite: str, key: str) -> list[Sample]:
    """The graded samples of one evaluation in the order of its generations. The last verdict of a sample holds."""
    verdicts = {(row["problem"], row["sample"]): row for row in read_lines(run.verdicts(suite, float(key)))}
    problems = _problems(run, suite)
    return [
        Sample(row, verdicts[place], problems.get(row["problem"]))
        for row in read_lines(run.generations(suite, float(key)))
        if (place := (row["problem"], row["sample"])) in verdicts
    ]


def _problems(run: RunDir, suite: str) -> dict[str, Problem]:
    """Empty where the data are not on this machine."""
    spec = spec_of(run)
    try:
        return problems_of(spec, suites_of(spec)[suite])
    except (ValueError, KeyError):
        return {}


def select(
    samples: Sequence[Sample], failed: bool = False, status: str | None = None, problem: str | None = None
) -> list[Sample]:
    """Those that failed, have a status, belong to a problem: its id, or a part that no other id has.

    ValueError for a status that no sample has, and a problem that there is not.
    """
    chosen = list(samples)
    if problem is not None:
        identity = _identity(problem, list(dict.fromkeys(sample.verdict["problem"] for sample in chosen)))
        chosen = [sample for sample in chosen if sample.verdict["problem"] == identity]
    if status is not None:
        known = Counter(sample.verdict["status"] for sample in samples)
        if status not in known:
            listed = ", ".join(f"{name} ({count:,})" for name, count in sorted(known.items()))
            raise ValueError(f"no sample has status {status!r}: there are {listed}")
        chosen = [sample for sample in chosen if sample.verdict["status"] == status]
    return [sample for sample in chosen if sample.failed] if failed else chosen


def _identity(wanted: str, known: Sequence[str]) -> str:
    if wanted in known:
        return wanted
    near = [identity for identity in known if wanted in identity]
    if len(near) == 1:
        return near[0]
    if near:
        raise ValueError(f"{wanted!r} is part of {len(near)} problems' ids: name one of them, as {', '.join(near[:3])}")
    raise ValueError(f"no problem {wanted!r} was evaluated: ids look like {known[0] if known else 'none'}")
