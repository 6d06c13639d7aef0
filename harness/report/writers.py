"""The folder of a report: all of its files, written whole, with a list of them by which a later build cleans up."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath

from harness.report import html, writers_latex, writers_markdown
from harness.report.document import FigureBlock, Report, TableBlock
from harness.report.tables.layout import FORCED, expanded
from harness.store import read_json, write_json
from harness.table_formats import Table, markdown_table, write_csv

# not manifest.json, by which a directory below results/ is taken for a run
LIST = "report.json"
SCHEMA = 1


def files(report: Report) -> dict[str, bytes]:
    """Path within the folder -> content. Equal reports give equal bytes."""
    found = {
        "report.md": writers_markdown.page(report).encode(),
        "report.tex": writers_latex.article(report).encode(),
        "index.html": html.page(report).encode(),
    }
    unequal = {sentence for source in report.sources.values() for sentence in source.comparison.unequal}
    for block in report.blocks:
        if isinstance(block, TableBlock):
            forms = _table(block.table, unequal)
            found |= {f"tables/{block.table.name}.{suffix}": content for suffix, content in forms.items()}
        elif isinstance(block, FigureBlock):
            found |= {f"figures/{block.name}.{suffix}": content for suffix, content in block.files.items()}
    return found


def write(contents: Mapping[str, bytes], title: str, out: Path) -> list[Path]:
    """Write the files and `report.json`, which lists them with their sha256; return all paths.

    A file that an earlier build listed and this one does not make is removed, unless it was changed since.
    """
    earlier = _listed(out)
    for name, content in contents.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(content)
        os.replace(temporary, path)
    for name, digest in earlier.items():
        path = out / name
        if name not in contents and path.is_file() and _sha256(path.read_bytes()) == digest:
            path.unlink()
            if path.parent != out and not any(path.parent.iterdir()):
                path.parent.rmdir()
    listed = {name: _sha256(contents[name]) for name in sorted(contents)}
    write_json(out / LIST, {"schema": SCHEMA, "title": title, "files": listed})
    return [*(out / name for name in contents), out / LIST]


def _table(table: Table, unequal: Set[str]) -> dict[str, bytes]:
    """`unequal`: notes that say that costs are not equal, which CSV files repeat in every line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        forced = any(note.startswith(FORCED) for note in table.notes)
        write_csv(expanded(table), path, forced, [note for note in table.notes if note in unequal])
        return {
            "md": (markdown_table(table).rstrip() + "\n").encode(),
            "tex": writers_latex.table_file(table).encode(),
            "csv": path.read_bytes(),
        }


def _listed(out: Path) -> dict[str, str]:
    """Files of an earlier build with their sha256; only names that stay within the folder."""
    if not (out / LIST).is_file():
        return {}
    listed = read_json(out / LIST).get("files", {})
    inside = {
        name for name in listed if not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
    }
    return {name: str(listed[name]) for name in sorted(inside)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
