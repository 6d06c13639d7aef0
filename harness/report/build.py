"""A report from its specification: loads the runs once, builds every block, writes the folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import __version__
from harness.cli import is_user_error
from harness.report.document import Block, FigureBlock, Heading, Report, Source, TableBlock, Text
from harness.report.options import nearest, place
from harness.report.sources import load_sources
from harness.report.spec import Item, load
from harness.report.tables import TABLES
from harness.report.tables.layout import FORCED
from harness.table_formats import Table

Say = Callable[[str], None]


def build(path: Path, say: Say = lambda _: None, partial: bool = False) -> Report:
    """The report that the specification describes; `say` is told what is done, one line at a time.

    `partial`: without sources whose path does not exist; items that cannot do without them are left out and named.

    Raises ValueError in one sentence for a bad specification, an unknown table, figure or option, a path without
    finished runs, and runs that must not be compared.
    """
    spec = load(path)
    drawers = _drawers(spec.item)
    for item in spec.item:
        known = {"table": TABLES, "figure": drawers}.get(item.kind)
        if known is not None and item.show not in known:
            raise ValueError(
                f"{path}: there is no {item.kind} {item.show!r}{nearest(item.show, known)}; "
                f"{item.kind}s are: {', '.join(known)}."
            )
    say(f"report {path.name}: {len(spec.sources)} sources, {len(spec.item)} items")
    sources, notices, provenance = load_sources(spec, path.parent, say, partial)
    blocks: list[Block] = []
    for item in spec.item:
        started = time.monotonic()
        absent = [name for name in item.sources or spec.sources if name not in sources]
        chosen = [sources[name] for name in item.sources or spec.sources if name in sources]
        if item.kind in ("table", "figure") and not chosen:
            blocks.append(_left_out(item, absent))
            continue
        try:
            blocks.append(_block(item, chosen, drawers, path.parent))
        except ValueError as problem:
            if not is_user_error(problem):
                raise
            if absent:
                blocks.append(_left_out(item, absent, f" {problem}"))
                continue
            named = "" if str(problem).startswith(place(item)) else f"{place(item)}: "
            raise ValueError(f"{path}: {named}{problem}") from None
        if item.kind in ("table", "figure"):
            say(f"{place(item)}: {time.monotonic() - started:.1f} s")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    provenance = {"harness": __version__, "specification": f"{path.name}, sha256 {digest[:16]}", **provenance}
    shown = path.name if path.is_absolute() else path.as_posix()
    return Report(spec.title, spec.summary, blocks, sources, notices, f"harness report {shown}", provenance)


def write(report: Report, out: Path) -> list[Path]:
    """Write report.md, report.tex, index.html, tables/ and figures/ into `out`; return the paths.

    Equal results give equal bytes. Files of an earlier build that are not made any more are removed.
    """
    from harness.report import writers

    return writers.write(writers.files(report), report.title, Path(out))


def _drawers(items: Sequence[Item]) -> Mapping[str, Any]:
    if all(item.kind != "figure" for item in items):
        return {}
    from harness.report.figures import FIGURES  # matplotlib takes a second to import

    return FIGURES


def _block(item: Item, sources: Sequence[Source], drawers: Mapping[str, Any], folder: Path) -> Block:
    """`folder`: what the option `file` of an item is relative to."""
    if item.kind == "heading":
        return Heading(item.text)
    if item.kind == "text":
        return Text(item.text)
    if isinstance(item.options.get("file"), str):
        item = replace(item, options={**item.options, "file": str(folder / item.options["file"])})
    if item.kind == "table":
        return TableBlock(_marked(TABLES[item.show](sources, item), sources), item.caption)
    from harness.report.figures.style import files

    drawn = drawers[item.show](sources, item)
    return FigureBlock(item.name, item.title or item.name, item.caption, drawn.alt, files(drawn.figure))


def _left_out(item: Item, absent: Sequence[str], why: str = "") -> Text:
    return Text(f"**{item.title or item.name}**: left out, because there are no runs of {', '.join(absent)} here.{why}")


def _marked(table: Table, sources: Sequence[Source]) -> Table:
    """The table with a note for each reason against the comparison of one of its sources, and for unequal cost."""
    notes = [f"{FORCED} {reason}" for source in sources for reason in source.comparison.forced]
    notes += [sentence for source in sources for sentence in source.comparison.unequal]
    return replace(table, notes=list(dict.fromkeys([*table.notes, *notes])))
