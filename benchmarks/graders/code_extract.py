"""The program in a response: after the thinking part, in the last fenced Python block, else in the bare text.

- A thinking part that never ends, a fence that never closes (with no complete block before it), no code: no answer.
- Of several blocks the last one that defines the entry point counts, else the last Python one.
- Text up to a bare fence that comes first is a block as well, if it is code: prompts may end with the opening fence.
- Without fences: from the first line of a program that defines the entry point to the last line that still parses; or,
  for prompts to be completed, the indented lines at the beginning. Text after "[DONE]" is dropped.
"""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from benchmarks.graders.code_tests import parse

_THINKING_ENDS = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THINKING_BEGINS = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\s]*)[^`\n]*")
_PYTHON = {"", "python", "py", "python3", "python2", "py3", "ipython", "pycon"}
_STARTS = re.compile(r"(?:def|class|import|from|async def)\s|@\w|\w+\s*(?::[^=]+)?=[^=]")
_BODY = re.compile(
    r"(?:return|if|for|while|with|try|assert|raise|yield|del|import|from|def|pass)\b|[\w.\[\]\"', ]+=[^=]"
)
_MAX_CUTS = 50


class Code(NamedTuple):
    """`text` as extracted; `whole` says whether it defines the entry point, else it completes the prompt's function."""

    text: str
    whole: bool


def after_thinking(response: str) -> str | None:
    """The response after its thinking part; None if that never ends."""
    text = _THINKING_ENDS.split(response)[-1]
    return None if _THINKING_BEGINS.search(text) else text


def fenced_blocks(text: str) -> tuple[list[tuple[str, str]], str, bool]:
    """([(language, content)] of the closed blocks, text before the first fence, whether the first fence names no
    language). A fence at the end of the last line of code closes its block too; one far to the right belongs to the
    code (a docstring)."""
    blocks: list[tuple[str, str]] = []
    fence, margin, language, inside, before, bare, first = "", 0, "", [], [], False, True
    for line in text.split("\n"):
        found = _FENCE.fullmatch(line.rstrip())
        if not fence:
            if found:
                margin, fence, language, inside = len(found[1]), found[2], found[3].lower(), []
                bare = bare or (first and not language)
                first = False
            elif first:
                before.append(line)
        elif found and not found[3] and found[2].startswith(fence) and len(found[1]) <= margin + 3:
            blocks.append((language, "\n".join(inside)))
            fence = ""
        elif line.rstrip().endswith(fence) and not found and line.count(fence[0]) == len(fence):
            blocks.append((language, "\n".join([*inside, line.rstrip().removesuffix(fence)])))
            fence = ""
        else:
            inside.append(line)
    return blocks, "\n".join(before), bare


def defines(code: str, entry: str) -> bool:
    """Whether a line of `code` defines `entry` at module level."""
    name = re.escape(entry)
    pattern = rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*(?::[^=\n]+)?=[^=]"
    return re.search(pattern, code, re.MULTILINE) is not None


def extract_code(response: str, entry: str, completes: bool = False) -> Code | None:
    """The program for `entry` in `response`; with `completes` it may be the body of the function in the prompt."""
    text = after_thinking(response.replace("\r\n", "\n").replace("\ufeff", ""))
    if text is None or not text.strip():
        return None
    text = text.partition("[DONE]")[0].rpartition("[BEGIN]")[2]
    blocks, before, bare = fenced_blocks(text)
    if bare and before.strip() and (head := _bare_code(before, entry, completes)):
        rest = text.split("\n")[before.count("\n") + 2 :]
        blocks = [("", head.text), *fenced_blocks("\n".join(rest))[0]]
    elif not blocks:
        return None if "```" in text or "~~~" in text else _bare_code(text, entry, completes)
    python = [content for language, content in blocks if language in _PYTHON and content.strip()]
    for content in reversed(python):
        if defines(content, entry):
            return Code(content, True)
    if not python:
        return None
    return Code(_as_body(python[-1]), False) if completes else Code(python[-1], True)


def _bare_code(text: str, entry: str, completes: bool) -> Code | None:
    if defines(text, entry):
        program = _program(text.split("\n"))
        return Code(program, True) if program and defines(program, entry) else None
    if not completes:
        return None
    lines = text.strip("\n").split("\n")
    if not lines[0].startswith((" ", "\t")):  # the indentation of the first line may have been stripped
        if not _BODY.match(lines[0]) or any(line.strip() and not line[0].isspace() for line in lines[1:]):
            return None
        lines[0] = "    " + lines[0]
    end = next((i for i, line in enumerate(lines) if line.strip() and not line[0].isspace()), len(lines))
    return Code("\n".join(lines[:end]), False)


def _as_body(code: str) -> str:
    """`code` indented as the body of a function, unless it is already."""
    first = next(line for line in code.split("\n") if line.strip())
    return code if first[0].isspace() else textwrap.indent(code, "    ")


def _program(lines: list[str]) -> str | None:
    """The longest stretch of lines that parses, from the first one that looks like the start of a program."""
    start = next((i for i, line in enumerate(lines) if _STARTS.match(line)), len(lines))
    end = len(lines)
    for _ in range(_MAX_CUTS):
        code = "\n".join(lines[start:end])
        line = _syntax_error(code)
        if line is None:
            return code if code.strip() else None
        end = max(start, min(end - 1, start + line - 1))
    return None


def _syntax_error(code: str) -> int | None:
    """The line of the first syntax error of `code`, None without one; 1 for text that exhausts the parser."""
    try:
        parse(code)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1
    return None
