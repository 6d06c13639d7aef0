"""A report as Markdown: one page, and one file a table."""

from __future__ import annotations

from harness.report.document import FigureBlock, Heading, Report, TableBlock, Text
from harness.table_formats import markdown_table


def page(report: Report) -> str:
    """report.md: figures as PNG, tables in place, links to the other forms of both."""
    parts = [f"# {report.title}"]
    parts += ["\n".join(f"- **Note:** {notice}" for notice in report.notices)] if report.notices else []
    parts += [report.summary.strip()] if report.summary.strip() else []
    for block in report.blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text.strip()}")
        elif isinstance(block, Text):
            parts.append(block.text.strip())
        elif isinstance(block, TableBlock):
            parts += _table(block)
        else:
            parts += _figure(block)
    parts.append("## How this was made")
    lines = [f"- `{report.command}`"] if report.command else []
    lines += [f"- {key}: {value}" for key, value in report.provenance.items()]
    parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(block: TableBlock) -> list[str]:
    name, title = block.table.name, block.table.title
    body = markdown_table(block.table).removeprefix(f"## {title}\n\n").rstrip()
    caption = f" {block.caption.strip()}" if block.caption.strip() else ""
    return [
        f'<a id="{name}"></a>\n**{title}.**{caption}',
        body,
        f"[Markdown](tables/{name}.md), [CSV](tables/{name}.csv), [LaTeX](tables/{name}.tex)",
    ]


def _figure(block: FigureBlock) -> list[str]:
    alt = " ".join(block.alt.split()).replace("[", "(").replace("]", ")")
    caption = f" {block.caption.strip()}" if block.caption.strip() else ""
    links = ", ".join(f"[{suffix.upper()}](figures/{block.name}.{suffix})" for suffix in block.files)
    return [
        f'<a id="{block.name}"></a>\n![{alt}](figures/{block.name}.png)',
        f"**{block.title}.**{caption}",
        links,
    ]
