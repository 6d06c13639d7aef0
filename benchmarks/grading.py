"""Graders of published suites by the names that definitions give them; what each needs is in Problem.params.

math, math_strict: Math-Verify, the latter reading boxes and `####` only. choice: a letter, or the text of an option.
choice_or_number: either, by problem. label:KIND: a short exact answer. roles: knights and knaves. code:KIND: programs,
whose rows say how they are tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.base import Problem, Verdict

Grade = Callable[[Sequence[Problem], Sequence[str]], list[Verdict]]
CODE = ("humaneval", "mbpp", "evalplus", "cruxeval_i", "cruxeval_o")
RULES = ("percent", "relative", "absolute", "unit", "shape", "separate")
# grader, without its kind -> the module whose VERSION is its version
MODULES = {
    "math": "benchmarks.graders.mathematics",
    "math_strict": "benchmarks.graders.mathematics",
    "choice": "benchmarks.graders.choice",
    "choice_or_number": "benchmarks.graders.choice",
    "label": "benchmarks.graders.labels",
    "roles": "benchmarks.graders.roles",
    "code": "benchmarks.graders.code",
}


def check(name: str) -> None:
    """ValueError for a grader that there is not."""
    family, colon, kind = name.partition(":")
    if family not in MODULES or bool(colon) != (family in ("label", "code")):
        raise ValueError(f"unknown grader {name!r}: choose from {', '.join(MODULES)}, label and code with a kind")
    if not colon:
        return
    known = CODE if family == "code" else tuple(import_module(MODULES[family]).KINDS)
    if kind not in known:
        raise ValueError(f"unknown kind {kind!r} of grader {family}: choose from {', '.join(known)}")


def version(name: str) -> str:
    """The grader's own version, without those of the packages that it uses."""
    return import_module(MODULES[name.partition(":")[0]]).VERSION.partition("+")[0]


def grader(name: str) -> Grade:
    """The function that grades (problems, responses)."""
    family, _, kind = name.partition(":")
    module = import_module(MODULES[family])
    if family in ("math", "math_strict"):
        return partial(_mathematics, family == "math")
    if family == "choice":
        return _choices
    if family == "choice_or_number":
        return _choices_or_numbers
    if family == "label":
        return partial(module.grade_labels, kind=kind)
    return module.grade_roles if family == "roles" else module.grade_code


def _mathematics(lenient: bool, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    from benchmarks.graders.comparison import Rules
    from benchmarks.graders.mathematics import grade_mathematics

    given: list[Mapping[str, Any]] = [dict(problem.params) for problem in problems]
    rules = [Rules(**{key: params[key] for key in RULES if key in params}) for params in given]
    return grade_mathematics(problems, responses, lenient=lenient, rules=rules)


def _choices(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    from benchmarks.graders.choice import grade_choices

    return grade_choices(problems, responses, options=[dict(problem.params)["choices"] for problem in problems])


def _choices_or_numbers(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """By problem: a letter where there are options, else a number."""
    verdicts: dict[int, Verdict] = {}
    for grade, with_options in ((_choices, True), (partial(_mathematics, False), False)):
        places = [i for i, problem in enumerate(problems) if ("choices" in dict(problem.params)) == with_options]
        verdicts |= zip(places, grade([problems[i] for i in places], [responses[i] for i in places]), strict=True)
    return [verdicts[i] for i in range(len(problems))]
