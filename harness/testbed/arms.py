"""Arms of the testbed: every registered scalar mixture at its defaults, and named variants of the user."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import spec as specification
from harness.testbed.scenarios import Settings
from strategies import registry
from strategies.mixture import Mixture
from strategies.rows import Sizes, Step

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
STATISTICS = ("reward", "sigma_r2", "sigma_s2", "delta_g2")
NOISE = frozenset(STATISTICS[1:])
PROBE_STEPS = 50
# mu* of the declared target, mu* of the true direction, and the schedule of least expected J
ORACLES = ORACLE, DIRECTION, SCHEDULE = "oracle", "oracle-direction", "oracle-schedule"


class Told(Mapping[str, float]):
    """The statistics of one step; notes which were read and which were asked for in vain."""

    def __init__(self, values: Mapping[str, float], read: set[str], missing: set[str]) -> None:
        self._values, self._read, self._missing = values, read, missing

    def __getitem__(self, name: str) -> float:
        (self._read if name in self._values else self._missing).add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Arm:
    """A strategy with checked options. `read`: statistics that it looks at."""

    name: str
    strategy: str
    options: Mapping[str, Any]
    config: Any
    read: frozenset[str] = field(default=frozenset())

    @property
    def by_default(self) -> bool:
        return not self.options

    def controller(self, settings: Settings) -> Mixture:
        """A fresh instance."""
        cls = registry.get(self.strategy)
        return cls(self.config, Sizes(settings.rl_rows, settings.group, settings.sft_rows, 1))


@dataclass(frozen=True)
class ArmFile:
    """A TOML file: `figure`, names of the arms to draw; `baseline`, an arm that the others are compared with too; and
    [[arms]] with name, strategy and [arms.options]."""

    arms: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    figure: tuple[str, ...] = ()
    baseline: str | None = None


def load(path: Path) -> ArmFile:
    """ValueError in one sentence if the file is none."""
    values = specification.load(path)
    unknown = sorted(set(values) - {"arms", "figure", "baseline"})
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r}: a file of arms has `figure`, `baseline` and [[arms]]")
    tables, figure = values.get("arms", []), values.get("figure", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: arms must be tables, [[arms]], each with a name, a strategy and options")
    if not isinstance(figure, list) or not all(isinstance(name, str) for name in figure):
        raise ValueError(f"{path}: figure must be a list of names of arms, not {figure!r}")
    baseline = values.get("baseline")
    if not isinstance(baseline, str | None):
        raise ValueError(f"{path}: baseline must be the name of an arm, not {baseline!r}")
    arms = []
    for number, table in enumerate(tables, start=1):
        name, strategy, options = (table.get(key) for key in ("name", "strategy", "options"))
        if set(table) - {"name", "strategy", "options"} or not isinstance(name, str) or not isinstance(strategy, str):
            raise ValueError(f"{path}: arm {number} must have name, strategy and options, not {', '.join(table)}")
        if not isinstance(options or {}, dict):
            raise ValueError(f"{path}: options of arm {name!r} must be a table, [arms.options], not {options!r}")
        arms.append((name, strategy, options or {}))
    return ArmFile(tuple(arms), tuple(figure), baseline)


def parse(text: str) -> tuple[str, str, dict[str, Any]]:
    """(name, strategy, options) of NAME=STRATEGY:OPTION=VALUE,...; values are TOML, bare words are texts."""
    name, equals, rest = text.partition("=")
    strategy, _, given = rest.partition(":")
    if not equals or not name or not strategy:
        raise ValueError(f"--arm takes NAME=STRATEGY:OPTION=VALUE,..., not {text!r}: for example quick=STRATEGY:mu=0.3")
    options: dict[str, Any] = {}
    for part in filter(None, given.split(",")):
        option, equals, value = part.partition("=")
        if not equals or not option:
            raise ValueError(f"--arm {text}: {part!r} is no OPTION=VALUE")
        try:
            options[option] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[option] = value
    return name, strategy, options


def collect(
    variants: Sequence[tuple[str, str, Mapping[str, Any]]], settings: Settings, defaults: bool = True
) -> tuple[list[Arm], list[str]]:
    """The arms, and a note for every one that cannot be driven here.

    With `defaults`, every registered scalar mixture comes first. ValueError for a bad name, an unknown strategy, a bad
    option, or a strategy that has no mixing weight.
    """
    # of strategies that turn out to be the same here, the plainest class comes first
    names = sorted(filter(_is_mixture, registry.names()), key=lambda name: (len(registry.get(name).__mro__), name))
    wanted = [(name, name, {}) for name in names] if defaults else []
    wanted += list(variants)
    arms: dict[str, Arm] = {}
    notes = []
    for name, strategy, options in wanted:
        if not NAME.fullmatch(name):
            raise ValueError(f"the name of an arm has letters, digits, '.', '_', '+' and '-', not {name!r}")
        if name in ORACLES:
            raise ValueError(f"the name {name!r} is reserved: rename the arm")
        if name in arms:
            raise ValueError(f"two arms are called {name!r}: rename one")
        if not _is_mixture(strategy):
            raise ValueError(
                f"arm {name!r}: strategy {strategy!r} has no mixing weight that can be driven without a model"
            )
        arm = Arm(name, strategy, options, registry.validate(strategy, options))
        read, lacking = _probe(arm, settings)
        if lacking:
            notes.append(f"{name} is left out: it needs {', '.join(sorted(lacking))}, which the testbed does not have")
            continue
        arms[name] = Arm(name, strategy, options, arm.config, frozenset(read))
    if not arms:
        raise ValueError("no arm is left: give one with --arm or --arms")
    return list(arms.values()), notes


def _is_mixture(name: str) -> bool:
    return issubclass(registry.get(name), Mixture)


def _probe(arm: Arm, settings: Settings) -> tuple[set[str], set[str]]:
    """Statistics that an arm reads, and what it asks for in vain, over a short dry run."""
    read: set[str] = set()
    missing: set[str] = set()
    controller = arm.controller(settings)
    if "validation_nll" in controller.requires:
        return read, {"validation_nll"}
    for index in range(PROBE_STEPS):
        told = Told(dict.fromkeys(STATISTICS, 0.5), read, missing)
        step = Step(index, index / PROBE_STEPS, kl=0.01, seed=index)
        controller.plan(step)
        try:
            controller.adapt(told, step)
            controller.mu_at(step)
        except KeyError:
            if not missing:
                raise
        if missing:
            break
    return read, missing
