"""`harness contamination`"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import terminal

if TYPE_CHECKING:
    from benchmarks.base import Suite
    from harness.contamination import Index, Match
    from harness.spec import RunSpec

EXAMPLE = """harness contamination --train spec.toml --suite gsm8k --suite math
  harness contamination --train train.jsonl --suite gsm8k --n 8 --format csv > overlap.csv"""
COLUMNS = ("suite", "problem", "unit", "grams", "matched", "own", "coverage", "same", "nearest", "excerpt")
LIMITS = (
    "sees literal overlap of questions only: no paraphrase, translation, changed number or renamed variable",
    "sees the texts named with --train only: what the base model has read before is not among them",
    "an overlap is no proof: questions made from one template share n-grams, therefore the column `own`",
)
LONGEST = 160  # characters of an excerpt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--train",
        required=True,
        metavar="SOURCE",
        help="specification (.toml), run directory, suite or records (JSONL)",
    )
    parser.add_argument("--suite", action="append", help="may be given several times; default: those of the run")
    parser.add_argument("--split", choices=("eval", "ood"), default="eval", help="default eval")
    parser.add_argument("--problems", type=int, metavar="N", help="of each suite; default all, or as many as evaluated")
    parser.add_argument("--n", type=int, default=13, help="words of an n-gram; default 13, 8 finds more")
    parser.add_argument("--chars", type=int, default=50, metavar="C", help="characters, for shorter texts; default 50")
    parser.add_argument("--top", type=int, default=5, metavar="T", help="largest overlaps shown of a suite; default 5")
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text", help="csv: one line a problem")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the files of published suites")


def run(options: argparse.Namespace) -> int:
    from benchmarks import registry
    from harness import contamination, training_texts

    if options.data_dir is not None:
        registry.set_data_dir(options.data_dir)
    if options.problems is not None and options.problems < 1:
        raise ValueError(f"--problems must be at least 1, not {options.problems}")
    if options.top < 0:
        raise ValueError(f"--top must be at least 0, not {options.top}")
    index = contamination.Index(options.n, options.chars)
    spec = training_texts.specified(options.train)
    for suite in _suites(options, spec):
        problems = _problems(suite, options, spec)
        if not problems:
            raise ValueError(f"suite {suite.name} has no problems in split {options.split}: choose another one")
        for problem in problems:
            index.add(suite.name, problem)
    index.scan(training_texts.texts(options.train, spec))
    {"text": _text, "csv": _csv, "json": _json}[options.format](options, index, index.matches())
    return 0


def _suites(options: argparse.Namespace, spec: RunSpec | None) -> list[Suite]:
    from benchmarks import registry
    from harness.data import evaluation_suites

    if options.suite:
        return [registry.get(name) for name in dict.fromkeys(options.suite)]
    if spec is None:
        raise ValueError("a file of records does not say what is evaluated: name suites with --suite")
    return evaluation_suites(spec.data, spec.eval)


def _problems(suite: Suite, options: argparse.Namespace, spec: RunSpec | None) -> list[Any]:
    from harness.samples import ALL
    from harness.spec import Evaluation

    plan = spec.eval if spec is not None else Evaluation()
    usual = ALL if suite.presets else plan.problems if options.split == "eval" else plan.ood_problems
    return suite.problems(options.split, options.problems or usual, plan.seed)


def _csv(options: argparse.Namespace, index: Index, matches: list[Match]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in map(_row, matches))


def _row(match: Match) -> dict[str, Any]:
    return {**asdict(match), "coverage": round(match.coverage, 4)}


def _json(options: argparse.Namespace, index: Index, matches: list[Match]) -> None:
    from harness.contamination import by_suite

    content = {
        "train": options.train,
        "texts": index.texts,
        "split": options.split,
        "n_words": index.n_words,
        "n_characters": index.n_characters,
        "suites": by_suite(matches),
        "problems": [_row(match) for match in matches],
        "limits": LIMITS,
    }
    print(json.dumps(content, indent=1))


def _text(options: argparse.Namespace, index: Index, matches: list[Match]) -> None:
    from harness.contamination import MOSTLY, by_suite, top
    from harness.sample_view import clean

    suites = by_suite(matches)
    rows = [
        (
            suite["suite"],
            f"{suite['problems']:,}",
            "/".join(f"{suite[unit]:,}" for unit in ("words", "characters", "whole")),
            *(f"{suite[key]:,} ({_share(suite[key], suite['problems'])})" for key in ("overlapping", "own", "mostly")),
            f"{suite['same']:,}",
        )
        for suite in suites
    ]
    headers = ("suite", "problems", "by words/chars/whole", "overlap", "own", f">= {100 * MOSTLY:.0f}%", "same text")
    title = f"{options.train}: {index.texts:,} training texts against split {options.split}"
    notes = [
        f"overlap: a run of {index.n_words} words of the question is in a training text; for questions of fewer words "
        f"a run of {index.n_characters} characters, for still shorter ones the whole",
        f"own: with a run that no other problem of the suite has; >= {100 * MOSTLY:.0f}%: of the question's runs",
        *LIMITS,
    ]
    terminal.show(terminal.Grid(headers, rows, frozenset(range(1, 7)), title=title, notes=notes))
    for suite in suites:
        found = top(matches, suite["suite"], options.top)
        if not found:
            continue
        terminal.heading(f"{suite['suite']}: largest overlaps")
        for match in found:
            excerpt = clean(match.excerpt).replace("\n", " ")
            excerpt = excerpt if len(excerpt) <= LONGEST else excerpt[: LONGEST - 3] + "..."
            what = "same text" if match.same else f"{100 * match.coverage:.0f}% of {match.grams:,} runs"
            print(f"{match.problem}  {what}, {match.own:,} of its own, nearest {clean(match.nearest)}\n    {excerpt}")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%"
