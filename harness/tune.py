"""The cells of a tuning, what their runs scored, and what the rule makes of it. Imports no torch.

    tuning = load(path)
    trials = cells(tuning)                                # quasi-random sampler: all trials, known beforehand
    trial.values, trial.spec, directory(trial, results)   # as `harness tune` runs them
    rerun_cells(tuning, results)                          # tuned and default on fresh seeds, once all trials are DONE

Runs that are DONE in the results directory count, whoever made them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness import spec as specification
from harness.catalog import mean_score
from harness.matrix import Cell, Matrix, cell_values, merged
from harness.matrix_jobs import last_record
from harness.run import directory_for, preflight
from harness.store import RunDir, read_json
from harness.tune_file import Search, Tuning, load
from harness.tune_space import points, present

WORST = 0.0  # the score of a trial that failed or was pruned: no score is lower
STARTUP = 10  # most quasi-random trials before TPE takes over


@dataclass(frozen=True)
class TrialCell(Cell):
    """One trial, `trial` counted from 0 in its study. `parameters`: every searched key with its value."""

    strategy: str
    study: int
    trial: int
    default: bool
    parameters: Mapping[str, Any]

    @property
    def slot(self) -> tuple[str, int, int]:
        return self.strategy, self.study, self.trial


@dataclass(frozen=True)
class RerunCell(Cell):
    """One re-run; `setting` is "default" also where the default setting is the best one."""

    strategy: str
    setting: Literal["tuned", "default"]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a trial. `score`: mean over suites of avg@k at the last moment; None unless done."""

    cell: TrialCell
    state: Literal["done", "failed", "pruned", "waiting"]
    score: float | None = None
    flops: float = 0.0
    saved: float = 0.0  # FLOPs of the budget that pruning left unspent
    fault: str = ""

    @property
    def counted(self) -> float:
        """The score that takes part in the rule."""
        return WORST if self.score is None else self.score


@dataclass(frozen=True)
class Choice:
    """A strategy's result. `score`: median over studies of the best trial; `best`: that of the median study."""

    score: float
    best: Outcome
    studies: tuple[Outcome, ...]  # the best trial of each


def planned(search: Search) -> int:
    """How many trials of a study have settings that are known beforehand."""
    return search.trials if search.sampler == "qmc" else min(STARTUP, max(1, search.trials // 2))


def plan(tuning: Tuning, strategy: str, study: int) -> list[dict[str, Any] | None]:
    """The searched values of the trials known beforehand, in order; None stands for the default setting."""
    count = planned(tuning.search) - tuning.search.include_default
    drawn = points(tuning.spaces[strategy], count, tuning.search.seed + study) if count > 0 else []
    return [*([None] if tuning.search.include_default else []), *drawn]


def cells(tuning: Tuning) -> list[TrialCell]:
    """All trials of a quasi-random search, checked: first trials of all strategies and studies first.

    ValueError naming the first that is no valid run, and for a search whose later trials depend on earlier ones.
    """
    if tuning.search.sampler != "qmc":
        raise ValueError(f"{tuning.name}: the trials of sampler {tuning.search.sampler} are not known beforehand")
    plans = {(name, s): plan(tuning, name, s) for name, s in series(tuning)}
    return [trial_cell(tuning, name, s, trial, plans[name, s][trial]) for name, s, trial in slots(tuning)]


def series(tuning: Tuning) -> list[tuple[str, int]]:
    """(strategy, study) of every study."""
    return [(name, study) for study in range(tuning.search.studies) for name in tuning.strategies]


def slots(tuning: Tuning) -> list[tuple[str, int, int]]:
    """(strategy, study, trial) of every trial, in the order in which they begin."""
    return [(*at, trial) for trial in range(tuning.search.trials) for at in series(tuning)]


def trial_cell(tuning: Tuning, strategy: str, study: int, trial: int, values: Mapping[str, Any] | None) -> TrialCell:
    """A trial with these searched values; None: the default setting, which no value is written into."""
    place = (trial * tuning.search.studies + study) * len(tuning.strategies) + tuning.strategies.index(strategy) + 1
    axes = {"strategy": strategy, "seed": tuning.trial_seed(study, trial), **(values or {})}
    label = f"{strategy} trial {study}.{trial}"
    content, spec = _checked(tuning, tuning.trial_experiment, tuning.base, axes, label)
    space = tuning.spaces[strategy]
    found = present(spec, space)
    for parameter in space:
        if not parameter.holds(found[parameter.key]):
            raise ValueError(
                f"{label}: {parameter.key} = {found[parameter.key]!r} lies outside of the search space, "
                f"{parameter.describe()}: widen it, or set search.include_default = false"
            )
    shown = {"default": True} if values is None else dict(values)
    return TrialCell(place, label, shown, content, spec, strategy, study, trial, values is None, found)


def common_spec(tuning: Tuning, strategy: str) -> specification.RunSpec:
    """What all trials of a strategy have in common: the default setting, with the seed of the first."""
    axes = {"strategy": strategy, "seed": tuning.trial_seed(0, 0)}
    return _checked(tuning, tuning.trial_experiment, tuning.base, axes, strategy)[1]


def reruns(tuning: Tuning, best: Mapping[str, Mapping[str, Any] | None]) -> list[RerunCell]:
    """Tuned and default of every strategy on the fresh seeds; `best`: the searched values, None for the default.

    Where the default is the best setting there is one set of runs for both.
    """
    found: list[RerunCell] = []
    final = final_base(tuning)
    for seed in tuning.rerun_seeds:
        for strategy in tuning.strategies:
            settings: list[tuple[Literal["tuned", "default"], Mapping[str, Any] | None]] = [("default", None)]
            if best[strategy] is not None:
                settings.append(("tuned", best[strategy]))
            for setting, values in settings:
                arm = f"{strategy}-{setting}"
                axes = {"strategy": strategy, "seed": seed, **(values or {})}
                content, spec = _checked(tuning, tuning.name, final, axes, f"{arm} seed={seed}")
                shown = present(spec, tuning.spaces[strategy])
                number = len(found) + 1
                found.append(RerunCell(number, arm, {"seed": seed}, content, spec, strategy, setting, shown))
    return found


def final_base(tuning: Tuning) -> dict[str, Any]:
    """The values that all re-runs share."""
    base = dict(tuning.base)
    for section, table in tuning.rerun.items():
        base = merged(base, {section: table})
    return base


def _checked(
    tuning: Tuning, experiment: str, base: Mapping[str, Any], axes: Mapping[str, Any], label: str
) -> tuple[dict[str, Any], specification.RunSpec]:
    values = cell_values(Matrix(experiment, base, strategy_options=tuning.strategy_options), None, axes)
    try:
        spec = specification.build(values)
        preflight(spec)
    except ValueError as problem:
        raise ValueError(f"{label}: {problem}") from problem
    return values, spec


def directory(cell: Cell, results: Path) -> RunDir:
    """The run directory of a trial or a re-run."""
    return directory_for(cell.spec, results)


def outcome(cell: TrialCell, results: Path) -> Outcome:
    """Of a trial's run directory alone: done or waiting."""
    run = directory(cell, results)
    if not run.done:
        return Outcome(cell, "waiting", flops=spent(run))
    score = last_score(run)
    if score is None:
        return Outcome(cell, "failed", flops=spent(run), fault="a suite has no score: its grader failed")
    return Outcome(cell, "done", score, spent(run))


def last_score(run: RunDir) -> float | None:
    """Mean over suites of avg@k at the last evaluated moment; None if there is none, or a suite has no score."""
    found = list(scores(run).values())
    return found[-1] if found else None


def scores(run: RunDir) -> dict[float, float | None]:
    """Evaluated fraction -> mean over suites of avg@k, ascending; {} before the first evaluation."""
    if not run.evaluation.exists():
        return {}
    moments = read_json(run.evaluation)
    return {float(moment): mean_score(moments[moment]) for moment in sorted(moments, key=float)}


def spent(run: RunDir) -> float:
    """FLOPs of the run so far."""
    return float(last_record(run.metrics).get("flops") or 0.0)


def choose(tuning: Tuning, outcomes: Iterable[Outcome]) -> Choice:
    """The rule for one strategy: median over studies of the best trial (AlgoPerf's external tuning).

    A trial without a score counts as the worst and takes part. Among equals the earlier trial is better. The best
    setting is that of the study in the middle; of two in the middle, the lower one.
    """
    by_study: dict[int, list[Outcome]] = {}
    for found in outcomes:
        by_study.setdefault(found.cell.study, []).append(found)
    best = [max(sorted(group, key=lambda o: o.cell.trial), key=_rank) for _, group in sorted(by_study.items())]
    assert len(best) == tuning.search.studies
    ordered = sorted(best, key=_rank)
    return Choice(statistics.median(o.counted for o in best), ordered[(len(best) - 1) // 2], tuple(best))


def _rank(found: Outcome) -> tuple[float, bool]:
    """A trial that scored nothing is still better than one that failed."""
    return found.counted, found.state == "done"


def best_values(choice: Choice) -> Mapping[str, Any] | None:
    """The searched values of the best trial; None if it is the default setting."""
    return None if choice.best.cell.default else choice.best.cell.parameters


def by_strategy(tuning: Tuning, outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes of every strategy by study and trial."""
    ordered = sorted(outcomes, key=lambda o: (o.cell.study, o.cell.trial))
    return {name: [o for o in ordered if o.cell.strategy == name] for name in tuning.strategies}


def rerun_cells(tuning: Tuning, results: Path) -> list[RerunCell]:
    """The re-runs that follow from the trials of a quasi-random search. ValueError naming a trial that is not DONE."""
    outcomes = [outcome(cell, results) for cell in cells(tuning)]
    missing = [o.cell for o in outcomes if o.state == "waiting"]
    if missing:
        raise ValueError(f"{len(missing)} trials are not finished, the first is {directory(missing[0], results).path}")
    found = by_strategy(tuning, outcomes)
    return reruns(tuning, {name: best_values(choose(tuning, found[name])) for name in tuning.strategies})


__all__ = [
    "Choice", "Outcome", "RerunCell", "TrialCell", "Tuning", "best_values", "by_strategy", "cells", "choose",
    "directory", "load", "outcome", "rerun_cells", "reruns",
]  # fmt: skip
