"""Reading fields of a published row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def text(row: Row, *keys: str) -> str:
    """The first of these fields that is there, as stripped text; a whole float loses its ".0". ValueError if none."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str | int | float) and str(value).strip():
            return str(value).strip()
    raise ValueError(f"has no field {' or '.join(keys)}")


def optional(row: Row, *keys: str) -> str:
    """As `text`, empty if there is none."""
    try:
        return text(row, *keys)
    except ValueError:
        return ""


def texts(row: Row, key: str) -> list[str]:
    """A list of stripped texts. ValueError if it is no list, or empty."""
    value = row.get(key)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"has no list in the field {key}")
    return [str(item).strip() for item in value]
