"""pass@k of every row from k = 1 to all its samples, with intervals, and where the order of two rows turns round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report.options import read
from harness.report.problems import by_seed, row_named, suites_of, table
from harness.report.tables.layout import SOURCE, all_notes, named
from harness.statistics.intervals import Estimate, crossed_interval, paired_interval
from harness.statistics.passk import pass_at_k_scores
from harness.table_formats import Cell, Column, Table
from harness.tables import LABEL, estimate_cell

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

OPTIONS = {"split": "eval", "suites": [], "ks": [], "crossings": "baseline"}
MOST = 48  # values of k up to which every one is shown
NAMED = 6  # crossings within the intervals that are named one by one


@dataclass(frozen=True)
class Curve:
    """pass@k of one row, mean over suites: k -> estimate. `samples`: of a problem, in the suite with the fewest.

    `dropped`: problems left out as not fully scored.
    """

    name: str
    row: Row
    samples: int
    points: dict[int, Estimate]
    dropped: int


@dataclass(frozen=True)
class Crossing:
    """`leader` has the higher pass@k at `before`, `follower` at `k`, the next k; the lines meet at (place, height).

    `clear`: the paired intervals at the first and the last k exclude zero with opposite signs.
    """

    leader: str
    follower: str
    before: int
    k: int
    height: float
    place: float
    clear: bool


def values_of_k(samples: int, wanted: Sequence[int] = ()) -> list[int]:
    """`wanted` up to `samples`; without it 1..samples, or for more than 48 samples about as many, evenly in log k.

    ValueError where `wanted` holds anything but positive integers.
    """
    if not all(isinstance(k, int) and k >= 1 for k in wanted):
        raise ValueError(f"option ks must hold positive integers, but is {list(wanted)}.")
    if wanted:
        return sorted({k for k in wanted if k <= samples})
    if samples <= MOST:
        return list(range(1, samples + 1))
    powers = 2 ** np.arange(math.floor(math.log2(samples)) + 1)
    return sorted({*np.rint(np.geomspace(1, samples, MOST)).astype(int).tolist(), *powers.tolist()})


def powers_of_two(samples: int) -> list[int]:
    """1, 2, 4, ... up to `samples`, and `samples` itself."""
    return sorted({2**i for i in range(samples.bit_length())} | {samples})


@dataclass(frozen=True)
class Counts:
    """Right answers [seeds, problems] to the problems of one suite, each sampled `samples` times; rest `dropped`."""

    right: pd.DataFrame
    samples: int
    dropped: int

    def scores(self, k: int) -> pd.DataFrame:
        return pd.DataFrame(pass_at_k_scores(self.right, self.samples, k), self.right.index, self.right.columns)


def counts(row: Row, suites: Sequence[str], split: str, other: Row | None = None) -> list[Counts]:
    """What the row answered right at its last evaluation, suite by suite; with `other`, under the seeds of both.

    Only problems whose samples were all scored under every seed: with fewer, the curve's problems would change with k.
    ValueError where a suite keeps no problem.
    """
    runs = by_seed(row, other)
    found = []
    for suite in suites:
        right, scored = (table(runs, suite, row.last, split, column) for column in ("passed", "scored"))
        samples = int(np.nanmax(scored.to_numpy(dtype=float), initial=0))
        full = scored.columns[(scored == samples).all()]
        if samples == 0 or full.empty:
            raise ValueError(f"No problem of {suite} ({split}) has all its samples scored in {row.label}; grade them.")
        found.append(Counts(right[full], samples, right.shape[1] - len(full)))
    return found


def curve(
    name: str, row: Row, suites: Sequence[str], split: str, level: float, ks: Sequence[int] = (), every: bool = False
) -> Curve:
    """pass@k for `ks`, with `every` or without any for `values_of_k`; up to the smallest number of samples of a suite.

    Unbiased in every problem and seed, intervals over both.
    """
    found = counts(row, suites, split)
    samples = min(one.samples for one in found)
    grid = sorted({*values_of_k(samples, ks), *(values_of_k(samples) if every else ())})
    points = {k: crossed_interval([one.scores(k).to_numpy() for one in found], level) for k in grid}
    return Curve(name, row, samples, points, sum(one.dropped for one in found))


def crossings(
    comparison: Comparison, curves: Sequence[Curve], which: str, suites: Sequence[str], split: str
) -> list[Crossing]:
    """Where curves cross that of the baseline, of the row named `which`, all others ("all"), or none ("none").

    Without a baseline "baseline" means all pairs. The points are those of the curves, over all seeds of each row;
    `clear` is judged on the seeds and problems that both rows have.
    """
    if which == "none":
        return []
    if which == "all" or (which == "baseline" and comparison.baseline is None):
        pairs = [(a, b) for i, a in enumerate(curves) for b in curves[i + 1 :]]
    else:
        named = None if which == "baseline" else row_named(comparison, which)
        of = {id(one.row): one for one in curves}
        pairs = [(one, of.get(id(named or one.row.baseline))) for one in curves]
        pairs = [(a, b) for a, b in pairs if b is not None and a is not b]
    return [found for a, b in pairs for found in crossing(a, b, suites, split, comparison.level)]


def crossing(first: Curve, second: Curve, suites: Sequence[str], split: str, level: float) -> list[Crossing]:
    """Every k at which the order of two curves turns round; a tie is no turn."""
    ks = sorted(first.points.keys() & second.points.keys())
    means = [np.array([one.points[k].mean for k in ks]) for one in (first, second)]
    gaps = means[0] - means[1]
    apart = np.flatnonzero(np.abs(gaps) > 1e-12)
    turns = [(a, b) for a, b in pairwise(apart) if gaps[a] * gaps[b] < 0]
    if not turns:
        return []
    clear = _clear(first.row, second.row, suites, split, level, (ks[0], ks[-1]))
    found = []
    for a, b in turns:
        leader, follower = (first.name, second.name) if gaps[a] > 0 else (second.name, first.name)
        share = float(gaps[a] / (gaps[a] - gaps[b]))
        place = float(np.exp(np.log(ks[a]) + share * (np.log(ks[b]) - np.log(ks[a]))))
        height = float(means[0][a] + share * (means[0][b] - means[0][a]))
        found.append(Crossing(leader, follower, ks[a], ks[b], height, place, clear))
    return found


def _clear(first: Row, second: Row, suites: Sequence[str], split: str, level: float, ends: tuple[int, int]) -> bool:
    """Whether the paired intervals at both ends exclude zero, on opposite sides."""
    if not by_seed(first, second):
        return False
    sides = list(zip(counts(first, suites, split, second), counts(second, suites, split, first), strict=True))
    shared = [a.right.columns.intersection(b.right.columns, sort=True) for a, b in sides]
    if any(problems.empty for problems in shared):
        return False
    gaps = []
    for k in ends:
        left = [a.scores(k)[problems].to_numpy() for (a, _), problems in zip(sides, shared, strict=True)]
        right = [b.scores(k)[problems].to_numpy() for (_, b), problems in zip(sides, shared, strict=True)]
        gaps.append(paired_interval(left, right, level))
    return any(a.low > 0 > b.high for a, b in (gaps, gaps[::-1]))


def in_words(found: Sequence[Crossing]) -> str:
    """The crossings as sentences; beyond `NAMED`, those within the intervals are only counted."""
    told = []
    for name, clear in (("Crossings beyond the intervals", True), ("Crossings within the intervals", False)):
        chosen = [one for one in found if one.clear is clear]
        if not clear and len(chosen) > NAMED:
            told.append(f"{name}: {len(chosen)}.")
        elif chosen:
            told.append(f"{name}: {'; '.join(_turn(one) for one in chosen)}.")
    return " ".join(told)


def _turn(one: Crossing) -> str:
    where = f"at k = {one.k}" if one.k == one.before + 1 else f"between k = {one.before} and {one.k}"
    return f"{one.follower} passes {one.leader} {where}"


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a row, one column a k: powers of two and the number of samples, or `ks`.

    Options: split; suites (default all); ks; crossings = "baseline" (with it), "all" (pairs), "none", or a row's name.
    ValueError where nothing is scored or no row has as many samples as the smallest of `ks`.
    """
    options = read(item, OPTIONS)
    found: list[tuple[Source, Curve]] = []
    turns = []
    for source in sources:
        comparison = source.comparison
        suites = suites_of(comparison, options["split"], options["suites"])
        ks = options["ks"]
        curves = [
            curve(row.label, row, suites, options["split"], comparison.level, ks, True) for row in comparison.rows
        ]
        found += [(source, one) for one in curves]
        told = in_words(crossings(comparison, curves, options["crossings"], suites, options["split"]))
        turns += [f"{source.label}: {told}" if len(sources) > 1 else told] if told else []
    most = max(one.samples for _, one in found)
    shown = values_of_k(most, options["ks"] or powers_of_two(most))
    if not shown:
        raise ValueError(f"No row has as many samples as option ks asks for; the most is {most}.")
    columns = [SOURCE] if len(sources) > 1 else []
    columns += [LABEL, Column("seeds", "seeds", "count"), Column("samples", "samples", "count")]
    columns += [Column(f"pass_at_{k}", f"pass@{k}", "percent") for k in shown]
    rows = []
    for source, one in found:
        line = [Cell(source.label)] if len(sources) > 1 else []
        line += [Cell(one.name), Cell(float(len(one.row.runs))), Cell(float(one.samples))]
        rows.append([*line, *(estimate_cell(one.points.get(k)) for k in shown)])
    notes = all_notes([source.comparison for source in sources], rows, _note(sources[0].comparison.level))
    dropped = {one.name: one.dropped for _, one in found if one.dropped}
    if dropped:
        told = ", ".join(f"{count} ({name})" for name, count in dropped.items())
        turns.append(f"Problems left out because some sample of them is not scored: {told}.")
    return named(Table("", "pass@k", columns, rows, [*notes, *turns]), item)


def _note(level: float) -> str:
    return (
        f"Unbiased pass@k of every problem and seed, mean over suites, with {100 * level:g}% intervals over problems "
        "and seeds. At k = samples it is the share of problems with any right answer, and least certain."
    )
