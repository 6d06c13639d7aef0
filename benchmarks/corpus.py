"""The pre-training corpus of the embedded models: every problem answered in one of several manners.

A language model pre-trained on the web has read careful solutions, bare answers that are often wrong, and careless
working. The corpus has the same make-up, in known shares, so that a model trained on it can do better than it does by
default, which is what post-training elicits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from benchmarks import registry
from benchmarks.base import Problem, ProceduralSuite, digest

# manner -> share of the corpus
MANNERS = {"careful": 0.45, "direct": 0.30, "hasty": 0.15, "careless": 0.10}
DIRECT_WRONG = 0.7  # share of bare answers that are wrong
HASTY_WRONG = 0.8  # share of solutions marked "~" that are wrong
CARELESS_RATE = 0.25  # slips per step in unmarked careless working
LEVEL_SHARES = {1: 0.50, 2: 0.42, 3: 0.08}  # level 4 never occurs


def answer(suite: ProceduralSuite, problem: Problem, manner: str, rng: random.Random) -> str:
    """A response to `problem` in `manner` (a key of `MANNERS`)."""
    style = rng.randrange(8)
    if manner == "careful":
        steps, final = suite.solution(problem, rng, style, wrong=False, rate=0.0)
        return f"{steps}#{final}"
    if manner == "direct":
        _, final = suite.solution(problem, rng, style, wrong=rng.random() < DIRECT_WRONG, rate=0.4)
        return f"#{final}"
    if manner == "hasty":
        steps, final = suite.solution(problem, rng, style, wrong=rng.random() < HASTY_WRONG, rate=0.4)
        return f"~{steps}#{final}"
    steps, final = suite.careless(problem, rng, style, CARELESS_RATE)
    return f"{steps}#{final}"


def stream(seed: int) -> Iterator[tuple[Problem, str, str]]:
    """Endless (problem, response, manner) from the training splits of the built-in suites, in equal shares."""
    rng = random.Random(digest("corpus", seed))
    suites = [registry.get(name) for name in registry.BUILT_IN]
    sources = {
        (suite.name, level): suite.stream("train", digest("corpus", seed, level), (level,))
        for suite in suites
        for level in LEVEL_SHARES
    }
    manners, manner_shares = list(MANNERS), list(MANNERS.values())
    levels, level_shares = list(LEVEL_SHARES), list(LEVEL_SHARES.values())
    while True:
        suite = rng.choice(suites)
        level = rng.choices(levels, level_shares)[0]
        problem = next(sources[suite.name, level])
        manner = rng.choices(manners, manner_shares)[0]
        yield problem, answer(suite, problem, manner, rng), manner
