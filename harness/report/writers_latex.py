"""A report as a LaTeX article, and one file a table. The article needs pdflatex with booktabs, graphicx, hyperref."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from harness.report.document import INLINE, FigureBlock, Heading, Report, TableBlock, Text
from harness.table_formats import Cell, Table, latex_escape, latex_table, show

LONGEST = 40  # characters of a cell of text that is not wrapped
LINES = 45  # of a table that fits on a page
WIDTH = 120  # characters of a table that is legible on a page

PREAMBLE = r"""\documentclass[11pt]{article}
\usepackage[margin=2.3cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[hidelinks]{hyperref}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\sloppy
% #1, made smaller where it is wider or higher than a page
\newsavebox{\contents}
\newcommand{\fit}[1]{\sbox{\contents}{#1}%
  \ifdim\wd\contents>\linewidth\sbox{\contents}{\resizebox{\linewidth}{!}{\usebox{\contents}}}\fi
  \ifdim\dimexpr\ht\contents+\dp\contents\relax>0.8\textheight
    \sbox{\contents}{\resizebox*{!}{0.8\textheight}{\usebox{\contents}}}\fi
  \usebox{\contents}}
% captions where they stand: with floats LaTeX would move, and run out of room for, many tables in a row
\makeatletter\newcommand{\captionhere}[2]{\def\@captype{#1}\caption{#2}}\makeatother
"""

_CODE = re.compile(r"`(?P<code>[^`]+)`")
_SIGNS = {
    "\u00b1": r"$\pm$", "\u00d7": r"$\times$", "\u00b7": r"$\cdot$", "\u00b0": r"$^\circ$", "\u2020": r"$\dagger$",
    "\u2212": "$-$", "\u2264": r"$\le$", "\u2265": r"$\ge$", "\u2260": r"$\ne$", "\u2248": r"$\approx$",
    "\u2192": r"$\rightarrow$", "\u2190": r"$\leftarrow$", "\u2191": r"$\uparrow$", "\u2193": r"$\downarrow$",
    "\u221e": r"$\infty$", "\u2211": r"$\sum$", "\u221a": r"$\surd$", "\u2208": r"$\in$", "\u2202": r"$\partial$",
    "\u2013": "--", "\u2014": "---", "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''",
    "\u2026": r"\ldots{}", "\u00a0": "~", "\u202f": r"\,", "\u2009": r"\,", "\u00b2": "$^2$", "\u00b3": "$^3$",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r", "\u030c": "v",
    "\u0327": "c",
}  # fmt: skip
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega"
).split()


def article(report: Report) -> str:
    """report.tex: compiles where the folders tables/ and figures/ need not be but figures/NAME.pdf are beside it."""
    parts = [PREAMBLE, rf"\title{{{inline(report.title)}}}", r"\author{}", r"\date{}", r"\begin{document}"]
    parts.append(r"\maketitle")
    if report.notices:
        notices = "\n".join(rf"\item \textbf{{Note:}} {inline(notice)}" for notice in report.notices)
        parts.append("\\begin{itemize}\n" + notices + "\n\\end{itemize}")
    parts.append(paragraphs(report.summary))
    for block in report.blocks:
        if isinstance(block, Heading):
            parts.append(rf"\{'sub' * (block.level - 2)}section{{{inline(block.text)}}}")
        elif isinstance(block, Text):
            parts.append(paragraphs(block.text))
        elif isinstance(block, TableBlock):
            parts += _table(block)
        else:
            parts.append(_figure(block))
    parts.append(r"\section{How this was made}")
    parts.append(rf"\texttt{{{latex_escape(report.command)}}}" if report.command else "")
    parts += [f"{inline(key)}: {inline(value)}\n" for key, value in report.provenance.items()]
    parts.append(r"\end{document}")
    return plain_signs("\n\n".join(part for part in parts if part) + "\n")


def table_file(table: Table) -> str:
    """tables/NAME.tex: a tabular with its notes as last rows; needs booktabs alone."""
    return plain_signs(_wrapped(table, table, latex_table(table, (), ())))


def inline(text: str, pattern: re.Pattern[str] = INLINE) -> str:
    """Inline Markdown as LaTeX: `code`, *emphasis*, **strong**, [text](https://...); the rest is literal."""
    parts, last = [], 0
    for match in pattern.finditer(text):
        parts.append(latex_escape(text[last : match.start()]))
        last = match.end()
        found = {key: value for key, value in match.groupdict().items() if value is not None}
        if "code" in found:
            parts.append(rf"\texttt{{{latex_escape(found['code'])}}}")
        elif "label" in found:
            parts.append(rf"\href{{{_address(found['target'])}}}{{{inline(found['label'])}}}")
        elif "strong" in found:
            parts.append(rf"\textbf{{{inline(found['strong'])}}}")
        else:
            parts.append(rf"\emph{{{inline(found['emphasis'])}}}")
    return "".join([*parts, latex_escape(text[last:])])


def paragraphs(text: str) -> str:
    """Paragraphs separated by empty lines."""
    found = [part.strip() for part in re.split(r"\n\s*\n", text)]
    return "\n\n".join(inline(part) for part in found if part)


def plain_signs(text: str) -> str:
    """ASCII alone: signs as LaTeX commands, letters with accents composed, what LaTeX cannot set as [U+XXXX]."""
    return "".join(character if character.isascii() else _sign(character) for character in text)


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    name = unicodedata.name(character, "")
    kind, _, letter = name.partition(" LETTER ")
    if kind in ("GREEK SMALL", "GREEK CAPITAL") and letter.lower() in _GREEK:
        return _greek(letter.lower(), kind.endswith("CAPITAL"))
    base, *marks = unicodedata.normalize("NFKD", character)
    if base.isalpha() and base.isascii() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return latex_escape(base) if base.isascii() and not marks else f"[U+{ord(character):04X}]"


def _greek(letter: str, capital: bool) -> str:
    # capitals that look like Latin ones have no command of their own
    special = ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega")
    if not capital:
        return "$o$" if letter == "omicron" else rf"$\{letter}$"
    return rf"$\{letter.capitalize()}$" if letter in special else letter[0].upper()


def _address(target: str) -> str:
    target = target.replace("\\", "%5C").replace("{", "%7B").replace("}", "%7D")
    return re.sub(r"([%#&_])", r"\\\1", target)


def _wrapped(whole: Table, part: Table, text: str) -> str:
    """The tabular of a part with columns of texts that are long anywhere in the whole table as paragraphs."""
    long = {
        column.key
        for i, column in enumerate(whole.columns)
        if column.kind == "text" and any(len(show(row[i], column)) > LONGEST for row in whole.rows)
    }
    kinds = ["p{7cm}" if c.key in long else "l" if c.kind == "text" else "r" for c in part.columns]
    return re.sub(r"\\begin\{tabular\}\{[lr]*\}", lambda _: rf"\begin{{tabular}}{{{''.join(kinds)}}}", text, count=1)


def _table(block: TableBlock) -> list[str]:
    """The table in parts that are legible and fit on a page, notes under the last."""
    table = block.table
    parts = [replace(part, rows=rows, notes=[]) for part in _narrow(table) for rows in _pieces(part)]
    found = []
    for number, part in enumerate(parts):
        body = _wrapped(table, part, latex_table(part, (), ()))
        first = rf"\captionhere{{table}}{{\textbf{{{inline(table.title)}.}} {inline(block.caption)}}}"
        head = first if number == 0 else f"{latex_escape(table.title)} (continued)"
        found.append(_whole(f"{head}\n\\smallskip\n\n\\fit{{%\n{body}}}"))
    notes = [inline(note, _CODE).replace("+/-", r"$\pm$") for note in table.notes]
    found += [rf"{{\footnotesize {note}\par}}" for note in notes]
    return found


def _narrow(table: Table) -> list[Table]:
    """Parts of some columns each, behind the texts that lead the table."""
    sizes = []
    for i, column in enumerate(table.columns):
        longest = max((len(show(row[i], column)) for row in table.rows), default=0)
        sizes.append(2 + max(min(longest, LONGEST), len(column.header)))
    lead = next((i for i, column in enumerate(table.columns) if column.kind != "text"), 1)
    lead = min(max(lead, 1), 2)
    room = WIDTH - sum(sizes[:lead])
    fewest = _grouped(sizes, lead, room)
    for less in range(room, 0, -1):  # parts of like width, not one column alone in the last
        groups = _grouped(sizes, lead, less)
        if len(groups) > len(fewest):
            break
        fewest = groups
    parts = []
    for group in fewest:
        kept = [*range(lead), *group]
        rows = [[row[i] for i in kept] for row in table.rows]
        parts.append(replace(table, columns=[table.columns[i] for i in kept], rows=rows))
    return parts


def _grouped(sizes: list[int], first: int, room: int) -> list[list[int]]:
    """Places from `first` on in groups of no more than `room` characters, or of one that is wider."""
    groups: list[list[int]] = [[]]
    for i in range(first, len(sizes)):
        if groups[-1] and sum(sizes[k] for k in [*groups[-1], i]) > room:
            groups.append([])
        groups[-1].append(i)
    return groups


def _pieces(table: Table) -> list[list[list[Cell]]]:
    """Rows in parts of no more than `LINES` lines."""
    pieces: list[list[list[Cell]]] = [[]]
    room = LINES
    for row in table.rows:
        needed = max(1, *(-(-len(cell.value) // LONGEST) for cell in row if isinstance(cell.value, str)))
        if needed > room and pieces[-1]:
            pieces.append([])
            room = LINES
        pieces[-1].append(row)
        room -= needed
    return pieces


def _figure(block: FigureBlock) -> str:
    caption = rf"\textbf{{{inline(block.title)}.}} {inline(block.caption)}"
    return _whole(f"\\fit{{\\includegraphics{{figures/{block.name}.pdf}}}}\n\n\\captionhere{{figure}}{{{caption}}}")


def _whole(text: str) -> str:
    """What is not broken over pages."""
    return "\\begin{center}\n\\begin{minipage}{\\linewidth}\n\\centering\n" + text + "\n\\end{minipage}\n\\end{center}"
