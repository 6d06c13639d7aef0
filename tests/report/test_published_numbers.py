"""What papers print: the data files are read strictly, name what exists, and agree with themselves and each other."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path

import pytest

from benchmarks import registry as suites
from harness.report.published import DIRECTORY, PublishedTable, load, papers
from strategies import registry

TABLES = [(paper, table) for paper in papers() for table in load(paper).table]
IDS = [f"{paper}-{table.id}-{table.variant}" for paper, table in TABLES]
NOTES = DIRECTORY.parents[2] / "shared" / "design" / "papers.md"

MINIMAL = """
paper = "x"
title = "X"
where = "nowhere"
[protocols.main]
model = "m"
[[table]]
id = "t"
title = "T"
source = "s"
metric = "accuracy"
protocol = "main"
columns = [{ key = "a", header = "A" }, { key = "b", header = "B" }]
rows = [{ label = "one", values = [1.0, nan] }, { label = "two", values = [2.0, 3] }]
"""


def wrong_means(table: PublishedTable) -> list[str]:
    """Printed means and sums that the printed parts cannot give: off by more than their own and the parts' rounding."""
    found = []
    unit = 10.0**-table.digits
    for column in table.columns:
        for row in table.rows:
            parts = [row.values[table.index(key)] for key in column.mean_of or column.sum_of]
            printed = row.values[table.index(column.key)]
            if not parts or any(map(math.isnan, [*parts, printed])):
                continue
            value = sum(parts) / (len(parts) if column.mean_of else 1)
            if abs(value - printed) > (unit if column.mean_of else 0) + 1e-9:
                found.append(f"{row.label}, {column.key}: printed {printed}, parts give {value:.3f}")
    return found


def test_there_are_all_papers():
    assert papers() == ["audit", "chord", "gac", "gft", "hpt", "luffy"]
    with pytest.raises(ValueError, match="no published numbers of 'gac2': choose from audit"):
        load("gac2")


@pytest.mark.parametrize(("paper", "table"), TABLES, ids=IDS)
def test_names_exist(paper, table):
    for row in table.rows:
        if row.strategy:
            registry.validate(row.strategy, row.options)
        else:
            assert not row.options
    for column in table.columns:
        assert not column.suite or column.suite in suites.names(), column.suite


@pytest.mark.parametrize(("paper", "table"), TABLES, ids=IDS)
def test_means_and_sums_are_those_of_the_printed_numbers(paper, table):
    assert wrong_means(table) == []


def test_a_mistyped_value_is_found():
    table = load("hpt").find("t2")
    row = table.row("HPT")
    typo = dataclasses.replace(row, values=(30.3, *row.values[1:]))  # 33.0
    assert wrong_means(dataclasses.replace(table, rows=(typo,), claims=()))
    counts = load("hpt").find("t4", "GRPO")
    typo = dataclasses.replace(counts.rows[0], values=(0, 5, 9, 17, 28, 58))
    assert wrong_means(dataclasses.replace(counts, rows=(typo,), claims=()))


@pytest.mark.parametrize(("paper", "table"), TABLES, ids=IDS)
def test_claims_are_those_of_the_printed_numbers(paper, table):
    for claim in table.claims:
        assert table.difference(claim) > 0 or claim.note, f"{claim.above} > {claim.below}"
        places = [table.index(claim.column)] if claim.column else range(len(table.columns))
        for place, delta in zip(places, claim.deltas, strict=False):
            printed = table.row(claim.above).values[place] - table.row(claim.below).values[place]
            assert delta == pytest.approx(printed, abs=0.5 * 10**-table.digits + 1e-9)


def test_scores_lie_between_zero_and_a_hundred():
    for _, table in TABLES:
        for row in table.rows:
            assert all(math.isnan(value) or 0 <= value <= 100 for value in row.values), row.label
            assert all(math.isnan(error) or 0 <= error < 5 for error in row.errors), row.label


def test_papers_that_print_the_same_numbers_agree():
    gac, chord, hpt, audit = (load(name) for name in ("gac", "chord", "hpt", "audit"))
    luffy, gft = load("luffy"), load("gft")
    ours, theirs = gac.find("t1"), chord.find("main")
    same = {"Qwen2.5-7B-Instruct": "original model", "SFT-best": "SFT-best", "GRPO": "GRPO", "CHORD": "CHORD-phi"}
    for label, other in same.items():
        assert ours.row(label).values == theirs.row(other).values
    assert audit.find("t1").row("HPT (reported)").values[:9] == hpt.find("t2").row("HPT").values[:9]
    assert audit.find("t1").row("LUFFY (reported)").values[:7] == luffy.find("zero").row("LUFFY").values
    assert audit.find("t1").row("LUFFY (reported)").values[7:] == luffy.find("ood").row("LUFFY").values
    assert audit.find("t1").row("SFT->RL").values == audit.find("t5").row("SFT->RL").values
    assert luffy.find("zero").row("LUFFY").values == luffy.find("off-policy").row("LUFFY").values
    small = hpt.find("t3", "Qwen2.5-Math-1.5B").row("HPT").values
    assert small == hpt.find("t5").row("SFT/ON").values == hpt.find("t6").row("gamma = 0").values
    main = gft.find("t1", "Qwen2.5-Math-1.5B")
    places = [main.index("amc23"), main.index("math")]
    for label, other in {"base": "base", "SFT": "w/o both", "GFT": "GFT"}.items():
        assert [main.row(label).values[i] for i in places] == list(gft.find("t2").row(other).values[:2])
    assert gft.find("t5").row("4:4").values[0] == main.row("GFT").values[main.index("minerva")]
    assert gac.find("t3").row("HPT").values[1] == ours.row("HPT").values[0]


@pytest.mark.parametrize("paper", ["gac", "hpt", "gft"])
def test_every_number_is_in_the_notes_on_the_papers(paper):
    if not NOTES.is_file():
        assert not os.environ.get("CI"), f"{NOTES} is missing"
        pytest.skip(f"{NOTES} is not here")
    text = NOTES.read_text(encoding="utf-8")
    numbers = {float(match) for match in re.findall(r"(?<![\d.])\d*\.?\d+", text)}
    missing = [
        f"{table.id} {row.label} {value}"
        for table in load(paper).table
        for row in table.rows
        for value in (*row.values, *row.errors)
        if not math.isnan(value) and value not in numbers
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[1.0, nan]", "[1.0]"), "row 'one' of table t has not one value for each of 2 columns"),
        (("paper =", "year = 1\npaper ="), "year: unknown key"),
        (('protocol = "main"', 'protocol = "other"'), "names the protocol 'other'"),
        (('key = "b"', 'key = "a"'), "two columns of table t are called 'a'"),
        (('label = "two"', 'label = "one"'), "two rows of table t are called 'one'"),
        (("[protocols.main]", '[protocols.main]\ninferred = ["luck"]'), "inferred names 'luck'"),
        (('header = "B"', 'header = "B", mean_of = ["c"]'), "has no column 'c'"),
        (("rows =", 'claims = [{ above = "one", below = "three" }]\nrows ='), "has no row 'three'"),
        (("rows =", 'claims = [{ above = "one", below = "two", deltas = [1] }]\nrows ='), "one delta for each"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, change, message):
    (tmp_path / "x.toml").write_text(MINIMAL.replace(*change))
    with pytest.raises(ValueError, match=re.escape(message)):
        load(str(tmp_path / "x.toml"))


def test_finding_tables(tmp_path: Path):
    path = tmp_path / "x.toml"
    path.write_text(MINIMAL)
    assert load(str(path)).find("t").row("two").values == (2.0, 3.0)
    with pytest.raises(ValueError, match="has no table 'u': choose from t"):
        load(str(path)).find("u")
    with pytest.raises(ValueError, match="no variant 'v': choose from ''"):
        load(str(path)).find("t", "v")
    with pytest.raises(ValueError, match=r"no variant '': choose from 'GRPO', 'LUFFY'"):
        load("hpt").find("t4")


def test_a_column_has_its_own_protocol():
    gac = load("gac")
    table = gac.find("t3")
    models = [gac.protocol(table, column).model for column in table.columns]
    assert models == ["Qwen2.5-1.5B-Instruct", "Qwen2.5-7B-Instruct", "Qwen2.5-14B-Instruct"]
    assert {gac.protocol(table, column).k for column in table.columns} == {8}
