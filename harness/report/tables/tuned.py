"""Default and tuned settings side by side, from the file that `harness tune` leaves (`harness.tune_record`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.document import Source
from harness.report.options import place, read
from harness.report.spec import Item
from harness.report.tables.layout import named
from harness.settings import toml_value
from harness.statistics.family import holm_family
from harness.statistics.intervals import Estimate
from harness.store import SCHEMA, read_json
from harness.table_formats import DAGGER, Cell, Column, Table
from harness.tables import LABEL, SIGNIFICANT, estimate_cell

COLUMNS = [
    LABEL,
    Column("default", "default", "percent"),
    Column("tuned", "tuned", "percent"),
    Column("difference", "tuned minus default", "signed"),
    Column("chosen", "chosen", "text"),
    Column("default_setting", "default setting", "text"),
]
TRIALS = [
    Column("validation", "score of trials", "percent"),
    Column("best_trial", "best trial", "percent"),
    Column("median_trial", "median trial", "percent"),
    Column("worst_trial", "worst trial", "percent"),
    Column("trials", "trials", "count"),
    Column("failed", "failed", "count"),
    Column("pruned", "pruned", "count"),
    Column("flops", "FLOPs of trials", "scientific"),
]


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a strategy; the sources play no part.

    Options: file, a NAME.tuning.json, relative to the specification; trials (default true): with what the search gave
    and cost. Raises ValueError for a file that is none.
    """
    options = read(item, {"file": str, "trials": True})
    tuning = _checked(Path(options["file"]), item)
    strategies = tuning["strategies"]
    differences = {name: _estimate(found["rerun"]["difference"]) for name, found in strategies.items()}
    p_values = {name: one.p_value for name, one in differences.items() if one is not None}
    adjusted = holm_family(list(strategies), p_values)
    columns = COLUMNS + (TRIALS if options["trials"] else [])
    rows = [_row(name, found, differences[name], adjusted[name])[: len(columns)] for name, found in strategies.items()]
    title = f"Default and tuned settings: {tuning['study']}"
    return named(Table("tuned", title, columns, rows, _notes(tuning, rows)), item)


def _checked(path: Path, item: Item) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{place(item)}: there is no file {path}; `harness tune` writes NAME.tuning.json.")
    tuning = read_json(path)
    if not isinstance(tuning, dict) or not {"study", "rule", "final", "strategies"} <= tuning.keys():
        raise ValueError(f"{place(item)}: {path} is not what `harness tune` writes.")
    if tuning.get("schema") != SCHEMA:
        raise ValueError(f"{place(item)}: {path} has schema {tuning.get('schema')}, this version reads {SCHEMA}.")
    return tuning


def _row(name: str, found: Mapping[str, Any], difference: Estimate | None, p: float) -> list[Cell]:
    best, spread, trials = found["best"], found["spread"], found["trials"]
    chosen = _setting(best["parameters"])
    chosen = f"default ({chosen})" if best["default"] else chosen
    chosen += "".join(f"; {_short(key)} at the {side} edge" for key, side in best["edges"].items())
    states = [trial["state"] for trial in trials]
    return [
        Cell(name),
        *(estimate_cell(_estimate(found["rerun"][setting]["score"])) for setting in ("default", "tuned")),
        estimate_cell(difference, p),
        Cell(chosen),
        Cell(_setting(found["default"]["parameters"])),
        Cell(found["score"]),
        *(Cell(spread[key]) for key in ("best", "median", "worst")),
        *(Cell(float(count)) for count in (len(trials), states.count("failed"), states.count("pruned"))),
        Cell(float(found["flops"])),
    ]


def _estimate(values: Mapping[str, Any] | None) -> Estimate | None:
    if values is None:
        return None
    return Estimate(**{key: math.nan if value is None else value for key, value in values.items()})


def _setting(values: Mapping[str, Any]) -> str:
    parts = (f"{_short(key)} {'none' if value is None else toml_value(value)}" for key, value in values.items())
    return ", ".join(parts)


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _notes(tuning: Mapping[str, Any], rows: Sequence[Sequence[Cell]]) -> list[str]:
    rule, final = tuning["rule"], tuning["final"]
    budget = f"{rule['budget']['limit']:g} {rule['budget']['kind'].replace('_', ' ')}"
    first = ", the first at the default setting" if rule["include_default"] else ""
    shared = ", ".join(f"{count} of {suite}" for suite, count in final["left_out"].items() if count)
    fresh = f" without the problems that trials were scored on too ({shared})" if shared else ""
    notes = [
        f"Default and tuned: avg@k in percent, mean over suites, of new runs on the seeds "
        f"{', '.join(map(str, final['seeds']))}{fresh}, with intervals over seeds and problems; the difference is "
        "paired by both.",
        f"The same search for every strategy: {rule['studies']} studies of {rule['trials']} trials{first}, sampler "
        f"{rule['sampler']}, pruner {rule['pruner']}, each trial a budget of {budget}. Score of trials: the median "
        "over studies of the best one; a trial that failed or was pruned counts 0.",
    ]
    sizes = {name: len(found["space"]) for name, found in tuning["strategies"].items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        notes.append(f"The searched spaces are UNEQUAL in their number of settings: {listed}.")
    edges = [name for name, found in tuning["strategies"].items() if found["best"]["edges"]]
    notes += [f"Best at an edge of the space, a better setting may lie beyond: {', '.join(edges)}."] if edges else []
    for name, found in tuning["strategies"].items():
        for setting in ("default", "tuned"):
            lost, runs = found["rerun"][setting]["failed"], found["rerun"][setting]["runs"]
            notes += [f"{name}, {setting}: {len(lost)} of {len(runs)} new runs failed."] if lost else []
    marks = "".join(cell.mark for row in rows for cell in row)
    notes += [f"* Tuned differs from default: Holm-adjusted p < {SIGNIFICANT}."] if "*" in marks else []
    notes += [f"{DAGGER} One seed: the interval covers problems only, not training."] if DAGGER in marks else []
    return notes
