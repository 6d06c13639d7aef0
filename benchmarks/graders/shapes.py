"""The structure of a final answer: lists, sets, tuples, intervals, unions and chains of equations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.graders.notation import OPEN, partners, tokens


@dataclass(frozen=True)
class Node:
    r"""kind: scalar | list (bare commas, "and", \pm) | set | tuple (also intervals) | union | chain (of equalities).

    brackets: the opening and the closing one of a tuple. approximate: which members of a chain follow an
    approximately-equal sign.
    """

    kind: str
    text: str
    members: tuple[Node, ...] = ()
    brackets: str = ""
    approximate: tuple[bool, ...] = ()


_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?%?")
_MEMBER_OF = re.compile(r"^(?:\\?[A-Za-z]+(?:_\{[^{}]*\})?|\([A-Za-z, ]+\))\s*\\in(?![A-Za-z])\s*")
_CONDITION = re.compile(
    r"\s*,?\s*(?:\\text\{\s*,?\s*)?(?<![A-Za-z])(?:where|for (?:all|any|every|each))(?![A-Za-z]).*$"
)


def _cut(parts: list[str], marks: tuple[str, ...], grouped: bool = False) -> Iterator[tuple[str, str]]:
    """(mark before it, piece) of the top level. grouped: a comma between digits as in 10,000 is no mark."""
    pairs = partners(parts)
    mark, piece, i = "", "", 0
    while i < len(parts):
        name = parts[i].rstrip()
        digits = grouped and name == "," and i and parts[i - 1].isdigit() and parts[i + 1 : i + 2]
        if name in marks and not (digits and digits[0].isdigit() and len(digits[0]) == 3):
            yield mark, piece.strip()
            mark, piece, i = name, "", i + 1
        else:
            stop = pairs.get(i, i) + 1
            piece += "".join(parts[i:stop])
            i = stop
    yield mark, piece.strip()


def _either_sign(text: str) -> tuple[Node, Node]:
    signs = []
    for plus, minus in (("+", "-"), ("-", "+")):
        one = re.sub(r"\\mp(?![A-Za-z])\s*", minus, re.sub(r"\\pm(?![A-Za-z])\s*", plus, text))
        signs.append(Node("scalar", one.strip().removeprefix("+")))
    return signs[0], signs[1]


def _flat(members: Iterable[Node]) -> tuple[Node, ...]:
    r"""The members, with both values in place of one with \pm."""
    return tuple(one for node in members for one in (node.members if node.kind == "list" else (node,)))


def read(text: str, separate: bool = False) -> Node:
    """The structure of a tidy text. separate: a comma between digits always separates. Raises Malformed."""
    text = _MEMBER_OF.sub("", _CONDITION.sub("", text)).strip()
    if r"\begin" in text or (not separate and _GROUPED.fullmatch(text)):
        return Node("scalar", text)
    parts = tokens(text)
    pieces = [piece for _, piece in _cut(parts, (",", ";"), not separate and ", " in text)]
    if len(pieces) > 1:
        return Node("list", text, _flat(read(piece, separate) for piece in pieces if piece))
    cut = [(mark, piece) for mark, piece in _cut(parts, ("=", r"\approx")) if mark or piece]
    if len(cut) > 1:
        approximate = tuple(mark == r"\approx" for mark, _ in cut)
        return Node("chain", text, tuple(read(piece, separate) for _, piece in cut), "", approximate)
    if cut and cut[0][0]:  # a sign before a single value
        return read(cut[0][1], separate)
    pieces = [piece for _, piece in _cut(parts, (r"\cup",))]
    if len(pieces) > 1:
        return Node("union", text, tuple(read(piece, separate) for piece in pieces))
    if parts and parts[0] in OPEN and partners(parts)[0] == len(parts) - 1:
        inside = "".join(parts[1:-1]).strip()
        members = tuple(read(piece, True) for _, piece in _cut(tokens(inside), (",", ";")) if piece)
        if parts[0] == r"\{":
            if re.search(r"\\mid(?![A-Za-z])|[|:]", inside):
                return Node("scalar", text)
            return Node("set", text, _flat(members))
        if parts[0] == "{" or (parts[0] == "(" and len(members) < 2):
            return read(inside, separate)
        return Node("tuple", text, members, parts[0] + parts[-1])
    if len(re.findall(r"\\pm(?![A-Za-z])", text)) == 1:
        return Node("list", text, _either_sign(text))
    return Node("scalar", text)
