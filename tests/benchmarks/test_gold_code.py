"""Published reference solutions pass their own tests, and changed in one token most of them fail."""

from __future__ import annotations

import ast
import builtins
import gzip
import io
import json
import keyword
import random
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.base import Problem
from benchmarks.graders import code_cruxeval, code_functions
from benchmarks.graders.code import ROWS, grade_code
from benchmarks.sandbox import Sandbox

FILES = {
    "humaneval": ("humaneval/HumanEval.jsonl.gz", "humaneval", 164),
    "mbpp": ("mbpp/mbpp.jsonl", "mbpp", 974),
    "mbpp sanitized": ("mbpp/sanitized-mbpp.json", "mbpp", 427),
    "cruxeval": ("cruxeval/cruxeval.jsonl", "cruxeval", 1600),
}
# Share of one-token mutants that may pass: they are equivalent to the original, or the published tests do not reach the
# change. Measured: HumanEval 8 %, MBPP 9 %, sanitized 10 %, CRUXEval (changed literals) none.
SURVIVORS = {"humaneval": 0.15, "mbpp": 0.15, "mbpp sanitized": 0.15, "cruxeval": 0.01}

OPERATORS = {
    "+": "-", "-": "+", "*": "+", "/": "*", "//": "*", "%": "*", "<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=",
    "!=": "==", "+=": "-=", "-=": "+=", "*=": "+=", "and": "or", "or": "and", "True": "False", "False": "True",
    "min": "max", "max": "min",
}  # fmt: skip


@pytest.fixture(scope="module")
def problems(shared: Path) -> dict[str, list[Problem]]:
    found = {}
    for name, (path, kind, _) in FILES.items():
        data = (shared / "data" / "code" / path).read_bytes()
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode()
        rows = json.loads(text) if path.endswith(".json") else [json.loads(r) for r in text.split("\n") if r]
        found[name] = [problem for row in rows for problem in ROWS[kind](row)]
    return found


@pytest.mark.parametrize("name", FILES)
def test_reference_solutions_pass(problems: dict[str, list[Problem]], name: str) -> None:
    chosen = problems[name]
    assert len(chosen) == len({problem.id for problem in chosen}) == FILES[name][2]
    verdicts = grade_code(chosen, [problem.demonstrations[0] for problem in chosen])
    wrong = {p.id: v.status for p, v in zip(chosen, verdicts, strict=True) if v.status != "pass" or v.score != 1.0}
    assert not wrong


def test_setup_code_uses_the_candidates_classes(problems: dict[str, list[Problem]]) -> None:
    """Rows 367 and 927 build trees of the candidate's Node; without that class they cannot pass."""
    trees = [p for p in problems["mbpp"] if p.id in ("mbpp/367", "mbpp/927")]
    without = [p.answer.replace("class Node", "class Other") for p in trees]
    responses = [f"```\n{code}\n```" for code in [*(p.answer for p in trees), *without]]
    assert [v.status for v in grade_code(trees * 2, responses)] == ["pass", "pass", "fail", "fail"]


def test_completions_of_the_humaneval_prompt_pass(problems: dict[str, list[Problem]]) -> None:
    """As base models write them: the body alone, followed by what was not asked for."""
    chosen = problems["humaneval"]
    bodies = [problem.answer.removeprefix(problem.prompt) for problem in chosen]
    for extra in ("", "\n\ndef check():\n    assert False\n\nprint(check())\nexit(3)\n"):
        verdicts = grade_code(chosen, [body + extra for body in bodies])
        assert Counter(v.status for v in verdicts) == {"pass": 164}
    verdicts = grade_code(chosen, [f"```python\n{body}```" for body in bodies])
    assert Counter(v.status for v in verdicts) == {"pass": 164}


def test_functions_written_anew_get_the_imports_and_helpers_of_the_prompt(problems: dict[str, list[Problem]]) -> None:
    chosen = [p for p in problems["humaneval"] if p.id in ("HumanEval/0", "HumanEval/32", "HumanEval/38")]
    responses = []
    for problem in chosen:
        entry = dict(problem.params)["entry"]
        code = problem.answer[problem.answer.index(f"def {entry}") :]  # without what comes before
        responses.append(f"```python\nfrom __future__ import annotations\n{code}```")
    assert [v.status for v in grade_code(chosen, responses)] == ["pass"] * 3


def test_a_constant_function_fails(problems: dict[str, list[Problem]]) -> None:
    chosen = problems["humaneval"] + problems["mbpp sanitized"]
    for value in ("None", "True"):
        responses = [f"```python\ndef {dict(p.params)['entry']}(*a):\n    return {value}\n```" for p in chosen]
        passed = [p.id for p, v in zip(chosen, grade_code(chosen, responses), strict=True) if v.status == "pass"]
        assert len(passed) <= 5, passed  # tests of a few rows expect nothing but True


def mutate(code: str, seed: str) -> str:
    """`code` with one operator, constant or local name replaced by another, so that it still compiles."""
    rng = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(code)
    names = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - set(dir(builtins)))
    names = [n for n in names if n in {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}]
    lines = code.split("\n")
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.string and t.start[0] == t.end[0]]
    header = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    options: list[tuple[tokenize.TokenInfo, str]] = []
    for token in tokens:
        if token.start[0] in header:
            continue
        if token.string in OPERATORS and token.type in (tokenize.OP, tokenize.NAME):
            options.append((token, OPERATORS[token.string]))
        elif token.type == tokenize.NUMBER and token.string.isdigit():
            options.append((token, str(int(token.string) + 1)))
        elif token.type == tokenize.NAME and token.string in names and not keyword.iskeyword(token.string):
            options += [(token, rng.choice(others))] if (others := [n for n in names if n != token.string]) else []
        elif token.type == tokenize.STRING and len(token.string) > 2 and token.string[0] in "'\"":
            options.append((token, repr("")))
    rng.shuffle(options)
    for token, text in options:
        (row, begin), end = token.start, token.end[1]
        line = lines[row - 1]
        changed = "\n".join([*lines[: row - 1], line[:begin] + text + line[end:], *lines[row:]])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(changed, "mutant", "exec")
        except SyntaxError:
            continue
        return changed
    return ""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Mutants that loop for ever are stopped after a second."""
    box = cache(lambda: Sandbox(workers=2, wall_seconds=6.0, cpu_seconds=1.0, memory_mb=256))
    for module in (code_functions, code_cruxeval):
        monkeypatch.setattr(module, "sandbox", box)
    yield
    box().close()


@pytest.mark.parametrize("name", FILES)
def test_solutions_with_one_token_changed_fail(
    problems: dict[str, list[Problem]], name: str, impatient: None, record_property: Any
) -> None:
    mutants = {}
    asked = problems[name][:: 2 if name == "mbpp" else 1]
    for problem in asked:
        text = problem.answer
        if name == "cruxeval":
            changed = mutate(f"x = {text}", problem.id).removeprefix("x = ") if problem.family == "output" else ""
        else:
            changed = mutate(text, problem.id)
        if changed:
            mutants[problem.id] = problem, f"```python\n{changed}\n```"
    chosen = list(mutants.values())
    verdicts = grade_code([p for p, _ in chosen], [response for _, response in chosen])
    statuses = Counter(v.status for v in verdicts)
    record_property("statuses", dict(statuses))
    assert len(chosen) > 0.45 * len(asked)
    assert statuses["infra"] == statuses["no_answer"] == 0
    assert statuses["pass"] <= SURVIVORS[name] * len(chosen)
