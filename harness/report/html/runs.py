"""The list of runs, and the data from which the page makes one view a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.html.run_data import Entry
from harness.report.html.tables import grid
from harness.report.html.text import attributes, data
from harness.table_formats import Cell, Column, Table

LIST = "run/"  # address of the list; that of a run goes on with experiment and run id
COSTS = (
    Column("updates", "updates", "count"),
    Column("generated_tokens", "generated tokens", "count"),
    Column("flops", "FLOPs", "scientific"),
    Column("seconds", "seconds", "count"),
)


def links(entries: Sequence[Entry]) -> dict[str, str]:
    """Name of a run, as tables write it -> its address."""
    return {entry.run.name: entry.key for entry in reversed(entries)}


def listed(entries: Sequence[Entry], known: Mapping[str, Mapping[str, Any]]) -> str:
    """The section with a row for every run; it stands on its own where there is no JavaScript."""
    costs = [column for column in COSTS if any(column.key in known[entry.key]["spent"] for entry in entries)]
    columns = [Column("run", "run", "text"), Column("setting", "setting", "text"), Column("model", "model", "text")]
    columns += [Column("seed", "seed", "number"), Column("score", "score", "percent"), Column("ood", "ood", "percent")]
    columns += costs
    several = len({source for entry in entries for source in entry.sources}) > 1
    if several:
        columns.append(Column("sources", "part of", "text"))
    alone = len({entry.run.experiment for entry in entries}) == 1
    rows = []
    for entry in entries:
        values = known[entry.key]
        row = [Cell(_name(entry, alone)), Cell(values["label"]), Cell(values["model"]), Cell(float(values["seed"]))]
        row += [Cell(values["score"]), Cell(values["ood"])]
        row += [Cell(values["spent"].get(column.key)) for column in costs]
        rows.append([*row, Cell(", ".join(entry.sources))] if several else row)
    table = Table("runs", "Runs", columns, rows, [])
    addresses = {_name(entry, alone): entry.key for entry in entries}
    body = grid(table, "run/:title", addresses, [entry.key for entry in entries])
    return (
        f'<section class="block runs"{attributes(id=LIST, aria_labelledby="run/:title")}>\n'
        f'<h2 id="run/:title">Runs</h2>\n'
        f"<p class=caption>Every run behind this report. Scores: avg@k in percent at the last evaluation, mean over "
        f"suites. A run's own page shows its curves, scores, cost, configuration, origin and sample responses.</p>\n"
        f"<noscript><p>The pages of single runs need JavaScript; this list does not.</p></noscript>\n{body}</section>\n"
    )


def _name(entry: Entry, alone: bool) -> str:
    """Without the experiment where there is one only; with a mark where two runs have the same name."""
    name = entry.run.run_id if alone else entry.run.name
    return name + "~" * (len(entry.key) - len(entry.key.rstrip("~")))


def data_blocks(shared: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    """Elements that browsers neither show nor run: one a run, read when its page is opened."""
    blocks = [f'<script type="application/json" id="page:shared">{data(shared)}</script>\n']
    for key, values in known.items():
        blocks.append(f'<script type="application/json"{attributes(data_run=key)}>{data(values)}</script>\n')
    return "".join(blocks)
