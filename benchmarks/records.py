"""A suite from a file of records: questions, gold answers and worked solutions that somebody else wrote."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.base import SPLITS, Problem, Suite, Verdict, digest
from benchmarks.graders.answers import extract, grade_numbers, grade_strings, number

PROMPT_KEYS = ("prompt", "question", "problem", "instruction", "query", "input")
SOLUTION_KEYS = ("demonstration", "solution", "response", "answer", "output", "completion")
ANSWER_KEYS = ("final_answer", "ground_truth", "gold", "target", "answer")
_ANNOTATION = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator annotations
HELD_OUT_TENTHS = 1


def read_records(source: str) -> list[dict[str, Any]]:
    """Rows of a JSONL file (plain or .gz), or of the train split of a Hugging Face data set owner/name[:config]."""
    path = Path(source)
    if path.is_file():
        return _read_file(path)
    if "/" not in source or source.startswith((".", "/")) or path.suffix in (".jsonl", ".gz", ".json"):
        raise ValueError(f"no data at {source}: name a JSONL file, or a Hugging Face data set as owner/name[:config]")
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"reading {source} from the hub needs the package `datasets`: pip install 'sft-rl-harness[hub]'"
        ) from None
    name, _, config = source.partition(":")
    try:
        return list(datasets.load_dataset(name, config or None, split="train"))
    except (OSError, ValueError) as problem:
        first = str(problem).strip().splitlines()[0]
        raise ValueError(f"data set {source} could not be loaded: {first} Download it and name the file.") from None


def _read_file(path: Path) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} cannot be read ({problem}): give UTF-8 text, or the same in gzip as .gz") from None
    rows = []
    # not splitlines(): data hold other line separators inside their strings
    for line_number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as problem:
            raise ValueError(f"{path} line {line_number} is not JSON ({problem.msg}): give one object a line") from None
        if not isinstance(rows[-1], dict):
            raise ValueError(f"{path} line {line_number} is no JSON object: give one object a line")
    if not rows:
        raise ValueError(f"{path} holds no records: give one JSON object a line")
    return rows


def _first(row: dict[str, Any], keys: Iterable[str]) -> str | None:
    return next((key for key in keys if isinstance(row.get(key), str | int | float) and str(row[key]).strip()), None)


class RecordSuite(Suite):
    """Problems from `source`; a tenth of them, by hash of the prompt, is held out unless `eval_source` is given.

    Each row needs a prompt (one of `PROMPT_KEYS`) and a solution or an answer. The gold answer is an answer field, else
    what follows the last '#' of the solution (GSM8K's `#### 42`). Rows without a gold answer are left out and counted;
    rows with the same prompt count once.
    """

    domain = "data"
    summary = "records of a file"

    def __init__(self, source: str, eval_source: str | None = None) -> None:
        stem = Path(source).name.split(".")[0] or "data"
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{Path(source).parent.name}_{stem}".strip("_"))
        self.left_out = 0
        problems = self._parse(read_records(source))
        if eval_source:
            held_out = self._parse(read_records(eval_source))
            seen = {problem.prompt for problem in held_out}
            problems = [problem for problem in problems if problem.prompt not in seen]
            self._splits = {"train": problems, "eval": held_out}
        else:
            late = [digest("held-out", problem.prompt) % 10 < HELD_OUT_TENTHS for problem in problems]
            self._splits = {
                "train": [p for p, held in zip(problems, late, strict=True) if not held],
                "eval": [p for p, held in zip(problems, late, strict=True) if held],
            }
        self.numeric = all(number(p.answer) is not None for split in self._splits.values() for p in split)

    def _parse(self, rows: list[dict[str, Any]]) -> list[Problem]:
        found: dict[str, Problem] = {}
        for row in rows:
            prompt_key = _first(row, PROMPT_KEYS)
            if prompt_key is None:
                raise ValueError(
                    f"a record of {self.name} has no prompt: name the field one of {', '.join(PROMPT_KEYS)}"
                )
            rest = {key: value for key, value in row.items() if key != prompt_key}
            solution_key = _first(rest, SOLUTION_KEYS)
            solution = _ANNOTATION.sub("", str(rest[solution_key])).strip() if solution_key else ""
            answer = extract(solution)
            if answer is None:
                answer_key = _first(rest, ANSWER_KEYS)
                answer = str(rest[answer_key]).strip() if answer_key else None
                # a bare answer is no worked solution
                bare = not solution or solution == answer
                solution = "" if bare else f"{solution}\n#### {answer}"
            if answer is None:
                self.left_out += 1
                continue
            prompt = str(row[prompt_key]).strip()
            identity = f"{self.name}-{digest(prompt):016x}"
            given = (solution,) if solution else ()
            found.setdefault(identity, Problem(identity, self.name, prompt, answer, demonstrations=given))
        if not found:
            raise ValueError(f"no record of {self.name} has an answer: name the field one of {', '.join(ANSWER_KEYS)}")
        return list(found.values())

    def problems(self, split: str, n: int, seed: int, levels: Sequence[int] | None = None) -> list[Problem]:
        """At most `n`: files have the rows that they have."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        rows = self._splits.get(split, [])
        order = sorted(rows, key=lambda problem: digest(split, seed, problem.id))
        return order[:n]

    def demonstration(self, problem: Problem, variant: int = 0, wrong: bool = False) -> str:
        if not problem.demonstrations:
            raise ValueError(
                f"record {problem.id} has no worked solution: give one in a field {' or '.join(SOLUTION_KEYS)}"
            )
        text = problem.demonstrations[variant % len(problem.demonstrations)]
        if not wrong:
            return text
        value = number(problem.answer)
        flawed = str(value + 1 + digest("wrong", problem.id) % 9) if value is not None else problem.answer[::-1] + "?"
        return f"{text.rpartition('#')[0]}# {flawed}"

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return (grade_numbers if self.numeric else grade_strings)(problems, responses)
