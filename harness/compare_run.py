"""A finished run as comparisons need it, and the small files beside it that say what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import problem_scores, run_steps
from harness.compare_read import content_of
from harness.problem_scores import Evaluation, Questions
from harness.run_steps import Steps
from harness.spec import RunSpec

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """One finished run. Its steps are read when they are asked for; totals of them are known without.

    `evaluations` by (suite, fraction as in file names); `arm`: its name in the matrix that it was run by; `path`: its
    directory, or that of its pack, whose sample generations `packed_examples` gives; `cost` and `reasons` as
    `harness.run_steps` makes them.
    """

    def __init__(
        self,
        experiment: str,
        run_id: str,
        spec: dict[str, Any],
        evaluations: dict[tuple[str, str], Evaluation],
        arm: str | None = None,
        path: Path | None = None,
        steps: Callable[[], tuple[Steps, Steps]] = lambda: (Steps(), Steps()),
        totals: Mapping[str, dict[str, float]] | None = None,
        examples: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.experiment = experiment
        self.run_id = run_id
        self.spec = spec
        self.evaluations = evaluations
        self.arm = arm
        self.path = path
        self._steps = steps
        self._totals = totals
        self.packed_examples = examples

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.run_id}"

    @property
    def strategy(self) -> str:
        return str(self.spec["strategy"])

    @property
    def seed(self) -> int:
        return int(self.spec["seed"])

    @cached_property
    def fractions(self) -> list[str]:
        """Evaluated fractions of the budget, as written in file names, ascending."""
        return sorted({fraction for _, fraction in self.evaluations}, key=float)

    def suites_at(self, fraction: str) -> list[str]:
        """Suites evaluated at `fraction`, by name."""
        return sorted(suite for suite, at in self.evaluations if at == fraction)

    @cached_property
    def steps(self) -> tuple[Steps, Steps]:
        """metrics.jsonl and timing.jsonl as columns; either may be empty."""
        return self._steps()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row an optimiser step; may be empty."""
        return self.steps[0].frame()

    @cached_property
    def timing(self) -> pd.DataFrame:
        """One row an optimiser step; may be empty."""
        return self.steps[1].frame()

    @property
    def cost(self) -> dict[str, float]:
        """What it spent up to its last update."""
        return self.totals["cost"]

    @property
    def reasons(self) -> dict[str, float]:
        """What happened inside it."""
        return self.totals["reasons"]

    @cached_property
    def totals(self) -> Mapping[str, dict[str, float]]:
        """`cost` and `reasons`. The steps themselves are not kept for them."""
        if self._totals is not None:
            return self._totals
        metrics, timing = self._steps()
        return {"cost": run_steps.cost(metrics, timing), "reasons": run_steps.reasons(metrics, timing)}


def checked_spec(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The complete specification in a manifest; ValueError if it lacks what no run can be without."""
    spec = manifest.get("spec", {})
    missing = [key for key in ("strategy", "model", "seed", "budget") if key not in spec]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)} in its spec; the run is damaged.")
    return completed(spec)


def completed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification with the keys that it lacks at their defaults: runs made before a key existed had those."""
    found = {}
    for key, default in _defaults().items():
        value = spec.get(key, default)
        sections = isinstance(default, dict) and key != "options"
        found[key] = {**default, **value} if sections else value
    return found


@lru_cache(maxsize=1)
def _defaults() -> dict[str, Any]:
    return RunSpec().as_dict()


def arms(experiment: Path) -> dict[str, str]:
    """Run -> its name in the matrix files beside the runs, or the pack, of an experiment."""
    found: dict[str, str] = {}
    for path in sorted(experiment.glob("*.matrix.json")):
        for name, cell in read_object(path).get("cells", {}).items():
            if cell.get("arm"):
                found.setdefault(name, str(cell["arm"]))
    return found


def evaluation(asked: Questions, scores: Mapping[str, Any], summary: Mapping[str, Any]) -> Evaluation:
    """From condensed scores and the entry in evaluation.json."""
    ledger = {key: float(value) for key, value in summary.get("at", {}).items() if value is not None}
    return problem_scores.decode(asked, scores, summary.get("data_hash"), ledger)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ValueError in one sentence where it is missing or damaged."""
    return decode(path, content_of(path))


def decode(path: Path, content: bytes | None) -> dict[str, Any]:
    """`read_object` of a file whose content is known; None for a missing one."""
    if content is None:
        raise ValueError(f"{path} is missing; the run is damaged.")
    try:
        value = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); the run is damaged.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object; the run is damaged.")
    return value
