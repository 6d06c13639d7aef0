"""Samples as text for people: asked, answered, extracted and wanted. Control characters are shown, not obeyed."""

from __future__ import annotations

from collections.abc import Sequence

from harness.samples import Sample

LONGEST = 1600  # characters shown of one text
ANSWER, LABEL, GOOD, BAD = "bold reverse", "dim", "bold green", "bold red"
_WIDTH = 10

Segment = tuple[str, str]  # text, style


def clean(text: str) -> str:
    """`text` with what is not printable written out; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def answer_place(text: str, answer: str) -> tuple[int, int]:
    """(begin, end) of the last place of the answer in the text; (-1, -1) if it is not there as it is."""
    begin = text.rfind(answer) if answer.strip() else -1
    return (begin, begin + len(answer)) if begin >= 0 else (-1, -1)


def excerpt(text: str, place: tuple[int, int], longest: int = LONGEST) -> list[tuple[int, int]]:
    """The parts (begin, end) of a text to show: its beginning, its end, and `place` with what is around it."""
    if len(text) <= longest:
        return [(0, len(text))]
    parts = [(0, longest // 4), (len(text) - longest // 2, len(text))]
    begin, end = place
    if begin >= 0:
        room = max(0, longest // 4 - (end - begin))
        parts.append((max(0, begin - room // 2), min(len(text), end + room // 2)))
    merged: list[tuple[int, int]] = []
    for part in sorted(parts):
        if merged and part[0] <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], part[1]))
        else:
            merged.append(part)
    return merged


def _shown(text: str, answer: str) -> list[Segment]:
    """The text, shortened, with the answer marked."""
    text, answer = clean(text), clean(answer)
    begin, end = answer_place(text, answer)
    segments: list[Segment] = []
    last = 0
    for first, stop in excerpt(text, (begin, end)):
        if first > last:
            segments.append((f" [... {first - last:,} characters ...] ", LABEL))
        low, high = max(first, begin), min(stop, end)
        if begin >= 0 and low < high:
            segments += [(text[first:low], ""), (text[low:high], ANSWER), (text[high:stop], "")]
        else:
            segments.append((text[first:stop], ""))
        last = stop
    return segments


def _field(name: str, segments: Sequence[Segment]) -> list[Segment]:
    """A labelled text whose further lines are indented alike."""
    indent = " " * (_WIDTH + 2)
    body = [(text.replace("\n", f"\n{indent}"), style) for text, style in segments if text]
    return [(f"  {name:{_WIDTH}s}", LABEL), *body, ("\n", "")]


def describe(sample: Sample) -> list[Segment]:
    """One sample: head line, prompt, response with the answer marked, extracted and gold answer."""
    verdict, generation = sample.verdict, sample.generation
    about = [f"sample {verdict['sample']}", f"level {verdict.get('level', 0)}", verdict.get("split", "eval")]
    if verdict.get("family"):
        about.insert(1, verdict["family"])
    cut = ", cut off" if verdict.get("truncated") else ""
    segments = [
        (f"\n[{verdict['problem']}, {', '.join(about)}] ", ""),
        (verdict["status"], BAD if sample.failed else GOOD),
        (f"{cut}, {generation['n_tokens']:,} tokens\n", ""),
    ]
    if sample.problem is not None:
        asked = sample.problem.prompt + (sample.problem.instruction or "")
        segments += _field("prompt", _shown(asked, ""))
    segments += _field("response", _shown(generation["text"], verdict.get("extracted", "")))
    segments += _field("extracted", _shown(verdict.get("extracted", ""), ""))
    if sample.problem is not None:
        segments += _field("gold", _shown(sample.problem.answer, ""))
    graded = f"{verdict.get('grader', '?')} {verdict.get('grader_version', '?')}"
    sandbox = f", sandbox {verdict['sandbox']}" if verdict.get("sandbox") else ""
    return [*segments, *_field("grader", [(graded + sandbox, LABEL)])]


def plain(segments: Sequence[Segment]) -> str:
    """Without styles, for files and pipes."""
    return "".join(text for text, _ in segments)
