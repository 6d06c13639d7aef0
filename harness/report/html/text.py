"""Text of people and of models as HTML: everything escaped, nothing that acts on the page or hides."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from harness.report.document import INLINE
from harness.sample_view import excerpt

# Invisible signs that emoji and some scripts are written with; alone they change nothing.
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """`text` with what cannot be seen, or turns the direction of what follows, written out as an escape.

    These are control characters but for tab and line feed, format characters (bidirectional marks among them),
    surrogates without a partner, and line and paragraph separators.
    """
    if text.isprintable():
        return text
    return "".join(_written_out(character) if _hidden(character) else character for character in text)


def _hidden(character: str) -> bool:
    if character in "\n\t" or character in _JOINERS:
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def _written_out(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def escape(text: str) -> str:
    """For the content of an element and for an attribute in double quotes."""
    return html.escape(visible(text))


def breakable(text: str) -> str:
    """`escape` of a name, which a narrow column may break behind an underscore or a slash."""
    return re.sub(r"(?<=\w)([_/])(?=\w)", r"\1<wbr>", escape(text))


def attributes(**values: str | bool | None) -> str:
    """` name="value"` for each; True gives the bare name, None and False nothing. `class_` is class, `_` is -."""
    parts = []
    for key, value in values.items():
        name = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {name}")
        elif value is not None and value is not False:
            parts.append(f' {name}="{escape(value)}"')
    return "".join(parts)


def inline(text: str) -> str:
    """One paragraph of inline Markdown: `code`, *emphasis*, **strong**, [text](https://...); the rest is literal."""
    parts = []
    last = 0
    for match in INLINE.finditer(text):
        parts.append(escape(text[last : match.start()]))
        last = match.end()
        found = match.groupdict()
        if found["code"] is not None:
            parts.append(f"<code>{escape(found['code'])}</code>")
        elif found["label"] is not None:
            # no-referrer in the page's head: the site that is opened does not learn from where
            parts.append(f'<a href="{escape(found["target"])}" rel="noopener">{inline(found["label"])}</a>')
        elif found["strong"] is not None:
            parts.append(f"<strong>{inline(found['strong'])}</strong>")
        else:
            parts.append(f"<em>{inline(found['emphasis'])}</em>")
    return "".join([*parts, escape(text[last:])])


def paragraphs(text: str) -> str:
    """Paragraphs separated by empty lines, each of inline Markdown."""
    found = [part.strip() for part in re.split(r"\n\s*\n", text)]
    return "".join(f"<p>{inline(part)}</p>\n" for part in found if part)


def shortened(text: str, longest: int) -> str:
    """`text`, visible; of a longer one the beginning and the end, with a note of how much is left out between."""
    parts = excerpt(text, (-1, -1), longest)
    shown = [visible(text[begin:end]) for begin, end in parts]
    gaps = [after[0] - before[1] for before, after in pairwise(parts)]
    notes = [f" [... {gap:,} characters left out ...] " for gap in gaps] + [""]
    return "".join(part + note for part, note in zip(shown, notes, strict=True))


def data(value: Any) -> str:
    """JSON that cannot end the script element which holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, sort_keys=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def anchors(wanted: Sequence[str], fixed: Sequence[bool]) -> list[str]:
    """An id for each: where `fixed` its very name (other files link to it), else made of its words; none twice."""
    found = [""] * len(wanted)
    taken: set[str] = set()
    for i in sorted(range(len(wanted)), key=lambda i: not fixed[i]):
        words = re.sub(r"\s+", "-", wanted[i].strip()) if fixed[i] else re.sub(r"[^\w.-]+", "-", wanted[i].lower())
        words = visible(words).strip("-")[:80] or "section"
        found[i] = words
        number = 2
        while found[i] in taken:
            found[i] = f"{words}-{number}"
            number += 1
        taken.add(found[i])
    return found


def address(*parts: str) -> str:
    """Parts of an id or a fragment joined by slashes, in characters that need no escape in either."""
    return "/".join(quote(visible(part), safe="") for part in parts)
