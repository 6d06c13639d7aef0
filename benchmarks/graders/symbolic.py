"""Equality of expressions, relations, sets and matrices that Math-Verify's grammar reads; for child processes.

No text is ever evaluated as Python. Constants are compared exactly if they are rational, else to 25 digits; expressions
with variables at random points. Math-Verify's own comparison, which rounds to six places and multiplies letters out,
only decides about relations, sets and matrices.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from latex2sympy2_extended.logic import And
from math_verify import verify
from math_verify.parser import should_treat_as_complex
from sympy.core.relational import Relational

DIGITS = 40
EXACT = 1e-25
ROUNDED = 1e-6
POINTS = 8
MAX_SYMBOLS = 12

_CONFIG = ConversionConfig(lowercase_symbols=False, interpret_as_mixed_fractions=False)
_DECIMAL = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)")
_WORD = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{4,}")
_ADJACENT = re.compile(r"[0-9]\s+[0-9.]")
_DEGREES = re.compile("([0-9.]+)\u00b0")
_WHOLE = (
    sympy.floor, sympy.ceiling, sympy.factorial, sympy.binomial, sympy.Mod, sympy.Sum, sympy.Product, sympy.gcd
)  # fmt: skip
_INTEGER_FUNCTIONS = tuple(kind for kind in _WHOLE if isinstance(kind, type))


def _fraction(found: re.Match[str]) -> str:
    return rf"\frac{{{found[1]}{found[2]}}}{{1{'0' * len(found[2])}}}"


@lru_cache(maxsize=512)
def parse(text: str) -> sympy.Basic | sympy.MatrixBase | None:
    """The expression that a tidy text writes; None if the grammar does not know it."""
    if _WORD.search(text) or _ADJACENT.search(text):
        return None
    text = _DECIMAL.sub(_fraction, _DEGREES.sub(r"{\\frac{\1\\pi}{180}}", text))
    try:
        return latex2sympy(
            text,
            is_real=not should_treat_as_complex(text),
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_CONFIG,
        )
    except MemoryError:
        raise
    except Exception:  # the grammar raises the bare class for what it does not know
        return None


def _constants(gold: sympy.Expr, answer: sympy.Expr, relative: float, absolute: float) -> bool:
    a, b = gold.doit(), answer.doit()
    if a == b:
        return True
    if not relative and not absolute and a.is_Rational and b.is_Rational:
        return False
    x, y = a.evalf(DIGITS), b.evalf(DIGITS)
    if not (x.is_number and y.is_number and x.is_finite and y.is_finite):
        return False
    gap, size = abs(x - y), abs(x)
    if relative or absolute:
        return bool(gap <= max(relative * size, absolute))
    if gap > EXACT * max(size, abs(y), EXACT):
        return False
    # digits do not tell numbers apart that agree in all of them, or that may be zero
    return bool(1e-20 < size < 1e20) or (a - b).equals(0) is True


def _value(expression: sympy.Expr, point: dict[sympy.Symbol, sympy.Rational]) -> sympy.Expr | None:
    value = expression.subs(point).doit().evalf(DIGITS)
    return value if value.is_number and value.is_finite else None


def _functions(gold: sympy.Expr, answer: sympy.Expr) -> bool:
    """Equal at random points: whole numbers for functions of whole numbers, else real points where both are real."""
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if len(symbols) > MAX_SYMBOLS:
        return False
    rng = random.Random(0)
    both = (gold, answer)
    signs = any(power.base.is_negative and power.exp.free_symbols for one in both for power in one.atoms(sympy.Pow))
    whole = signs or any(one.has(*_INTEGER_FUNCTIONS) for one in both)
    agreed = 0
    for attempt in range(5 * POINTS):
        if whole:
            numbers = rng.sample(range(1, 8 + 3 * len(symbols) + attempt), len(symbols))
            point = {symbol: sympy.Integer(n) for symbol, n in zip(symbols, numbers, strict=True)}
        else:
            low = 1 if attempt % 2 else -3000
            point = {symbol: sympy.Rational(rng.randrange(low, 3000), 997) for symbol in symbols}
        x, y = (_value(one, point) for one in both)
        if x is None or y is None or x.is_real != y.is_real:
            continue
        if abs(x - y) > EXACT * max(1, abs(x)):
            return False
        agreed += 1
        if agreed == POINTS:
            return True
    return False


def _compound(value: object) -> bool:
    return isinstance(value, (Relational, And, sympy.Set, sympy.Tuple, sympy.MatrixBase))


def equal(gold: str, answer: str, relative: float, absolute: float) -> bool:
    """Whether two tidy texts write the same value, function, relation, set or matrix.

    Raises MemoryError only: an expression that cannot be evaluated equals nothing.
    """
    try:
        return _equal(gold, answer, relative, absolute)
    except MemoryError:
        raise
    except Exception:  # SymPy raises errors of many kinds, its own and Python's, on expressions without a value
        return False


def _equal(gold: str, answer: str, relative: float, absolute: float) -> bool:
    a, b = parse(gold), parse(answer)
    if a is None or b is None:
        return False
    if _compound(a) or _compound(b):
        if isinstance(a, sympy.Expr) or isinstance(b, sympy.Expr):
            return False
        return verify(a, b, strict=True, allow_set_relation_comp=True, timeout_seconds=None)
    if not isinstance(a, sympy.Expr) or not isinstance(b, sympy.Expr):
        return False
    if a.free_symbols or b.free_symbols:
        return _functions(a, b)
    rounded = ROUNDED if (_DECIMAL.search(gold) or _DECIMAL.search(answer)) and not a.is_Integer else 0.0
    return _constants(a, b, max(relative, rounded), absolute)
