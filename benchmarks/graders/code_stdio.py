"""Grading of programs from standard input to standard output.

Every test runs in a process of its own, as `__main__`. Outputs are equal line by line, after trailing spaces and empty
lines at the end: as text, or word by word with equal decimal numbers ("1.0" and "1", no tolerance).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from benchmarks.base import Problem, Verdict
from benchmarks.graders.code_extract import Code, after_thinking, fenced_blocks
from benchmarks.graders.code_functions import sandbox, verdict
from benchmarks.graders.programs import UNFINISHED
from benchmarks.sandbox import Job, Outcome

_RUN = """
import os, sys
def run(text):
    for descriptor, data in ((0, text.encode()), (1, b"")):
        memory = os.memfd_create("stream")
        while data:
            data = data[os.write(memory, data):]
        os.lseek(memory, 0, 0)
        os.dup2(memory, descriptor)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile({source!r}, "<candidate>", "exec", dont_inherit=True), module.__dict__)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    sys.stdout.flush()
    with open(1, "rb", closefd=False) as file:
        file.seek(0)
        return file.read().decode(errors="replace")
"""
_NUMBER = re.compile(r"[-+]?\d{1,40}(?:\.\d{0,40})?")


def extract_program(response: str) -> Code | None:
    """The last complete Python block; the whole response if it has no fence and reads or prints."""
    text = after_thinking(response.replace("\r\n", "\n"))
    if text is None or not text.strip():
        return None
    blocks = [content for language, content in fenced_blocks(text)[0] if language in ("", "python", "py", "python3")]
    if blocks:
        return Code(blocks[-1], True) if blocks[-1].strip() else None
    bare = "```" not in text and re.search(r"\b(?:print|input)\s*\(|\bsys\.std(?:in|out)\b", text)
    return Code(text, True) if bare else None


def same_output(found: str, expected: str) -> bool:
    """Whether two outputs are equal under the rule of this module."""
    a, b = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (found, expected))
    return len(a) == len(b) and all(x == y or _same_words(x.split(), y.split()) for x, y in zip(a, b, strict=True))


def _same_words(a: list[str], b: list[str]) -> bool:
    return len(a) == len(b) and all(x == y or _same_number(x, y) for x, y in zip(a, b, strict=True))


def _same_number(a: str, b: str) -> bool:
    return bool(_NUMBER.fullmatch(a) and _NUMBER.fullmatch(b)) and Decimal(a) == Decimal(b)


def grade_stdio(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """A verdict for every (problem, response) pair; the first test that is not passed gives the status."""
    codes = [extract_program(response) for response in responses]
    jobs: dict[tuple[str, str], list[Job]] = {}
    for problem, code in zip(problems, codes, strict=True):
        if code is not None:
            source = _RUN.format(source=code.text)
            jobs.setdefault((problem.id, code.text), [Job(source, "run", (inputs,)) for inputs, _ in problem.tests])
    outcomes = iter(sandbox().run([job for group in jobs.values() for job in group]))
    found = {key: [next(outcomes) for _ in group] for key, group in jobs.items()}
    verdicts = []
    for problem, code in zip(problems, codes, strict=True):
        if code is None:
            verdicts.append(verdict("no_answer", "", ""))
        else:
            status = _status(problem, found[problem.id, code.text])
            verdicts.append(verdict(status, code.text, sandbox().level))
    return verdicts


def _status(problem: Problem, outcomes: Sequence[Outcome]) -> str:
    statuses = []
    for outcome, (_, expected) in zip(outcomes, problem.tests, strict=True):
        if outcome.status != "ok":
            statuses.append(outcome.status if outcome.status in UNFINISHED else "fail")
        else:
            (text,) = outcome.values
            statuses.append("pass" if type(text) is str and same_output(text, expected) else "fail")
    wrong = [status for status in statuses if status not in ("pass", "infra")]
    return wrong[0] if wrong else "infra" if "infra" in statuses else "pass"
