"""A matrix: one TOML file that describes many runs, and its expansion into checked cells.

    matrix = "noise"                  # its name; also the experiment, unless base sets one
    [base]                            # any values of a run specification
    model = "1m"
    [axes]                            # any key of a specification -> list of values; all are crossed
    seed = [0, 1, 2]
    "data.demo_noise" = [0.0, 0.2]
    [strategy_options.NAME]           # merged into the options of the cells whose strategy is NAME
    [[arms]]                          # named variants, crossed with the axes
    name = "..."                      # every other key is one of a run specification

Options of a cell: those of base, then strategy_options, then those of its arm and axes. Imports no torch.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import spec as specification
from harness.run import directory_for, preflight
from harness.settings import toml_value
from harness.spec import SECTIONS, RunSpec
from strategies import registry

TABLES = ("matrix", "base", "axes", "arms", "strategy_options")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Arm:
    """A named variant; `values` are nested as in a run specification."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Matrix:
    """A file as read: its parts fit together, its cells are not checked yet. `axes` has dotted keys."""

    name: str
    base: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    arms: tuple[Arm, ...] = ()
    strategy_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a matrix. `spec` is what `values` say."""

    number: int
    arm: str | None
    axes: Mapping[str, Any]  # values by dotted key
    values: Mapping[str, Any]  # nested, as in the file of a run specification
    spec: RunSpec

    @property
    def label(self) -> str:
        return _label(self.arm, self.axes) or self.spec.strategy

    @property
    def sets_threads(self) -> bool:
        """Whether the file says how many threads the cell takes."""
        return "threads" in self.values.get("runtime", {})


def load(path: Path) -> Matrix:
    """The matrix of a TOML file; ValueError in one sentence if the file is none."""
    values = specification.load(path)
    for key in values:
        if key not in TABLES:
            raise ValueError(f"{path}: unknown key {key!r} in a matrix: {hint(key, TABLES)}")
    name = values.get("matrix", path.stem)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{path}: matrix must be a name of letters, digits, '.', '_' and '-', not {name!r}")
    for key in ("base", "axes", "strategy_options"):
        if not isinstance(values.get(key, {}), dict):
            raise ValueError(f"{path}: {key} must be a table, [{key}], not {values[key]!r}")
    axes = dict(_axes(path, values.get("axes", {})))
    arms = tuple(_arms(path, values.get("arms", [])))
    if arms and "strategy" in axes:
        raise ValueError(
            f"{path}: arms and an axis `strategy` exclude each other: give every arm its strategy, or leave arms out"
        )
    for one, other in itertools.combinations(axes, 2):
        if _overlap(one, other):
            raise ValueError(f"{path}: the axes {one} and {other} set the same key: leave one out")
    for arm in arms:
        for key in _paths(arm.values):
            for axis in axes:
                if _overlap(key, axis):
                    raise ValueError(f"{path}: arm {arm.name!r} sets {key}, which is an axis: leave one of them out")
    options = values.get("strategy_options", {})
    for strategy, table in options.items():
        registry.get(strategy)
        if not isinstance(table, dict):
            raise ValueError(f"{path}: strategy_options.{strategy} must be a table of options, not {table!r}")
    return Matrix(name, values.get("base", {}), axes, arms, options)


def expand(matrix: Matrix, results: Path) -> list[Cell]:
    """Every cell, checked: arms in the order of the file, then the axes, the last of which changes fastest.

    ValueError naming the first cell that is no valid run and its fault, or two cells that are the same run.
    """
    arms: tuple[Arm | None, ...] = matrix.arms or (None,)
    cells: list[Cell] = []
    for number, (arm, *chosen) in enumerate(itertools.product(arms, *matrix.axes.values()), start=1):
        axes = dict(zip(matrix.axes, chosen, strict=True))
        name = arm.name if arm else None
        values = cell_values(matrix, arm, axes)
        try:
            spec = specification.build(values)
            preflight(spec)
        except ValueError as problem:
            raise ValueError(f"cell {number} ({_label(name, axes) or matrix.name}): {problem}") from problem
        cells.append(Cell(number, name, axes, values, spec))
    unused = sorted(set(matrix.strategy_options) - {cell.spec.strategy for cell in cells})
    if unused:
        raise ValueError(f"strategy_options.{unused[0]} is of no use: no cell has the strategy {unused[0]!r}")
    seen: dict[Path, Cell] = {}
    for cell in cells:
        first = seen.setdefault(directory_for(cell.spec, results).path, cell)
        if first is not cell:
            raise ValueError(
                f"cells {first.number} ({first.label}) and {cell.number} ({cell.label}) are the same run, "
                f"{cell.spec.experiment}/{cell.spec.run_id}: remove one"
            )
    return cells


def cell_values(matrix: Matrix, arm: Arm | None, axes: Mapping[str, Any]) -> dict[str, Any]:
    """The nested values of one cell."""
    own: dict[str, Any] = dict(arm.values) if arm else {}
    for path, value in axes.items():
        section, _, key = path.partition(".")
        own = merged(own, {section: {key: value}} if key else {section: value})
    values = merged({"experiment": matrix.name}, matrix.base)
    strategy = own.get("strategy", values.get("strategy", RunSpec.strategy))
    given = matrix.strategy_options.get(strategy) if isinstance(strategy, str) else None
    if given:
        values = merged(values, {"options": given})
    return merged(values, own)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with `above` on top; tables of the first level are merged, deeper values are replaced."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = {**result[key], **value} if both else value
    return result


def _axes(path: Path, tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(dotted key, values) of every axis. Quoted dotted keys and nested tables mean the same."""
    for key, values in tables.items():
        name = prefix + key
        if isinstance(values, Mapping):
            yield from _axes(path, values, f"{name}.")
            continue
        _check_key(path, name)
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: axis {name} must be a list of at least one value, not {values!r}")
        yield name, tuple(values)


def _check_key(path: Path, name: str) -> None:
    """ValueError unless `name` is a key of the specification."""
    known = RunSpec().as_dict()
    section, dot, key = name.partition(".")
    names: Iterable[str] = known
    if section in known:
        if not dot or (section == "options" and key):
            return
        names = [f"{section}.{key}" for key in known[section]] if section in SECTIONS else known
        if name in names:
            return
    raise ValueError(f"{path}: axis {name!r} is no key of a specification: {hint(name, names)}")


def _arms(path: Path, tables: Any) -> Iterator[Arm]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: arms must be tables, [[arms]], each with a name and keys of a specification")
    names: set[str] = set()
    for number, table in enumerate(tables, start=1):
        name = table.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(
                f"{path}: arm {number} needs a name of letters, digits, '.', '_' and '-', not {name!r}: "
                'for example name = "control"'
            )
        if name in names:
            raise ValueError(f"{path}: two arms are called {name!r}: rename one")
        names.add(name)
        yield Arm(name, {key: value for key, value in table.items() if key != "name"})


def _paths(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from (f"{key}.{name}" for name in value)
        else:
            yield key


def _overlap(one: str, other: str) -> bool:
    """Whether two dotted keys are the same or one is a section that holds the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _label(arm: str | None, axes: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        try:
            return value if isinstance(value, str) else toml_value(value)
        except TypeError:  # a date, which no specification holds; the check of the cell says so
            return str(value)

    names = ("strategy", "model")
    parts = [arm] if arm else []
    parts += [text(axes[key]) for key in names if key in axes]
    parts += [f"{key}={text(value)}" for key, value in axes.items() if key not in names]
    return " ".join(parts)


def hint(name: str, names: Iterable[str]) -> str:
    """The names nearest to one that is unknown, or all of them, as the end of a sentence."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(names)}."


__all__ = ["Arm", "Cell", "Matrix", "cell_values", "expand", "hint", "load", "merged"]
