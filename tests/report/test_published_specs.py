"""The specifications of reports: kinds, options, rows, strategies and suites all exist, before any run is made."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks import registry as suites
from harness.matrix import expand
from harness.matrix import load as load_matrix
from harness.report.figures import FIGURES
from harness.report.options import read
from harness.report.published import load as load_paper
from harness.report.spec import load
from harness.report.tables import TABLES
from strategies import registry

REPORTS = Path(__file__).resolve().parents[2] / "reports"
MATRICES = sorted((REPORTS / "matrices").glob("*.toml"))
NAMES = {load_matrix(path).name: path for path in MATRICES}


def specifications() -> list[Path]:
    """Every report of the directory; what is no report is known by its name."""
    return [path for path in sorted(REPORTS.glob("*.toml")) if path.name != "testbed.toml"]


ITEMS = [(path, item) for path in specifications() for item in load(path).item if item.kind in ("table", "figure")]
ITEM_IDS = [f"{path.stem}-{item.name}" for path, item in ITEMS]


def rows_of(path: Path, item=None) -> set[str]:
    """Names of the rows of the item's sources, or of all sources, by the matrices that make them."""
    specification = load(path)
    names = (item.sources if item else ()) or tuple(specification.sources)
    found = set()
    for name in names:
        source = specification.sources[name]
        matrix = load_matrix(NAMES[Path(source.path).name])
        known = {arm.name for arm in matrix.arms} | {arm.values.get("strategy") for arm in matrix.arms}
        known |= set(matrix.axes.get("strategy", ())) | {matrix.base.get("strategy")}
        found |= known & set(source.strategies) if source.strategies else known
    return found - {None}


def test_there_are_all_reports():
    assert {path.stem for path in specifications()} >= {"reference", "gac", "hpt", "gft", "chord", "luffy"}


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_matrices_are_valid_runs(path, tmp_path):
    cells = expand(load_matrix(path), tmp_path)
    assert cells
    assert load_matrix(path).name == path.stem or path.stem == "study-1m"


@pytest.mark.parametrize("path", specifications(), ids=lambda path: path.stem)
def test_sources_are_experiments_of_matrices(path):
    specification = load(path)
    for source in specification.sources.values():
        assert Path(source.path).name in NAMES, source.path
        assert (path.parent / source.path).resolve().is_relative_to(REPORTS.parent / "results" / "published")
    for name, source in specification.sources.items():
        known = rows_of(path, type("Item", (), {"sources": (name,)})())
        assert source.baseline is None or source.baseline in known, source.baseline
        assert set(source.strategies) <= known


@pytest.mark.parametrize(("path", "item"), ITEMS, ids=ITEM_IDS)
def test_kinds_and_options_are_known(path, item, monkeypatch):
    builders = TABLES if item.kind == "table" else FIGURES
    assert item.show in builders

    class Checked(Exception):
        pass

    def check(one, defaults):
        read(one, defaults)
        raise Checked

    for kind in FIGURES:
        importlib.import_module(f"harness.report.figures.{kind}")
    for name, module in list(sys.modules.items()):
        if name.startswith(("harness.report.tables.", "harness.report.figures.")) and hasattr(module, "read"):
            monkeypatch.setattr(module, "read", check)
    source = type("Source", (), {"comparison": None, "name": "one"})()
    with pytest.raises(Checked):
        builders[item.show]([source], item)


@pytest.mark.parametrize(("path", "item"), ITEMS, ids=ITEM_IDS)
def test_rows_and_suites_are_known(path, item):
    known = rows_of(path, item)
    options = item.options
    named = [*options.get("rows", []), *(options.get(key, "") for key in ("row", "against", "minus"))]
    if item.show != "published":
        assert {name for name in named if name} <= known
        listed = options.get("suites", [])
        assert set(listed if isinstance(listed, list) else []) <= {"math", "code", "science", "logic"}
    assert item.title and item.caption


@pytest.mark.parametrize(
    ("path", "item"),
    [(path, item) for path, item in ITEMS if item.show == "published"],
    ids=[f"{path.stem}-{item.name}" for path, item in ITEMS if item.show == "published"],
)
def test_published_items_name_tables_columns_and_rows(path, item):
    options = item.options
    paper = load_paper(options["paper"])
    if options.get("view") == "headlines":
        assert paper.headline
        return
    table = paper.find(options["table"], options.get("variant", ""))
    keys = {column.key for column in table.columns} | {column.suite for column in table.columns if column.suite}
    assert set(options.get("suites", {})) | set(options.get("column_sources", {})) <= keys
    assert set(options.get("suites", {}).values()) <= set(suites.names())
    assert set(options.get("column_sources", {}).values()) <= set(item.sources)
    assert set(options.get("rows", {})) <= {row.label for row in table.rows}
    if options.get("view") == "claims":
        assert table.claims
        named = {label for claim in table.claims for label in (claim.above, claim.below)}
        ours = rows_of(path, item)
        tested = [row for row in table.rows if row.label in named and row.strategy in ours]
        assert len(tested) > 1, "no claim of the table can be tested on these sources"


def test_every_table_of_a_paper_is_regenerated():
    """All but those that a reason is given for."""
    elsewhere = {
        ("hpt", "t4"): "exclusive_solves makes it, the paper's counts are in the caption",
        ("audit", "t4"): "Llama-3.1-8B",
        ("audit", "t5"): "the short RL stage, which no matrix has",
        ("luffy", "ood"): "not trained on",
        ("luffy", "instruct"): "an instruct model",
    }
    shown = {(item.options["paper"], item.options.get("table")) for _, item in ITEMS if item.show == "published"}
    for name in ("gac", "hpt", "gft", "chord", "luffy", "audit"):
        for table in load_paper(name).table:
            assert ((name, table.id) in shown) != ((name, table.id) in elsewhere), (name, table.id)


def test_strategies_of_headlines_exist():
    for name in ("gac", "hpt", "gft", "chord", "luffy", "audit"):
        for headline in load_paper(name).headline:
            assert {headline.strategy, headline.against} - {""} <= set(registry.names())
