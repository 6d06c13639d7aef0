"""Measure graded answers per second; prints one JSON object. Run: python tests/bench/bench_graders.py"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.base import Problem
from benchmarks.graders.mathematics import VERSION, grade_mathematics
from benchmarks.graders.pool import Verifiers

STEPS = "We add the parts, simplify and check each case in turn; nothing else remains to be shown. " * 20
BOMB = "9^{9^{9^{9}}}"


def _integer(rng: random.Random) -> tuple[str, str]:
    value = rng.randrange(1, 10**6)
    return str(value), rng.choice(("{}", "{:,}", "x = {}", r"{} \text{{ apples}}", "{}.0")).format(value)


def _fraction(rng: random.Random) -> tuple[str, str]:
    a, b, k = rng.randrange(1, 999), rng.randrange(2, 999), rng.randrange(1, 4)
    return rf"\frac{{{a}}}{{{b}}}", rng.choice((rf"\dfrac{{{a * k}}}{{{b * k}}}", f"{a * k}/{b * k}"))


def _tuple(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(-999, 999), rng.randrange(1, 999)
    return f"({a},{b})", rng.choice((rf"\left({a}, {b}\right)", f"x = {a}, y = {b}"))


def _root(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(2, 99), rng.randrange(2, 99)
    return rf"\frac{{{a} \sqrt{{{b}}}}}{{{b}}}", rf"\frac{{{a}}}{{\sqrt{{{b}}}}}"


def _polynomial(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(2, 999), rng.randrange(2, 99)
    return f"{a}n^{{2}}+{a * b}n", f"{a}n(n+{b})"


def _sum(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(2, 999), rng.randrange(2, 99)
    return rf"{a}+{b}\pi", rf"{b}\pi + {a}"


NUMBERS = (_integer, _integer, _integer, _fraction, _tuple)
EXPRESSIONS = (_root, _polynomial, _sum)


def pairs(kinds: tuple[Callable[[random.Random], tuple[str, str]], ...], n: int, seed: int) -> list[tuple[str, str]]:
    """`n` different (gold, answer) pairs; about every second answer is wrong."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], None] = {}
    while len(found) < n:
        gold, answer = rng.choice(kinds)(rng)
        found[gold, answer if rng.random() < 0.5 else rng.choice(kinds)(rng)[1]] = None
    return list(found)


def rate(asked: list[tuple[str, str]], pool: Verifiers) -> tuple[float, dict[str, int]]:
    """Answers per second, and how many verdicts of each status."""
    problems = [Problem(str(i), "bench", "What is it?", gold) for i, (gold, _) in enumerate(asked)]
    responses = [rf"{STEPS}\boxed{{{answer}}}" for _, answer in asked]
    begin = time.perf_counter()
    verdicts = grade_mathematics(problems, responses, pool=pool)
    seconds = time.perf_counter() - begin
    statuses = [verdict.status for verdict in verdicts]
    return round(len(asked) / seconds, 1), {status: statuses.count(status) for status in sorted(set(statuses))}


def measure(workers: int, n: int) -> dict[str, object]:
    """Rates for numbers, for expressions, for four fifths and one fifth of them, and with hostile answers."""
    begin = time.perf_counter()
    with Verifiers(workers=workers) as pool:
        start_seconds = round(time.perf_counter() - begin, 2)
        rate(pairs(EXPRESSIONS, 20 * workers, 1), pool)
        mixed = [*pairs(NUMBERS, 4 * n // 5, 2), *pairs(EXPRESSIONS, n // 5, 3)]
        random.Random(4).shuffle(mixed)
        hostile = [
            (gold, f"{i}{BOMB}" if i % 500 == 0 else answer) for i, (gold, answer) in enumerate(pairs(NUMBERS, n, 5))
        ]
        results = {
            "ordinary": rate(mixed, pool),
            "ordinary_again": rate(mixed, pool),
            "numbers": rate(pairs(NUMBERS, n, 6), pool),
            "expressions": rate(pairs(EXPRESSIONS, n // 2, 7), pool),
            "one_in_500_hostile": rate(hostile, pool),
        }
    rates = {name: {"answers_per_second": speed, "verdicts": counts} for name, (speed, counts) in results.items()}
    return {"version": VERSION, "workers": workers, "start_seconds": start_seconds, **rates}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--answers", type=int, default=2000)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.workers, arguments.answers)))
