"""`harness pack`"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = """harness pack results/ --out packed
  harness pack results/study results/more --out packed --examples 20"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="results directories, or experiments")
    parser.add_argument("--out", type=Path, required=True, help="directory for one pack an experiment")
    parser.add_argument("--examples", type=int, default=8, metavar="N", help="sample generations of a run; default 8")


def run(options: argparse.Namespace) -> int:
    from harness.pack import pack

    for packed in pack(options.results, options.out, options.examples):
        left = f", {packed.unfinished} unfinished left out" if packed.unfinished else ""
        print(f"{packed.path}: {packed.runs} runs, {packed.size / 1e6:,.1f} MB{left}")
    return 0
