"""Test code of data sets, read in the parent without running it: literals, and assertions that are plain calls."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {"inf": float("inf"), "nan": float("nan")}
_CALLS = {
    "set": set, "frozenset": frozenset, "float": float, "complex": complex, "tuple": tuple, "list": list, "dict": dict,
    "Counter": dict, "OrderedDict": dict,
}  # fmt: skip

Test = tuple[tuple[Any, ...], Any]


class NotLiteral(ValueError):
    """The expression is more than a literal."""


def parse(source: str) -> ast.Module:
    """The syntax tree, without warnings about the style of the source. Raises what ast.parse raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def literal(node: ast.expr) -> Any:
    """The value of a literal; also inf, nan, set(...), float("inf") and the like. Raises NotLiteral."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(literal(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {literal(key): literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS and not node.keywords:
        return _CALLS[node.func.id](*map(literal, node.args))
    try:
        return ast.literal_eval(node)  # signed and complex numbers
    except ValueError as error:
        raise NotLiteral(ast.unparse(node)[:80]) from error


def assertion_call(node: ast.stmt, entry: str) -> Test | None:
    """(arguments, value) of `assert entry(literals) == literal`; None for any other statement."""
    if not isinstance(node, ast.Assert) or not isinstance(node.test, ast.Compare) or len(node.test.ops) != 1:
        return None
    call, operator, wanted = node.test.left, node.test.ops[0], node.test.comparators[0]
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != entry or call.keywords:
        return None
    try:
        test = tuple(map(literal, call.args)), literal(wanted)
    except NotLiteral:
        return None
    return test if isinstance(operator, ast.Eq) or (isinstance(operator, ast.Is) and test[1] is None) else None


def check_calls(check: str, name: str) -> tuple[Test, ...] | None:
    """The tests in the body of `def check(name)`; None unless every statement that can fail is such a call."""
    tests = []
    for node in _function(check, "check").body:
        if (test := assertion_call(node, name)) is not None:
            tests.append(test)
        elif not _harmless(node):
            return None
    return tuple(tests) or None


def _harmless(node: ast.stmt) -> bool:
    """Statements without effect on the verdict: pass, imports, texts, `print(...)`, assertions of a true constant."""
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and bool(node.test.value)
    if isinstance(node, ast.Expr):
        call = node.value
        return isinstance(call, ast.Constant) or (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
        )
    return isinstance(node, (ast.Pass, ast.Import, ast.ImportFrom))


def _function(source: str, name: str) -> ast.FunctionDef:
    for node in parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise ValueError(f"the test code defines no function {name}")


def assignments(source: str) -> Mapping[str, ast.expr]:
    """The expressions assigned to single names anywhere in `source`; the last one counts."""
    return {
        node.targets[0].id: node.value
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }


def called_function(assertions: Sequence[str], code: str) -> str:
    """The function of `code` that every one of the assertions calls. ValueError if there is none."""
    defined = [node.name for node in parse(code).body if isinstance(node, ast.FunctionDef)]
    called = [{call.func.id for call in _calls(text) if isinstance(call.func, ast.Name)} for text in assertions]
    for name in defined:
        if called and all(name in names for names in called):
            return name
    raise ValueError("the tests call no function of the reference solution")


def _calls(source: str) -> list[ast.Call]:
    return [node for node in ast.walk(parse(source)) if isinstance(node, ast.Call)]


def surroundings(prompt: str, entry: str) -> str:
    """What a prompt of code has besides the function `entry`: imports, helpers, constants."""
    lines = prompt.split("\n")
    try:
        tree = parse(prompt)
    except SyntaxError:  # the function is only begun
        return prompt[: prompt.rfind(f"def {entry}")]
    kept = []
    for node in tree.body:
        if not (isinstance(node, ast.FunctionDef) and node.name == entry):
            begin = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            kept += lines[begin - 1 : node.end_lineno]
    return "\n".join(kept)
