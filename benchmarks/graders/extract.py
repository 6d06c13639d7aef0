"""Final answers out of responses: the thinking part and quoted text removed, then the last marked answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from benchmarks.graders.notation import plain

VERSION = "1"
STRICT = ("box", "hashes")
PHRASES = ("box", "hashes", "phrase")
LENIENT = ("box", "hashes", "phrase", "line")
FORMS = LENIENT
MAX_PHRASES = 20

_THINKING_ENDS = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THINKING_BEGINS = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_CODE = re.compile(
    r"^[ \t]{0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n?(?:.*?^[ \t]{0,3}(?P=fence)[`~]*[ \t]*$|.*\Z)"
    r"|\\begin\{verbatim\}(?:.*?\\end\{verbatim\}|.*\Z)"
    r"|`[^`\n]+`|^[ \t]*>[^\n]*$",
    re.MULTILINE | re.DOTALL,
)
_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb"
# between boxes that are one answer together: "\boxed{4} or \boxed{5}" is a hedge, "\boxed{4}. Wait, \boxed{5}" is none
_JOINT = re.compile(
    r"(?:\s|[$,;.&/|*~]|\\[()\[\],;!\\]|\\q?quad|\\(?:text|mbox)\s*\{\s*(?:,?\s*(?:and|or)|,)\s*\}|\b(?:and|or)\b)*"
)
_HASHES = re.compile(r"(?<!#)####(?!#)")
_PHRASE = re.compile(
    r"\banswer\b[*_\s]{0,4}"
    r"(?:(?:is|are|would be|should be)\b(?:\s*[:=]|\s+therefore\b|\s+thus\b)?|[:=])"
    r"[*_ \t]*(?:\n[ \t]*)?(?=\S)",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"\*\*|__|\*(?=\S)|(?<=\S)\*")


def visible(response: str) -> str | None:
    """What the response says after its thinking part, in normal form, without code, quoted lines and verbatim text.

    None if the thinking part never ends.
    """
    text = _THINKING_ENDS.split(response)[-1]
    if _THINKING_BEGINS.search(text):
        return None
    return _CODE.sub(" ", plain(text))


def _closing(text: str, start: int) -> int:
    """The index of the brace that closes the group opened just before `start`; -1 if none does."""
    depth = 1
    for found in _BRACE.finditer(text, start):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            depth -= 1
            if not depth:
                return found.start()
    return -1


def _boxes(text: str) -> Iterator[tuple[int, int, str | None]]:
    """(begin, end, content) of every outermost box that is not in quotation marks; content None if it never closes."""
    position = 0
    while found := _BOX.search(text, position):
        close = _closing(text, found.end())
        if close < 0:
            yield found.start(), len(text), None
            return
        position = close + 1
        quoted = text[found.start() - 1 : found.start()], text[position : position + 1]
        if not all(mark and mark in _QUOTES for mark in quoted):
            yield found.start(), position, text[found.end() : close]


def last_box(text: str) -> tuple[int, int, str | None] | None:
    r"""(begin, end, content) of the last \boxed{...} or \fbox{...}; boxes joined by "and", "or", "," are one answer.

    None without a box; the content is None if the box never closes and "" if it is empty.
    """
    begin = end = 0
    contents: list[str] = []
    last = ""
    for start, stop, content in _boxes(text):
        if content is None:
            return start, stop, None
        content = content.strip()
        if content and contents and _JOINT.fullmatch(text, end, start):
            if content != last:
                contents.append(content)
        else:
            begin, contents = start, [content]
        end, last = stop, content
    if not contents:
        return None
    return begin, end, " , ".join(_BOX.sub("{", content) for content in contents)


def _line(text: str, start: int) -> str:
    """`text` from `start` to the end of its line, without emphasis."""
    end = text.find("\n", start)
    return _EMPHASIS.sub("", text[start : end if end >= 0 else len(text)]).strip()


def last_hashes(text: str) -> tuple[int, str] | None:
    """(position, rest of the line) of the last `####`."""
    *_, found = (None, *_HASHES.finditer(text))
    return (found.start(), _line(text, found.end())) if found else None


def last_phrases(text: str) -> list[tuple[int, str, bool]]:
    """(position, rest of the line, after a colon) of the last few "answer is ..." or "Answer: ...", the last one first.

    "After a colon" tells what stands there as an answer from what continues the sentence.
    """
    found = list(_PHRASE.finditer(text))[-MAX_PHRASES:]
    return [(one.start(), _line(text, one.end()), ":" in one[0] or "=" in one[0]) for one in reversed(found)]


def last_line(text: str) -> tuple[int, str] | None:
    """(position, last line that is not empty)."""
    line = text.rstrip().rpartition("\n")[2]
    return (text.rindex(line), _EMPHASIS.sub("", line).strip()) if line else None


def _sentence(text: str) -> str:
    """`text` up to the end of its first sentence; full stops inside numbers and in formulas are not ends."""
    if text.startswith("$") and (end := text.find("$", 2 if text.startswith("$$") else 1)) > 0:
        return text[: end + 1]
    end = re.search(r"\.(?=\s|$)|\s+(?:because|since)\b", text)
    return text[: end.start()] if end else text


def final_answer(response: str, forms: Sequence[str] = STRICT) -> str | None:
    r"""The final answer of a response as it is written; None if there is none, an empty one or one that is cut off.

    forms, the first one present in this order counts: "box" (the last \boxed{}), "hashes" (the last `#### x`),
    "phrase" ("answer is x", "Answer: x", to the end of the sentence), "line" (the whole last line). Nothing is taken
    from the thinking part, from code and from quotations. Raises ValueError for an unknown form.
    """
    if unknown := set(forms) - set(FORMS):
        raise ValueError(f"unknown form of answer {sorted(unknown)[0]!r}: choose from {', '.join(FORMS)}")
    text = visible(response)
    if text is None:
        return None
    if "box" in forms and (box := last_box(text)):
        return box[2] or None
    if "hashes" in forms and (hashes := last_hashes(text)):
        return hashes[1] or None
    if "phrase" in forms and (phrases := last_phrases(text)):
        return _sentence(phrases[0][1]).strip() or None
    if "line" in forms and (line := last_line(text)):
        return line[1].removesuffix(".") or None
    return None
