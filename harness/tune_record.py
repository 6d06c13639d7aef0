"""What a tuning found, and the file that says so: results/NAME/NAME.tuning.json, beside the re-runs.

    {"schema": 1, "study": NAME,
     "rule": {"trials", "studies", "sampler", "seed", "include_default", "allow_unequal", "pruner", "warmup_trials",
              "warmup_fraction", "budget": {"kind", "limit"}, "eval_seed": of the trials},
     "final": {"seeds", "eval_seed", "left_out": {suite: problems that trials were scored on too}},
     "strategies": {STRATEGY: {
         "space": {key: {"low", "high", "log"} or {"choices"}},
         "trials": [{"study", "trial", "default": bool, "seed", "parameters": {key: value},
                     "state": "done" | "failed" | "pruned", "score": float or null, "flops", "saved_flops", "fault",
                     "run": "EXPERIMENT/RUN_ID"}],
         "score": median over studies of the best trial,
         "study_scores": [of the best trial of each study; 0 where all failed],
         "best": {"study", "trial", "default": bool, "parameters": {key: value}, "edges": {key: "low" | "high"}},
         "default": {"parameters": {key: value}},
         "spread": {"best", "median", "worst"} over all trials, one without a score counting 0,
         "flops": spent on trials, "saved_flops": left unspent by pruning,
         "rerun": {"tuned": SETTING, "default": SETTING, "difference": ESTIMATE or null}}}}

SETTING = {"runs": ["EXPERIMENT/RUN_ID"], "failed": [of them, those without a result], "score": ESTIMATE or null}
ESTIMATE = {"mean", "half_width", "standard_error", "df", "p_value", "seeds", "problems"}; null where it is undefined
Scores are shares, means over suites of avg@k on the split eval. `difference` is tuned - default, paired by seed and
problem; null also where the default is the best setting, whose runs then stand under both names.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.matrix_jobs import Job
from harness.spec import Evaluation
from harness.store import SCHEMA, write_json
from harness.tune import Choice, Outcome, RerunCell, Tuning, choose, common_spec, directory, final_base
from harness.tune_space import present

if TYPE_CHECKING:
    import pandas as pd

    from harness.compare_load import Run
    from harness.statistics.intervals import Estimate


@dataclass(frozen=True)
class Setting:
    """The re-runs of one setting. `score` is None unless all seeds have a result."""

    runs: tuple[str, ...]
    failed: tuple[str, ...]
    score: Estimate | None


@dataclass(frozen=True)
class Found:
    """What a tuning found for one strategy. `difference` is tuned - default; None where they are the same setting."""

    strategy: str
    outcomes: tuple[Outcome, ...]
    choice: Choice
    default: Mapping[str, Any]
    edges: Mapping[str, str]
    settings: Mapping[str, Setting]  # tuned, default
    difference: Estimate | None

    @property
    def flops(self) -> float:
        return sum(o.flops for o in self.outcomes)

    @property
    def saved(self) -> float:
        return sum(o.saved for o in self.outcomes)

    @property
    def spread(self) -> dict[str, float]:
        """Best, median and worst trial."""
        counted = [o.counted for o in self.outcomes]
        return {"best": max(counted), "median": statistics.median(counted), "worst": min(counted)}


@dataclass(frozen=True)
class Report:
    """All strategies in the order of the file. `left_out`: problems of the final evaluation that trials had as well."""

    tuning: Tuning
    strategies: tuple[Found, ...]
    left_out: Mapping[str, int]


def evaluate(
    tuning: Tuning, outcomes: Mapping[str, Sequence[Outcome]], jobs: Sequence[Job], results: Path, level: float = 0.95
) -> Report:
    """Reads the runs and estimates. ValueError where no trial's run is there, or where no problem is fresh."""
    from harness.compare_load import load_run

    done = {job.cell.spec.run_id: load_run(job.directory.path) for job in jobs if job.state == "done"}
    seen = _seen(outcomes, results)
    left_out: dict[str, int] = {}
    found = []
    for strategy in tuning.strategies:
        choice = choose(tuning, outcomes[strategy])
        cells = [job.cell for job in jobs if isinstance(job.cell, RerunCell) and job.cell.strategy == strategy]
        own = {name: [cell for cell in cells if cell.setting == name] for name in ("default", "tuned")}
        own["tuned"] = own["tuned"] or own["default"]
        matrices = {}
        for name, members in own.items():
            runs = [done.get(cell.spec.run_id) for cell in members]
            matrices[name] = _matrices([run for run in runs if run], seen, left_out) if all(runs) else None
        tuned, default = matrices["tuned"], matrices["default"]
        different = not choice.best.cell.default and tuned is not None and default is not None
        settings = {name: _setting(members, done, matrices[name], level) for name, members in own.items()}
        edges = {}
        for parameter in tuning.spaces[strategy]:
            side = parameter.edge(choice.best.cell.parameters[parameter.key])
            if side:
                edges[parameter.key] = side
        found.append(
            Found(
                strategy, tuple(outcomes[strategy]), choice, _default(tuning, strategy), edges, settings,
                _difference(tuned, default, level) if different else None,
            )
        )  # fmt: skip
    return Report(tuning, tuple(found), left_out)


def _default(tuning: Tuning, strategy: str) -> dict[str, Any]:
    return present(common_spec(tuning, strategy), tuning.spaces[strategy])


def _seen(outcomes: Mapping[str, Sequence[Outcome]], results: Path) -> dict[str, frozenset[str]]:
    """Suite -> problems that trials were scored on; all trials have the same ones."""
    from harness.compare_load import load_run

    done = [o.cell for group in outcomes.values() for o in group if o.state == "done"]
    for cell in done:
        run = directory(cell, results)
        if run.done:
            loaded = load_run(run.path)
            return {suite: loaded.evaluations[suite, at].ids("eval") for suite, at in loaded.evaluations}
    if done:
        raise ValueError(f"the run {directory(done[0], results).path} is missing: bring the runs of the trials back")
    return {}


def _matrices(
    runs: Sequence[Run], seen: Mapping[str, frozenset[str]], left_out: dict[str, int]
) -> dict[str, pd.DataFrame]:
    """Suite -> scores [seeds, problems] at the end of the budget, without the problems that the choice was made on."""
    from harness.compare_estimates import score_matrix

    found = {}
    last = max(runs[0].fractions, key=float)
    for suite in runs[0].suites_at(last):
        matrix = score_matrix(runs, suite, last, "eval")
        known = matrix.columns.intersection(list(seen.get(suite, ())))
        left_out[suite] = max(left_out.get(suite, 0), len(known))
        found[suite] = matrix.drop(columns=known)
        if found[suite].empty:
            raise ValueError(f"no problem of {suite} is left that trials were not scored on: evaluate more problems")
    return found


def _setting(
    cells: Sequence[RerunCell], done: Mapping[str, Run], matrices: dict[str, pd.DataFrame] | None, level: float
) -> Setting:
    from harness.statistics.intervals import crossed_interval

    names = tuple(_name(cell) for cell in cells)
    failed = tuple(_name(cell) for cell in cells if cell.spec.run_id not in done)
    score = None if matrices is None else crossed_interval([m.to_numpy() for m in matrices.values()], level)
    return Setting(names, failed, score)


def _difference(tuned: dict[str, pd.DataFrame], default: dict[str, pd.DataFrame], level: float) -> Estimate:
    from harness.statistics.intervals import paired_interval

    first, second = [], []
    for suite, matrix in tuned.items():
        shared = matrix.columns.intersection(default[suite].columns, sort=True)
        first.append(matrix[shared].to_numpy())
        second.append(default[suite][shared].to_numpy())
    return paired_interval(first, second, level)


def _name(cell: Any) -> str:
    return f"{cell.spec.experiment}/{cell.spec.run_id}"


def as_dict(report: Report) -> dict[str, Any]:
    """The content of the file."""
    tuning = report.tuning
    common = common_spec(tuning, tuning.strategies[0])
    budget = common.as_dict()["budget"]
    final_on = final_base(tuning).get("eval", {}).get("seed", Evaluation.seed)
    return {
        "schema": SCHEMA,
        "study": tuning.name,
        "rule": {**asdict(tuning.search), "budget": budget, "eval_seed": common.eval.seed},
        "final": {"seeds": list(tuning.rerun_seeds), "eval_seed": final_on, "left_out": dict(report.left_out)},
        "strategies": {found.strategy: _strategy(tuning, found) for found in report.strategies},
    }


def _strategy(tuning: Tuning, found: Found) -> dict[str, Any]:
    best = found.choice.best.cell
    return {
        "space": {parameter.key: parameter.as_dict() for parameter in tuning.spaces[found.strategy]},
        "trials": [_trial(o) for o in found.outcomes],
        "score": found.choice.score,
        "study_scores": [o.counted for o in found.choice.studies],
        "best": {
            "study": best.study, "trial": best.trial, "default": best.default, "parameters": dict(best.parameters),
            "edges": dict(found.edges),
        },
        "default": {"parameters": dict(found.default)},
        "spread": found.spread,
        "flops": found.flops,
        "saved_flops": found.saved,
        "rerun": {
            **{
                name: {"runs": list(s.runs), "failed": list(s.failed), "score": _estimate(s.score)}
                for name, s in found.settings.items()
            },
            "difference": _estimate(found.difference),
        },
    }  # fmt: skip


def _trial(o: Outcome) -> dict[str, Any]:
    return {
        "study": o.cell.study, "trial": o.cell.trial, "default": o.cell.default, "seed": o.cell.spec.seed,
        "parameters": dict(o.cell.parameters), "state": o.state, "score": o.score, "flops": o.flops,
        "saved_flops": o.saved, "fault": o.fault, "run": _name(o.cell),
    }  # fmt: skip


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    values = asdict(estimate)
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def path_for(tuning: Tuning, results: Path, ending: str) -> Path:
    """results/NAME/NAME.tuning.ENDING"""
    return results / tuning.name / f"{tuning.name}.tuning.{ending}"


def write(report: Report, results: Path) -> Path:
    """Writes the file; returns its path."""
    path = path_for(report.tuning, results, "json")
    write_json(path, as_dict(report))
    return path


__all__ = ["Found", "Report", "Setting", "as_dict", "evaluate", "path_for", "write"]
