"""scores.jsonl of a run: its verdicts problem by problem and the totals of its steps, so that comparing is fast.

Everything in it follows from other files of the run, whose SHA-256 digests it holds. A part whose file has another
digest now is not used, and neither is a file that does not match its own checksum; deleting it costs time only.

First line: schema and SHA-256 of the rest. Then one line for each set of problems, one for each file of verdicts/ (with
the place of its problems among those sets), and one with the totals of the steps.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import problem_scores, run_steps
from harness.problem_scores import Questions
from harness.store import RunDir, read_lines, sync_directory

SCHEMA = 1
NAME = "scores.jsonl"
BLOCK = 1 << 20  # bytes
STEPS = ("metrics.jsonl", "timing.jsonl")


@dataclass(frozen=True)
class Condensed:
    """Content of a file: problems and scores by name of the verdict file, and digests of what they were made of."""

    questions: dict[str, Questions] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    totals: dict[str, Any] | None = None
    steps: dict[str, str] = field(default_factory=dict)


def digest(path: str | Path) -> str:
    """SHA-256 of a file in hex digits; empty for a file that does not exist."""
    try:
        with open(path, "rb", buffering=0) as stream:
            found = hashlib.sha256()
            while block := stream.read(BLOCK):
                found.update(block)
            return found.hexdigest()
    except FileNotFoundError:
        return ""


def read(path: Path, shared: dict[bytes, Questions]) -> Condensed:
    """The file of the run directory `path`; empty where there is none that is whole and of this version.

    `shared` has the sets of problems that were read before, by their line, and takes up new ones.
    """
    try:
        content = (path / NAME).read_bytes()
    except FileNotFoundError:
        return Condensed()
    head, _, rest = content.partition(b"\n")
    if head != _head(rest):
        return Condensed()
    found, sets, totals, steps = Condensed(), [], None, {}
    for line in rest.split(b"\n")[:-1]:
        if line.startswith(b'{"ids"'):
            sets.append(problem_scores.questions(line, shared))
            continue
        entry = json.loads(line)
        if "totals" in entry:
            totals, steps = entry["totals"], entry["steps"]
        else:
            found.questions[entry["file"]] = sets[entry["set"]]
            found.scores[entry["file"]] = entry
    return Condensed(found.questions, found.scores, totals, steps)


def write(run: RunDir) -> None:
    """Makes the file anew, of the verdicts and steps that there are; what has not changed is not read again.

    Verdicts that have no condensed form are left out, so that whoever reads them finds what is wrong.
    """
    old = read(run.path, {})
    sets: dict[bytes, int] = {}
    entries = []
    for file in sorted((run.path / "verdicts").glob("*@*.jsonl")):
        sha256 = digest(file)
        known = old.scores.get(file.name)
        if known is not None and known["sha256"] == sha256:
            line, scores = old.questions[file.name].line, known
        else:
            try:
                line, scores = problem_scores.condense(read_lines(file))
            except ValueError:
                continue
        place = sets.setdefault(line, len(sets))
        entries.append({**scores, "file": file.name, "sha256": sha256, "set": place})
    metrics, timing = (run_steps.read(run.path / name) for name in STEPS)
    totals = {"cost": run_steps.cost(metrics, timing), "reasons": run_steps.reasons(metrics, timing)}
    entries.append({"totals": totals, "steps": {name: digest(run.path / name) for name in STEPS}})
    rest = b"".join(line + b"\n" for line in (*sets, *(json.dumps(entry).encode() for entry in entries)))
    replace(run.path / NAME, _head(rest) + b"\n" + rest)


def replace(path: Path, content: bytes) -> None:
    """Replaces a file by another content: the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def _head(rest: bytes) -> bytes:
    return json.dumps({"schema": SCHEMA, "sha256": hashlib.sha256(rest).hexdigest()}).encode()
