"""Grading of CRUXEval: predict the output of f on an input, or an input that gives an output.

The answer is the text between the last [ANSWER] and [/ANSWER], else in the last fenced block, else after the last
"answer:" or "answer is", else a response of one line. It may be the bare value or `f(input) == output`, with `assert`
or without. A predicted output is evaluated in a process that has neither f nor the gold value. A predicted input is
passed to f; it may be made of literals, operators, lambdas, methods, the constants of the code and SAFE functions,
which cannot tamper with f. The parent compares with Python's `==`: 1 for True passes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from benchmarks.base import Problem, Verdict
from benchmarks.graders.code_extract import after_thinking, fenced_blocks
from benchmarks.graders.code_functions import sandbox, verdict
from benchmarks.graders.code_tests import assignments, literal, parse
from benchmarks.graders.programs import UNFINISHED
from benchmarks.sandbox import Job, Outcome

SAFE = {
    "abs", "bool", "bytearray", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "filter", "float",
    "frozenset", "int", "len", "list", "map", "max", "min", "ord", "pow", "range", "repr", "reversed", "round", "set",
    "slice", "sorted", "str", "sum", "tuple", "zip",
}  # fmt: skip
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_PHRASE = re.compile(r"\banswer(?:\s+is)?\s*:?[*_\s]*[:\s][*_ \t]*([^\n]+)", re.IGNORECASE)


def extract_answer(response: str) -> str | None:
    """The text of the answer, None without one."""
    text = after_thinking(response)
    if text is None:
        return None
    inside = re.split(r"\[ANSWER\]", text, flags=re.IGNORECASE)
    if len(inside) > 1:
        answer, *closed = re.split(r"\[/ANSWER\]", inside[-1], flags=re.IGNORECASE)
        return (answer.strip() or None) if closed else None  # cut off
    blocks, _, _ = fenced_blocks(text)
    if blocks:
        return blocks[-1][1].strip() or None
    if found := _PHRASE.findall(text):
        return found[-1].strip().strip("`") or None
    return text.strip() if text.strip() and "\n" not in text.strip() else None


def _sides(answer: str) -> tuple[str, str]:
    """(input, output) as text where the answer is a comparison of a call of f; else the whole answer as either."""
    try:
        node = parse(answer.strip()).body[-1]
        test = node.test if isinstance(node, ast.Assert) else node.value  # type: ignore[attr-defined]
        call = test.left if isinstance(test, ast.Compare) and len(test.ops) == 1 else test
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "f":
            return answer, answer
        words = [*map(ast.unparse, call.args), *(f"{k.arg or '**'}={ast.unparse(k.value)}" for k in call.keywords)]
        return ", ".join(words), ast.unparse(test.comparators[0]) if isinstance(test, ast.Compare) else answer
    except (*_UNREADABLE, AttributeError, IndexError):
        return answer, answer  # what it is worth is found in the sandbox


def _safe_call(arguments: str, code: str) -> str | None:
    """`f(arguments)`; None unless these are arguments and nothing in them can reach f or what it uses."""
    try:
        body = parse(f"f({arguments}\n)").body
        call = body[0].value  # type: ignore[attr-defined]
        if len(body) != 1 or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return None
        nodes = [node for part in (*call.args, *call.keywords) for node in ast.walk(part)]
        known = SAFE | {name for name in assignments(code) if name != "f"}
        known |= {node.arg for node in nodes if isinstance(node, ast.arg)}  # of lambdas
        known |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        for node in nodes:
            if isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)):
                return None
            if isinstance(node, ast.Name) and (node.id not in known or node.id == "f"):
                return None
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                return None
        return ast.unparse(call)
    except (*_UNREADABLE, AttributeError, IndexError):
        return None


def grade_cruxeval(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """A verdict for every (problem, response) pair of both families."""
    answers = [extract_answer(response) for response in responses]
    jobs: dict[int, Job] = {}
    for i, (problem, answer) in enumerate(zip(problems, answers, strict=True)):
        if answer is not None:
            given, output = _sides(answer)
            code = dict(problem.params)["code"]
            if problem.family == "output":
                jobs[i] = Job(f"def answer():\n    return (\n{output}\n)\n", "answer", ((),))
            elif (call := _safe_call(given, code)) is not None:
                jobs[i] = Job(f"{code}\ndef answer():\n    return {call}\n", "answer", ((),))
    outcomes = dict(zip(jobs, sandbox().run(list(jobs.values())), strict=True))
    level = sandbox().level
    return [
        verdict("no_answer", "", "")
        if answer is None
        else verdict(_status(problem, outcomes[i]) if i in outcomes else "fail", answer, level)
        for i, (problem, answer) in enumerate(zip(problems, answers, strict=True))
    ]


def _status(problem: Problem, outcome: Outcome) -> str:
    if outcome.status != "ok":
        return outcome.status if outcome.status in UNFINISHED else "fail"
    gold = literal(parse(dict(problem.params)["output"]).body[0].value)  # type: ignore[attr-defined]
    return "pass" if outcome.values[0] == gold else "fail"
