"""The search space of a tuning: parameters with ranges or choices, and quasi-random points in it. Imports no torch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.matrix import hint
from harness.settings import option_defaults, toml_value
from harness.spec import RunSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 4  # significant ones of a value that is drawn, so that tables show what was run
EDGE = 0.1  # share of the range, on the scale of the search, that counts as its edge
SECTIONS = ("train", "rollout", "options")  # whose keys are a method's own; the others define the task and the budget
KEYS = ("low", "high", "log", "choices")


@dataclass(frozen=True)
class Parameter:
    """One searched key of the specification: a range [low, high], both included, or `choices`.

    A range of two integers holds integers. `log`: the logarithm is searched evenly.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether only integers are searched."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def distribution(self) -> BaseDistribution:
        """The same as Optuna writes it."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if self.whole:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)

    def rounded(self, value: Any) -> Any:
        """A drawn value with `DIGITS` significant digits, still within the range."""
        if self.choices or self.whole:
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def holds(self, value: Any) -> bool:
        """Whether the value could be drawn."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high

    def edge(self, value: Any) -> str:
        """ "low" or "high" if the value lies within a tenth of the range from that end, else ""; choices have none."""
        if self.choices or not self.holds(value):
            return ""
        low, high, at = (
            (math.log(x) for x in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        place = (at - low) / (high - low)
        return "low" if place <= EDGE else "high" if place >= 1 - EDGE else ""

    def describe(self) -> str:
        """The range in words: 0.0001 .. 0.004 (log)."""
        if self.choices:
            return "one of " + ", ".join(toml_value(value) for value in self.choices)
        return f"{self.low:g} .. {self.high:g}{' (log)' if self.log else ''}"

    def as_dict(self) -> dict[str, Any]:
        """The keys that a file gives."""
        return (
            {"choices": list(self.choices)} if self.choices else {"low": self.low, "high": self.high, "log": self.log}
        )


def parse(where: str, key: str, table: Any) -> Parameter:
    """The parameter `key` of a file; ValueError in one sentence that begins with `where`."""
    _check_key(where, key)
    if not isinstance(table, Mapping):
        raise ValueError(
            f"{where}: the range of {key} must be a table, as {{ low = 1e-4, high = 1e-2, log = true }}, not {table!r}"
        )
    for name in table:
        if name not in KEYS:
            raise ValueError(f"{where}: unknown key {name!r} in the range of {key}: {hint(name, KEYS)}")
    if "choices" in table:
        choices = table["choices"]
        if len(table) > 1 or not isinstance(choices, list) or len(choices) < 2:
            raise ValueError(f"{where}: choices of {key} must be a list of at least two values, without low and high")
        if not all(isinstance(value, bool | int | float | str) for value in choices) or len(set(choices)) < len(
            choices
        ):
            raise ValueError(f"{where}: choices of {key} must be different numbers, texts, true or false")
        return Parameter(key, choices=tuple(choices))
    low, high, log = table.get("low"), table.get("high"), table.get("log", False)
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in (low, high))
    if not numbers or not isinstance(log, bool) or not low < high:
        raise ValueError(f"{where}: the range of {key} needs two numbers, low below high, and log = true or false")
    if log and low <= 0:
        raise ValueError(f"{where}: the range of {key} is searched by its logarithm, so that low must be above 0")
    return Parameter(key, low, high, log)


def _check_key(where: str, key: str) -> None:
    section, _, name = key.partition(".")
    known = RunSpec().as_dict()
    if section not in SECTIONS or not name:
        raise ValueError(
            f"{where}: {key!r} cannot be searched: only keys of {', '.join(SECTIONS[:-1])} and {SECTIONS[-1]} are a "
            "method's own, all others define the task, the budget and the score"
        )
    if section != "options" and name not in known[section]:
        names = [f"{section}.{other}" for other in known[section]]
        raise ValueError(f"{where}: {key!r} is no key of a specification: {hint(key, names)}")


def present(spec: RunSpec, space: Sequence[Parameter]) -> dict[str, Any]:
    """The values of the space's keys in a specification; options that it leaves out are at their defaults."""
    values = spec.as_dict()
    values["options"] = {**option_defaults(spec.strategy), **values["options"]}
    found = {}
    for parameter in space:
        section, _, name = parameter.key.partition(".")
        found[parameter.key] = values[section].get(name)
    return found


def points(space: Sequence[Parameter], n: int, seed: int) -> list[dict[str, Any]]:
    """The first `n` points of Optuna's scrambled Sobol sequence, by key; a longer list begins with a shorter one.

    Spaces of equally many dimensions get the same points of the unit cube, in the order of `space`.
    """
    optuna = library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    wanted = {parameter.key: parameter.distribution() for parameter in space}
    # the sampler learns the space from a study's first trial, which it draws at random: that one is not used
    study.tell(study.ask(wanted), 0.0)
    drawn = [study.ask(wanted).params for _ in range(n)]
    return [{parameter.key: parameter.rounded(values[parameter.key]) for parameter in space} for values in drawn]


def library() -> Any:
    """The module optuna, without its messages on every trial. ValueError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ValueError("tuning needs Optuna, which is missing here: pip install -c constraints.txt -e .") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


__all__ = ["EDGE", "Parameter", "library", "parse", "points", "present"]
