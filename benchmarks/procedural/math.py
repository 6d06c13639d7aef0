"""Integer arithmetic: column addition, operator precedence, linear equations, modular products."""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.base import Family, Problem, ProceduralSuite, Slip, Verdict
from benchmarks.graders.answers import grade_numbers


class Addition(Family):
    """Two numbers of level + 1 digits; worked column by column, or by adding one place value at a time."""

    name = "add"
    styles = 2

    def sample(self, rng: random.Random, level: int) -> tuple[int, int]:
        low, high = 10**level, 10 ** (level + 1) - 1
        return rng.randint(low, high), rng.randint(low, high)

    def prompt(self, params: tuple[int, int]) -> str:
        return f"{params[0]}+{params[1]}"

    def key(self, params: tuple[int, int]) -> str:
        return "+".join(map(str, sorted(params)))

    def solve(self, params: tuple[int, int], slip: Slip, style: int = 0) -> tuple[str, str]:
        a, b = params
        steps = []
        if style == 1:
            total = a
            for place in range(len(str(b)) - 1, -1, -1):
                part = b // 10**place % 10 * 10**place
                if part:
                    before, total = total, slip.number(total + part)
                    steps.append(f"{before}+{part}={total}")
            return ",".join(steps), str(total)
        digits, carry = "", 0
        for x, y in zip(reversed(str(a)), reversed(str(b)), strict=True):
            column = slip.number(int(x) + int(y) + carry)
            steps.append(f"{x}+{y}{'+1' if carry else ''}={column}")
            digits = str(column % 10) + digits
            carry = min(column // 10, 1)
        return ",".join(steps), ("1" if carry else "") + digits


class Expression(Family):
    """Chains of level + 2 one-digit operands with + - *; products first, then left to right."""

    name = "expr"

    def sample(self, rng: random.Random, level: int) -> tuple[str, ...]:
        tokens = [str(rng.randint(1, 9))]
        for _ in range(level + 1):
            operators = "+-" if len(tokens) > 1 and tokens[-2] == "*" else "+-*"
            tokens += [rng.choice(operators), str(rng.randint(1, 9))]
        return tuple(tokens)

    def prompt(self, params: tuple[str, ...]) -> str:
        return "".join(params)

    def solve(self, params: tuple[str, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        tokens, steps = list(params), []
        while "*" in tokens:
            i = tokens.index("*")
            value = slip.number(int(tokens[i - 1]) * int(tokens[i + 1]))
            steps.append(f"{tokens[i - 1]}*{tokens[i + 1]}={value}")
            tokens[i - 1 : i + 2] = [str(value)]
        while len(tokens) > 1:
            a, operator, b = int(tokens[0]), tokens[1], int(tokens[2])
            value = slip.number(a + b if operator == "+" else a - b)
            steps.append(f"{a}{operator}{b}={value}")
            tokens[:3] = [str(value)]
        return ",".join(steps), tokens[0]


class Equation(Family):
    """Linear equations: ax+b=c; ax+b=cx+d; a(x+b)=cx+d; a(x+b)=c(x+d)+e."""

    name = "solve"

    def sample(self, rng: random.Random, level: int) -> tuple[int, ...]:
        x = rng.randint(1, 12)
        c = rng.randint(1, 4) if level > 1 else 0
        a = c + rng.randint(2, 5)
        b = rng.randint(1, 9)
        if level <= 2:
            return level, a, b, c, (a - c) * x + b
        if level == 3:
            return level, a, b, c, a * (x + b) - c * x
        d = rng.randint(1, 9)
        return level, a, b, c, d, a * (x + b) - c * (x + d)

    def prompt(self, params: tuple[int, ...]) -> str:
        level, a, b, c, *rest = params
        if level == 1:
            return f"{a}x+{b}={rest[0]}"
        if level == 2:
            return f"{a}x+{b}={c}x+{rest[0]}"
        if level == 3:
            return f"{a}(x+{b})={c}x{rest[0]:+d}"
        return f"{a}(x+{b})={c}(x+{rest[0]}){rest[1]:+d}"

    def solve(self, params: tuple[int, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        level, a, b, c, *rest = params
        steps = []
        right = rest[-1]
        if level == 4:
            opened = slip.number(c * rest[0])
            steps.append(f"{c}*{rest[0]}={opened}")
            right = slip.number(opened + rest[1])
            steps.append(f"{opened}{rest[1]:+d}={right}")
        if level >= 3:
            opened = slip.number(a * b)
            steps.append(f"{a}*{b}={opened}")
            b = opened
        difference = slip.number(right - b)
        steps.append(f"{right}-{b}={difference}")
        slope = slip.number(a - c) if level > 1 else a
        slope = slope or 1
        x = slip.number(round(difference / slope))
        steps.append(f"{slope}x={difference}")
        return ",".join(steps), str(x)


class Modular(Family):
    """A product of level factors modulo a digit, reduced factor by factor."""

    name = "mod"

    def sample(self, rng: random.Random, level: int) -> tuple[int, ...]:
        return (rng.randint(3, 9), *(rng.randint(10, 99 if level == 1 else 49) for _ in range(level)))

    def prompt(self, params: tuple[int, ...]) -> str:
        return "*".join(map(str, params[1:])) + f"%{params[0]}"

    def key(self, params: tuple[int, ...]) -> str:
        return "*".join(map(str, sorted(params[1:]))) + f"%{params[0]}"

    def solve(self, params: tuple[int, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        m, *factors = params
        steps = []

        def reduce(value: int) -> int:
            multiple = slip.number(value // m * m)
            steps.append(f"{value}-{multiple}={(rest := slip.number(abs(value - multiple)))}")
            return rest

        total = reduce(factors[0])
        for factor in factors[1:]:
            rest = reduce(factor)
            product = slip.number(total * rest)
            steps.append(f"{total}*{rest}={product}")
            total = reduce(product) if product >= m else product
        return ",".join(steps), str(total)


class MathSuite(ProceduralSuite):
    name = "math"
    domain = "math"
    summary = "column addition, operator precedence, linear equations, modular products"
    families = (Addition(), Expression(), Equation(), Modular())

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return grade_numbers(problems, responses)
