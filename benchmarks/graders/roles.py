"""Knights and knaves: the role that a response ends up giving to every person."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.base import Problem, Verdict
from benchmarks.graders.extract import VERSION as EXTRACT_VERSION
from benchmarks.graders.extract import final_answer, visible

VERSION = f"1+extract{EXTRACT_VERSION}"
GRADER = "roles"
_MARKUP = re.compile(r"[*_`$]|\\text(?:bf|it)?(?=\{)|[{}]|\\(?:quad|,|;|\\)")
_STATEMENT = re.compile(
    r"(?:\(?\d{1,2}[.):]\)?\s*)?(?P<name>[A-Z][a-z]+)\s*(?:is an?|:|=|-)\s*(?P<role>knight|knave)", re.IGNORECASE
)
_LEAD = re.compile(
    r"(?:so|therefore|thus|hence)?,?\s*(?:the\s+)?(?:final\s+)?(?:answer|solution|conclusion)?\s*(?:is|:)*\s*",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"[\s,;.&|]*(?:and\b\s*)?|[\s-]*")


def _line(text: str) -> dict[str, bool]:
    """The roles (true: knight) of a line that says nothing else; empty for any other line, and for a contradiction."""
    text = _MARKUP.sub("", text).strip().lstrip("-#> ")
    position = _LEAD.match(text).end()  # type: ignore[union-attr] # matches the empty text as well
    roles: dict[str, bool] = {}
    while found := _STATEMENT.match(text, position):
        name, knight = found["name"].casefold(), found["role"].casefold() == "knight"
        if roles.setdefault(name, knight) != knight:
            return {}
        position = _BETWEEN.match(text, found.end()).end()  # type: ignore[union-attr]
    return roles if position == len(text) else {}


def read_roles(response: str) -> dict[str, bool]:
    r"""Roles by lower-case name: of the last \boxed{} that gives some, else of lines that give roles and nothing else.

    A later line goes before an earlier one. Reasoning ("if Zoey is a knight ...") is not read.
    """
    text = visible(response)
    if text is None:
        return {}
    box = final_answer(response, ("box",))
    if box is not None and (boxed := _line(" ".join(box.replace("\\\\", ", ").split("\n")))):
        return boxed
    roles: dict[str, bool] = {}
    for line in text.split("\n"):
        roles.update(_line(line))
    return roles


def grade_roles(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """Whether every person of a puzzle gets the right role; no answer if one of them gets none.

    Problem.params holds `names` and `knights`, whether each is a knight.
    """
    verdicts = []
    for problem, response in zip(problems, responses, strict=True):
        params = dict(problem.params)
        roles = read_roles(response)
        names = [name.casefold() for name in params["names"]]
        if any(name not in roles for name in names):
            verdicts.append(Verdict("no_answer", 0.0, "", GRADER, VERSION))
            continue
        given = [roles[name] for name in names]
        right = given == list(params["knights"])
        said = zip(params["names"], given, strict=True)
        shown = ", ".join(f"{name}: {'knight' if knight else 'knave'}" for name, knight in said)
        verdicts.append(Verdict("pass" if right else "fail", float(right), shown, GRADER, VERSION))
    return verdicts
