"""The whole page: head with the policy that forbids the network, contents, report, list of runs, data, scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import resources

from harness.report.document import Block, FigureBlock, Heading, Report, TableBlock, Text
from harness.report.html import figures, runs, tables
from harness.report.html.run_data import describe, entries
from harness.report.html.text import anchors, attributes, escape, inline, paragraphs

STYLES = ("style.css", "blocks.css", "run.css", "print.css")
SCRIPTS = ("page.js", "tables.js", "figures.js", "charts.js", "runs.js", "start.js")
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 13V9h3v4zm5"
    " 0V3h3v10zm5 0V6h3v7z' fill='%230072b2'/%3E%3C/svg%3E"
)


def page(report: Report) -> str:
    """The report as one HTML5 document; equal reports give equal text.

    It loads nothing: figures are embedded, and its Content-Security-Policy allows no connection and only the style and
    the script that it brings, by their hashes. Without JavaScript it shows the whole report and a list of the runs.
    """
    style = _source(STYLES)
    script = f'"use strict";\n(() => {{\n{_source(SCRIPTS)}}})();\n'
    found = entries(report.sources)
    shared, known = describe(found)
    ids = anchors([_wanted(block) for block in report.blocks], [_named(block) for block in report.blocks])
    parts = [
        _head(report.title, style, script),
        "<body>\n",
        '<a class=skip href="#page:main">Skip to the content</a>\n',
        _bar(report),
        f"<div class=layout>\n{_contents(report, ids, bool(found))}",
        '<main id="page:main" tabindex="-1">\n<article id="page:report">\n',
        f"<h1>{escape(report.title)}</h1>\n",
        _notices(report.notices),
        f"<div class=summary>{paragraphs(report.summary)}</div>\n" if report.summary.strip() else "",
        _blocks(report, ids, runs.links(found)),
        runs.listed(found, known) if found else "",
        _made(report),
        '</article>\n<article id="page:run" hidden></article>\n</main>\n</div>\n',
        runs.data_blocks(shared, known),
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _source(names: Sequence[str]) -> str:
    package = resources.files(__package__)
    return "".join(package.joinpath(name).read_text(encoding="utf-8") for name in names)


def _head(title: str, style: str, script: str) -> str:
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="{ICON}">\n<style>{style}</style>\n</head>\n'
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")


def _bar(report: Report) -> str:
    count = len(report.notices)
    badge = f"{count} notice{'s' if count > 1 else ''}"
    link = f'<a class=badge href="#page:notices">{badge}</a>' if count else ""
    return (
        f'<header class=bar id="page:top"><a class=name href="#page:top">{escape(report.title)}</a>{link}'
        "<span class=tools></span></header>\n"
    )


def _notices(notices: Sequence[str]) -> str:
    if not notices:
        return ""
    items = "".join(f"<li>{inline(notice)}</li>\n" for notice in notices)
    return (
        '<aside class=notices id="page:notices" aria-labelledby="page:notices:title">\n'
        f'<h2 id="page:notices:title">Read this first</h2>\n<ul>\n{items}</ul>\n</aside>\n'
    )


def _named(block: Block) -> bool:
    return isinstance(block, TableBlock | FigureBlock)


def _wanted(block: Block) -> str:
    if isinstance(block, TableBlock):
        return block.table.name
    return block.name if isinstance(block, FigureBlock) else block.text if isinstance(block, Heading) else "text"


def _contents(report: Report, ids: Sequence[str], with_runs: bool) -> str:
    """Headings and what is below them; the details element folds away on a narrow screen."""
    lines = []
    for block, anchor in zip(report.blocks, ids, strict=True):
        if isinstance(block, Text):
            continue
        if isinstance(block, Heading):
            text, kind = block.text, f"l{min(max(block.level, 2), 3)}"
        else:
            text, kind = block.table.title if isinstance(block, TableBlock) else block.title, "item"
        lines.append(f'<li class={kind}><a href="#{escape(anchor)}">{escape(text)}</a></li>\n')
    if with_runs:
        lines.append(f'<li class=l2><a href="#{runs.LIST}">Runs</a></li>\n')
    lines.append('<li class=l2><a href="#page:made">How this report was made</a></li>\n')
    return (
        '<nav class=contents aria-label="Contents"><details open><summary>Contents</summary>\n'
        f"<ol>\n{''.join(lines)}</ol></details></nav>\n"
    )


def _blocks(report: Report, ids: Sequence[str], links: Mapping[str, str]) -> str:
    unequal = {sentence for source in report.sources.values() for sentence in source.comparison.unequal}
    drawings = [block for block in report.blocks if isinstance(block, FigureBlock)]
    images = dict(zip(map(id, drawings), figures.chosen(drawings), strict=True))
    parts = []
    above = 1
    for block, anchor in zip(report.blocks, ids, strict=True):
        if isinstance(block, Heading):
            above = min(max(block.level, 2), 5)
            parts.append(f"<h{above}{attributes(id=anchor, class_='section')}>{escape(block.text)}</h{above}>\n")
        elif isinstance(block, Text):
            parts.append(f"<div class=text>{paragraphs(block.text)}</div>\n")
        elif isinstance(block, TableBlock):
            parts.append(tables.block(block.table, block.caption, anchor, above + 1, links, unequal))
        else:
            parts.append(figures.block(block, images[id(block)], anchor, above + 1))
    return "".join(parts)


def _made(report: Report) -> str:
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>\n" for key, value in report.provenance.items())
    command = f"<pre class=command><code>{escape(report.command)}</code></pre>\n" if report.command else ""
    return (
        '<section class="block made" id="page:made">\n<h2>How this report was made</h2>\n'
        f"{command}{f'<dl>{rows}</dl>' if rows else ''}\n</section>\n"
    )
