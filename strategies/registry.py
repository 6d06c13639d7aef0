"""Finds strategies by name and checks their options.

Every module of this package is imported on the first look-up, so that a new method is one new file with a `register`ed
class. Other packages add theirs through the entry-point group `harness.strategies`. Imports neither torch nor, until
options are checked, pydantic.
"""

from __future__ import annotations

import difflib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from strategies.base import Sizes, Strategy

ENTRY_POINT_GROUP = "harness.strategies"
KINDS = ("single", "sequential", "mixture", "controller", "group", "gate", "prefix", "control")

_classes: dict[str, type[Strategy]] = {}
_S = TypeVar("_S", bound=type[Strategy])


def register(cls: _S) -> _S:
    """Class decorator: makes the strategy known under `cls.name`. ValueError if the name is taken or a field is bad."""
    for field in ("name", "summary", "source", "kind", "parity"):
        if not isinstance(getattr(cls, field, None), str):
            raise ValueError(f"strategy class {cls.__qualname__} must define the string `{field}`")
    if cls.kind not in KINDS:
        raise ValueError(f"strategy {cls.name} has the unknown kind '{cls.kind}': use one of {', '.join(KINDS)}")
    taken = _classes.setdefault(cls.name, cls)
    if taken is not cls:
        raise ValueError(
            f"strategy name '{cls.name}' is defined twice, by {_where(taken)} and {_where(cls)}: rename one"
        )
    return cls


def names() -> list[str]:
    """Names of all strategies, sorted: of this package and of installed plug-ins."""
    plugins = _plugins()
    return sorted({*_classes, *plugins})


def get(name: str) -> type[Strategy]:
    """The strategy class called `name`. ValueError with the nearest names if there is none."""
    plugins = _plugins()
    if name not in _classes and name in plugins:
        _load(plugins[name])
    if name not in _classes:
        raise ValueError(f"unknown strategy '{name}'{_nearest(name, names())}")
    return _classes[name]


def validate(name: str, options: Mapping[str, Any]) -> Any:
    """The strategy's frozen Config, made from `options`. ValueError naming the first bad option."""
    from pydantic import TypeAdapter, ValidationError

    config = get(name).Config
    allowed = [field.name for field in fields(config)]
    try:
        document = json.dumps(dict(options))
    except TypeError as error:
        raise ValueError(
            f"options of strategy {name} must be numbers, texts, true/false, lists or tables: {error}"
        ) from None
    try:
        # strict, so that "0.5" or true is no number; as JSON, because strict Python input must be an instance already
        return TypeAdapter(config).validate_json(document, strict=True)
    except ValidationError as error:
        raise ValueError(_sentence(name, error.errors(), allowed)) from None


def build(name: str, options: Mapping[str, Any], sizes: Sizes) -> Strategy:
    """A ready strategy. ValueError for an unknown name, a bad option, or options that do not fit `sizes`."""
    return get(name)(validate(name, options), sizes)


@cache
def _plugins() -> dict[str, metadata.EntryPoint]:
    """Imports the built-in strategies; entry points of other packages by name, not loaded yet."""
    package = importlib.import_module(__package__)
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"{__package__}.{module}")
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        taken = found.get(point.name)
        if point.name in _classes and _root(_classes[point.name].__module__) != _root(point.module):
            raise ValueError(
                f"plug-in {point.value} defines strategy '{point.name}', which {_where(_classes[point.name])} "
                "defines already: rename it or remove the plug-in"
            )
        if taken is not None and taken.value != point.value:
            raise ValueError(
                f"strategy '{point.name}' is defined by two plug-ins, {taken.value} and {point.value}: remove one"
            )
        found[point.name] = point
    return found


def _load(point: metadata.EntryPoint) -> None:
    try:
        cls = point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"strategy '{point.name}' of plug-in {point.value} cannot be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        raise ValueError(f"plug-in {point.value} must be a subclass of strategies.base.Strategy")
    if getattr(cls, "name", None) != point.name:
        raise ValueError(f"plug-in {point.value} is entered as '{point.name}' but its class has another `name`")
    register(cls)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _nearest(word: str, candidates: Iterable[str]) -> str:
    candidates = sorted(candidates)
    near = difflib.get_close_matches(word, candidates, n=3, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else f": choose from {', '.join(candidates)}"


def _sentence(name: str, errors: list[Any], allowed: list[str]) -> str:
    """One sentence on the first problem; an unknown option comes before a bad value."""
    unknown = [error for error in errors if error["type"].startswith("unexpected")]
    error = (unknown or errors)[0]
    location = [str(part) for part in error["loc"]]
    if unknown:
        if not allowed:
            return f"strategy {name} has no options, but '{location[-1]}' is given: remove it"
        return f"strategy {name} has no option '{location[-1]}'{_nearest(location[-1], allowed)}"
    if error["type"] == "value_error":
        return f"strategy {name}: {error['ctx']['error']}"
    # an option of several types gives one error a type
    reasons = [other["msg"] for other in errors if other["loc"][:1] == error["loc"][:1]]
    wanted = ", or: ".join(reason[:1].lower() + reason[1:] for reason in dict.fromkeys(reasons))
    option = location[0] if location else "options"
    return f"option '{option}' of strategy {name} cannot be {error['input']!r}: {wanted}"
