"""Graders of published code problems: who judges, MBPP, EvalPlus, CRUXEval, stdin to stdout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from benchmarks.graders import code_cruxeval, code_functions, code_oracle, code_stdio
from benchmarks.graders.code import (
    ROWS,
    cruxeval_problems,
    evalplus_problem,
    grade_code,
    humaneval_problem,
    mbpp_problem,
    stdio_problem,
)
from benchmarks.graders.code_oracle import oracles
from benchmarks.sandbox import Outcome, Sandbox


@pytest.fixture(scope="module", autouse=True)
def limits() -> Iterator[None]:
    """A second of processor time, so that endless programs end soon."""
    box = cache(lambda: Sandbox(workers=2, wall_seconds=10.0, cpu_seconds=1.0))
    modules = (code_functions, code_cruxeval, code_stdio)
    originals = [module.sandbox for module in modules]
    for module in modules:
        module.sandbox = box
    yield
    box().close()
    for module, original in zip(modules, originals, strict=True):
        module.sandbox = original


def check(*lines: str) -> str:
    return "\n    ".join(["def check(candidate):", *lines])


def humaneval(test: str, name: str, body: str = "return x + 1", prompt: str = 'def f(x):\n    """Do."""\n') -> dict:
    return {"task_id": name, "prompt": prompt, "entry_point": "f", "canonical_solution": f"    {body}\n", "test": test}


def statuses(problem, *programs: str) -> list[str]:
    return [v.status for v in grade_code([problem] * len(programs), [f"```python\n{p}\n```" for p in programs])]


ONE_MORE, SAME = "def f(x):\n    return x + 1", "def f(x):\n    return x"
KINDS = [
    ("calls", "assert candidate(1) == 2", "return x + 1"),
    ("replay", "for i in range(5):\n        assert abs(candidate(i) - i - 1) < 1e-6", "return x + 1"),
    ("replay", "import random\n    for _ in range(9):\n        n = random.random()\n"
     "        assert candidate(n) == n + 1", "return x + 1"),
    ("replay", "assert candidate(candidate(1)) == 3", "return x + 1"),  # its argument is the reference's value
    ("assertions", "class A:\n        def __add__(self, n): return n\n    assert candidate(A()) == 1", "return x + 1"),
    ("broken", "assert candidate(1) == 3 - 0", "return x + 1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "test", "body"), KINDS)
def test_who_judges(kind: str, test: str, body: str) -> None:
    problem = humaneval_problem(humaneval(check(test), f"kind {kind} {len(test)}", body))
    (oracle,) = oracles([problem], code_functions.sandbox())
    assert oracle.kind == kind
    found = [(v.status, v.score) for v in grade_code([problem] * 2, [f"```\n{ONE_MORE}\n```", f"```\n{SAME}\n```"])]
    assert found == ([("infra", None)] * 2 if kind == "broken" else [("pass", 1.0), ("fail", 0.0)])


def test_a_test_that_calls_the_entry_by_name_means_the_reference() -> None:
    """HumanEval 33 and 37 compare with the function itself: with the candidate's own, nothing could fail."""
    test = check("for i in range(3):\n        assert candidate(i) == f(i)")
    assert statuses(humaneval_problem(humaneval(test, "by name")), ONE_MORE, SAME) == ["pass", "fail"]


def test_recursion_of_the_reference_is_not_recorded() -> None:
    body = "return 1 if x == 0 else x * f(x - 1)"
    problem = humaneval_problem(humaneval(check("for i in range(5):\n        assert candidate(i) > 0"), "deep", body))
    (oracle,) = oracles([problem], code_functions.sandbox())
    assert oracle.inputs == ((0,), (1,), (2,), (3,), (4,))
    assert statuses(problem, "def f(x):\n    import math\n    return math.factorial(x)") == ["pass"]


def test_a_failing_sandbox_gives_no_score_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = humaneval_problem(humaneval(KINDS[1][1].join(["def check(candidate):\n    ", "\n"]), "fails"))
    box = code_functions.sandbox()

    class Failing:
        level = box.level

        def run(self, jobs):
            return [Outcome("infra", (), "worker failed", box.level, 0.0)] * len(jobs)

    with monkeypatch.context() as patch:
        patch.setattr(code_functions, "sandbox", Failing)
        (verdict,) = grade_code([problem], [f"```\n{ONE_MORE}\n```"])
        assert (verdict.status, verdict.score) == ("infra", None)
    assert statuses(problem, ONE_MORE) == ["pass"]


def test_a_slow_reference_gives_its_candidates_time(monkeypatch: pytest.MonkeyPatch) -> None:
    spin = (
        "import time\n    end = time.process_time() + {}\n    while time.process_time() < end: pass\n    return x + 1"
    )
    with Sandbox(workers=2, wall_seconds=8.0, cpu_seconds=1.0) as box:
        monkeypatch.setattr(code_functions, "sandbox", lambda: box)
        monkeypatch.setattr(code_functions, "CPU_SECONDS", 1.0)
        slow = humaneval_problem(humaneval(check("assert candidate(1) == 2"), "slow", spin.format(0.6)))
        fast = humaneval_problem(humaneval(check("assert candidate(1) == 2"), "fast"))
        code = "def f(x):\n    " + spin.format(1.4)
        assert statuses(slow, code) == ["pass"]  # four times 0.6 s are allowed
        assert statuses(fast, code) == ["timeout"]


MBPP = {
    "task_id": 7, "text": "Write a function to add one.", "code": "import math\r\ndef g(x):\r\n  return x + 1",
    "test_list": ["assert g(1) == 2", "assert g(0.5) == 1.5 "], "test_setup_code": "", "challenge_test_list": [],
}  # fmt: skip


def test_mbpp_rows() -> None:
    problem = mbpp_problem(MBPP)
    assert (problem.id, dict(problem.params)["entry"]) == ("mbpp/7", "g")
    assert problem.tests == (((1,), 2), ((0.5,), 1.5))
    assert problem.prompt.startswith("Write a function to add one.") and "assert g(0.5) == 1.5" in problem.prompt
    assert "\r" not in problem.answer
    assert statuses(problem, "def g(x): return x + 1", "def g(x): return 2", "def h(x): return x + 1") == [
        "pass", "fail", "fail",
    ]  # fmt: skip
    clean = {**MBPP, "task_id": 8, "prompt": "Add.", "test_imports": ["import math"],
             "test_list": ["assert math.isclose(g(1), 2.0, rel_tol=0.001)"]}  # fmt: skip
    clean.pop("text")
    assert statuses(mbpp_problem(clean), "def g(x): return x + 1.001", "def g(x): return math.floor(x) + 1",
                    "def g(x): return x + 1.1") == ["pass", "pass", "fail"]  # fmt: skip


HUB_TEST = """
import numpy as np

def is_floats(x) -> bool:
    return isinstance(x, float)

def assertion(out, exp, atol):
    assert out == exp

def check(candidate):
    inputs = [[1], [2.5], [float('inf')]]
    results = [2, 3.5, inf]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""


def test_evalplus_rows_of_the_hub_and_of_the_release() -> None:
    row = {**humaneval("", "HumanEval/900"), "test": HUB_TEST}
    hub = evalplus_problem(row)
    assert [value for _, value in hub.tests] == [2, 3.5, float("inf")] and not dict(hub.params)["computed"]
    release = {**row, "task_id": "HumanEval/901", "base_input": [[1]], "plus_input": [[2.5], [7]], "atol": 0}
    release.pop("test")
    large = {
        **row,
        "task_id": "HumanEval/902",
        "test": "inputs = [[1], [5]]\nfor i in inputs:\n    assert g(*i) == ref(*i)",
    }
    for problem in (hub, evalplus_problem(release), evalplus_problem(large)):
        close = "def f(x):\n    return x + 1 + (1e-9 if isinstance(x, float) else 0)"
        assert statuses(problem, ONE_MORE, close, SAME) == ["pass", "pass", "fail"], problem.id
    mbpp = {**MBPP, "prompt": "Add.", "test": HUB_TEST, "test_imports": []}
    mbpp.pop("text")
    assert statuses(evalplus_problem(mbpp), "def g(x):\n    return x + 1", "def g(x):\n    return x") == [
        "pass",
        "fail",
    ]


CRUX = {
    "id": "sample_9",
    "code": "base = [1]\ndef f(a, b=2):\n    return a + [b]",
    "input": "[1], 3",
    "output": "[1, 3]",
}
OUTPUTS = [
    ("[ANSWER][1, 3][/ANSWER]", "pass"), ("[ANSWER]assert f([1], 3) == [1, 3][/ANSWER]", "pass"),
    ("[ANSWER]f([1], 3) == [1,3][/ANSWER]", "pass"), ("The answer is [1, 3]", "pass"), ("[1, 3]", "pass"),
    ("Answer: `[1, 3]`", "pass"), ("So:\n```python\nassert f([1], 3) == [1, 3]\n```", "pass"),
    ("[ANSWER][1, 2][/ANSWER]\nNo.\n[ANSWER][1, 3][/ANSWER]", "pass"), ("[answer][1]+[3][/answer]", "pass"),
    ("[ANSWER][1, 3][/ANSWER] [ANSWER][1, 2][/ANSWER]", "fail"), ("[ANSWER](1, 3)[/ANSWER]", "fail"),
    ("[ANSWER]'[1, 3]'[/ANSWER]", "fail"), ("[ANSWER]f([1], 3)[/ANSWER]", "fail"), ("[ANSWER]??[/ANSWER]", "fail"),
    ("[ANSWER]__import__('os')._exit(0)[/ANSWER]", "fail"), ("[ANSWER][1, 3]", "no_answer"),
    ("[ANSWER][/ANSWER]", "no_answer"), ("", "no_answer"), ("<think>[1, 3]", "no_answer"),
    ("I do not know.\nReally not.", "no_answer"),
    ("[ANSWER]type('E', (), {'__eq__': lambda *a: True})()[/ANSWER]", "fail"),
]  # fmt: skip
INPUTS = [
    ("[ANSWER][1], 3[/ANSWER]", "pass"), ("[ANSWER]assert f([1], 3) == [1, 3][/ANSWER]", "pass"),
    ("[ANSWER]f([1], b=3)[/ANSWER]", "pass"), ("[ANSWER]base, 3[/ANSWER]", "pass"), ("[1], int('3')", "pass"),
    ("[ANSWER](lambda x: [x])(1), len('abc')[/ANSWER]", "pass"),
    ("[ANSWER][x for x in range(1, 2)], 3[/ANSWER]", "pass"),
    ("[ANSWER][1, 3][/ANSWER]", "fail"), ("[ANSWER][1], 2[/ANSWER]", "fail"), ("[ANSWER]??[/ANSWER]", "fail"),
    ("[ANSWER]assert f([1], 2) == [1, 3][/ANSWER]", "fail"),
    # reaching for f, or past the call
    ("[ANSWER][1], 2) or ([1, 3][/ANSWER]", "fail"), ("[ANSWER]f([1]), 3[/ANSWER]", "fail"),
    ("[ANSWER]type('E', (), {'__add__': lambda *a: [1, 3]})()[/ANSWER]", "fail"),
    ("[ANSWER]globals().update(f=lambda *a: [1, 3])[/ANSWER]", "fail"), ("[ANSWER](f := list), 3[/ANSWER]", "fail"),
    ("[ANSWER]().__class__.__base__.__subclasses__(), 3[/ANSWER]", "fail"), ("[ANSWER]*[[1], 3][/ANSWER]", "pass"),
    ("[ANSWER]f(**{'a': [1], 'b': 3})[/ANSWER]", "fail"),
]  # fmt: skip


def test_cruxeval() -> None:
    output, given = cruxeval_problems(CRUX)
    assert (output.family, given.family) == ("output", "input")
    assert "f([1], 3) == ??" in output.prompt and "f(??) == [1, 3]" in given.prompt
    for problem, cases in ((output, OUTPUTS), (given, INPUTS)):
        verdicts = grade_code([problem] * len(cases), [response for response, _ in cases])
        assert [(r, v.status) for (r, _), v in zip(cases, verdicts, strict=True)] == cases
        assert all(v.score == float(v.status == "pass") for v in verdicts)


def test_a_predicted_input_that_loops_is_a_timeout() -> None:
    row = {"id": "loop", "code": "def f(n):\n    while n: pass\n    return 1", "input": "0", "output": "1"}
    _, given = cruxeval_problems(row)
    assert [v.status for v in grade_code([given] * 2, ["[ANSWER]0[/ANSWER]", "[ANSWER]1[/ANSWER]"])] == [
        "pass",
        "timeout",
    ]


STDIO = {
    "task_id": "sum", "prompt": "Print the sum of the numbers.", "solution": "print(sum(map(int, input().split())))",
    "tests": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 5 5\n", "output": "15"}],
}  # fmt: skip
PROGRAMS = [
    ("print(sum(map(int, input().split())))", "pass"),
    ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "pass"),
    ("import sys\nsys.stdout.write(str(sum(map(int, sys.stdin.buffer.read().split()))))", "pass"),
    ("print(sum(map(int, open(0).read().split())))", "pass"),
    ("import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())", "pass"),
    (
        "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()\n    exit()",
        "pass",
    ),
    ("print(float(sum(map(int, input().split()))))", "pass"),
    ("print(3)", "fail"),
    ("print(15)", "fail"),
    ("print('the sum is', sum(map(int, input().split())))", "fail"),
    ("print(sum(map(int, input().split())))\nexit(1)", "fail"),
    ("input()\ninput()\nprint(3)", "fail"),
    ("while True: pass", "timeout"),
    ("import os\nos._exit(0)", "fail"),
]


def test_programs_from_stdin_to_stdout() -> None:
    problem = stdio_problem(STDIO)
    verdicts = grade_code([problem] * len(PROGRAMS), [f"```python\n{text}\n```" for text, _ in PROGRAMS])
    assert [(text, v.status) for (text, _), v in zip(PROGRAMS, verdicts, strict=True)] == PROGRAMS
    others = [STDIO["solution"], "I cannot.", "```python\nprint(3)", problem.demonstrations[0]]
    assert [v.status for v in grade_code([problem] * 4, others)] == ["pass", "no_answer", "no_answer", "pass"]


def test_problems_of_all_kinds_are_graded_together_in_order() -> None:
    output, given = cruxeval_problems(CRUX)
    problems = [mbpp_problem(MBPP), output, stdio_problem(STDIO), given, mbpp_problem(MBPP)]
    responses = [problem.demonstrations[0] for problem in problems]
    assert [v.status for v in grade_code(problems, responses)] == ["pass"] * 5
    responses[1] = responses[4] = ""
    assert [v.status for v in grade_code(problems, responses)] == ["pass", "no_answer", "pass", "pass", "no_answer"]
    assert grade_code([], []) == []
    with pytest.raises(ValueError):
        grade_code(problems, responses[1:])


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_another_file_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"lacks .*; is it the file") as error:
        ROWS[kind]({"question": "1 + 1?"})
    assert str(error.value).count(".") == 0


def test_rows_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match="tuples from lists"):
        evalplus_problem({"task_id": "Mbpp/2", "base_input": []})
    with pytest.raises(ValueError, match="no inputs"):
        evalplus_problem({**humaneval("x = 1", "HumanEval/903")})
    with pytest.raises(ValueError, match="no Python literal"):
        cruxeval_problems({**CRUX, "output": "f(1)"})
    with pytest.raises(ValueError, match="no function"):
        mbpp_problem({**MBPP, "test_list": ["assert h(1) == 2"]})


def test_oracles_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = humaneval_problem(humaneval(check("for i in range(2):\n        assert candidate(i) == i + 1"), "once"))
    first = oracles([problem], code_functions.sandbox())
    monkeypatch.setattr(code_oracle, "_recorded", None)  # would fail if it were recorded again
    assert oracles([problem, problem], code_functions.sandbox()) == first * 2
