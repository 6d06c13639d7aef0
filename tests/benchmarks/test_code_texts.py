"""Reading of published code problems: programs in responses, test code of data sets, comparison of values."""

from __future__ import annotations

import time

import pytest

from benchmarks.graders.code import cruxeval_problems, grade_code
from benchmarks.graders.code_compare import same
from benchmarks.graders.code_cruxeval import extract_answer
from benchmarks.graders.code_extract import extract_code
from benchmarks.graders.code_stdio import same_output
from benchmarks.graders.code_tests import NotLiteral, called_function, check_calls, literal, parse, surroundings
from benchmarks.sandbox import Opaque

CRUX = {"id": "sample_9", "code": "def f(a):\n    return a", "input": "1", "output": "1"}
F = "def f(x):\n    return x"
EXTRACTED = [
    # response, completes a prompt, extracted program (None: no answer), whole
    (f"```python\n{F}\n```", False, F, True),
    (f"```py\n{F}\n```\nIt returns x.", False, F, True),
    (f"```\n{F}\n```", False, F, True),
    (f"~~~python\n{F}\n~~~", False, F, True),
    (f"````python\n{F}\n```\n````", False, F + "\n```", True),
    (f"1. First:\n   ```python\n{F}\n   ```", False, F, True),
    (f"```python\n{F}```", False, F, True),  # fence at the end of the last line
    ('```python\ndef f(x):\n    """\n    ```\n    f(1)\n    ```\n    """\n```', False,
     'def f(x):\n    """\n    ```\n    f(1)\n    ```\n    """', True),
    (f"```python\n{F}\n```\n```bash\npython f.py\n```", False, F, True),
    (f"```python\n{F}\n```\n```python\nf(1)\n```", False, F, True),
    ("```bash\nls\n```", False, None, True),
    ("```python\nf = lambda x: x\n```", False, "f = lambda x: x", True),
    ("```python\nf: object = max\n```", False, "f: object = max", True),
    ("```python\ng = 1\n```", False, "g = 1", True),
    (f"{F}\n```\nThat is all.", False, F, True),  # the prompt ended with the opening fence
    (f"{F}\n```\nExample:\n```python\nf(1)\n```", False, F, True),
    ("    return x\n```\nDone", True, "    return x", False),
    ("    return x\n", True, "    return x", False),
    ("return x", True, "    return x", False),
    ("    y = x\n    return y\n\ndef g():\n    pass", True, "    y = x\n    return y\n", False),
    ("    y = x\n\n    return y\n# end\nprint(f(1))", True, "    y = x\n\n    return y", False),
    ("```python\nreturn x\n```", True, "    return x", False),
    ("```python\n    return x\n```", True, "    return x", False),
    (f"{F}\n", True, F, True),
    (f"Sure, here it is:\n\n{F}\n\nThis function returns x.", False, F + "\n", True),
    (f"import math\n{F}\nIt's easy.", False, f"import math\n{F}", True),
    (f"[BEGIN]\n{F}\n[DONE]\n[BEGIN]\ngarbage", False, F + "\n", True),
    ("The answer is f.", False, None, True),
    ("The answer is f.", True, None, True),
    ("def f(x:\n  return", False, None, True),
    ("def f(x): " + "(" * 100_000, False, None, True),
    ("def f(x): return " + "-" * 100_000 + "1", False, None, True),
    (f"```python\n{F}\n```\n```python\ndef f(x):\n    ret", False, F, True),  # the second is cut off
    ("```python\ndef f(x):\n    ret", False, None, True),
    (f"<think>maybe\n{F}\n</think>\n```python\n{F} + 1\n```", False, F + " + 1", True),
    (f"</think>\n```python\n{F}\n```", False, F, True),  # the prompt ended with the opening tag
    (f"<think>\n```python\n{F}\n```", False, None, True),
]  # fmt: skip


@pytest.mark.parametrize(("response", "completes", "text", "whole"), EXTRACTED)
def test_extraction(response: str, completes: bool, text: str | None, whole: bool) -> None:
    code = extract_code(response, "f", completes)
    if text is None:
        assert code is None
    else:
        assert code is not None and (code.text.strip("\n"), code.whole) == (text.strip("\n"), whole)


@pytest.mark.parametrize("text", ["-" * 100_000 + "1", "a" + ".b" * 100_000, "[" * 10_000, "1+" * 50_000 + "1", "\0"])
def test_text_that_exhausts_a_parser_is_only_text(text: str) -> None:
    begin = time.monotonic()
    assert extract_code(f"def f(x): return {text}", "f") is None
    assert extract_answer(f"[ANSWER]{text}[/ANSWER]") == text.strip()
    assert [v.status for v in grade_code(cruxeval_problems(CRUX), [f"[ANSWER]{text}[/ANSWER]"] * 2)] == ["fail"] * 2
    assert time.monotonic() - begin < 20


LITERALS = [
    ("[1, -2.5, 'a', None, True]", [1, -2.5, "a", None, True]), ("{(1,): {2}}", {(1,): {2}}), ("1+2j", 1 + 2j),
    ("set()", set()), ("set([1])", {1}), ("float('-inf')", float("-inf")), ("inf", float("inf")),
    ("Counter({'a': 2})", {"a": 2}), ("frozenset({1})", frozenset({1})), ("b'x'", b"x"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), LITERALS)
def test_literals_of_test_code(text: str, value: object) -> None:
    found = literal(parse(text).body[0].value)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["x", "f(1)", "3 * 5", "[i for i in y]", "open('x')", "{**a}", "int"])
def test_expressions_are_no_literals(text: str) -> None:
    with pytest.raises(NotLiteral):
        literal(parse(text).body[0].value)


def check(*lines: str) -> str:
    return "\n    ".join(["def check(candidate):", *lines])


def test_assertions_that_are_plain_calls() -> None:
    plain = check("assert candidate(1, [2]) == {3}, 'text'", "assert candidate(2) is None", "assert True, 'ok'", "pass",
                  "print('x')", "import math")  # fmt: skip
    assert check_calls(plain, "candidate") == (((1, [2]), {3}), ((2,), None))
    for other in ("assert candidate(1)", "assert not candidate(1)", "assert candidate(1) == 3 * 5",
                  "assert candidate(x) == 1", "assert candidate(1) is True", "assert candidate(1) == 1 == 1",
                  "assert candidate(a=1) == 1", "assert 1 == candidate(1)", "for i in (1,): assert candidate(i) == 1",
                  "assert abs(candidate(1) - 1) < 1e-6", "x = 1"):  # fmt: skip
        assert check_calls(check("assert candidate(1) == 1", other), "candidate") is None, other
    assert check_calls(check("pass"), "candidate") is None


def test_names_and_surroundings() -> None:
    code = "import math\ndef helper(x): return x\nclass A: pass\ndef main(x): return helper(x)\n"
    assert called_function(["assert set(main(1)) == {1}", "assert main(A()) == 1"], code) == "main"
    with pytest.raises(ValueError, match="no function"):
        called_function(["assert other(1) == 1"], code)
    prompt = "import math\n\ndef helper(x):\n    return 1\n\n\ndef main(x):\n    '''Do.'''\n"
    assert surroundings(prompt, "main") == "import math\ndef helper(x):\n    return 1"
    assert surroundings("import math\n\ndef main(x", "main") == "import math\n\n"


COMPARED = [
    # rule, entry, atol, value, expected, same
    ("equal", "f", 0.0, 1.0, 1, True), ("equal", "f", 0.0, 1, True, True), ("equal", "f", 0.0, 0.1 + 0.2, 0.3, False),
    ("equal", "f", 0.0, (1,), [1], False), ("equal", "f", 0.0, float("nan"), float("nan"), False),
    ("equal", "f", 0.0, Opaque("E"), 1, False), ("equal", "f", 0.0, {1: [2]}, {1: [2]}, True),
    ("evalplus", "f", 0.0, 0.1 + 0.2, 0.3, True), ("evalplus", "f", 0.0, 0.3 + 2e-6, 0.3, False),
    ("evalplus", "f", 0.0, 0.3 + 0.9e-6, 0.3, True), ("evalplus", "f", 0.0, 1e8 + 5, 1e8, True),
    ("evalplus", "f", 0.0, 1, 1.0, True), ("evalplus", "f", 0.0, 2, 1.9999999, False),
    ("evalplus", "f", 0.0, [0.1 + 0.2, 1.0], [0.3, 1.0], True), ("evalplus", "f", 0.0, [0.3], [0.3, 1.0], False),
    ("evalplus", "f", 0.0, (0.1 + 0.2,), [0.3], False), ("evalplus", "f", 0.0, [0.1 + 0.2, 1], [0.3, 1], False),
    ("evalplus", "f", 1e-4, [0.30001, 1], [0.3, 1], True), ("evalplus", "f", 1e-4, "a", "b", False),
    ("evalplus", "f", 0.0, float("inf"), float("inf"), True), ("evalplus", "f", 0.0, float("nan"), 1.0, False),
    ("evalplus", "f", 0.0, [], [], True), ("evalplus", "f", 0.0, None, 0.3, False),
    ("evalplus", "Diff", 0.0, [2, 1, 1], [1, 2], True), ("evalplus", "Diff", 0.0, 5, [1, 2], False),
    ("evalplus", "check_str", 0.0, "match", True, True), ("evalplus", "check_str", 0.0, None, True, False),
    ("evalplus", "check_str", 0.0, None, False, True), ("evalplus", "check_str", 0.0, False, True, False),
    ("evalplus", "sum_div", 0.0, 0, 7, True), ("evalplus", "sum_div", 0.0, 1, 7, False),
    ("evalplus", "find_zero", 0.0, -0.5, None, True), ("evalplus", "find_zero", 0.0, -0.6, None, False),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "entry", "atol", "value", "expected", "result"), COMPARED)
def test_comparison(rule: str, entry: str, atol: float, value: object, expected: object, result: bool) -> None:
    arguments = ([1, 2],)  # 1 + 2 x has its root at -0.5
    assert same(rule, entry, atol, arguments, value, expected) is result


def test_other_rules_of_single_problems() -> None:
    # pyramid of edge 3 and perpendicular height 4: 9 + 6 * sqrt(1.5 ** 2 + 16) = 34.6
    assert same("evalplus", "surface_Area", 0.0, (3, 4), 35, 33)
    assert not same("evalplus", "surface_Area", 0.0, (3, 4), 34, 33)
    assert same("evalplus", "digit_distance_nums", 0.0, (23, 156), 7, 0)  # |0-1| + |2-5| + |3-6|
    assert not same("evalplus", "digit_distance_nums", 0.0, (23, 156), 6, 0)


def test_outputs_are_compared_line_by_line() -> None:
    assert same_output("a b \nc\n\n", "a b\nc") and same_output("1.50 x", "1.5 x") and same_output("", "\n")
    assert same_output("1  2", "1 2")
    for found in ("a b c", "a b\nc d", "a b\n\nc", "A b\nc", "ab\nc"):
        assert not same_output(found, "a b\nc"), found
    assert not same_output("1e0", "1") and not same_output("0.30000000000000004", "0.3")
