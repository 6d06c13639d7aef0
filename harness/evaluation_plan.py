"""How each suite of an evaluation is sampled: its own settings, then the preset of a published suite, then the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.base import Suite
from harness.spec import Evaluation

SAMPLING = ("k", "temperature", "top_p", "max_tokens", "stop")


def plan_for(evaluation: Evaluation, suite: Suite) -> Evaluation:
    """The evaluation with the values that hold for `suite`. ValueError for a preset that the suite does not have."""
    values: dict[str, Any] = {}
    if evaluation.preset is not None and suite.presets:
        if evaluation.preset not in suite.presets:
            raise ValueError(
                f"suite {suite.name} has no preset {evaluation.preset!r}: choose from {', '.join(suite.presets)}"
            )
        preset = suite.presets[evaluation.preset]
        values = {key: getattr(preset, key) for key in SAMPLING}
        values["problems"] = preset.n or _all(suite)
    own = evaluation.settings.get(suite.name)
    if own is not None:
        values |= {key: value for key, value in asdict(own).items() if value is not None}
    return replace(evaluation, **values)


def _all(suite: Suite) -> int:
    """At least the number of its problems."""
    return int(getattr(suite, "size", None) or 10**9)


def check(evaluation: Evaluation, suites: Sequence[Suite]) -> None:
    """ValueError for presets that do not exist, and for settings of suites that are not evaluated."""
    names = [suite.name for suite in suites]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"suite {repeated[0]} is named twice: name it once")
    for name in evaluation.settings:
        if name not in names:
            raise ValueError(f"eval.settings names {name}, which is not evaluated: choose from {', '.join(names)}")
    if evaluation.preset is not None and not any(suite.presets for suite in suites):
        raise ValueError(f"preset {evaluation.preset} is for published suites: {', '.join(names)} have none")
    for suite in suites:
        plan_for(evaluation, suite)


def require_data(evaluation: Evaluation, suites: Sequence[Suite]) -> None:
    """Reads the problems of published suites; ValueError where they are missing or not the right ones."""
    for suite in suites:
        if suite.presets:
            suite.problems("eval", plan_for(evaluation, suite).problems, evaluation.seed)


def described(evaluation: Evaluation, suites: Sequence[Suite]) -> dict[str, dict[str, Any]]:
    """What decides the scores of each suite besides the model: settings, and what a published suite says of itself.

    Plain values by suite name, to hash and to store; suites without presets or settings of their own are left out.
    """
    found = {}
    for suite in suites:
        if suite.identity() or suite.name in evaluation.settings:
            plan = plan_for(evaluation, suite)
            found[suite.name] = {key: getattr(plan, key) for key in ("problems", *SAMPLING)} | suite.identity()
    return found
