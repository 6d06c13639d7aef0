"""A tuning: one TOML file that searches every strategy's settings under one rule, and re-runs the best.

    tuning = "tuning-1m"              # its name; the re-runs are the experiment of this name, the trials NAME-trials
    strategies = ["sft", "gac"]
    [base]                            # values of a run specification, those of every trial: one budget for all
    model = "1m"
    eval = { seed = 1, fractions = [1.0] }      # problems other than those of the re-runs
    [strategy_options.NAME]           # options of a strategy, in trials and re-runs, tuned and default
    [search]
    trials = 8                        # of every strategy in every study
    studies = 3                       # the score is the median over studies of the best trial
    seed = 0                          # of the quasi-random points; study s uses seed + s
    sampler = "qmc"                   # or "tpe", which begins with quasi-random points, half the trials, at most 10
    include_default = true            # the first trial of every study is the default setting
    allow_unequal = false             # whether strategies may search unequal numbers of dimensions
    pruner = "none"                   # or "median", with warmup_trials and warmup_fraction
    [space]                           # searched for every strategy; train.learning_rate must be there, log
    "train.learning_rate" = { low = 1e-4, high = 4e-3, log = true }
    [strategy_space.NAME]             # searched for one strategy besides: { low, high, log } or { choices }
    "options.gate" = { choices = [0, 1] }
    [rerun]                           # the best and the default setting once more
    seeds = [100, 101, 102]           # none of which a trial had
    [rerun.eval]                      # on top of base's: the final evaluation
    seed = 0

Imports neither torch nor Optuna.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from harness import spec as specification
from harness.matrix import NAME, hint, merged
from harness.spec import Evaluation, RunSpec
from harness.tune_space import Parameter, parse
from strategies import registry

TABLES = ("tuning", "strategies", "base", "strategy_options", "search", "space", "strategy_space", "rerun")
FINAL = ("eval", "probe", "data")  # sections of a specification that the re-runs may set; of data, eval_source
RATE = "train.learning_rate"


@dataclass(frozen=True)
class Search:
    """The rule of the search. The warm-up of the median pruner: trials of a study, and share of the budget."""

    trials: int = 8
    studies: int = 1
    seed: int = 0
    sampler: Literal["qmc", "tpe"] = "qmc"
    include_default: bool = True
    allow_unequal: bool = False
    pruner: Literal["none", "median"] = "none"
    warmup_trials: int | None = None
    warmup_fraction: float | None = None


@dataclass(frozen=True)
class Tuning:
    """A file as read; its parts fit together, its cells are not checked yet.

    `spaces`: what each strategy searches. `rerun`: sections of a specification, on top of base's in the re-runs.
    """

    name: str
    strategies: tuple[str, ...]
    base: Mapping[str, Any]
    strategy_options: Mapping[str, Mapping[str, Any]]
    search: Search
    spaces: Mapping[str, tuple[Parameter, ...]]
    rerun_seeds: tuple[int, ...]
    rerun: Mapping[str, Any]

    @property
    def trial_experiment(self) -> str:
        return f"{self.name}-trials"

    def trial_seed(self, study: int, trial: int) -> int:
        """The run seed of a trial, the same for every strategy; more trials leave those of the first ones alone."""
        return int(self.base.get("seed", RunSpec.seed)) + trial * self.search.studies + study


def load(path: Path) -> Tuning:
    """The tuning of a TOML file; ValueError in one sentence if the file is none, or if it breaks a rule of fairness."""
    values = specification.load(path)
    _known(f"{path}", "a tuning", values, TABLES)
    name = values.get("tuning", path.stem)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{path}: tuning must be a name of letters, digits, '.', '_' and '-', not {name!r}")
    for key in TABLES[2:]:
        if not isinstance(values.get(key, {}), dict):
            raise ValueError(f"{path}: {key} must be a table, [{key}], not {values[key]!r}")
    strategies = _strategies(path, values.get("strategies"))
    base = values.get("base", {})
    for key, why in (
        ("strategy", "name the strategies with `strategies`"),
        ("experiment", "experiments are named after the tuning"),
        ("options", "options of one strategy belong in [strategy_options.NAME]"),
    ):
        if key in base:
            raise ValueError(f"{path}: base must not set {key}: {why}")
    for section in ("strategy_options", "strategy_space"):
        for strategy, table in values.get(section, {}).items():
            if strategy not in strategies:
                raise ValueError(f"{path}: {section}.{strategy} is of no use: {hint(strategy, strategies)}")
            if not isinstance(table, dict):
                raise ValueError(f"{path}: {section}.{strategy} must be a table, not {table!r}")
    search = _search(path, values.get("search", {}))
    spaces = _spaces(path, strategies, values, search.allow_unequal)
    for strategy, options in values.get("strategy_options", {}).items():
        for parameter in spaces[strategy]:
            if parameter.key.partition(".")[2] in options and parameter.key.startswith("options."):
                raise ValueError(
                    f"{path}: {parameter.key} of {strategy} is both set and searched: leave one of them out"
                )
    seeds, final = _rerun(path, values.get("rerun", {}), base)
    tuning = Tuning(name, strategies, base, values.get("strategy_options", {}), search, spaces, seeds, final)
    _check_fresh(path, tuning)
    return tuning


def _known(path: str, what: str, table: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in table:
        if key not in names:
            raise ValueError(f"{path}: unknown key {key!r} in {what}: {hint(key, names)}")


def _strategies(path: Path, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f'{path}: strategies must be a list of names, as strategies = ["sft", "gac"], before any table'
        )
    for name in names:
        registry.get(name)
        if names.count(name) > 1:
            raise ValueError(f"{path}: strategy {name} is named twice: name it once")
    return tuple(names)


def _search(path: Path, table: Mapping[str, Any]) -> Search:
    _known(f"{path}", "[search]", table, tuple(field.name for field in fields(Search)))
    for key in ("trials", "studies", "seed", "warmup_trials"):
        if key in table and (not isinstance(table[key], int) or isinstance(table[key], bool) or table[key] < 0):
            raise ValueError(f"{path}: search.{key} must be a whole number of at least 0, not {table[key]!r}")
    for key in ("include_default", "allow_unequal"):
        if not isinstance(table.get(key, True), bool):
            raise ValueError(f"{path}: search.{key} must be true or false, not {table[key]!r}")
    search = Search(**table)
    for key, known in (("sampler", ("qmc", "tpe")), ("pruner", ("none", "median"))):
        if getattr(search, key) not in known:
            raise ValueError(f"{path}: search.{key} must be {' or '.join(known)}, not {getattr(search, key)!r}")
    if search.studies < 1 or search.trials < 1 + search.include_default:
        raise ValueError(f"{path}: search needs at least one study, and one trial besides the default setting")
    share = search.warmup_fraction
    if search.pruner == "median":
        if (
            search.warmup_trials is None
            or search.warmup_trials < 1
            or not isinstance(share, float)
            or not 0 <= share < 1
        ):
            raise ValueError(
                f"{path}: the median pruner needs its warm-up: search.warmup_trials, at least 1, and "
                "search.warmup_fraction, a share of the budget in [0, 1), as 0.25"
            )
    elif search.warmup_trials is not None or share is not None:
        raise ValueError(f'{path}: a warm-up is for pruner = "median": set it, or leave the warm-up out')
    return search


def _spaces(
    path: Path, strategies: tuple[str, ...], values: Mapping[str, Any], unequal: bool
) -> dict[str, tuple[Parameter, ...]]:
    common = {key: parse(f"{path}: space", key, table) for key, table in values.get("space", {}).items()}
    spaces = {}
    for strategy in strategies:
        own = values.get("strategy_space", {}).get(strategy, {})
        where = f"{path}: strategy_space.{strategy}"
        found = {**common, **{key: parse(where, key, table) for key, table in own.items()}}
        rate = found.get(RATE)
        if rate is None or not rate.log:
            raise ValueError(
                f"{path}: every strategy searches its learning rate: [space] needs "
                f'"{RATE}" = {{ low, high, log = true }}'
            )
        spaces[strategy] = tuple(found.values())
    sizes = {strategy: len(space) for strategy, space in spaces.items()}
    if len(set(sizes.values())) > 1 and not unequal:
        least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        raise ValueError(
            f"{path}: {most} searches {sizes[most]} dimensions, {least} only {sizes[least]}: give every strategy the "
            "same number, or set search.allow_unequal = true, which the table then says"
        )
    return spaces


def _rerun(path: Path, table: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[tuple[int, ...], dict[str, Any]]:
    _known(f"{path}", "[rerun]", table, ("seeds", *FINAL))
    seeds = table.get("seeds")
    whole = isinstance(seeds, list) and all(isinstance(x, int) and not isinstance(x, bool) for x in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: rerun.seeds must be a list of different whole numbers, as [100, 101, 102]")
    for section in FINAL:
        if not isinstance(table.get(section, {}), dict):
            raise ValueError(f"{path}: rerun.{section} must be a table of a specification, not {table[section]!r}")
    _known(f"{path}", "[rerun.data]", table.get("data", {}), ("eval_source",))
    if "data" in table and "eval_source" not in base.get("data", {}):
        raise ValueError(
            f"{path}: rerun.data.eval_source needs a base.data.eval_source, the validation problems of the trials: "
            "without it the trials would hold back a part of the training data that the re-runs train on"
        )
    return tuple(seeds), {key: table[key] for key in FINAL if key in table}


def _check_fresh(path: Path, tuning: Tuning) -> None:
    """ValueError where what is chosen on would also be what is reported."""
    search = tuning.search
    base = specification.build({**tuning.base, "strategy": tuning.strategies[0], "options": {}})
    final = specification.build({**merged(tuning.base, tuning.rerun), "strategy": tuning.strategies[0], "options": {}})
    used = {tuning.trial_seed(study, trial) for study in range(search.studies) for trial in range(search.trials)}
    taken = sorted(used & set(tuning.rerun_seeds))
    if taken:
        raise ValueError(
            f"{path}: rerun.seeds holds {', '.join(map(str, taken))}, which trials have too (seeds {min(used)} to "
            f"{max(used)}): the re-runs need fresh seeds"
        )
    if base.eval.seed == final.eval.seed:
        raise ValueError(
            f"{path}: trials and re-runs would be scored on the same problems, those of eval.seed {base.eval.seed}: "
            "set another base.eval.seed, or another rerun.eval.seed"
        )
    _check_problems(path, base, final)
    for where, evaluation in (("base", base.eval), ("rerun", final.eval)):
        if 1.0 not in evaluation.fractions:
            raise ValueError(f"{path}: {where} scores at the end of the budget: {where}.eval.fractions needs 1.0")
    if search.pruner != "none" and not any(_early(base.eval, search)):
        raise ValueError(
            f"{path}: the pruner looks at scores on the way, after the warm-up: base.eval.fractions needs one of at "
            "least search.warmup_fraction and below 1"
        )


def _early(evaluation: Evaluation, search: Search) -> list[bool]:
    return [0 < fraction < 1 and fraction >= (search.warmup_fraction or 0.0) for fraction in evaluation.fractions]


def _check_problems(path: Path, base: RunSpec, final: RunSpec) -> None:
    """ValueError if a suite with a fixed list of problems is scored in both."""
    from benchmarks import registry as suites

    def fixed(spec: RunSpec) -> set[str]:
        if spec.data.source is not None and spec.eval.suites is None:
            return {spec.data.eval_source or spec.data.source}
        return {name for name in spec.eval.suites or spec.data.suites if suites.get(name).presets}

    both = sorted(fixed(base) & fixed(final))
    if both:
        raise ValueError(
            f"{path}: trials and re-runs are both scored on {both[0]}, whose problems are the same for every seed: "
            "choose the settings on others, with base.eval.suites or base.data.eval_source"
        )


__all__ = ["RATE", "Search", "Tuning", "load"]
