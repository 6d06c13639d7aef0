"""`harness pretrain`"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from harness import terminal
from harness.models import ladder

EXAMPLE = """harness pretrain 1m
  harness pretrain 0.2m --out my-model --steps 500 --threads 2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="embedded model: " + ", ".join(ladder.EMBEDDED))
    parser.add_argument("--out", type=Path, help="where the model is saved; default: the package's own weights")
    parser.add_argument("--steps", type=int, help="optimiser steps; default: those of the recipe")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    parser.add_argument("--force", action="store_true", help="overwrite an existing directory")


def run(options: argparse.Namespace) -> int:
    if options.name not in ladder.EMBEDDED:
        near = difflib.get_close_matches(options.name, ladder.EMBEDDED, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(ladder.EMBEDDED)}."
        raise ValueError(f"no embedded model is called {options.name!r}: {hint}")
    for option in ("steps", "threads"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option} must be at least 1, not {value}")
    out = options.out or ladder.WEIGHTS / options.name
    if out.exists() and not options.force:
        raise ValueError(f"{out} exists already: give another --out, or --force to overwrite it")

    from harness.models.pretrain import pretrain

    card = pretrain(options.name, out, options.steps, options.threads, lambda line: print(line, flush=True))
    rows = [(key.replace("_", " "), str(value)) for key, value in card.items() if not isinstance(value, dict)]
    terminal.show(terminal.Grid(("", ""), rows, title=str(out)))
    return 0
