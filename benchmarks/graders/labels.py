r"""Short exact answers of other kinds: yes or no, truth values, validity, word lists, brackets, numbers, plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from benchmarks.base import Problem, Verdict
from benchmarks.graders.extract import LENIENT, PHRASES, final_answer, visible
from benchmarks.graders.extract import VERSION as EXTRACT_VERSION
from benchmarks.graders.notation import plain
from benchmarks.graders.quantity import number

VERSION = f"1+extract{EXTRACT_VERSION}"
GRADER = "label"
LENIENT_GRADER = "label-lenient"
MAX_SHOWN = 300

_MARKUP = re.compile(r"\\(?:text|math)(?:rm|bf|it|sf|tt)?\s*(?=\{)|[${}*_`]|\\[()\[\],;! ]")
_BRACKETS = "()[]{}<>"
_BOXED_BRACKETS = re.compile(r"\\(?:boxed|fbox)\{(?P<inside>[^\n]*)\}")

# every label by each of its names
SETS: dict[str, dict[str, str]] = {
    "yes_no": {"yes": "yes", "no": "no"},
    "true_false": {"true": "true", "false": "false"},
    "truth": {"true": "true", "false": "false", "unknown": "unknown", "uncertain": "unknown"},
    "validity": {"valid": "valid", "invalid": "invalid"},
}


def _bare(text: str) -> str:
    return re.sub(r"\s+", " ", _MARKUP.sub("", text.replace(r"\&", "&"))).strip().rstrip(".!").strip("\"' ").strip()


def _word(names: dict[str, str]) -> Callable[[str], str | None]:
    def read(text: str) -> str | None:
        text = _bare(text).casefold()
        # "Yes, because ..." names one label, "Yes or no" names none
        first, _, rest = text.partition(",")
        return names.get(text) or (names.get(first) if not set(re.findall(r"[a-z]+", rest)) & set(names) else None)

    return read


def _words(text: str) -> str | None:
    """Words in order, whatever stands between them."""
    return " ".join(_bare(text).casefold().replace(",", " ").split()) or None


def _brackets(text: str) -> str | None:
    """A string of brackets without the spaces; None if there is anything else in it."""
    wrapped = re.fullmatch(r"[\s$]*\\text(?:tt|rm)?\{(.*)\}[\s$]*", text)
    text = re.sub(r"\\[,;! ]|[\s\\$`\"'.]", "", wrapped[1] if wrapped else text)
    text = text.replace("langle", "<").replace("rangle", ">")
    return text if text and not set(text) - set(_BRACKETS) else None


def _number(text: str) -> str | None:
    value = number(_bare(text))
    return str(value.value) if value else None


def _text(text: str) -> str | None:
    return _bare(text).casefold() or None


KINDS: dict[str, Callable[[str], str | None]] = {
    **{kind: _word(names) for kind, names in SETS.items()},
    "words": _words,
    "brackets": _brackets,
    "number": _number,
    "text": _text,
}


def read_label(text: str, kind: str) -> str | None:
    """The normal form of a gold or a final answer of a kind; None if it is none. Raises ValueError for the kind."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of label {kind!r}: choose from {', '.join(KINDS)}")
    return KINDS[kind](plain(text))


def _answer(response: str, kind: str, lenient: bool) -> str | None:
    if kind == "brackets" and (text := visible(response)):
        # closing braces of the answer itself end a box early: take the box up to the last brace of its line
        *_, found = (None, *_BOXED_BRACKETS.finditer(text))
        if found:
            return found["inside"].strip() or None
    return final_answer(response, LENIENT if lenient else PHRASES)


def grade_labels(
    problems: Sequence[Problem], responses: Sequence[str], *, kind: str | Sequence[str], lenient: bool = False
) -> list[Verdict]:
    r"""Whether the final answer of each response is the gold label; `kind` of all problems or of each (see KINDS).

    Strict: the last \boxed{}, else the last `####`, else "answer is ...". lenient: the last line as well. Raises
    ValueError for an unknown kind and for a gold answer that is none of its kind.
    """
    kinds = [kind] * len(problems) if isinstance(kind, str) else kind
    grader = LENIENT_GRADER if lenient else GRADER
    verdicts = []
    for problem, response, one in zip(problems, responses, kinds, strict=True):
        gold = read_label(problem.answer, one)
        if gold is None:
            raise ValueError(
                f"gold answer {problem.answer[:80]!r} of {problem.id} is no {one}: correct or leave it out"
            )
        answer = _answer(response, one, lenient)
        if answer is None:
            verdicts.append(Verdict("no_answer", 0.0, "", grader, VERSION))
            continue
        right = read_label(answer, one) == gold
        verdicts.append(Verdict("pass" if right else "fail", float(right), answer[:MAX_SHOWN], grader, VERSION))
    return verdicts
