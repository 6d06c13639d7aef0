"""One way of writing mathematics: Unicode variants, spacing, fonts and shorthands of LaTeX and plain text removed."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 2000  # characters of an answer
MAX_DEPTH = 40  # nested brackets of an answer

_FORMAT = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SUPERSCRIPT = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f"
_SUBSCRIPT = "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089"
_RAISED = str.maketrans(_SUPERSCRIPT, "0123456789+-n")
_LOWERED = str.maketrans(_SUBSCRIPT, "0123456789")
_SCRIPTS = re.compile(
    f"(?P<up>[{_SUPERSCRIPT}]+)|(?P<down>[{_SUBSCRIPT}]+)|(?P<part>[\u00bc-\u00be\u2150-\u215e\u2189])"
)
_GROUP_SPACE = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_SIGNS = str.maketrans({
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2028": "\n", "\u2029": "\n",
    "\u00d7": r"\cdot ", "\u22c5": r"\cdot ", "\u00b7": r"\cdot ", "\u00f7": "/", "\u2044": "/", "\u2215": "/",
    "\u221a": r"\sqrt ", "\u221e": r"\infty ", "\u03c0": r"\pi ", "\u2264": r"\le ", "\u2265": r"\ge ",
    "\u2a7d": r"\le ", "\u2a7e": r"\ge ", "\u2260": r"\ne ", "\u2248": r"\approx ", "\u00b1": r"\pm ",
    "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ",
})  # fmt: skip


def _script(found: re.Match[str]) -> str:
    if found["up"]:
        return "^{" + found["up"].translate(_RAISED) + "}"
    if found["down"]:
        return "_{" + found["down"].translate(_LOWERED) + "}"
    above, _, below = unicodedata.normalize("NFKC", found["part"]).partition("\u2044")
    return rf"\frac{{{above}}}{{{below}}}"


def plain(text: str) -> str:
    """NFKC without format characters; raised digits, vulgar fractions and mathematical signs as LaTeX writes them."""
    if text.isascii():
        return text
    # before NFKC, which would read "5" with a raised 2 as 52
    text = _SCRIPTS.sub(_script, _GROUP_SPACE.sub("", _FORMAT.sub("", text)))
    return _FORMAT.sub("", unicodedata.normalize("NFKC", text)).translate(_SIGNS)


class Malformed(ValueError):
    """An answer that is too long, too deeply nested or not balanced."""


_TOKEN = re.compile(r"\\[A-Za-z]+\s*|\\.|[0-9]+|\s+|.", re.DOTALL)
OPEN = {"{": "}", "(": ")", "[": ")", r"\{": r"\}"}
_CLOSE = {"}": "}", ")": ")", "]": ")", r"\}": r"\}"}  # half-open intervals end with the other bracket


def tokens(text: str) -> list[str]:
    """Commands with the spaces after them, escaped characters, runs of digits, runs of spaces, single characters."""
    return _TOKEN.findall(text)


def partners(parts: list[str]) -> dict[int, int]:
    """The index of the closing bracket by that of the opening one. Raises Malformed."""
    pairs: dict[int, int] = {}
    stack: list[int] = []
    for i, part in enumerate(parts):
        if part in OPEN:
            stack.append(i)
            if len(stack) > MAX_DEPTH:
                raise Malformed("too deeply nested")
        elif part in _CLOSE:
            if not stack or OPEN[parts[stack[-1]]] != _CLOSE[part]:
                raise Malformed("unbalanced brackets")
            pairs[stack.pop()] = i
    if stack:
        raise Malformed("unbalanced brackets")
    return pairs


_SIMPLE = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?=[A-Za-z])", r"\\"),
        (r"(?<=[0-9])(?:\\[, ]|~|\{,\}|\\!,|,\\!|\{\\,\})(?=[0-9]{3}(?![0-9]))", ""),  # groups of three digits
        (r"\\\\(?:\[[^\]]*\])?", ","),  # lines
        (r"\\[()\[\]]|\\?\$|\\(?:displaystyle|textstyle|limits|nolimits|boldmath|pounds|euro)(?![A-Za-z])", " "),
        ("[\u20ac\u00a3\u00a5]", " "),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\.?", ""),
        (r"\\[,;:!> \n]|~|\\(?:q?quad|thinspace|enspace)(?![A-Za-z])|\\[hm]?space\*?\{[^{}]*\}", " "),
        (r"\{\s*\\(?:rm|text)\s+([A-Za-z /]+)\}", r"\\text{\1}"),
        (r"\\(?:mathrm|operatorname\*?|text(?:rm|normal|bf|it|sf|tt|up)?|mbox|hbox)\s*(?=\{)", r"\\text"),
        (r"\\(?:math(?:bf|it|sf|tt|cal|normal)|boldsymbol|bm|pmb|underline)\s*(?=\{)", ""),
        (r"\\text\{\s*(arc(?:sin|cos|tan)|sin|cos|tan|cot|log|ln|exp)\s*\}", r"\\\1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\(?:leqslant|leqq|leq)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geqslant|geqq|geq)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\(?:times|ast)(?![A-Za-z])", r"\\cdot "),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\(?:lbrace)(?![A-Za-z])", r"\\{"),
        (r"\\(?:rbrace)(?![A-Za-z])", r"\\}"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset "),
        (r"\\lg(?![A-Za-z])", r"\\log_{10}"),
        (r"\\(?:simeq|doteq|thickapprox)(?![A-Za-z])", r"\\approx "),
        (r"\\(?:text)\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])", " , "),
        (r",(?:\s*,)+", ","),
        (r"\s*(?:\\%|\\text\{\s*(?:percent|\\?%)\s*\}|(?<![A-Za-z])percent(?![A-Za-z]))", "%"),
        (r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|\\text\{\s*degrees?\s*\}"
         r"|(?<![A-Za-z])degrees?(?![A-Za-z]))", "\u00b0"),
        (r"(?<![\\A-Za-z])(sqrt|arcsin|arccos|arctan|sin|cos|tan|cot|log|ln|exp|pi|infty)(?![A-Za-z])", r"\\\1 "),
        (r"(?<![\\A-Za-z])inf(?:inity)?(?![A-Za-z])", r"\\infty "),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
        # a proper fraction after a whole number is a mixed number
        (r"(?<![0-9.A-Za-z}^_])([0-9]+)\s*\\frac\s*(?:\{([0-9]+)\}\{([0-9]+)\}|([0-9])([0-9]))", "MIXED"),
        (r"(?<![0-9./A-Za-z}^_])([0-9]+)\s+([0-9]+)/([0-9]+)(?![0-9/])", "MIXED"),
        (r"(?<=[0-9])\s*(?=\()", r"\\cdot "),  # the grammar reads 2(3) as a mixed number
        (r"\s+", " "),
    )
]  # fmt: skip


def _mixed(found: re.Match[str]) -> str:
    whole, above, below, *short = found.groups()
    if short and short[0]:
        above, below = short
    if max(map(len, (whole, above, below))) > 400 or int(above) >= int(below):
        return found[0]
    return rf"\frac{{{int(whole) * int(below) + int(above)}}}{{{below}}}"


_ARGUMENTS = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1, "^": 1, "_": 1}


class _Writer:
    """Gives every argument its braces: \\frac12, \\sqrt 2, x^10, x^(n+1)."""

    def __init__(self, text: str) -> None:
        self.parts = tokens(text)
        self.pairs = partners(self.parts)
        self.depth = 0

    def span(self, begin: int, end: int) -> str:
        written = []
        i = begin
        while i < end:
            piece, i = self.item(i, end)
            written.append(piece)
        return "".join(written)

    def item(self, i: int, end: int) -> tuple[str, int]:
        """The construct that begins at part i, and the index after it."""
        part = self.parts[i]
        name = part.rstrip()
        if name in _ARGUMENTS:
            written = name
            i += 1
            if name == r"\sqrt" and i < end and self.parts[i] == "[" and i in self.pairs:
                close = self.pairs[i]
                written += f"[{self.span(i + 1, close)}]"
                i = close + 1
            for _ in range(_ARGUMENTS[name]):
                argument, i = self.argument(i, end, name)
                written += f"{{{argument}}}"
            return written, i
        if i in self.pairs:
            close = self.pairs[i]
            return part + self.span(i + 1, close) + self.parts[close], close + 1
        return part, i + 1

    def argument(self, i: int, end: int, name: str) -> tuple[str, int]:
        while i < end and self.parts[i].isspace():
            i += 1
        self.depth += 1
        if i >= end or self.depth > MAX_DEPTH:
            raise Malformed("argument missing" if i >= end else "too deeply nested")
        written, i = self.filled(i, end, name)
        self.depth -= 1
        return written, i

    def filled(self, i: int, end: int, name: str) -> tuple[str, int]:
        part = self.parts[i]
        if part == "{" or (part == "(" and name in ("^", r"\sqrt")):
            close = self.pairs[i]
            return self.span(i + 1, close), close + 1
        if name == "^" and part in "+-":
            argument, i = self.argument(i + 1, end, name)
            return part + argument, i
        if name == r"\frac" and part.isdigit() and len(part) > 1:
            self.parts[i] = part[1:]
            return part[0], i
        return self.item(i, end)


def _bare(text: str) -> str:
    """`text` without marks around it and punctuation after it."""
    previous = None
    while previous != text:
        previous = text
        text = text.strip().strip('`"').lstrip(":=").rstrip(".,;:?").strip()
        if text.endswith("\\"):
            text = text[:-1]
    return text


def tidy(text: str) -> str:
    """The normal form of an answer that is text or LaTeX. Raises Malformed."""
    if len(text) > MAX_LENGTH:
        raise Malformed("too long")
    text = _bare(plain(text))
    if r"\begin" in text:
        return text
    for pattern, replacement in _SIMPLE:
        text = pattern.sub(_mixed if replacement == "MIXED" else replacement, text)
    text = _bare(text)
    if text.startswith("+"):
        text = text[1:]
    writer = _Writer(text)
    return writer.span(0, len(writer.parts)).strip()
