"""`harness suites`"""

from __future__ import annotations

import argparse

from benchmarks import registry
from benchmarks.base import SPLITS, Problem, Suite
from harness import terminal

EXAMPLE = """harness suites
  harness suites math --level 2 --n 3 --demos"""
HEADERS = ("name", "domain", "families", "levels", "summary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show problems of this suite")
    parser.add_argument("--level", type=int, metavar="L", help="only problems of this level")
    parser.add_argument("--split", choices=SPLITS, default="train", help="default train")
    parser.add_argument("--n", type=int, default=4, help="number of problems; default 4")
    parser.add_argument("--seed", type=int, default=0, help="draws the problems; default 0")
    parser.add_argument("--demos", action="store_true", help="with a right and a wrong demonstration of each")


def run(options: argparse.Namespace) -> int:
    if options.name is None:
        rows = [_row(registry.get(name)) for name in registry.names()]
        notes = [
            "splits: train and eval share no problem and have levels 1-3; ood has level 4, never trained on",
            "`harness suites NAME --demos` shows problems",
        ]
        terminal.show(terminal.Grid(HEADERS, rows, notes=notes))
        return 0
    if options.n < 1:
        raise ValueError(f"--n must be at least 1, not {options.n}")
    suite = registry.get(options.name)
    known = _levels(suite)
    if options.level is not None and known and options.level not in known:
        raise ValueError(f"suite {suite.name} has no level {options.level}: choose from {', '.join(map(str, known))}")
    levels = None if options.level is None else (options.level,)
    problems = suite.problems(options.split, options.n, options.seed, levels)
    if not problems:
        raise ValueError(f"suite {suite.name} has no problems in split {options.split}")
    for problem in problems:
        _show(suite, problem, options.demos)
    return 0


def _levels(suite: Suite) -> list[int]:
    return sorted({level for family in getattr(suite, "families", ()) for level in family.levels})


def _row(suite: Suite) -> tuple[str, ...]:
    families = ", ".join(family.name for family in getattr(suite, "families", ()))
    levels = _levels(suite)
    return suite.name, suite.domain, families or "-", f"{levels[0]}-{levels[-1]}" if levels else "-", suite.summary


def _show(suite: Suite, problem: Problem, demonstrations: bool) -> None:
    terminal.heading(f"{problem.id}  (level {problem.level}, answer {problem.answer})")
    print(problem.prompt)
    if demonstrations:
        right, wrong = suite.demonstration(problem), suite.demonstration(problem, wrong=True)
        verdicts = suite.grade([problem, problem], [right, wrong])
        for name, text, verdict in zip(("right", "wrong"), (right, wrong), verdicts, strict=True):
            print(f"\n  {name} demonstration (graded: {verdict.status})")
            print("\n".join(f"    {line}" for line in text.splitlines()))
