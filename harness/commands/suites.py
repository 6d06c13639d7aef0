"""`harness suites`"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import registry
from benchmarks.base import SPLITS, Problem, Suite
from harness import terminal
from harness.commands import published

EXAMPLE = """harness suites
  harness suites math --level 2 --n 3 --demos
  harness suites gsm8k --data-dir DIR --n 2"""
HEADERS = ("name", "domain", "families", "levels", "summary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show this suite: how it is defined, and problems of it")
    parser.add_argument("--level", type=int, metavar="L", help="only problems of this level")
    parser.add_argument("--split", choices=SPLITS, help="default train, of published suites eval")
    parser.add_argument("--n", type=int, help="number of problems; default 4, of published suites none")
    parser.add_argument("--seed", type=int, default=0, help="draws the problems; default 0")
    parser.add_argument("--demos", action="store_true", help="with a right and a wrong demonstration of each")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with the data of published suites; default: the hub"
    )


def run(options: argparse.Namespace) -> int:
    if options.data_dir is not None:
        registry.set_data_dir(options.data_dir)
    if options.name is None:
        return _list()
    if options.n is not None and options.n < 1:
        raise ValueError(f"--n must be at least 1, not {options.n}")
    suite = registry.get(options.name)
    known = _levels(suite)
    if options.level is not None and known and options.level not in known:
        raise ValueError(f"suite {suite.name} has no level {options.level}: choose from {', '.join(map(str, known))}")
    n, split = options.n or 4, options.split or "train"
    if suite.presets:
        if options.level is not None:
            raise ValueError(f"suite {suite.name} is published and has no levels: leave out --level")
        published.describe(suite, registry.data_dir())
        if options.n is None and not options.demos:
            return 0
        split = options.split or "eval"
    levels = None if options.level is None else (options.level,)
    problems = suite.problems(split, n, options.seed, levels)
    if not problems:
        raise ValueError(f"suite {suite.name} has no problems in split {split}")
    for problem in problems:
        _show(suite, problem, options.demos)
    return 0


def _list() -> int:
    suites = [registry.get(name) for name in registry.names()]
    notes = [
        "splits: train and eval share no problem and have levels 1-3; ood has level 4, never trained on",
        "`harness suites NAME --demos` shows problems",
    ]
    own = [suite for suite in suites if not suite.presets]
    terminal.show(terminal.Grid(HEADERS, [_row(suite) for suite in own], title="generated here", notes=notes))
    print()
    published.table([suite for suite in suites if suite.presets], registry.data_dir())
    return 0


def _levels(suite: Suite) -> list[int]:
    return sorted({level for family in getattr(suite, "families", ()) for level in family.levels})


def _row(suite: Suite) -> tuple[str, ...]:
    families = ", ".join(family.name for family in getattr(suite, "families", ()))
    levels = _levels(suite)
    return suite.name, suite.domain, families or "-", f"{levels[0]}-{levels[-1]}" if levels else "-", suite.summary


def _show(suite: Suite, problem: Problem, demonstrations: bool) -> None:
    answer = problem.answer if "\n" not in problem.answer else "below"
    terminal.heading(f"{problem.id}  (level {problem.level}, answer {answer})")
    print(problem.prompt + (problem.instruction or ""))
    if answer == "below":
        print("\n  answer\n" + "\n".join(f"    {line}" for line in problem.answer.splitlines()))
    if demonstrations:
        right, wrong = suite.demonstration(problem), suite.demonstration(problem, wrong=True)
        verdicts = suite.grade([problem, problem], [right, wrong])
        for name, text, verdict in zip(("right", "wrong"), (right, wrong), verdicts, strict=True):
            print(f"\n  {name} demonstration (graded: {verdict.status})")
            print("\n".join(f"    {line}" for line in text.splitlines()))
