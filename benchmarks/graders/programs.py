"""Programs: a Python expression after the last '#', run in the sandbox on hidden inputs, compared in the parent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmarks.base import Problem, Verdict
from benchmarks.graders.answers import extract
from benchmarks.sandbox import VERSION as SANDBOX_VERSION
from benchmarks.sandbox import Job, Sandbox, matches

VERSION = f"2+sandbox{SANDBOX_VERSION}"
GRADER = "program"
UNFINISHED = ("timeout", "protocol", "infra")  # outcomes that are statuses of their own; all others are "fail"


@cache
def sandbox() -> Sandbox:
    """The one pool of child processes of this process."""
    return Sandbox()


def grade_programs(problems: Sequence[Problem], responses: Sequence[str], arguments: Sequence[str]) -> list[Verdict]:
    """The expression after the last '#', as the body of a function of `arguments[i]`, must give the hidden outputs.

    Equal (program, problem) pairs are executed once.
    """
    jobs: dict[tuple[str, str], Job] = {}
    answers = [extract(response) for response in responses]
    for problem, answer, argument in zip(problems, answers, arguments, strict=True):
        if answer is not None:
            source = f"def f({argument}):\n    return ({answer})\n"
            jobs.setdefault((problem.id, answer), Job(source, "f", tuple(inputs for inputs, _ in problem.tests)))
    outcomes = dict(zip(jobs, sandbox().run(list(jobs.values())), strict=True)) if jobs else {}
    verdicts = []
    for problem, answer in zip(problems, answers, strict=True):
        if answer is None:
            verdicts.append(Verdict("no_answer", 0.0, "", GRADER, VERSION))
            continue
        outcome = outcomes[problem.id, answer]
        right = outcome.status == "ok" and all(
            matches(value, expected) for value, (_, expected) in zip(outcome.values, problem.tests, strict=True)
        )
        status = "pass" if right else outcome.status if outcome.status in UNFINISHED else "fail"
        score = None if status == "infra" else float(right)
        verdicts.append(Verdict(status, score, answer, GRADER, VERSION, outcome.level))
    return verdicts
