"""Problems, verdicts and suites: what an evaluator or a trainer needs to know of a benchmark, and no more."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

SPLITS = ("train", "eval", "ood")


@dataclass(frozen=True)
class Problem:
    """One question. `answer` is the gold final answer as text; `tests` are hidden (inputs, output) pairs of programs.

    `params` is what the problem was generated from; demonstrations are generated from it as well.
    """

    id: str
    suite: str
    prompt: str
    answer: str
    family: str = ""
    level: int = 0
    split: str = ""
    params: tuple[Any, ...] = ()
    tests: tuple[tuple[tuple[Any, ...], Any], ...] = ()
    demonstrations: tuple[str, ...] = field(default=(), repr=False)  # given ones, for data that ship with them
    instruction: str | None = None  # how to answer, after the prompt in every style; None: the trainer's own words


@dataclass(frozen=True)
class Verdict:
    """The outcome of grading one response. `score` None means not scored (infrastructure failure), never zero."""

    status: str  # pass | fail | no_answer | timeout | protocol | infra
    score: float | None
    extracted: str
    grader: str
    grader_version: str
    sandbox: str = ""  # isolation level, for graders that execute programs


@dataclass(frozen=True)
class Preset:
    """How a published suite is evaluated: samples per problem, sampling, and how many problems (None: all)."""

    k: int
    temperature: float
    top_p: float
    max_tokens: int
    n: int | None = None
    stop: tuple[str, ...] = ()


class Suite:
    """A set of problems with a grader. Problems come in splits that share none of them."""

    name: ClassVar[str]
    domain: ClassVar[str]  # math | code | science | logic
    summary: ClassVar[str]
    presets: Mapping[str, Preset] = MappingProxyType({})  # of published suites, which are evaluated whole or not at all
    macro: bool = False  # the score is the mean over families, not over problems

    def problems(self, split: str, n: int, seed: int, levels: Sequence[int] | None = None) -> list[Problem]:
        """`n` distinct problems of `split`, the same for the same arguments. ValueError if there are not that many."""
        raise NotImplementedError

    def demonstration(self, problem: Problem, variant: int = 0, wrong: bool = False) -> str:
        """An expert's worked solution; `variant` picks another way of writing it, `wrong` a flawed one that ends in a
        wrong answer. The same arguments give the same text."""
        raise NotImplementedError

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        """A verdict for every (problem, response) pair."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What scores of a published suite depend on besides its rows: plain values to hash and to store."""
        return {}


class Slip:
    """The errors of a careless solver: passes intermediate results through, or changes some of them.

    Without a generator every value passes unchanged.
    """

    def __init__(self, rng: random.Random | None = None, rate: float = 0.0) -> None:
        self.rng = rng
        self.rate = rate

    def _now(self) -> bool:
        return self.rng is not None and self.rng.random() < self.rate

    def number(self, value: int) -> int:
        """`value`, or a near miss with the same sign."""
        if not self._now():
            return value
        assert self.rng is not None
        wrong = abs(value) + self.rng.choice((-10, -2, -1, 1, 2, 10))
        wrong = wrong if wrong >= 0 else abs(value) + 1
        return -wrong if value < 0 else wrong

    def pick(self, value: str, others: Iterable[str]) -> str:
        """`value`, or one of `others`."""
        if not self._now():
            return value
        assert self.rng is not None
        return self.rng.choice([other for other in others if other != value])

    def shuffle(self, value: str) -> str:
        """`value`, or the same characters with two neighbours exchanged."""
        if len(value) < 2 or not self._now():
            return value
        assert self.rng is not None
        i = self.rng.randrange(len(value) - 1)
        return value[:i] + value[i + 1] + value[i] + value[i + 2 :]

    def bits(self, value: str) -> str:
        """`value`, or the same bit string with one bit flipped."""
        if not self._now():
            return value
        assert self.rng is not None
        i = self.rng.randrange(len(value))
        return value[:i] + ("1" if value[i] == "0" else "0") + value[i + 1 :]


class Family:
    """One kind of procedurally generated problem with difficulty levels 1 (easy) to 4 (beyond pre-training)."""

    name: ClassVar[str]
    styles: ClassVar[int] = 1  # different ways of writing the worked solution
    levels: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def sample(self, rng: random.Random, level: int) -> tuple[Any, ...]:
        """Random parameters of a problem of this level."""
        raise NotImplementedError

    def prompt(self, params: tuple[Any, ...]) -> str:
        raise NotImplementedError

    def key(self, params: tuple[Any, ...]) -> str:
        """Equal for problems that are the same up to notation; splits are formed on it."""
        return self.prompt(params)

    def solve(self, params: tuple[Any, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        """(worked steps, final answer). With a `slip` that changes values the answer follows from the changed steps."""
        raise NotImplementedError

    def tests(self, params: tuple[Any, ...], rng: random.Random) -> tuple[tuple[tuple[Any, ...], Any], ...]:
        """Hidden (inputs, output) pairs, for families whose answer is a program."""
        return ()


def digest(*parts: object) -> int:
    """A 63-bit integer from the text of `parts`; the root of every derived seed and of the splits."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


OOD_LEVEL = 4
WRONG_TRIES = 200


class ProceduralSuite(Suite):
    """Families behind one grader.

    Splits are disjoint by construction: a problem's key is hashed into ten buckets, buckets 8 and 9 are held out.
    train = buckets 0-7 at any level asked for; eval = held-out buckets, levels 1-3; ood = held-out buckets, level 4.
    """

    families: tuple[Family, ...]
    default_levels: ClassVar[dict[str, tuple[int, ...]]] = {"train": (1, 2, 3), "eval": (1, 2, 3), "ood": (OOD_LEVEL,)}

    def __init__(self) -> None:
        self._by_name = {family.name: family for family in self.families}

    def held_out(self, family: Family, params: tuple[Any, ...]) -> bool:
        return digest(self.name, family.name, family.key(params)) % 10 >= 8

    def build(self, family: Family, level: int, params: tuple[Any, ...], split: str) -> Problem:
        key = digest(self.name, family.name, family.key(params))
        return Problem(
            id=f"{self.name}-{family.name}-{level}-{key:016x}",
            suite=self.name,
            prompt=family.prompt(params),
            answer=family.solve(params, Slip())[1],
            family=family.name,
            level=level,
            split=split,
            params=params,
            tests=family.tests(params, random.Random(key)),
        )

    def stream(self, split: str, seed: int, levels: Sequence[int] | None = None) -> Iterator[Problem]:
        """Endless problems of `split`, repeats possible, families and levels in equal shares."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        levels = tuple(levels or self.default_levels[split])
        rng = random.Random(digest(self.name, split, seed))
        while True:
            family = rng.choice(self.families)
            level = rng.choice(levels)
            params = family.sample(rng, level)
            if self.held_out(family, params) == (split != "train"):
                yield self.build(family, level, params, split)

    def problems(self, split: str, n: int, seed: int, levels: Sequence[int] | None = None) -> list[Problem]:
        found: dict[str, Problem] = {}
        repeats = 0  # in a row
        for problem in self.stream(split, seed, levels):
            if len(found) >= n:
                break
            repeats = repeats + 1 if problem.id in found else 0
            found.setdefault(problem.id, problem)
            if repeats > 5000 + 20 * len(found):
                raise ValueError(
                    f"suite {self.name} has only about {len(found)} distinct {split} problems at levels "
                    f"{levels or self.default_levels[split]}, but {n} were asked for: ask for fewer or add levels"
                )
        return list(found.values())

    def solution(self, problem: Problem, rng: random.Random, style: int, wrong: bool, rate: float) -> tuple[str, str]:
        """(steps, answer), right or wrong as asked; slips happen at `rate` a step."""
        family = self._by_name[problem.family]
        style %= family.styles
        if not wrong:
            return family.solve(problem.params, Slip(), style)
        for _ in range(WRONG_TRIES):
            steps, answer = family.solve(problem.params, Slip(rng, rate), style)
            if answer != problem.answer:
                return steps, answer
        raise RuntimeError(f"no wrong solution of {problem.id} found in {WRONG_TRIES} tries: its family never slips")

    def careless(self, problem: Problem, rng: random.Random, style: int, rate: float) -> tuple[str, str]:
        """(steps, answer) with slips at `rate` a step, right or wrong as it comes."""
        family = self._by_name[problem.family]
        return family.solve(problem.params, Slip(rng, rate), style % family.styles)

    def passes(self, problem: Problem, answer: str) -> bool:
        """Whether an answer that is not written as the gold one is right all the same."""
        return False

    def demonstration(self, problem: Problem, variant: int = 0, wrong: bool = False) -> str:
        rng = random.Random(digest("demonstration", problem.id, variant))
        for _ in range(WRONG_TRIES):
            steps, answer = self.solution(problem, rng, variant, wrong, rate=0.4)
            if not wrong or not self.passes(problem, answer):
                return f"{steps}#{answer}"
        raise RuntimeError(f"no wrong solution of {problem.id} found in {WRONG_TRIES} tries: all of them pass")
