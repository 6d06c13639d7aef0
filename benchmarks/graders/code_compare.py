"""Comparison, in the parent, of values that programs returned: Python's equality, and EvalPlus's rules.

"equal": Python's `==`, what the assertions of HumanEval and MBPP say: 1 equals True and 1.0, 0.1 + 0.2 differs from
0.3, NaN from itself. Assertions with a tolerance keep theirs (they are executed).
"evalplus": `==`, or numpy.allclose(value, expected, rtol=1e-7, atol) for values of the same type and length. atol is
the problem's, or 1e-6 where that is 0 and the expected value is a float or a list of floats; else there is no
tolerance. A few problems have rules of their own (EvalPlus v0.3.1, eval/__init__.py and eval/_special_oracle.py).
"""

from __future__ import annotations

import math
from typing import Any

RELATIVE = 1e-7
FLOAT_ATOL = 1e-6
ROOT_ATOL = 1e-4

SETS = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum", "intersection_array",
    "find_dissimilar", "Diff",
}  # fmt: skip
PRESENT = {"check_str", "text_match_three", "text_starta_endb"}


def same(rule: str, entry: str, atol: float, arguments: tuple[Any, ...], value: Any, expected: Any) -> bool:
    """Whether `value` is what `entry(*arguments)` should give under the rule "equal" or "evalplus"."""
    try:
        if rule == "equal":
            return bool(value == expected)
        assert rule == "evalplus", rule
        return _evalplus(entry, atol, arguments, value, expected)
    except (TypeError, ValueError, OverflowError):  # the value has another form than the expected one
        return False


def _evalplus(entry: str, atol: float, arguments: tuple[Any, ...], value: Any, expected: Any) -> bool:
    if entry == "find_zero":  # any root will do
        (coefficients,) = arguments
        return abs(sum(c * math.pow(value, i) for i, c in enumerate(coefficients))) <= (atol or ROOT_ATOL)
    if entry in SETS:
        return set(value) == set(expected)
    if entry in PRESENT:  # a match object will do for True
        return value == expected if type(value) is bool else bool(expected) == (value is not None)
    if value == expected or entry == "are_equivalent":  # whose canonical solution is wrong
        return True
    if entry == "sum_div" and value == 0:
        return True
    if entry == "surface_Area" and abs(value - _pyramid(*arguments)) <= atol:
        return True
    if entry == "digit_distance_nums" and value == _digit_distance(*arguments):
        return True
    atol = atol or (FLOAT_ATOL if _floats(expected) else 0.0)
    return atol != 0 and type(value) is type(expected) and _close(value, expected, atol)


def _floats(value: Any) -> bool:
    items = value if type(value) in (list, tuple) and value else [value]
    return all(type(item) is float for item in items)


def _close(value: Any, expected: Any, atol: float) -> bool:
    if type(expected) in (list, tuple):
        return len(value) == len(expected) and all(_close(v, e, atol) for v, e in zip(value, expected, strict=True))
    return value == expected or abs(value - expected) <= atol + RELATIVE * abs(expected)


def _pyramid(edge: float, height: float) -> int:
    """Surface of a square pyramid of perpendicular height `height`."""
    return round(edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2))


def _digit_distance(a: int, b: int) -> int:
    """Sum of the differences of the digits, the shorter number filled with zeros."""
    width = max(len(str(a)), len(str(b)))
    return sum(abs(int(x) - int(y)) for x, y in zip(str(a).zfill(width), str(b).zfill(width), strict=True))
