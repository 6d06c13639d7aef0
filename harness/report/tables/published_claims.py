"""What a paper ranks over what, and whether the runs here agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.contrasts import adjusted, contrast
from harness.report.order import agreement
from harness.report.problems import suites_of
from harness.report.published_match import Group, Task, counterpart
from harness.table_formats import Cell, Column, Table

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.published import Claim
    from harness.report.spec import Item
    from harness.statistics.intervals import Estimate

VERDICTS = ("supported", "contradicted", "undecided", "not tested")


@dataclass(frozen=True)
class Line:
    """A claim as it is tested: in one group, or over all columns where `group` is None."""

    claim: Claim
    group: Group | None
    printed: float
    source: Source | None
    found: Estimate | None


def claims(task: Task, item: Item) -> Table:
    """One line a claim; a table with a source for each column has one for each of them."""
    lines = [line for claim in task.table.claims for line in _lines(task, claim)]
    if not lines:
        raise ValueError(f"Table {task.table.id} of {task.published.paper} makes no claims.")
    level = task.sources[0].comparison.level
    p_values = adjusted([line.found for line in lines])
    several = len({line.source.name for line in lines if line.source}) > 1
    columns = [Column("claim", "claim of the paper", "text"), Column("where", "where", "text")]
    columns += [Column("printed", "printed", "text"), Column("here", "here", "signed")]
    columns += [Column("p_holm", "p (Holm)", "number"), Column("verdict", "verdict", "text")]
    columns += [Column("runs", "runs", "text")] if several else []
    rows, verdicts = [], []
    for line, p in zip(lines, p_values, strict=True):
        verdict = _verdict(line.found, p, 1 - level)
        verdicts.append(verdict)
        cells = [Cell(f"{line.claim.above} > {line.claim.below}"), Cell(_where(task, line))]
        cells += [Cell(f"{line.printed:+.{task.table.digits}f}")]
        cells += [Cell() if line.found is None else Cell(line.found.mean, interval=line.found, p=p)]
        cells += [Cell(p), Cell(verdict)]
        rows.append(cells + ([Cell(line.source.label if line.source else None)] if several else []))
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)
    notes = [
        f"Of {len(lines)} claims: {counts}. printed: difference in the paper, in points. here: paired difference of "
        f"our runs in points, {100 * level:g}% interval over seeds and problems; supported or contradicted where "
        f"Holm-adjusted p < {1 - level:.2g}. Not tested: one of the two was not run, or has no counterpart.",
        "Our models, suites and budgets are others than the paper's: a verdict is on whether the order carries over.",
    ]
    for line in lines:
        if line.claim.note:
            notes.append(f"{line.claim.above} > {line.claim.below}: {line.claim.note}.")
    return Table(item.name, item.title or f"Claims of {task.table.title}", columns, rows, notes + _orders(task))


def _lines(task: Task, claim: Claim) -> list[Line]:
    table = task.table
    if claim.column:
        place = table.index(claim.column)
        groups = [group for group in task.groups if place in group.places]
        difference = table.row(claim.above).values[place] - table.row(claim.below).values[place]
        return [_line(task, claim, groups[0] if groups else None, difference)]
    if any(group.source for group in task.groups):
        above, below = table.row(claim.above), table.row(claim.below)
        return [
            _line(task, claim, group, group.score(table, above) - group.score(table, below)) for group in task.groups
        ]
    only = task.groups[0] if len(task.groups) == 1 else None
    return [_line(task, claim, only, table.difference(claim))]


def _line(task: Task, claim: Claim, group: Group | None, difference: float) -> Line:
    sources = [group.source] if group and group.source else task.sources
    for source in sources:
        rows = [counterpart(task.table.row(label), source, task.chosen) for label in (claim.above, claim.below)]
        suites = suites_of(source.comparison, task.split)
        wanted = list(group.suites) if group else suites
        if None in rows or rows[0] is rows[1] or not set(wanted) <= set(suites):
            continue
        found = contrast(rows, (1, -1), task.split, wanted, source.comparison.level)
        if found is not None:
            return Line(claim, group, difference, source, found)
    return Line(claim, group, difference, None, None)


def _verdict(found: Estimate | None, p: float | None, threshold: float) -> str:
    if found is None:
        return "not tested"
    if p is None or math.isnan(p) or p >= threshold:
        return "undecided"
    return "supported" if found.mean > 0 else "contradicted"


def _where(task: Task, line: Line) -> str:
    if line.claim.column:
        return task.table.columns[task.table.index(line.claim.column)].header
    if line.group and line.group.source:
        return _headers(line.group)
    return (
        "mean" if len([column for column in task.table.columns if not column.derived]) > 1 else _headers(task.groups[0])
    )


def _headers(group: Group) -> str:
    return ", ".join(one.column.header for one in group.asked)


def _orders(task: Task) -> list[str]:
    """Kendall's tau of every group, in every source that has three methods of the table."""
    notes = []
    for group in task.groups:
        for source in [group.source] if group.source else task.sources:
            note = _order(task, group, source)
            if note:
                notes.append(note)
    return notes or ["Fewer than three methods of the table were run here: the orders cannot be compared."]


def _order(task: Task, group: Group, source: Source) -> str:
    if not set(group.suites) <= set(source.comparison.suites.get(task.split, [])):
        return ""
    theirs, rows, labels = [], [], []
    for row in task.table.rows:
        ours = counterpart(row, source, task.chosen)
        score = group.score(task.table, row)
        new = row.trained and ours is not None and not any(ours is other for other in rows)
        if new and not math.isnan(score):
            theirs.append(score)
            rows.append(ours)
            labels.append(row.label)
    level = source.comparison.level
    found = agreement(theirs, rows, task.split, group.suites, level)
    if found is None:
        return ""
    own = group.suites[0] if len(group.suites) == 1 else f"the mean of {len(group.suites)} suites"
    head = f"Order of {found.methods} methods ({_listed(labels)}), {_headers(group)} there and {own} here"
    head += f" ({source.label})" if len(task.sources) > 1 else ""
    if math.isnan(found.tau):
        return f"{head}: no order, all scores are equal."
    bounds = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    return (
        f"{head}: Kendall's tau {found.tau:.2f}{bounds} ({100 * level:g}% bootstrap over our seeds and problems), "
        f"permutation p = {found.p_value:.2g}."
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels)
