"""The LaTeX of a report: complete, strict in structure, and compiled where pdflatex is installed."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from harness.report.document import FigureBlock, Heading, Report, TableBlock, Text
from harness.report.writers_latex import article, inline, plain_signs, table_file
from harness.table_formats import DAGGER, Cell, Column, Table

NASTY = "5 % of a_b & #1 {x} ~ ^ < > | \\command $x$ \u201cquoted\u201d"


def pdf() -> bytes:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 14))
    FigureCanvasPdf(figure)
    figure.add_subplot().plot([0, 1])
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def report():
    columns = [Column("a", "name_x", "text"), Column("b", "score %", "percent"), Column("c", "minus a&b", "signed")]
    columns += [Column(f"d{i}", f"wide column {i}", "number") for i in range(12)]
    columns.append(Column("e", "who", "text"))
    rows = [
        [
            Cell(f"row_{i} {NASTY}"),
            Cell(0.5),
            Cell(-0.01, mark="*" + DAGGER),
            *[Cell(1e-7)] * 12,
            Cell("many words " * 9),
        ]
        for i in range(60)
    ]
    notes = [f"* Differs from a_b: p < 0.05. {NASTY}", f"{DAGGER} One seed, +/- `half_width`."]
    table = Table("wide", "A wide & long table", columns, rows, notes)
    small = Table("small", "Small", columns[:2], [[Cell("x"), Cell(None)]], [])
    figure = FigureBlock("fig_1", "A figure", "Its *caption*.", "alt", {"pdf": pdf()})
    text = "A `code_x` and **strong *x*** text, [a link](https://example.org/a_b%20c#d&e).\n\nSecond: " + NASTY
    blocks = [Heading("First & foremost"), Text(text), TableBlock(table, "Caption with `x_y`."), Heading("Sub", 3)]
    blocks += [TableBlock(small), figure]
    signs = "\u03b1 \u2192 \u0394 \u00b1 \u00e9 \u4e2d \u2026 \u2265 \u03bf \u0391"
    return Report(f"Title {NASTY}", signs, blocks, {}, [NASTY], "harness report a_b.toml", {"x_y": "3 runs of a_b"})


def structure(text: str) -> None:
    """Balanced environments and braces, equal cells a row, ASCII, no sign of LaTeX's left unescaped in text."""
    assert text.isascii()
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    bare = re.sub(r"\\[\\{}%&#_$]", "", text)
    depth = 0
    for character in re.sub(r"(?m)%.*$", "", bare):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    for spec, body in re.findall(r"\\begin\{tabular\}\{((?:[lr]|p\{[^}]*\})*)\}(.*?)\\end\{tabular\}", text, re.S):
        width = len(re.sub(r"p\{[^}]*\}", "l", spec))
        lines = [line for line in body.splitlines() if line.endswith(r"\\") and not line.startswith(r"\multicolumn")]
        assert lines and {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {width - 1}


def test_structure_of_the_article(report):
    text = article(report)
    structure(text)
    assert text.startswith(r"\documentclass") and text.rstrip().endswith(r"\end{document}")
    # 16 columns are too wide, and 60 rows too high: each row stands once in each of the parts of some columns
    parts = [sum(line.startswith(rf"row\_{i} ") for line in text.splitlines()) for i in range(60)]
    assert len(set(parts)) == 1 and parts[0] > 2
    heads = [line for line in text.splitlines() if line.startswith("name\\_x & ")]
    assert len(heads) == text.count(r"\begin{tabular}") > 3
    shown = [{name for name in line.removesuffix(r" \\").split(" & ") if name.startswith("wide")} for line in heads]
    assert set().union(*shown) == {f"wide column {i}" for i in range(12)}
    assert r"\section{First \& foremost}" in text and r"\subsection{Sub}" in text
    assert r"\includegraphics{figures/fig_1.pdf}" in text


def test_structure_of_a_table_file(report):
    for block in report.blocks:
        if isinstance(block, TableBlock):
            structure(table_file(block.table))
    assert "p{7cm}" in table_file(report.blocks[2].table)


def test_inline_markdown():
    assert inline("`a_b` *x* **y** [z](https://q.org/%20)") == (
        r"\texttt{a\_b} \emph{x} \textbf{y} \href{https://q.org/\%20}{z}"
    )
    assert inline("2 * 3 * 4 and a_b") == r"2 * 3 * 4 and a\_b"


def test_signs_become_commands():
    assert plain_signs("\u03b1\u0394\u0391\u2192\u00e9\u4e2d") == r"$\alpha$$\Delta$A$\rightarrow$\'{e}[U+4E2D]"


def compiled(text: str, folder) -> str:
    (folder / "x.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / "x.pdf").stat().st_size > 1000
    return done.stdout


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_article_compiles(report, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "fig_1.pdf").write_bytes(report.blocks[-1].files["pdf"])
    log = compiled(article(report), tmp_path)
    assert "Overfull \\hbox" not in log


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_table_files_compile_with_booktabs_alone(report, tmp_path):
    table = report.blocks[4].table
    text = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    compiled(text + table_file(table) + "\\end{document}\n", tmp_path)
