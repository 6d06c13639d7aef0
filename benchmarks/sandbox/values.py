"""Plain values: the JSON round trip between the trusted parent and the sandbox child, and the parent's comparison.

Only exact builtin types travel (None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset); a
subclass is not plain, because its `__eq__` would run the candidate's code. The dictionaries of `collections` travel as
dict, which they equal. Standard library only: child.py loads this file outside the package.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

MAX_DEPTH = 64
MAX_SIZE = 1_000_000  # nodes + characters + integer hex digits of one value
MAX_INT_BITS = 32_768

MAX_COLLISIONS = 1000  # members of one set or keys of one dict with the same hash: more of them take quadratic time

_DICTS = (dict, Counter, OrderedDict, defaultdict)
_SEQUENCES = {list: "l", tuple: "t", set: "S", frozenset: "F"}
_BUILDERS = {tag: kind for kind, tag in _SEQUENCES.items()}


class NotPlain(ValueError):
    """The value cannot travel; the message is the reason ("depth", "size" or the type's name)."""


class Opaque:
    """Stands for a returned value that is not plain; never equal to anything, itself included."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Opaque({self.reason!r})"


def encode(value: Any, max_size: int = MAX_SIZE) -> Any:
    """Return a JSON-ready form that `decode` turns back into an equal value of the same types.

    Raises NotPlain for another type, nesting beyond MAX_DEPTH (cycles included), an integer beyond MAX_INT_BITS, or a
    size beyond `max_size`.
    """
    budget = [max_size]
    return _encode(value, 0, budget)


def _encode(value: Any, depth: int, budget: list[int]) -> Any:
    if depth > MAX_DEPTH:
        raise NotPlain("depth")
    kind = type(value)
    cost = 1
    if kind is str or kind is bytes:
        cost += len(value)
    elif kind is int:
        if value.bit_length() > MAX_INT_BITS:
            raise NotPlain("size")
        cost += value.bit_length() // 4
    budget[0] -= cost
    if budget[0] < 0:
        raise NotPlain("size")
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if value.bit_length() <= 64 else ["i", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["f", repr(value)]
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON would join two lone surrogates into one character
            return ["u", [ord(c) for c in value]]
        return value
    if kind is bytes:
        return ["b", value.hex()]
    if kind is complex:
        return ["c", repr(value.real), repr(value.imag)]
    if kind in _SEQUENCES:
        return [_SEQUENCES[kind], *(_encode(item, depth + 1, budget) for item in value)]
    if kind in _DICTS:
        return ["d", *([_encode(k, depth + 1, budget), _encode(v, depth + 1, budget)] for k, v in value.items())]
    raise NotPlain(kind.__name__)


def decode(form: Any, depth: int = 0) -> Any:
    """Invert `encode`; ["o", reason] gives Opaque(reason). Raises ValueError for anything `encode` does not write."""
    kind = type(form)
    if form is None or kind in (bool, int, str):
        return form
    if kind is float and math.isfinite(form):
        return form
    if kind is not list or not form or type(form[0]) is not str or depth > MAX_DEPTH:
        raise ValueError("not an encoded value")
    tag, *items = form
    try:
        if tag in _BUILDERS:
            members = [decode(item, depth + 1) for item in items]
            if tag in "SF":
                _check_hashes(members)
            return _BUILDERS[tag](members)
        if tag == "d":
            pairs = [(decode(k, depth + 1), decode(v, depth + 1)) for k, v in items]
            _check_hashes(k for k, _ in pairs)
            return dict(pairs)
        if tag == "i":
            return int(*items, 16)
        if tag == "f":
            return float(*items)
        if tag == "u":
            return "".join(map(chr, *items))
        if tag == "b":
            return bytes.fromhex(*items)
        if tag == "c":
            real, imag = items
            return complex(float(real), float(imag))
        if tag == "o":
            return Opaque(str(*items))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"not an encoded value: {error}") from error
    raise ValueError("unknown tag")


def _check_hashes(members: Iterable[Hashable]) -> None:
    hashes = sorted(map(hash, members))
    if any(a == b for a, b in zip(hashes, hashes[MAX_COLLISIONS:], strict=False)):
        raise ValueError("too many equal hashes")


def matches(value: Any, expected: Any) -> bool:
    """Compare a returned value with the expected one, by type and content.

    int and float compare as numbers, with relative tolerance 1e-9 as soon as one is a float; bool equals only bool;
    list, tuple, set and frozenset equal only their own kind; members of sets and keys of dicts compare without
    tolerance; NaN and Opaque equal nothing.
    """
    kind = type(expected)
    if type(value) in (int, float) and kind in (int, float):
        if type(value) is kind is int:
            return value == expected
        try:
            return math.isclose(value, expected, rel_tol=1e-9)
        except OverflowError:  # an integer beyond the float range
            return False
    if type(value) is not kind:
        return False
    if kind in (list, tuple):
        return len(value) == len(expected) and all(map(matches, value, expected))
    if kind is dict:
        found, wanted = ({_key(k): v for k, v in d.items()} for d in (value, expected))
        return found.keys() == wanted.keys() and all(matches(found[k], v) for k, v in wanted.items())
    if kind in (set, frozenset):
        return {_key(item) for item in value} == {_key(item) for item in expected}
    return kind in (str, bytes, bool, complex, type(None)) and value == expected


def _key(item: Any) -> Any:
    """Return a hashable stand-in whose equality follows `matches` without tolerance."""
    kind = type(item)
    if kind is tuple:
        return ("tuple", *map(_key, item))
    if kind is frozenset:
        return ("frozenset", frozenset(map(_key, item)))
    if kind in (int, float):
        return ("number", item) if item == item else object()
    return (kind, item)
