"""Problems that one row solves and another does not, by difficulty level, with McNemar's exact test.

Layout: HPT (arXiv 2509.04419), Table 4: +x / -y for each level and over all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import bdtr

from harness.report.options import choice, read
from harness.report.problems import by_seed, levels, row_named, suites_of, table
from harness.report.tables.layout import SOURCE, named
from harness.statistics.family import holm_array
from harness.table_formats import Cell, Column, Table
from harness.tables import LABEL

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

RULES = {
    "majority": "more than half of its scored samples, all shared seeds together, are right (a tie is not)",
    "any": "any of its scored samples under any shared seed is right",
}


@dataclass(frozen=True)
class Solves:
    """What `first` and `other` solved of the same problems under the same seeds.

    `problems`: index (suite, problem); columns level (NaN for none), first, other (solved or not), all seeds pooled.
    `ahead`: seeds under which `first`, judged by that seed alone, has more exclusive solves than `other`; `behind`.
    """

    first: Row
    other: Row
    problems: pd.DataFrame
    seeds: int
    ahead: int
    behind: int

    @property
    def levels(self) -> list[int]:
        return sorted({int(level) for level in self.problems["level"].dropna()})

    def counts(self, level: int | None = None) -> tuple[int, int]:
        """(only `first` solves, only `other` solves) at the level, or over all."""
        chosen = self.problems if level is None else self.problems[self.problems["level"] == level]
        return int((chosen["first"] & ~chosen["other"]).sum()), int((chosen["other"] & ~chosen["first"]).sum())


def mcnemar(plus: int, minus: int) -> float:
    """Two-sided exact p of McNemar's test: the discordant problems fall on either side with probability 1/2.

    Source: McNemar 1947; the sign test of plus against minus. 1 where no problem is discordant.
    """
    return min(1.0, 2.0 * float(bdtr(min(plus, minus), plus + minus, 0.5)))


def exclusive(first: Row, other: Row, suites: Sequence[str], split: str, rule: str) -> Solves:
    """Compare two rows at their last evaluations; problems without a scored sample on either side are left out.

    `rule` is a key of RULES. ValueError for rows without a shared seed or problem.
    """
    pairs = [(first, by_seed(first, other)), (other, by_seed(other, first))]
    if not pairs[0][1]:
        raise ValueError(f"{first.label} and {other.label} share no seed; run both under the same seeds.")
    frames, single = [], []
    for suite in suites:
        passed, scored = (
            [table(runs, suite, row.last, split, column).fillna(0.0) for row, runs in pairs]
            for column in ("passed", "scored")
        )
        known = [counts.columns[counts.sum() > 0] for counts in scored]
        shared = known[0].intersection(known[1], sort=True)
        if shared.empty:
            continue
        passed = [counts[shared] for counts in passed]
        scored = [counts[shared] for counts in scored]
        solved = [_solved(p.sum(), s.sum(), rule) for p, s in zip(passed, scored, strict=True)]
        single.append([_solved(p, s, rule).to_numpy() for p, s in zip(passed, scored, strict=True)])
        frame = pd.DataFrame({"first": solved[0], "other": solved[1]})
        frame.insert(0, "level", levels(pairs[0][1], suite, first.last, split).reindex(shared))
        frames.append(pd.concat({suite: frame}, names=["suite", "problem"]))
    if not frames:
        raise ValueError(f"{first.label} and {other.label} share no scored problem of the split {split!r}.")
    left, right = (np.concatenate(side, axis=1).astype(int) for side in zip(*single, strict=True))
    leads = (left - right).sum(axis=1)
    return Solves(first, other, pd.concat(frames), len(leads), int((leads > 0).sum()), int((leads < 0).sum()))


def _solved(passed: pd.DataFrame, scored: pd.DataFrame, rule: str) -> pd.DataFrame:
    return passed > (scored / 2 if rule == "majority" else 0)


def build(sources: Sequence[Source], item: Item) -> Table:
    """Rows of each source against its baseline, or `row` against every other row.

    Options: split; suites (default all); rule = "majority" or "any" (of the samples, see RULES); row = label, arm or
    strategy whose solves count as +; against = what it is compared with (default: the source's baseline, or, with
    `row`, every other row). ValueError where there is nothing to compare.
    """
    options = read(item, {"split": "eval", "suites": [], "rule": "majority", "row": "", "against": ""})
    rule = choice(item, "rule", options["rule"], RULES)
    found: list[tuple[Source, Solves]] = []
    for source in sources:
        suites = suites_of(source.comparison, options["split"], options["suites"])
        for first, other in _pairs(source.comparison, options["row"], options["against"]):
            found.append((source, exclusive(first, other, suites, options["split"], rule)))
    if not found:
        raise ValueError("Exclusive solves need two rows, but there is only one; add a strategy to compare it with.")
    shown = sorted({level for _, solves in found for level in solves.levels})
    columns = [SOURCE] if len(sources) > 1 else []
    columns += [LABEL, Column("against", "against", "text"), Column("problems", "problems", "count")]
    columns += [Column(f"level_{level}", f"level {level}", "text") for level in shown]
    columns += [Column("plus", "all +", "count"), Column("minus", "all -", "count")]
    columns += [Column("p", "p", "number"), Column("p_holm", "p (Holm)", "number"), Column("seeds", "seeds", "text")]
    p_values = [mcnemar(*solves.counts()) for _, solves in found]
    rows = []
    for (source, solves), p, adjusted in zip(found, p_values, holm_array(p_values).tolist(), strict=True):
        plus, minus = solves.counts()
        line = [Cell(source.label)] if len(sources) > 1 else []
        line += [Cell(solves.first.label), Cell(solves.other.label), Cell(float(len(solves.problems)))]
        line += [Cell("+{} / -{}".format(*solves.counts(level))) for level in shown]
        line += [Cell(float(plus)), Cell(float(minus)), Cell(p), Cell(adjusted)]
        rows.append([*line, Cell(f"{solves.ahead} ahead, {solves.behind} behind of {solves.seeds}")])
    notes = _notes([solves for _, solves in found], rule)
    return named(Table("", "Problems that only one of two solves", columns, rows, notes), item)


def _pairs(comparison: Comparison, row: str, against: str) -> list[tuple[Row, Row]]:
    if row:
        first = row_named(comparison, row)
        others = [row_named(comparison, against)] if against else comparison.rows
        return [(first, other) for other in others if other is not first]
    if against:
        other = row_named(comparison, against)
        return [(first, other) for first in comparison.rows if first is not other]
    if comparison.baseline is None:
        raise ValueError("Exclusive solves need a baseline: name it in the source, or give the option against or row.")
    return [(first, first.baseline) for first in comparison.rows if first.baseline not in (None, first)]


def _notes(found: Sequence[Solves], rule: str) -> list[str]:
    notes = [
        "+ only the strategy solves the problem, - only the one it stands against; solved: "
        f"{RULES[rule]}. Suites are pooled.",
        "p: McNemar's exact test over all levels with problems as units. Seeds are pooled before it, so it says how "
        "these trained models would compare on other problems, not how models of other training seeds would; "
        "'ahead' counts the seeds that, judged alone, have more + than -.",
    ]
    if any(solves.seeds < max(len(solves.first.runs), len(solves.other.runs)) for solves in found):
        notes.append("Only seeds that both rows have are used.")
    if any(math.isnan(level) for solves in found for level in solves.problems["level"]):
        notes.append("Problems without a level count in the last columns only.")
    return notes
