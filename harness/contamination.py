"""Overlap of evaluation problems with training texts: n-grams of words, of characters for short texts, whole texts.

Word n-grams as in the studies of large models (13 words: Brown et al. 2020, arXiv 2005.14165, app. C; 8 words:
Chowdhery et al. 2022, arXiv 2204.02311, sec. 8); runs of 50 characters as in OpenAI 2023, arXiv 2303.08774, app. C.
Exact: no sampling, and no hashes that could collide.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.base import Problem

UNITS = ("words", "characters", "whole")
MOSTLY = 0.8  # share of a question's n-grams
COMMON = 10  # an n-gram of more problems says nothing on which training text is nearest
_WORD = re.compile(r"\w+")

Source = tuple[str, str]  # name of a training text, the text


def words(text: str) -> list[str]:
    """Letters, digits and underscores in runs; NFKC, case folded. Punctuation separates."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def squeezed(text: str) -> str:
    """The text without white space; NFKC, case folded."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def word_grams(found: Sequence[str], n: int, step: int = 1) -> list[str]:
    """The runs of `n` words that begin at every `step`-th word, in order, joined by spaces."""
    joined = " ".join(found)
    starts = [0]
    for word in found:
        starts.append(starts[-1] + len(word) + 1)
    return [joined[starts[i] : starts[i + n] - 1] for i in range(0, len(found) - n + 1, step)]


def character_grams(found: str, n: int, step: int = 1) -> list[str]:
    """The runs of `n` characters that begin at every `step`-th one, in order."""
    return [found[i : i + n] for i in range(0, len(found) - n + 1, step)]


@dataclass(frozen=True)
class Match:
    """One problem. `grams`: different n-grams of its question; `matched`: those in training texts; `own`: of these,
    those that no other problem of its suite has.

    unit: what the question was cut into, see `Index`. same: a whole training text is the question, but for case and
    white space. nearest: the training text with the most matched n-grams. excerpt: the longest matched run.
    """

    suite: str
    problem: str
    unit: str
    grams: int
    matched: int
    own: int
    same: bool
    nearest: str
    excerpt: str

    @property
    def coverage(self) -> float:
        return self.matched / self.grams if self.grams else float(self.same)

    @property
    def overlaps(self) -> bool:
        return self.matched > 0 or self.same


@dataclass
class _Entry:
    suite: str
    problem: str
    unit: str
    grams: list[str]  # in order, repeats included
    whole: str
    matched: set[str] = field(default_factory=set)
    nearest: Counter[str] = field(default_factory=Counter)
    same: str | None = None


class Index:
    """The questions of problems, to be looked up in training texts.

    A question of at least `n_words` words is cut into runs of so many words, a shorter one of at least `n_characters`
    characters into runs of so many characters; one that is shorter still only counts as a whole. ValueError for sizes
    below 2.
    """

    def __init__(self, n_words: int = 13, n_characters: int = 50) -> None:
        if n_words < 2 or n_characters < 2:
            raise ValueError(f"n-grams need at least 2 words or characters, not {min(n_words, n_characters)}")
        self.n_words = n_words
        self.n_characters = n_characters
        self.entries: list[_Entry] = []
        self.texts = 0
        self._where: dict[str, dict[str, list[int]]] = {unit: {} for unit in UNITS}
        # a run of n holds a whole block of (n + 1) // 2, wherever blocks begin: texts with none of them are passed over
        self._blocks: dict[str, set[str]] = {unit: set() for unit in UNITS[:2]}
        self._first: dict[str, str] = {}  # n-gram of many problems -> the first training text that has it

    def add(self, suite: str, problem: Problem) -> None:
        """The question without the instruction how to answer."""
        found, text = words(problem.prompt), squeezed(problem.prompt)
        unit, grams = "whole", []
        if len(found) >= self.n_words:
            unit, grams = "words", word_grams(found, self.n_words)
            self._blocks[unit].update(word_grams(found, (self.n_words + 1) // 2))
        elif len(text) >= self.n_characters:
            unit, grams = "characters", character_grams(text, self.n_characters)
            self._blocks[unit].update(character_grams(text, (self.n_characters + 1) // 2))
        number = len(self.entries)
        self.entries.append(_Entry(suite, problem.id, unit, grams, text))
        self._where["whole"].setdefault(text, []).append(number)
        for gram in dict.fromkeys(grams):
            self._where[unit].setdefault(gram, []).append(number)

    def scan(self, texts: Iterable[Source]) -> None:
        """Looks every n-gram of the training texts up."""
        for name, text in texts:
            self.texts += 1
            short = squeezed(text)
            for number in self._where["whole"].get(short, ()):
                self.entries[number].same = self.entries[number].same or name
            if self._blocks["words"]:
                self._look_up(name, "words", word_grams, words(text), self.n_words)
            if self._blocks["characters"]:
                self._look_up(name, "characters", character_grams, short, self.n_characters)

    def _look_up(self, name: str, unit: str, cut: Callable[..., list[str]], found: Any, n: int) -> None:
        block = (n + 1) // 2
        if self._blocks[unit].isdisjoint(cut(found, block, block)):
            return
        where = self._where[unit]
        for gram in {gram for gram in cut(found, n) if gram in where}:
            self._hit(name, gram, where[gram])

    def _hit(self, name: str, gram: str, numbers: Sequence[int]) -> None:
        if len(numbers) > COMMON:
            if gram not in self._first:
                self._first[gram] = name
                for number in numbers:
                    self.entries[number].matched.add(gram)
            return
        for number in numbers:
            self.entries[number].matched.add(gram)
            self.entries[number].nearest[name] += 1

    def matches(self) -> list[Match]:
        """A match for every problem in the order that they were added, whether anything overlaps or not."""
        suites: dict[tuple[str, str], int] = Counter(
            (entry.suite, gram) for entry in self.entries for gram in set(entry.grams)
        )
        return [self._match(entry, suites) for entry in self.entries]

    def _match(self, entry: _Entry, suites: Mapping[tuple[str, str], int]) -> Match:
        nearest = entry.same or next((name for name, _ in entry.nearest.most_common(1)), "")
        nearest = nearest or next((self._first[gram] for gram in entry.grams if gram in self._first), "")
        return Match(
            suite=entry.suite,
            problem=entry.problem,
            unit=entry.unit,
            grams=len(set(entry.grams)),
            matched=len(entry.matched),
            own=sum(suites[entry.suite, gram] == 1 for gram in entry.matched),
            same=entry.same is not None,
            nearest=nearest,
            excerpt=self._excerpt(entry),
        )

    def _excerpt(self, entry: _Entry) -> str:
        best, length, run = 0, 0, 0
        for i, gram in enumerate(entry.grams):
            run = run + 1 if gram in entry.matched else 0
            if run > length:
                best, length = i - run + 1, run
        if not length:
            return entry.whole if entry.same else ""
        parts = entry.grams[best : best + length]
        if entry.unit == "characters":
            return parts[0] + "".join(part[-1] for part in parts[1:])
        return " ".join([parts[0], *(part.rpartition(" ")[2] for part in parts[1:])])


def by_suite(matches: Sequence[Match]) -> list[dict[str, Any]]:
    """Counts and shares of problems: with any overlap, with an overlap of its own, mostly covered, the same text."""
    found: dict[str, list[Match]] = {}
    for match in matches:
        found.setdefault(match.suite, []).append(match)
    return [
        {
            "suite": suite,
            "problems": len(mine),
            **{unit: sum(match.unit == unit for match in mine) for unit in UNITS},
            "overlapping": sum(match.overlaps for match in mine),
            "own": sum(match.own > 0 or match.same for match in mine),
            "mostly": sum(match.coverage >= MOSTLY for match in mine),
            "same": sum(match.same for match in mine),
        }
        for suite, mine in found.items()
    ]


def top(matches: Sequence[Match], suite: str, n: int) -> list[Match]:
    """The `n` problems of a suite with the largest overlap: the same text, n-grams of their own, coverage."""
    mine = [match for match in matches if match.suite == suite and match.overlaps]
    return sorted(mine, key=lambda match: (-match.same, -match.own, -match.coverage, match.problem))[:n]
