"""A specification as text: all keys, and what differs from the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from harness.spec import SECTIONS, RunSpec
from strategies import registry


def toml_value(value: Any) -> str:
    """A JSON value in TOML syntax. None has none; see `text`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(toml_value(item) for item in value) + "]"


def differences(spec: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """key -> (value, default) for every key of a specification (as plain values) that differs from the default."""
    found = {}
    for key, default in RunSpec().as_dict().items():
        value = spec.get(key, default)
        if key not in SECTIONS:
            if value != default:
                found[key] = (value, default)
            continue
        for name, usual in default.items():
            if value.get(name, usual) != usual:
                found[f"{key}.{name}"] = (value[name], usual)
    return found


def option_defaults(strategy: str) -> dict[str, Any]:
    """Options of a strategy with their defaults, as plain values."""
    found = {}
    for option in fields(registry.get(strategy).Config):
        default = option.default if option.default is not MISSING else option.default_factory()  # type: ignore[misc]
        found[option.name] = list(default) if isinstance(default, tuple) else default
    return found


def text(spec: RunSpec) -> str:
    """All keys as a TOML specification that gives this run again; comments mark what differs from the defaults.

    Keys without a value, and options of the strategy left at their defaults, are comments: TOML has no null, and
    options that are written out belong to a specification's hash.
    """
    values = spec.as_dict()
    changed = differences(values)

    def line(path: str, name: str, value: Any) -> str:
        mark = ""
        if path in changed:
            default = changed[path][1]
            mark = f"  # default: {'none' if default is None else toml_value(default)}"
        return f"# {name} is not set{mark}" if value is None else f"{name} = {toml_value(value)}{mark}"

    plain = [line(key, key, value) for key, value in values.items() if key not in SECTIONS and key != "options"]
    parts = ["\n".join(plain)]
    defaults = option_defaults(spec.strategy)
    options = [
        f"{name} = {toml_value(spec.options[name])}  # default: {default!r}"
        if name in spec.options
        else f"# {name} = {'none' if default is None else toml_value(default)}"
        for name, default in defaults.items()
    ]
    if options:
        parts.append("\n".join(["[options]", *options]))
    for section in (key for key in values if key in SECTIONS):
        lines = [line(f"{section}.{name}", name, value) for name, value in values[section].items()]
        parts.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(parts)
