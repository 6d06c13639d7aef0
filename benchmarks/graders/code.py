"""Published code problems: rows to Problems, and responses to verdicts. The functions that suites call.

Rows are plain dicts of the published files. `grade_code` grades every kind of them; what it needs beyond the response
is in Problem.tests and dict(Problem.params).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.base import Problem, Verdict
from benchmarks.graders.code_cruxeval import grade_cruxeval
from benchmarks.graders.code_functions import GRADER, VERSION, grade_functions
from benchmarks.graders.code_stdio import grade_stdio
from benchmarks.graders.code_tests import (
    NotLiteral,
    Test,
    assignments,
    called_function,
    check_calls,
    literal,
    parse,
    surroundings,
)

__all__ = ["GRADER", "ROWS", "VERSION", "cruxeval_problems", "evalplus_problem", "grade_code", "humaneval_problem",
           "mbpp_problem", "stdio_problem"]  # fmt: skip

_KINDS: dict[str, Callable[[Sequence[Problem], Sequence[str]], list[Verdict]]] = {
    "function": grade_functions,
    "cruxeval": grade_cruxeval,
    "stdio": grade_stdio,
}


def humaneval_problem(row: Mapping[str, Any]) -> Problem:
    """HumanEval: keys task_id, prompt, entry_point, canonical_solution, test. ValueError if one is missing.

    A response may complete the prompt or define the function anew; it then gets the prompt's imports and helpers.
    """
    _need(row, "HumanEval", "task_id", "prompt", "entry_point", "canonical_solution", "test")
    reference = row["prompt"] + row["canonical_solution"]
    tests = check_calls(row["test"], "candidate") or ()
    return _function_problem(
        "humaneval", row["task_id"], row["prompt"], row["entry_point"], reference, tests, check=row["test"],
        completes=row["prompt"],
    )  # fmt: skip


def mbpp_problem(row: Mapping[str, Any]) -> Problem:
    """MBPP and MBPP sanitized: keys task_id, text or prompt, code, test_list, and where present test_setup_code,
    test_imports. ValueError if one is missing. The prompt shows the tests, as in the MBPP paper's prompts.

    Setup code and imports come after the candidate, whose classes they may use.
    """
    _need(row, "MBPP", "task_id", "code", "test_list")
    _need(row, "MBPP", "text" if "text" in row else "prompt")
    code, tests = row["code"].replace("\r\n", "\n"), [text.strip() for text in row["test_list"]]
    entry = called_function(tests, code)
    statements = [ast.unparse(node) for text in tests for node in parse(text).body]
    check = "\n    ".join([f"def check({entry}):", *statements])
    setup = "\n".join([*row.get("test_imports", ()), row.get("test_setup_code", "").replace("\r\n", "\n")]).strip()
    text = row["text"] if "text" in row else row["prompt"]
    prompt = "\n".join([text.strip(), "Your code should pass these tests:", "", *tests, ""])
    return _function_problem(
        "mbpp", f"mbpp/{row['task_id']}", prompt, entry, code, check_calls(check, entry) or (), check=check, setup=setup
    )


def evalplus_problem(row: Mapping[str, Any]) -> Problem:
    """HumanEval+ and MBPP+: task_id, prompt, canonical_solution or code, entry_point (of HumanEval+), and either
    base_input, plus_input, atol (release files, HumanEval+ only) or test (hub files). ValueError otherwise.

    Expected values that a row does not give are computed by its canonical solution in the sandbox.
    """
    mbpp = str(row.get("task_id", "")).startswith("Mbpp/") or "code" in row
    if "test" not in row and mbpp:
        raise ValueError(
            "The release file of MBPP+ does not tell tuples from lists; use the hub's evalplus/mbppplus, whose rows "
            "have a key test."
        )
    _need(
        row,
        "EvalPlus",
        "task_id",
        "prompt",
        *(("code", "test_list") if mbpp else ("canonical_solution", "entry_point")),
    )
    atol = float(row.get("atol") or 0.0)
    inputs, values = (
        ([*row["base_input"], *row["plus_input"]], None) if "test" not in row else _test_values(row["test"])
    )
    computed = values is None
    tests = tuple((tuple(i), v) for i, v in zip(inputs, inputs if values is None else values, strict=True))
    if mbpp:
        code = row["code"].replace("\r\n", "\n")
        entry = called_function(row["test_list"], code)
        prompt = "\n".join([row["prompt"].strip(), "Your code should pass these tests:", "", *row["test_list"], ""])
        name = str(row["task_id"]).removeprefix("Mbpp/")
        return _function_problem(
            "mbpp_plus", f"mbpp_plus/{name}", prompt, entry, code, tests, compare="evalplus", atol=atol,
            computed=computed, setup="\n".join(row.get("test_imports", ())),
        )  # fmt: skip
    return _function_problem(
        "humaneval_plus", f"{row['task_id']}+", row["prompt"], row["entry_point"],
        row["prompt"] + row["canonical_solution"], tests, compare="evalplus", atol=atol, computed=computed,
        completes=row["prompt"],
    )  # fmt: skip


def cruxeval_problems(row: Mapping[str, Any]) -> tuple[Problem, Problem]:
    """CRUXEval: keys id, code, input, output. Returns (output prediction, input prediction); their `family` is
    "output" and "input". ValueError if a key is missing or the output is no literal."""
    _need(row, "CRUXEval", "id", "code", "input", "output")
    try:
        literal(parse(row["output"]).body[0].value)  # type: ignore[attr-defined]
    except (NotLiteral, SyntaxError, AttributeError, IndexError) as error:
        raise ValueError(
            f"CRUXEval row {row['id']} has an output that is no Python literal; check the file."
        ) from error
    params = (("kind", "cruxeval"), ("code", row["code"]), ("output", row["output"]))
    texts = {
        "output": ("What does the assertion compare with? Replace ??", f"f({row['input']}) == ??", row["output"]),
        "input": ("Which arguments make the assertion hold? Replace ??", f"f(??) == {row['output']}", row["input"]),
    }
    output, given = (
        Problem(
            id=f"cruxeval/{row['id']}/{family}",
            suite="cruxeval",
            prompt=f"{row['code']}\n\nassert {test}\n\n{question} and put the answer between [ANSWER] and [/ANSWER].\n",
            answer=answer,
            family=family,
            split="eval",
            params=params,
            demonstrations=(f"[ANSWER]assert f({row['input']}) == {row['output']}[/ANSWER]",),
        )
        for family, (question, test, answer) in texts.items()
    )
    return output, given


def stdio_problem(row: Mapping[str, Any]) -> Problem:
    """A program from stdin to stdout: keys task_id, prompt, tests = list of {"input", "output"}; `solution` if given.
    ValueError if one is missing."""
    _need(row, "stdin/stdout", "task_id", "prompt", "tests")
    return Problem(
        id=str(row["task_id"]),
        suite="stdio",
        prompt=row["prompt"],
        answer=row.get("solution", ""),
        split="eval",
        params=(("kind", "stdio"),),
        tests=tuple(((test["input"],), test["output"]) for test in row["tests"]),
        demonstrations=(_fenced(row["solution"]),) if "solution" in row else (),
    )


ROWS: dict[str, Callable[[Mapping[str, Any]], tuple[Problem, ...]]] = {
    "humaneval": lambda row: (humaneval_problem(row),),
    "mbpp": lambda row: (mbpp_problem(row),),
    "evalplus": lambda row: (evalplus_problem(row),),
    "cruxeval": cruxeval_problems,
    "stdio": lambda row: (stdio_problem(row),),
}


def grade_code(problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
    """A verdict for every (problem, response) pair, problems of any kind made by the functions above."""
    verdicts: dict[int, Verdict] = {}
    kinds = [dict(problem.params)["kind"] for problem in problems]
    pairs = list(zip(problems, responses, strict=True))
    for kind, grade in _KINDS.items():
        chosen = [i for i, name in enumerate(kinds) if name == kind]
        if chosen:
            graded = grade([pairs[i][0] for i in chosen], [pairs[i][1] for i in chosen])
            verdicts.update(zip(chosen, graded, strict=True))
    return [verdicts[i] for i in range(len(pairs))]


def _need(row: Mapping[str, Any], what: str, *keys: str) -> None:
    missing = [key for key in keys if key not in row]
    if missing:
        raise ValueError(f"A {what} row lacks {', '.join(missing)}; is it the file that the suite names?")


def _fenced(code: str) -> str:
    return f"```python\n{code.strip(chr(10))}\n```"


def _function_problem(
    suite: str,
    name: str,
    prompt: str,
    entry: str,
    reference: str,
    tests: tuple[Test, ...],
    *,
    check: str = "",
    setup: str = "",
    completes: str = "",
    compare: str = "equal",
    atol: float = 0.0,
    computed: bool = False,
) -> Problem:
    params = {
        "kind": "function",
        "entry": entry,
        "prompt": completes,  # what the body of the function may complete
        "prefix": surroundings(completes, entry) if completes else "",  # for a function written anew
        "reference": reference,
        "setup": setup,
        "check": check,  # defines check(candidate); judged with it where `tests` is empty
        "compare": compare,
        "atol": atol,
        "computed": computed,  # the expected values in `tests` are to be computed by the reference
    }
    return Problem(
        id=name,
        suite=suite,
        prompt=prompt,
        answer=reference,
        split="eval",
        params=tuple(params.items()),
        tests=tests,
        demonstrations=(_fenced(reference),),
    )


def _test_values(test: str) -> tuple[list[Any], list[Any] | None]:
    """(inputs, results) of the test code of the hub's EvalPlus files; results None where the reference gives them."""
    names = assignments(test)
    if "inputs" not in names:
        raise ValueError("The test code of an EvalPlus row assigns no inputs; is it a file of evalplus on the hub?")
    inputs = literal(names["inputs"])
    try:
        return inputs, literal(names["results"]) if "results" in names else None
    except NotLiteral:
        return inputs, None
