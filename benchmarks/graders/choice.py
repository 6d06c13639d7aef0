r"""Multiple choice: the letter in the last \boxed{}, `####` or "answer is (C)"; never a letter out of prose."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.base import Problem, Verdict
from benchmarks.graders.extract import VERSION as EXTRACT_VERSION
from benchmarks.graders.extract import last_box, last_hashes, last_line, last_phrases, visible
from benchmarks.graders.notation import plain

VERSION = f"1+extract{EXTRACT_VERSION}"
GRADER = "choice"
LENIENT_GRADER = "choice-lenient"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "123456789"
CONFLICT = "conflict"
MAX_SHOWN = 300

_MARKUP = re.compile(
    r"\\(?:text|math)(?:rm|bf|it|sf|tt)?\s*(?=\{)|\\[()\[\],;! ]|[${}*_`\"]|\\q?quad(?![a-zA-Z])|\\(?=[()])"
)
_LABEL = (
    r"(?:\(\s*(?P<round>[A-Za-z]|[1-9])\s*\)|\[\s*(?P<square>[A-Za-z]|[1-9])\s*\]|(?P<bare>[A-Za-z]|[1-9])(?![\w'^]))"
)
_FIRST = re.compile(rf"(?:(?:the\s+)?(?:option|choice|letter|answer)\s*:?\s*)?{_LABEL}", re.IGNORECASE)
_NEXT = re.compile(
    r"\s*(?:[,/&+;]|,?\s*\b(?:and|or)\b|\bas well as\b)+\s*(?:also\s+)?(?:(?:option|choice)\s*)?"
    r"(?:\([A-Za-z1-9]\)|\[[A-Za-z1-9]\]|[A-Z1-9](?![\w'.]*\w))"
)
_BOX_NEXT = re.compile(r"[$\\(\[\s]*[bf](?:oxed|box)\b")
_ENDS = re.compile(r"\s*(?:$|[.,;:!?)\]=\n-]|\b(?:because|since|as|is|which|so|with)\b)")


def letter_of(label: str | int) -> str:
    """The letter of an option: a letter in either case, in brackets or not; a label from "1"; an index from 0 (int).

    Raises ValueError for anything else.
    """
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(LETTERS):
        return LETTERS[label]
    if isinstance(label, str):
        found = re.fullmatch(r"\(?\s*([A-Za-z]|[1-9])\s*[).]?", label.strip())
        if found:
            return LETTERS[int(found[1]) - 1] if found[1].isdigit() else found[1].upper()
    raise ValueError(f"{label!r} is no label of an option: give a letter, a digit as text from 1, or an index from 0")


def _same_text(text: str) -> str:
    return re.sub(r"\s+", " ", _MARKUP.sub("", plain(text))).strip().rstrip(".").strip("\"'").casefold()


def _matches(text: str, options: Sequence[str]) -> list[str]:
    exact = [LETTERS[i] for i, option in enumerate(options) if option.strip() == text.strip()]
    if exact:
        return exact
    wanted = _same_text(text)
    return [LETTERS[i] for i, option in enumerate(options) if wanted and _same_text(option) == wanted]


def read_choice(text: str, options: Sequence[str] = (), marked: bool = True, numeric: bool = False) -> str | None:
    """The letter that a final answer names: "C", "(c).", "option C", "C: its text", or exactly the text of an option.

    CONFLICT if it names several, None if none. marked: in a box or after a colon, where a small letter and the article
    "A" are labels as well. numeric: the options are labelled 1, 2, ... instead.
    """
    by_text = _matches(text, options)
    same = _same_text(text).upper()
    if by_text and same not in list((DIGITS if numeric else LETTERS)[: len(options)]):
        return by_text[0] if len(by_text) == 1 else CONFLICT
    text = _MARKUP.sub("", text).strip().lstrip("\"'")
    found = _FIRST.match(text)
    label = (found["round"] or found["square"] or found["bare"]) if found else None
    if found is None or label is None or (label.isdigit() and not numeric):
        return None
    if _NEXT.match(text, found.end()):
        return CONFLICT
    rest = text[found.end() :]
    doubtful = found["bare"] and (label.islower() or label in "AI")  # an article, a pronoun or a variable
    if doubtful and not (_ENDS.match(rest) and (marked or label.isupper())):
        return None
    chosen = letter_of(label)
    # a point or a dash after the label may belong to the text
    tries = (rest, re.sub(r"^\s*[).:]\s*", "", rest), rest.lstrip(" .:)-"))
    named = next((found for one in tries if (found := _matches(one, options))), [])
    return CONFLICT if named and chosen not in named else chosen


def extract_choice(
    response: str, options: Sequence[str] = (), lenient: bool = False, numeric: bool = False
) -> tuple[str, str] | None:
    """(letter or CONFLICT or "", text it was read from) of the last final answer of a response; None without one.

    Strict: a box, `#### C`, "answer is C", "Answer: C". lenient: a last line that is a label or an option as well.
    """
    text = visible(response)
    if text is None:
        return None
    found: list[tuple[int, str, bool]] = []
    begin = end = -1
    if box := last_box(text):
        begin, end, content = box
        if content is None:
            return None
        found.append((begin, content, True))
    if hashes := last_hashes(text):
        found.append((*hashes, True))
    phrases = [one for one in last_phrases(text) if not begin <= one[0] < end and not _BOX_NEXT.match(one[1])]
    # of phrases the last that names an option: "I hope the answer is clear" takes nothing back
    named = [one for one in phrases if read_choice(one[1], options, one[2], numeric)]
    found += named[:1] or phrases[:1]
    if found:
        _, content, marked = max(found)
        return read_choice(content, options, marked, numeric) or "", content
    if lenient and (line := last_line(text)):
        chosen = read_choice(line[1], options, marked=False, numeric=numeric)
        if chosen and (_ENDS.match(line[1], 1) or not line[1][:1].isalpha() or _matches(line[1], options)):
            return chosen, line[1]
    return None


def grade_choices(
    problems: Sequence[Problem],
    responses: Sequence[str],
    *,
    lenient: bool = False,
    options: Sequence[Sequence[str]] | None = None,
    numeric: bool = False,
) -> list[Verdict]:
    """Whether the last final answer of each response names the option of its problem, and that one only.

    options: the texts of each problem's options, in order; the exact text of one counts as its letter, and letters
    beyond them are wrong. numeric: responses use the labels 1, 2, ... Gold answers are labels (see `letter_of`).
    """
    texts = options if options is not None else [()] * len(problems)
    grader = LENIENT_GRADER if lenient else GRADER
    verdicts = []
    for problem, response, option in zip(problems, responses, texts, strict=True):
        gold = letter_of(problem.answer)
        if option and LETTERS.index(gold) >= len(option):
            raise ValueError(f"problem {problem.id} has {len(option)} options, but its answer is {gold}: correct it")
        found = extract_choice(response, option, lenient, numeric)
        if found is None or not found[0]:
            verdicts.append(Verdict("no_answer", 0.0, found[1][:MAX_SHOWN] if found else "", grader, VERSION))
            continue
        right = found[0] == gold
        shown = found[1] if found[0] == CONFLICT else found[0]
        verdicts.append(Verdict("pass" if right else "fail", float(right), shown[:MAX_SHOWN], grader, VERSION))
    return verdicts
