"""Options of one item of a report: what its kind knows, with defaults, and nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from harness.report.spec import Item

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text", list: "a list", dict: "a table"}


def read(item: Item, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The item's options over `defaults`, in the order of `defaults`.

    A default gives the type: a number takes integers too, a list takes entries like its first one (an empty one takes
    texts and numbers), None takes anything. A default that is a type (`{"file": str}`) stands for an option that must
    be given. Raises ValueError for an unknown option (naming the known ones), a wrong type, or one that is missing.
    """
    unknown = [key for key in item.options if key not in defaults]
    if unknown:
        known = ", ".join(defaults) or "none"
        raise ValueError(f"{place(item)} has no option {unknown[0]!r}{nearest(unknown[0], defaults)}; it has: {known}.")
    values = {}
    for key, default in defaults.items():
        if isinstance(default, type):
            if key not in item.options:
                raise ValueError(f"{place(item)} needs the option {key} ({_NAMES[default]}).")
            values[key] = _typed(item, key, item.options[key], default())
        else:
            values[key] = _typed(item, key, item.options[key], default) if key in item.options else default
    return values


def choice(item: Item, key: str, value: str, allowed: Iterable[str]) -> str:
    """`value` if it is allowed; ValueError naming the allowed ones and the nearest of them."""
    names = list(allowed)
    if value not in names:
        raise ValueError(
            f"{place(item)}: option {key} must be one of {', '.join(names)}, not {value!r}{nearest(value, names)}."
        )
    return value


def nearest(word: str, names: Iterable[str]) -> str:
    """` (did you mean ...?)` for the name that looks most like `word`; empty where none does."""
    found = difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def place(item: Item) -> str:
    """How messages name the item."""
    return f"{item.kind} {item.name} ({item.show})"


def _typed(item: Item, key: str, value: Any, default: Any) -> Any:
    if default is None:
        return value
    if isinstance(default, list | tuple):
        return [_entry(item, key, entry, default) for entry in _instance(item, key, value, list)]
    return _instance(item, key, value, type(default))


def _entry(item: Item, key: str, entry: Any, default: Any) -> Any:
    if default:
        return _typed(item, key, entry, default[0])
    if isinstance(entry, bool) or not isinstance(entry, str | int | float):
        raise ValueError(f"{place(item)}: option {key} must be a list of texts or numbers, but holds {entry!r}.")
    return entry


def _instance(item: Item, key: str, value: Any, wanted: type) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{place(item)}: option {key} must be {_NAMES[wanted]}, but is {value!r}.")
    return value
