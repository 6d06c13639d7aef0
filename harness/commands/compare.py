"""`harness compare`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness import terminal

EXAMPLE = """harness compare results/ --baseline sft
  harness compare results/study --baseline sft --equal flops
  harness compare results/noise --format latex --out paper/tables"""
FORMATS = {"markdown": ".md", "csv": ".csv", "latex": ".tex"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="results directory, one experiment below it, one run, or a pack")
    parser.add_argument("--baseline", metavar="NAME", help="strategy or row label that the others are compared with")
    parser.add_argument("--force", action="store_true", help="compare what is not comparable; every output says so")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="how far budgets, and what was spent of them, may be apart; default 0.1 of the smaller one",
    )
    parser.add_argument(
        "--equal",
        action="append",
        default=[],
        metavar="COST",
        help="a cost that must be equal as well: flops, generated_tokens, seconds, updates, prompts, "
        "trained_tokens_rollout or trained_tokens_demo; may be given several times",
    )
    parser.add_argument("--out", type=Path, help="where tables and figures are written; default ROOT/comparison")
    parser.add_argument(
        "--format",
        choices=("terminal", *FORMATS),
        default="terminal",
        help="what is printed; all formats are written in any case",
    )


def run(options: argparse.Namespace) -> int:
    from harness import compare  # scipy takes its time: --help does without
    from harness.compare_load import without_cycles

    with without_cycles():
        comparison = compare.compare_runs(
            options.root, options.baseline, options.force, tolerance=options.tolerance, equal=options.equal
        )
        out = options.out or options.root / "comparison"
        paths = compare.write(comparison, out)
    if options.format == "terminal":
        print(compare.render_terminal(comparison, terminal.width()))
    else:
        wanted = [path for path in paths if path.suffix == FORMATS[options.format]]
        print("\n".join(path.read_text(encoding="utf-8") for path in wanted))
    suffixes = sorted({path.suffix for path in paths})
    # not on stdout: that may be piped into a file
    print(f"written to {out}: {len(paths)} files ({', '.join(suffixes)})", file=sys.stderr)
    return 0
