"""State tracking, transitive ordering, and Boolean columns. No family has a yes/no answer that guessing gets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.base import Family, Problem, ProceduralSuite, Slip, Verdict
from benchmarks.graders.answers import grade_strings

LETTERS = "abcdefgh"


class Swaps(Family):
    """Objects in a row, exchanged by position; worked by writing every state."""

    name = "swap"
    objects = (3, 4, 5, 6)
    swaps = (2, 3, 4, 6)

    def sample(self, rng: random.Random, level: int) -> tuple[str, ...]:
        n = self.objects[level - 1]
        row = "".join(rng.sample(LETTERS, n))
        pairs = (sorted(rng.sample(range(1, n + 1), 2)) for _ in range(self.swaps[level - 1]))
        return (row, *(f"{i}{j}" for i, j in pairs))

    def prompt(self, params: tuple[str, ...]) -> str:
        return " ".join(params)

    def solve(self, params: tuple[str, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        row, *pairs = params
        states = []
        for pair in pairs:
            i, j = int(pair[0]) - 1, int(pair[1]) - 1
            cells = list(row)
            cells[i], cells[j] = cells[j], cells[i]
            row = slip.shuffle("".join(cells))
            states.append(row)
        return ",".join(states), row


class Ordering(Family):
    """Neighbouring comparisons in random order; worked by extending the chain from its greatest member,
    or from its least."""

    name = "order"
    styles = 2

    def sample(self, rng: random.Random, level: int) -> tuple[str, ...]:
        chain = rng.sample(LETTERS, level + 2)
        facts = [f"{a}>{b}" for a, b in pairwise(chain)]
        rng.shuffle(facts)
        return tuple(facts)

    def prompt(self, params: tuple[str, ...]) -> str:
        return " ".join(params)

    def key(self, params: tuple[str, ...]) -> str:
        return " ".join(sorted(params))

    def solve(self, params: tuple[str, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        below = {fact[0]: fact[2] for fact in params}
        above = {b: a for a, b in below.items()}
        if style == 1:
            chain = next(b for b in above if b not in below)
            links = above
        else:
            chain = next(a for a in below if a not in above)
            links = below
        states = []
        while True:
            end = chain[0] if style == 1 else chain[-1]
            if end not in links or len(chain) > len(params):
                break
            chain = links[end] + chain if style == 1 else chain + links[end]
            chain = slip.shuffle(chain)
            states.append(chain)
        return ",".join(states), chain


class Columns(Family):
    """Boolean operators on truth-table columns of four rows, level of them; worked operator by operator."""

    name = "table"

    def sample(self, rng: random.Random, level: int) -> tuple[str, ...]:
        def operand() -> str:
            return rng.choice(("", "~")) + format(rng.randrange(1, 15), "04b")

        tokens = [operand()]
        for _ in range(level):
            tokens += [rng.choice("&|^"), operand()]
        return tuple(tokens)

    def prompt(self, params: tuple[str, ...]) -> str:
        text = params[0]
        for i in range(1, len(params), 2):
            text = f"({text})" if i > 1 else text
            text += params[i] + params[i + 1]
        return text

    def solve(self, params: tuple[str, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        steps: list[str] = []

        def column(operand: str) -> str:
            if operand[0] != "~":
                return operand
            value = slip.bits("".join("10"[int(bit)] for bit in operand[1:]))
            steps.append(f"{operand}={value}")
            return value

        left = column(params[0])
        for i in range(1, len(params), 2):
            right = column(params[i + 1])
            pairs = zip(map(int, left), map(int, right), strict=True)
            operate = {"&": int.__and__, "|": int.__or__, "^": int.__xor__}[params[i]]
            value = slip.bits("".join(str(operate(a, b)) for a, b in pairs))
            steps.append(f"{left}{params[i]}{right}={value}")
            left = value
        return ",".join(steps), left


class LogicSuite(ProceduralSuite):
    name = "logic"
    domain = "logic"
    summary = "tracking exchanged objects, ordering from comparisons, Boolean columns"
    families = (Swaps(), Ordering(), Columns())

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return grade_strings(problems, responses)
