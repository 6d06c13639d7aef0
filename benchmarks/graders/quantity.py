"""Written numbers as exact fractions, and the unit or percent sign after a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 400
TOLERANCE = Fraction(1, 10**6)  # relative, where one of two numbers is a rounded decimal


@dataclass(frozen=True)
class Number:
    """An exact value; `decimal` if it was written with decimal places, which may be rounded ones."""

    value: Fraction
    decimal: bool


_WHOLE = r"(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<number>{_DECIMAL})|(?P<kept>[0-9]*\.[0-9]*)\\(?:overline|bar)\{{(?P<repeated>[0-9]+)\}})"
    r"(?:(?:\s*\\cdot\s*10\^\{\s*(?P<power>[-+]?[0-9]{1,4})\s*\})|[eE](?P<exponent>[-+]?[0-9]{1,4}))?"
)
_FRACTION = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:\\frac\{{\s*(?P<above>-?{_DECIMAL})\s*\}}\{{\s*(?P<below>-?{_DECIMAL})\s*\}}"
    rf"|(?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL}))"
)


def _exact(text: str) -> Fraction:
    return Fraction(text.replace(",", "").rstrip(".") or "0")


def number(text: str) -> Number | None:
    r"""The number that `text` writes: 1,234.5, -\frac{3}{4}, 3/4, 3\cdot 10^{8}, 3e8, 0.\overline{3}.

    None for everything else, and for numbers of more than MAX_DIGITS digits.
    """
    text = text.strip()
    if not text or len(text) > MAX_DIGITS:
        return None
    if found := _NUMBER.fullmatch(text):
        if found["repeated"]:
            whole, _, places = found["kept"].partition(".")
            period = Fraction(int(found["repeated"]), (10 ** len(found["repeated"]) - 1) * 10 ** len(places))
            value, decimal = _exact(f"{whole or 0}.{places or 0}") + period, False
        else:
            value, decimal = _exact(found["number"]), "." in found["number"]
        power = int(found["power"] or found["exponent"] or 0)
        if abs(power) > MAX_DIGITS:
            return None
        value *= Fraction(10) ** power
        decimal = decimal and value.denominator != 1
    elif found := _FRACTION.fullmatch(text):
        above, below = found["above"] or found["over"], found["below"] or found["under"]
        if not _exact(below):
            return None
        value, decimal = _exact(above) / _exact(below), False
    else:
        return None
    return Number(-value if found["sign"] == "-" else value, decimal)


def near(gold: Number, answer: Number, relative: float, absolute: float) -> bool:
    """Equal, or within the tolerances; two decimals that are not whole may be rounded differently (TOLERANCE)."""
    if gold.value == answer.value:
        return True
    allowed = max(Fraction(relative) * abs(gold.value), Fraction(absolute))
    if (gold.decimal or answer.decimal) and gold.value.denominator != 1:
        allowed = max(allowed, TOLERANCE * abs(gold.value))
    return abs(gold.value - answer.value) <= allowed


_SAME_UNITS = [
    ("minute", "min"), ("second", "sec s"), ("hour", "hr h"), ("day", "d"), ("year", "yr"), ("dollar", "usd"),
    ("cent", ""), ("meter", "metre m"), ("centimeter", "centimetre cm"), ("kilometer", "kilometre km"),
    ("millimeter", "millimetre mm"), ("gram", "g"), ("kilogram", "kg"), ("liter", "litre l"), ("milliliter", "ml"),
    ("inch", "inches"), ("foot", "feet ft"), ("mile", "mi"), ("pound", "lb lbs"), ("mph", ""), ("km/h", "kmh kph"),
    ("m/s", ""), ("unit", ""), ("\u00b0", "\\circ degree"),
]  # fmt: skip
_UNITS = {name: main for main, others in _SAME_UNITS for name in (main, *others.split())}
_UNITS |= {f"{name}s": main for name, main in _UNITS.items() if len(name) > 1}
_BARE = "|".join(sorted((re.escape(name) for name in _UNITS if len(name) > 1), key=len, reverse=True))
_POWER = r"(?:\^\{\s*-?[0-9]\s*\})?"
_ATOM = rf"\\text\{{\s*[A-Za-z][A-Za-z .'/-]*\}}{_POWER}"
_UNIT = re.compile(rf"\s*(?P<unit>{_ATOM}(?:\s*(?:/|\\cdot)?\s*{_ATOM})*|(?<=[0-9\s}}])(?:{_BARE}){_POWER}|\u00b0)\s*$")
_WORDS = re.compile(r"(?P<value>[-+]?[0-9][0-9,]*(?:\.[0-9]+)?)\s+(?P<unit>[A-Za-z]{3,}(?:[ -][A-Za-z]+)*)")
_MARKS = re.compile(r"\\text|\\cdot|[{}\s^]")


def unit_name(text: str) -> str:
    """A unit in one of its names, without markup and plural."""
    name = _MARKS.sub("", text).casefold().rstrip(".")
    return _UNITS.get(name, _UNITS.get(name.removesuffix("s"), name.removesuffix("s")))


@dataclass(frozen=True)
class Quantity:
    """A value as it is written, the unit after it ("" if none) and whether a percent sign follows it."""

    value: str
    unit: str
    percent: bool


def quantity(text: str, words: bool) -> Quantity:
    r"""Split a tidy text. With `words` any words after a plain number are a unit, else only \text{} and known ones."""
    text = text.strip()
    percent = text.endswith("%")
    if percent:
        text = text[:-1].strip()
    unit = ""
    found = _UNIT.search(text)
    if found and found.start():
        text, unit = text[: found.start()].strip(), unit_name(found["unit"])
    elif words and (found := _WORDS.fullmatch(text)):
        text, unit = found["value"], unit_name(found["unit"])
    return Quantity(text, unit, percent)
