"""`harness report`"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

EXAMPLE = """harness report reports/reference.toml
  harness report paper.toml --out paper/results"""
FOLDER = Path("results") / "reports"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC.toml", help="which runs, and which tables and figures of them")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for report.md, report.tex, index.html, tables/ and figures/; default results/reports/ and the "
        "name of SPEC.toml without its suffix",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="leave out sources that have no runs here, and what cannot be made without them; the report names both",
    )


def run(options: argparse.Namespace) -> int:
    from harness.report import build  # pandas and scipy take their time: --help does without

    started = time.monotonic()
    out = options.out or FOLDER / options.spec.stem
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give a folder with --out")
    report = build.build(options.spec, lambda line: print(line, flush=True), options.partial)
    paths = build.write(report, out)
    for notice in report.notices:
        print(f"note: {notice}", file=sys.stderr)
    print(f"written to {out}: {len(paths)} files, {time.monotonic() - started:.1f} s; start at {out / 'index.html'}")
    return 0
