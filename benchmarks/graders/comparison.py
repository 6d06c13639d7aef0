"""When an answer is the gold one: structure, labels, units, percent signs, words, numbers and, last, expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.graders.notation import Malformed, plain, tidy
from benchmarks.graders.quantity import Quantity, near, number, quantity, unit_name
from benchmarks.graders.shapes import Node, read

APPROXIMATE = 0.01  # relative, of the right-hand side of an approximately-equal sign


@dataclass(frozen=True)
class Rules:
    """How a suite wants answers compared.

    percent: "value" (50% is 0.5) or "points" (50% is 50, for gold answers that leave the sign out). relative, absolute:
    tolerances of numbers beside those for rounded decimals. unit: of the gold answer, for those that do not say it; the
    answer may leave it out but give no other. shape: "auto" as the gold answer is written, "list" (brackets of any kind
    or none, in order) or "bag" (the same in any order).
    separate: a comma between digits always separates, for golds that are several numbers.
    """

    percent: str = "value"
    relative: float = 0.0
    absolute: float = 0.0
    unit: str = ""
    shape: str = "auto"
    separate: bool = False

    def __post_init__(self) -> None:
        if self.percent not in ("value", "points") or self.shape not in ("auto", "list", "bag"):
            raise ValueError(
                "rules need percent 'value' or 'points' and shape 'auto', 'list' or 'bag', "
                f"not {self.percent!r} and {self.shape!r}"
            )
        if self.relative < 0 or self.absolute < 0:
            raise ValueError("the tolerances of rules must not be negative")


# gold, answer, tolerances (relative, absolute) -> equal as expressions
Expressions = Callable[[str, str, float, float], bool]


class Undecided(Exception):
    """Plain numbers and words do not settle it: an expression has to be parsed."""


def undecided(gold: str, answer: str, relative: float, absolute: float) -> bool:
    """Stands for expressions where none are parsed."""
    raise Undecided


_WRAPPED = re.compile(r"\\text\{([^{}]*)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_NAME = re.compile(
    r"(?:\\[A-Za-z]+\s*|[A-Za-z])(?:'|\^\{?\\prime\}?|[_^]\{[^{}]*\})*\s*"
    r"(?:\(\s*(?P<argument>\\?[A-Za-z]+)\s*\)|\([A-Za-z0-9\\, ]*\))?"
    r"|\\text\{[^{}]*\}|[A-Za-z ]+|\\(?:angle|triangle|overline|vec)[^=]*|\|[^|=]*\||\([A-Za-z, ]+\)"
)
_LETTERS = re.compile(
    r"[A-Za-df-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|varphi|omega|rho|sigma|tau)(?![A-Za-z])"
)
_RELATION = re.compile(r"[<>]|\\(?:le|ge|lt|gt|ne)(?![A-Za-z])")
_OPERATION = re.compile(r"(?<=[0-9)}])\s*(?:[-+]|\\cdot)")
_ARITHMETIC = re.compile(r"(?:[0-9.\s+()/{}-]|\\cdot|\\frac)+")


def words(text: str) -> str | None:
    """The letters of a text of nothing but letters, in lower case if they are no symbols; a time or ratio as it is.

    None for anything else.
    """
    text = re.sub(r"\s+", "", _WRAPPED.sub(r"\1", text))
    if re.fullmatch(r"[0-9]+(?::[0-9]+)+", text):
        return text
    if not re.sub(r"(?<=\w\w)['-](?=\w)", "", text).isalpha():
        return None
    return text.casefold() if len(text) > 3 or text.casefold() in ("yes", "no") else text


def lettered(text: str) -> bool:
    """Whether a tidy text has variables: letters other than e outside commands and text."""
    text = _WRAPPED.sub("", text)
    return bool(_LETTERS.search(_COMMAND.sub(lambda found: found[0] if _LETTERS.match(found[0]) else " ", text)))


def _squeezed(text: str) -> str:
    """`text` without spaces, but for those between digits."""
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)


def _same_label(gold: str, answer: str) -> bool:
    """Equal, or both single symbols that differ in their subscripts, or functions of one argument."""
    if _squeezed(gold) == _squeezed(answer):
        return True
    first, second = (re.match(r"\\?[A-Za-z]+", text) for text in (gold, answer))
    plain_symbols = all(_NAME.fullmatch(text) and not text.startswith((r"\text", r"\angle")) for text in (gold, answer))
    return bool(plain_symbols and first and second and first[0] == second[0])


class Comparison:
    """Equality of answers to gold answers under `rules`; `expressions` decides what plain numbers do not."""

    def __init__(self, rules: Rules, expressions: Expressions) -> None:
        self.rules = rules
        self.expressions = expressions

    def equal(self, gold: str, answer: str) -> bool:
        """Raises Undecided if `expressions` does, and Malformed for a gold answer that cannot be read."""
        wanted, unit = gold_node(gold, self.rules)
        self.unit = unit
        try:
            text = tidy(answer)
            given = read(text, self.rules.separate or wanted.kind != "scalar")
        except Malformed:
            return False
        if not text:
            return False
        if _squeezed(text) == _squeezed(wanted.text):
            return True
        if self.rules.shape != "auto":
            compare = self._ordered if self.rules.shape == "list" else self._unordered
            return compare(_members(wanted), _members(given))
        return self._nodes(wanted, given)

    def _nodes(self, gold: Node, answer: Node) -> bool:
        if "chain" in (gold.kind, answer.kind):
            return self._chains(gold, answer)
        if gold.kind in ("list", "set", "union"):
            if answer.kind == gold.kind or {gold.kind, answer.kind} == {"list", "set"}:
                return self._unordered(gold.members, answer.members)
            if answer.kind == "tuple" and gold.kind == "list":
                return answer.brackets == "()" and self._ordered(gold.members, answer.members)
            return len(gold.members) == 1 and self._nodes(gold.members[0], answer)
        if gold.kind == "tuple":
            if answer.kind == "tuple":
                free = len(gold.members) > 2
                return (free or gold.brackets == answer.brackets) and self._ordered(gold.members, answer.members)
            if answer.kind == "list":
                return gold.brackets == "()" and self._ordered(gold.members, answer.members)
            if answer.kind == "set" and len(answer.members) == 1:
                return self._nodes(gold, answer.members[0])
            return bool(_RELATION.search(answer.text)) and self.expressions(gold.text, answer.text, 0.0, 0.0)
        if answer.kind in ("set", "list"):
            return len(answer.members) == 1 and self._nodes(gold, answer.members[0])
        if answer.kind != "scalar":
            return bool(_RELATION.search(gold.text)) and self.expressions(gold.text, answer.text, 0.0, 0.0)
        return self._scalars(gold.text, answer.text, final=True, approximate=False)

    def _ordered(self, gold: Sequence[Node], answer: Sequence[Node]) -> bool:
        return len(gold) == len(answer) and all(map(self._nodes, gold, answer))

    def _unordered(self, gold: Sequence[Node], answer: Sequence[Node]) -> bool:
        if len(gold) != len(answer):
            return False
        left = list(answer)
        for wanted in gold:
            match = next((i for i, given in enumerate(left) if self._nodes(wanted, given)), None)
            if match is None:
                return False
            del left[match]
        return True

    def _chains(self, gold: Node, answer: Node) -> bool:
        """Labels fall away if they agree; of what is left every member of the answer must be the gold value."""
        wanted, gold_label = gold, ""
        if gold.kind == "chain":
            if not _NAME.fullmatch(gold.members[0].text):  # an equation between expressions
                return self.expressions(gold.text, answer.text, 0.0, 0.0)
            wanted, gold_label = gold.members[-1], gold.members[0].text
        if answer.kind != "chain":
            return self._nodes(wanted, answer)
        members, approximate = list(answer.members), list(answer.approximate)
        label = members[0].text if _NAME.fullmatch(members[0].text) else ""
        if gold_label and label and not _same_label(gold_label, label):
            return False
        if not lettered(wanted.text):
            kept = [i for i, node in enumerate(members) if i == len(members) - 1 or not lettered(node.text)]
            kept = kept if label != members[kept[0]].text or len(kept) == 1 else kept[1:]
        else:
            kept = list(range(1 if label else 0, len(members)))
        argument, given = (_NAME.fullmatch(text) if text else None for text in (gold_label, label))
        for i in kept:
            node = members[i]
            if argument and given and argument["argument"] and given["argument"]:
                node = _renamed(node, given["argument"], argument["argument"])
            if "scalar" == node.kind == wanted.kind:
                if not self._scalars(wanted.text, node.text, i == kept[-1], approximate[i]):
                    return False
            elif not self._nodes(wanted, node):
                return False
        return True

    def _scalars(self, gold: str, answer: str, final: bool, approximate: bool) -> bool:
        if _squeezed(gold) == _squeezed(answer):
            return True
        wanted_words, given_words = words(gold), words(answer)
        if wanted_words is not None and given_words is not None:
            return wanted_words == given_words
        if any(text and (len(text) > 3 or ":" in text) for text in (wanted_words, given_words)):
            return False
        wanted = quantity(gold, words=False)
        given = quantity(answer, words=number(wanted.value) is not None)
        if given.unit and (wanted.unit or self.unit) not in ("", given.unit):
            return False
        relative = max(self.rules.relative, APPROXIMATE if approximate else 0.0)
        return any(self._values(*pair, relative, final) for pair in self._scaled(wanted, given))

    def _scaled(self, gold: Quantity, answer: Quantity) -> list[tuple[str, str]]:
        """The (gold, answer) values to compare under the percent rule: any pair may be equal."""
        same = [(gold.value, answer.value)]
        if gold.percent == answer.percent or self.rules.percent == "points":
            return same
        if answer.percent:
            return [(gold.value, _hundredth(answer.value))]
        return [*same, (_hundredth(gold.value), answer.value)]

    def _values(self, gold: str, answer: str, relative: float, final: bool) -> bool:
        wanted, given = number(gold), number(answer)
        if wanted and given:
            return near(wanted, given, relative, self.rules.absolute)
        if not gold or not answer:
            return False
        if wanted and final and _ARITHMETIC.fullmatch(answer) and _OPERATION.search(answer):
            return False  # a sum or product that is not carried out is no answer to "how much"
        return self.expressions(gold, answer, relative, self.rules.absolute)


def _members(node: Node) -> tuple[Node, ...]:
    if node.kind == "chain":
        node = node.members[-1]
    return node.members if node.kind in ("list", "set", "tuple") else (node,)


def _renamed(node: Node, old: str, new: str) -> Node:
    if node.kind != "scalar" or old == new:
        return node
    return Node("scalar", re.sub(rf"(?<![A-Za-z\\]){re.escape(old)}(?![A-Za-z])", lambda _: new, node.text))


def _hundredth(text: str) -> str:
    value = number(text)
    if value is None:
        return rf"\frac{{{text}}}{{100}}"
    scaled = value.value / 100
    return rf"\frac{{{scaled.numerator}}}{{{scaled.denominator}}}"


@lru_cache(maxsize=4096)
def gold_node(gold: str, rules: Rules) -> tuple[Node, str]:
    """The structure of a gold answer and the unit it asks for. Raises ValueError for one that no answer can equal."""
    try:
        text = tidy(gold)
        node = read(text, rules.separate)
    except Malformed as error:
        raise ValueError(f"gold answer {gold[:80]!r} is {error}: correct or leave out the problem") from None
    if not text or not re.search(r"[^\W_]|\\[A-Za-z]|[\])}]", plain(text)):
        raise ValueError(f"gold answer {gold[:80]!r} is empty: correct or leave out the problem")
    if text.casefold() in ("nan", "none", "null"):
        raise ValueError(f"gold answer {gold[:80]!r} says that there is none: correct or leave out the problem")
    return node, unit_name(rules.unit.strip("$ ")) if rules.unit else ""
