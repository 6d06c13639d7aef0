"""A report with everything that a page must bear: every kind of block, and texts that try to break out of it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

from harness.compare_load import Run
from harness.examples import Example
from harness.report.document import FigureBlock, Heading, Report, Source, TableBlock, Text
from harness.report.tables.layout import FORCED, bounded
from harness.statistics.intervals import Estimate
from harness.table_formats import DAGGER, Cell, Column, Table

HOSTILE = (
    "<script>window.broken=1</script></script><!--<img src=x onerror=window.broken=2>\"'`&lt; ]]> "
    "\u202egnp.exe\u202c\x00\x1b[31m \ud800 \u2028 {{x}} ${y} \\u003c/script>"
)
LONG = "a" * 60_000 + "</script>" + "b" * 40_000
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def svg(width: int = 300, height: int = 200) -> bytes:
    """A drawing that would run a script and load a picture, were it part of the page."""
    return (
        f'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt" '
        f'viewBox="0 0 {width} {height}"><script>window.broken=3</script>'
        '<image href="https://example.invalid/x.png" width="9" height="9"/>'
        f'<rect width="{width}" height="{height}" fill="#eee"/><circle cx="90" cy="90" r="60" fill="#07b"/></svg>'
    ).encode()


def png(width: int = 96, height: int = 48) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def estimate(mean: float, half: float) -> Estimate:
    return Estimate(mean, half, half / 2, 4.0, 0.01, 3, 100)


def mixed_table() -> Table:
    """Numbers in every form, missing ones among them; the rows are in no column's order."""
    columns = [
        Column("name", "name", "text"), Column("score", "score", "percent"), Column("gain", "gain", "signed"),
        Column("tokens", "tokens", "count"), Column("flops", "FLOPs", "scientific"), Column("text", "as text", "text"),
        Column("two", "two bounds", "percent"),
    ]  # fmt: skip
    rows = [
        [Cell("run10"), Cell(0.095, estimate(0.095, 0.02)), Cell(-0.02, estimate(-0.02, 0.01), mark="*"),
         Cell(12000.0), Cell(3e9), Cell("9.5%"), bounded(0.095, 0.02, 0.2)],
        [Cell("run9"), Cell(), Cell(), Cell(), Cell(), Cell("-"), bounded(float("nan"), 0, 0)],
        [Cell("run2"), Cell(0.61, estimate(0.61, 0.03), mark=DAGGER), Cell(0.3), Cell(900.0), Cell(2e10),
         Cell("61.0 \u00b1 3.0*"), bounded(0.61, 0.5, 0.7)],
        [Cell("Run1"), Cell(0.6101), Cell(0.0), Cell(1_000_000.0), Cell(1.5e10), Cell("1,234"), bounded(1.0, 0.9, 1.0)],
    ]  # fmt: skip
    return Table(
        "mixed", "Numbers of all kinds", columns, rows, ["A note with `code` and * a star.", f"{FORCED} because."]
    )


def wide_table() -> Table:
    columns = [Column("name", "strategy", "text")]
    columns += [Column(f"c{i}", f"a rather long header {i}", "percent") for i in range(20)]
    rows = [[Cell(f"strategy_with_a_long_name_{j}"), *(Cell(0.01 * i) for i in range(20))] for j in range(30)]
    return Table("wide", "A wide and long table", columns, rows, [])


def hostile_table(run: str) -> Table:
    text = HOSTILE.replace("\ud800", "")  # which a CSV file cannot hold
    columns = [Column("name", text, "text"), Column("run", "run", "text")]
    rows = [[Cell(text), Cell(run)], [Cell(LONG), Cell("x" * 300)]]
    return Table("hostile", text, columns, rows, [text])


def make_report(sources: Mapping[str, Source]) -> Report:
    run = next(iter(sources.values())).comparison.rows[0].runs[0].name
    blocks = [
        Heading("Main result"),
        Text("A *soft*, a **strong** and `code` <b>word</b>, [a link](https://example.org/a_(b)?c=1&d=2).\n\nSecond."),
        TableBlock(mixed_table(), "Caption with *emphasis*."),
        Heading("Main result"),
        Heading("Below", 3),
        FigureBlock("drawing", "A drawing", "Its caption.", "A blue disc.", {"svg": svg(), "png": png(), "pdf": b"%"}),
        FigureBlock("pixels", HOSTILE, HOSTILE, HOSTILE, {"png": png()}),
        FigureBlock("paper", "Only on paper", "", "What it shows.", {"pdf": b"%PDF"}),
        TableBlock(wide_table()),
        TableBlock(hostile_table(run), HOSTILE),
        Text(f'{HOSTILE} [bad](javascript:alert(1)) [bad](data:text/html,x) [x](https://a.example/"onclick="y)'),
    ]
    return Report(
        title=f"A report of {HOSTILE}",
        summary="What is *better*?\n\n" + HOSTILE,
        blocks=blocks,
        sources=sources,
        notices=[f"{FORCED} the models differ.", HOSTILE, "unbroken" * 40],
        command="harness report x.toml --out 'y'",
        provenance={"harness": "1.0", HOSTILE: HOSTILE},
    )


def hostile_examples(run: Run, wanted: int) -> list[Example]:
    """In place of `harness.examples.examples`: what a model may have written."""
    texts = [(HOSTILE, HOSTILE, HOSTILE), ("prompt", LONG, None), ("prompt", "", "42"), ("", "\n\n  two\tlines\n", "")]
    return [
        Example("coding", "1.00", f"p{i}", "eval", i or None, prompt, response, expected, "pass" if i else HOSTILE, 0.5)
        for i, (prompt, response, expected) in enumerate(texts)
    ][:wanted]


class Document(HTMLParser):
    """Checks while it reads that elements are nested and closed; keeps ids, links, elements and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self.feed(text)
        self.close()
        assert self.stack == [], f"not closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {tag}: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        # the ends of p and li may be left out, but this page writes them
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.raw:
            self.raw[self.stack[-1]][-1] += data
        else:
            self.text += data

    def all(self, tag: str, **wanted: Any) -> list[dict[str, str | None]]:
        found = [attributes for name, attributes in self.elements if name == tag]
        return [one for one in found if all(one.get(key) == value for key, value in wanted.items())]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]

    def missing_targets(self) -> list[str]:
        links = [attributes["href"] or "" for tag, attributes in self.elements if tag == "a"]
        ids = set(self.ids)
        return [link for link in links if link.startswith("#") and not {link[1:], unquote(link[1:])} & ids]
