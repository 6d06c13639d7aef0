"""Programs from examples and from specifications: Python expressions that are EXECUTED on hidden inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.base import Family, Problem, ProceduralSuite, Slip, Verdict
from benchmarks.graders.programs import grade_programs

Tests = tuple[tuple[tuple[Any, ...], Any], ...]
HIDDEN_INPUTS = 6
ARGUMENT = {"poly": "x", "text": "s", "list": "v"}
FUNCTIONS = {"abs": abs, "sum": sum, "max": max, "min": min, "sorted": sorted}


class Polynomial(Family):
    """A function of x from three values: linear at 0 1 2 (1), linear elsewhere (2), quadratic at 0 1 2 (3),
    quadratic with a leading coefficient (4)."""

    name = "poly"

    def sample(self, rng: random.Random, level: int) -> tuple[int, ...]:
        b, c = rng.randint(1, 9), rng.randint(0, 29)
        if level == 1:
            return 0, 0, b, c
        if level == 2:
            return rng.randint(2, 6), 0, b, c
        return 0, 1 if level == 3 else rng.randint(2, 4), b, c

    @staticmethod
    def _value(params: tuple[int, ...], x: int) -> int:
        _, a, b, c = params
        return a * x * x + b * x + c

    def prompt(self, params: tuple[int, ...]) -> str:
        start = params[0]
        return " ".join(f"{x}:{self._value(params, x)}" for x in range(start, start + 3))

    def solve(self, params: tuple[int, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        start = params[0]
        y = [self._value(params, x) for x in range(start, start + 3)]
        steps = []

        def minus(p: int, q: int) -> int:
            value = slip.number(p - q)
            steps.append(f"{p}-{q}={value}")
            return value

        slope = minus(y[1], y[0])
        if params[1] == 0:
            constant = y[0]
            if start:
                product = slip.number(start * slope)
                steps.append(f"{start}*{slope}={product}")
                constant = minus(y[0], product)
            return ",".join(steps), f"{slope}*x{constant:+d}"
        second = minus(minus(y[2], y[1]), slope)
        half = slip.number(second // 2)
        steps.append(f"{second}/2={half}")
        linear = minus(slope, half)
        return ",".join(steps), f"{half}*x*x{linear:+d}*x{y[0]:+d}"

    def tests(self, params: tuple[int, ...], rng: random.Random) -> Tests:
        inputs = rng.sample(range(-30, 60), HIDDEN_INPUTS)
        return tuple(((x,), self._value(params, x)) for x in inputs)


TEXT_OPERATIONS: dict[str, tuple[str, Callable[[str], str]]] = {
    "rev": ("[::-1]", lambda s: "".join(reversed(s))),
    "up": (".upper()", str.upper),
    "low": (".lower()", str.lower),
    "swap": (".swapcase()", str.swapcase),
    "even": ("[::2]", lambda s: "".join(c for i, c in enumerate(s) if i % 2 == 0)),
    "odd": ("[1::2]", lambda s: "".join(c for i, c in enumerate(s) if i % 2 == 1)),
    "twice": ("*2", lambda s: s + s),
    **{f"first{n}": (f"[:{n}]", lambda s, n=n: "".join(list(s)[:n])) for n in range(2, 5)},
    **{f"last{n}": (f"[-{n}:]", lambda s, n=n: "".join(list(s)[-n:])) for n in range(2, 5)},
    **{f"drop{n}": (f"[{n}:]", lambda s, n=n: "".join(list(s)[n:])) for n in range(1, 4)},
}


class TextPipeline(Family):
    """String operations in sequence: 2, 3, 4 or 6 of them."""

    name = "text"
    lengths = (2, 3, 4, 6)

    def sample(self, rng: random.Random, level: int) -> tuple[str, ...]:
        while True:
            names = tuple(rng.sample(sorted(TEXT_OPERATIONS), self.lengths[level - 1]))
            # repeated cuts leave nothing to tell programs apart by
            if sum(name[:4] in ("even", "odd", "drop", "firs", "last") for name in names) <= max(1, len(names) // 2):
                return names

    def prompt(self, params: tuple[str, ...]) -> str:
        return "s " + " ".join(params)

    def solve(self, params: tuple[str, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        fragments = [code for code, _ in TEXT_OPERATIONS.values()]
        steps = [slip.pick(TEXT_OPERATIONS[name][0], fragments) for name in params]
        program = "s"
        for step in steps:
            # a product binds more loosely than a subscript or a call
            program = f"({program})" if program.endswith("*2") else program
            program += step
        return ",".join(steps), program

    def tests(self, params: tuple[str, ...], rng: random.Random) -> Tests:
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        cases = []
        for _ in range(HIDDEN_INPUTS):
            text = value = "".join(rng.choice(letters) for _ in range(rng.randint(10, 24)))
            for name in params:
                value = TEXT_OPERATIONS[name][1](value)
            cases.append(((text,), value))
        return tuple(cases)


FILTERS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "even": ("x%2==0", lambda x: not x & 1),
    "odd": ("x%2==1", lambda x: bool(x & 1)),
    "pos": ("x>0", lambda x: x > 0),
    "neg": ("x<0", lambda x: x < 0),
    **{f">{k}": (f"x>{k}", lambda x, k=k: x - k > 0) for k in range(1, 10)},
    **{f"<{k}": (f"x<{k}", lambda x, k=k: k - x > 0) for k in range(1, 10)},
}
MAPS: dict[str, tuple[str, Callable[[int], int]]] = {
    "sq": ("x*x", lambda x: x**2),
    "abs": ("abs(x)", lambda x: x if x >= 0 else 0 - x),
    **{f"+{k}": (f"x+{k}", lambda x, k=k: k + x) for k in range(1, 10)},
    **{f"-{k}": (f"x-{k}", lambda x, k=k: x + (0 - k)) for k in range(1, 10)},
    **{f"*{k}": (f"x*{k}", lambda x, k=k: sum([x] * k)) for k in range(2, 10)},
}
REDUCTIONS: dict[str, Callable[[list[int]], Any]] = {"sum": sum, "max": max, "min": min, "sorted": sorted}


class ListPipeline(Family):
    """Filter or map, then reduce (1); filter, map, reduce (2); two filters (3); two filters and two maps (4)."""

    name = "list"

    def sample(self, rng: random.Random, level: int) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        n_filters, n_maps = {1: rng.choice(((1, 0), (0, 1))), 2: (1, 1), 3: (2, 1), 4: (2, 2)}[level]
        while True:
            filters = tuple(rng.sample(sorted(FILTERS), n_filters))
            # enough numbers must pass for hidden inputs to tell programs apart
            if sum(all(FILTERS[f][1](x) for f in filters) for x in range(-20, 21)) >= 6:
                break
        return filters, tuple(rng.sample(sorted(MAPS), n_maps)), rng.choice(sorted(REDUCTIONS))

    def prompt(self, params: tuple[tuple[str, ...], tuple[str, ...], str]) -> str:
        filters, maps, reduction = params
        return " ".join(("v", *filters, *(f"do{m}" if m[0].isalpha() else m for m in maps), reduction))

    def solve(
        self, params: tuple[tuple[str, ...], tuple[str, ...], str], slip: Slip, style: int = 0
    ) -> tuple[str, str]:
        filters, maps, reduction = params
        tests = [slip.pick(FILTERS[f][0], (code for code, _ in FILTERS.values())) for f in filters]
        value = "x"
        steps = list(tests)
        for m in maps:
            code = slip.pick(MAPS[m][0], (code for code, _ in MAPS.values()))
            value = code if value == "x" else code.replace("x", f"({value})")
            steps.append(value)
        name = slip.pick(reduction, REDUCTIONS)
        condition = f" if {' and '.join(tests)}" if tests else ""
        return ",".join(steps), f"{name}({value} for x in v{condition})"

    def tests(self, params: tuple[tuple[str, ...], tuple[str, ...], str], rng: random.Random) -> Tests:
        filters, maps, reduction = params
        cases: list[tuple[tuple[list[int]], Any]] = []
        while len(cases) < HIDDEN_INPUTS:
            values = [rng.randint(-20, 20) for _ in range(rng.randint(6, 12))]
            kept = [x for x in values if all(FILTERS[f][1](x) for f in filters)]
            for m in maps:
                kept = [MAPS[m][1](x) for x in kept]
            if kept:
                cases.append(((values,), REDUCTIONS[reduction](kept)))
        return tuple(cases)


class CodeSuite(ProceduralSuite):
    name = "code"
    domain = "code"
    summary = "functions from examples, string pipelines, list comprehensions; executed on hidden inputs"
    families = (Polynomial(), TextPipeline(), ListPipeline())

    def passes(self, problem: Problem, answer: str) -> bool:
        """Whether a program gives the hidden outputs: another one than the gold program may do the same.

        `answer` must be a family's own: it is not isolated.
        """
        names = {"__builtins__": FUNCTIONS}
        argument = ARGUMENT[problem.family]
        try:
            return all(eval(answer, names, {argument: value}) == output for (value,), output in problem.tests)
        except ValueError:  # max or min of nothing
            return False

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return grade_programs(problems, responses, [ARGUMENT[problem.family] for problem in problems])
