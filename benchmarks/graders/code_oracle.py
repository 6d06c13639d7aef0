"""How a function problem is judged, found out once per problem by running its own reference solution.

- "calls": the arguments are known, the parent compares the values with the expected ones.
- "replay": the test code is more than plain calls (loops, tolerances, helpers). The reference runs it once and the
  calls are recorded; a candidate sees only these arguments; its values are then replayed to the test code, in a process
  of its own without the candidate. Nothing that the candidate does can touch the assertions. Where arguments follow
  from earlier values, only the reference's values will do.
- "assertions": calls whose arguments are no plain values (objects of the candidate's own classes, types). The test code
  runs in the candidate's process: a candidate that tampers with it can pass. The weaker guarantee holds for these only.
- "broken": the reference does not pass its own tests here; nothing can be said about a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.base import Problem, digest
from benchmarks.sandbox import Job, Opaque, Outcome, Sandbox

MAX_CPU_SECONDS = 30.0

_RECORD = """
import copy as _copy, random as _random
def _record_():
    calls, depth, inner = [], [], {entry}
    def call(*arguments):
        if depth:
            return inner(*arguments)
        depth.append(1)
        try:
            kept = _copy.deepcopy(arguments)
            value = inner(*arguments)
            calls.append((kept, _copy.deepcopy(value)))
            return value
        finally:
            depth.clear()
    _random.seed(0)
    check(call)
    return calls
"""
_REPLAY = """
import random as _random
def _replay_(calls, values):
    position = iter(range(len(calls)))
    def call(*arguments):
        i = next(position)
        if arguments != calls[i]:
            raise RuntimeError("the test code makes other calls than for the reference")
        return values[i]
    _random.seed(0)
    check(call)
    return next(position, None) is None
"""
_ASSERT = """
def _assert_():
    namespace = dict(globals())
    exec({check!r}, namespace)
    namespace["check"]({entry})
    return True
"""


@dataclass(frozen=True)
class Oracle:
    """`inputs` of the calls a candidate must make; `expected` values where the parent compares."""

    kind: str
    inputs: tuple[tuple[Any, ...], ...] = ()
    expected: tuple[Any, ...] = ()
    reason: str = ""  # of "assertions" and "broken"


def candidate_job(params: Mapping[str, Any], oracle: Oracle, program: str, cpu_seconds: float | None = None) -> Job:
    """The job of one candidate. The problem's setup code comes after the program."""
    source = f"{program}\n{params['setup']}\n"
    if oracle.kind == "assertions":
        source += _ASSERT.format(check=params["check"], entry=params["entry"])
        return Job(source, "_assert_", ((),), cpu_seconds)
    return Job(source, params["entry"], oracle.inputs, cpu_seconds)


def replay_job(params: Mapping[str, Any], oracle: Oracle, values: Sequence[Any]) -> Job:
    """The job that shows a candidate's `values` to the test code, among the reference's definitions."""
    source = f"{params['reference']}\n{params['setup']}\n{params['check']}\n{_REPLAY}"
    return Job(source, "_replay_", ((list(oracle.inputs), list(values)),), MAX_CPU_SECONDS)


def contains_opaque(value: Any) -> bool:
    """Whether a returned value holds anything that is not plain."""
    if type(value) is dict:
        return any(contains_opaque(item) for pair in value.items() for item in pair)
    if type(value) in (list, tuple, set, frozenset):
        return any(map(contains_opaque, value))
    return isinstance(value, Opaque)


_known: dict[int, Oracle] = {}


def oracles(problems: Sequence[Problem], sandbox: Sandbox) -> list[Oracle | Outcome]:
    """One oracle for each problem; the outcome where a failure of the sandbox kept it from being found."""
    keys = [digest(p.suite, p.id, *sorted(p.params)) for p in problems]
    found: dict[int, Oracle | Outcome] = {}
    records: dict[int, Job] = {}
    references: dict[int, tuple[dict[str, Any], Problem]] = {}
    for key, problem in zip(keys, problems, strict=True):
        params = dict(problem.params)
        if key in _known or key in found:
            continue
        inputs = tuple(arguments for arguments, _ in problem.tests)
        if problem.tests and not params["computed"]:
            found[key] = Oracle("calls", inputs, tuple(value for _, value in problem.tests))
            continue
        references[key] = params, problem
        if problem.tests:
            records[key] = candidate_job(params, Oracle("calls", inputs), params["reference"], MAX_CPU_SECONDS)
        else:
            source = "\n".join([params["reference"], params["setup"], params["check"], _RECORD.format(**params)])
            records[key] = Job(source, "_record_", ((),), MAX_CPU_SECONDS)
    for key, outcome in zip(records, sandbox.run(list(records.values())), strict=True):
        params, problem = references[key]
        found[key] = _computed(problem, outcome) if problem.tests else _recorded(outcome)
    _confirm(found, {key: params for key, (params, _) in references.items()}, sandbox)
    _known.update({key: oracle for key, oracle in found.items() if isinstance(oracle, Oracle)})
    return [_known[key] if key in _known else found[key] for key in keys]


def _computed(problem: Problem, outcome: Outcome) -> Oracle | Outcome:
    if outcome.status == "infra":
        return outcome
    if outcome.status != "ok" or any(map(contains_opaque, outcome.values)):
        return Oracle("broken", reason=f"the reference solution gives no plain values: {outcome.detail}")
    return Oracle("calls", tuple(arguments for arguments, _ in problem.tests), outcome.values)


def _recorded(outcome: Outcome) -> Oracle | Outcome:
    if outcome.status == "infra":
        return outcome
    if outcome.status != "ok" or any(map(contains_opaque, outcome.values)):
        return Oracle("assertions", reason="calls that are not plain")
    (calls,) = outcome.values
    return Oracle("replay", tuple(a for a, _ in calls), tuple(value for _, value in calls))


def _confirm(found: dict[int, Oracle | Outcome], params: Mapping[int, Mapping[str, Any]], sandbox: Sandbox) -> None:
    """Run every new oracle on the reference: a replay that rejects it becomes assertions, and these "broken"."""
    for kind, fallback in (("replay", "assertions"), ("assertions", "broken")):
        keys = [key for key, o in found.items() if key in params and isinstance(o, Oracle) and o.kind == kind]
        jobs = [
            replay_job(params[key], found[key], found[key].expected)
            if kind == "replay"
            else candidate_job(params[key], found[key], params[key]["reference"], MAX_CPU_SECONDS)
            for key in keys
        ]
        for key, outcome in zip(keys, sandbox.run(jobs), strict=True):
            if outcome.status == "infra":
                found[key] = outcome
            elif outcome.status != "ok" or outcome.values != (True,):
                found[key] = Oracle(fallback, reason=outcome.detail)
