"""Grading of function problems: HumanEval, MBPP and EvalPlus. See code_oracle for who judges what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from benchmarks.base import Problem, Verdict
from benchmarks.graders.code_compare import same
from benchmarks.graders.code_extract import Code, extract_code
from benchmarks.graders.code_oracle import (
    MAX_CPU_SECONDS,
    Oracle,
    candidate_job,
    contains_opaque,
    oracles,
    replay_job,
)
from benchmarks.graders.programs import UNFINISHED
from benchmarks.sandbox import VERSION as SANDBOX_VERSION
from benchmarks.sandbox import Outcome, Sandbox

VERSION = f"1+sandbox{SANDBOX_VERSION}"
GRADER = "code"
CPU_SECONDS = 4.0
ALLOWANCE = 4.0  # times the processor time of the reference, where that is more than CPU_SECONDS
_FUTURE = re.compile(r"^from __future__ import [^\n]+\n?", re.MULTILINE)


@cache
def sandbox() -> Sandbox:
    """The pool of this process for published code problems."""
    return Sandbox(min(8, os.cpu_count() or 1), wall_seconds=3 * CPU_SECONDS, cpu_seconds=CPU_SECONDS, memory_mb=1024)


def verdict(status: str, code: str, level: str) -> Verdict:
    """A verdict from the status of a judged response; "infra" has no score."""
    return Verdict(status, None if status == "infra" else float(status == "pass"), code, GRADER, VERSION, level)


def program(params: Mapping[str, Any], code: Code) -> str:
    """The candidate's module: with the imports and helpers of the prompt, or the prompt completed."""
    if not code.whole:
        return f"{params['prompt']}{'' if params['prompt'].endswith(chr(10)) else chr(10)}{code.text}\n"
    futures = "".join(_FUTURE.findall(code.text))  # must come first
    return f"{futures}{params['prefix']}\n{_FUTURE.sub('', code.text) if futures else code.text}\n"


def grade_functions(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """A verdict for every (problem, response) pair; equal programs of one problem are executed once."""
    codes = [
        extract_code(response, dict(problem.params)["entry"], bool(dict(problem.params)["prompt"]))
        for problem, response in zip(problems, responses, strict=True)
    ]
    used = {problem.id: problem for problem, code in zip(problems, codes, strict=True) if code is not None}
    found = dict(zip(used, oracles(list(used.values()), sandbox()), strict=True)) if used else {}
    pairs = {(problem.id, code): problem for problem, code in zip(problems, codes, strict=True) if code is not None}
    judged = dict(zip(pairs, _judge([(p, code, found[p.id]) for (_, code), p in pairs.items()]), strict=True))
    return [
        verdict("no_answer", "", "") if code is None else judged[problem.id, code]
        for problem, code in zip(problems, codes, strict=True)
    ]


def _judge(candidates: Sequence[tuple[Problem, Code, Oracle | Outcome]]) -> list[Verdict]:
    statuses = ["infra"] * len(candidates)
    sound = [i for i, (*_, oracle) in enumerate(candidates) if isinstance(oracle, Oracle) and oracle.kind != "broken"]
    jobs = [
        candidate_job(dict(problem.params), oracle, program(dict(problem.params), code))
        for problem, code, oracle in (candidates[i] for i in sound)
    ]
    outcomes = dict(zip(sound, sandbox().run(jobs), strict=True))
    _allow_slow_references(candidates, outcomes)
    replays = {}
    for i, outcome in outcomes.items():
        problem, _, oracle = candidates[i]
        if outcome.status != "ok":
            statuses[i] = outcome.status if outcome.status in UNFINISHED else "fail"
        elif any(map(contains_opaque, outcome.values)):
            statuses[i] = "fail"
        elif oracle.kind == "replay":
            replays[i] = replay_job(dict(problem.params), oracle, outcome.values)
        elif oracle.kind == "assertions":
            statuses[i] = "pass" if outcome.values == (True,) else "fail"
        else:
            statuses[i] = "pass" if _right(dict(problem.params), oracle, outcome.values) else "fail"
    for i, outcome in zip(replays, sandbox().run(list(replays.values())), strict=True):
        right = outcome.status == "ok" and outcome.values == (True,)
        statuses[i] = "infra" if outcome.status == "infra" else "pass" if right else "fail"
    level = sandbox().level
    return [verdict(status, code.text, level) for status, (_, code, _) in zip(statuses, candidates, strict=True)]


def _right(params: Mapping[str, Any], oracle: Oracle, values: Sequence[Any]) -> bool:
    return all(
        same(params["compare"], params["entry"], params["atol"], arguments, value, expected)
        for arguments, value, expected in zip(oracle.inputs, values, oracle.expected, strict=True)
    )


def _allow_slow_references(
    candidates: Sequence[tuple[Problem, Code, Oracle | Outcome]], outcomes: dict[int, Outcome]
) -> None:
    """Run timed-out candidates again where the reference itself is slow: ALLOWANCE times its processor time."""
    late = [i for i, outcome in outcomes.items() if outcome.status == "timeout"]
    slow = {candidates[i][0].id: candidates[i] for i in late}
    jobs = [
        candidate_job(dict(problem.params), oracle, dict(problem.params)["reference"], MAX_CPU_SECONDS)
        for problem, _, oracle in slow.values()
        if isinstance(oracle, Oracle)
    ]
    needed = {name: outcome.cpu for name, outcome in zip(slow, sandbox().run(jobs), strict=True)}
    again = {}
    for i in late:
        problem, code, oracle = candidates[i]
        allowance = min(MAX_CPU_SECONDS, ALLOWANCE * needed[problem.id])
        if allowance > CPU_SECONDS and isinstance(oracle, Oracle):
            params = dict(problem.params)
            again[i] = candidate_job(params, oracle, program(params, code), allowance)
    outcomes.update(zip(again, sandbox().run(list(again.values())), strict=True))
