"""What a run directory says, for comparing runs bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def content(path: Path) -> dict[str, Any]:
    """Everything in a finished run directory that must not depend on how often the run was interrupted."""
    found: dict[str, Any] = {"metrics.jsonl": (path / "metrics.jsonl").read_bytes()}
    for folder in ("generations", "verdicts"):
        for file in sorted((path / folder).iterdir()):
            found[f"{folder}/{file.name}"] = file.read_bytes()
    evaluation = json.loads((path / "evaluation.json").read_text())
    for suites in evaluation.values():
        for summary in suites.values():
            del summary["at"]["seconds"]
    found["evaluation.json"] = evaluation
    found["steps in timing.jsonl"] = [json.loads(line)["step"] for line in (path / "timing.jsonl").open()]
    for checkpoint in sorted((path / "checkpoints").iterdir()):
        state = json.loads((checkpoint / "state.json").read_text())
        del state["ledger"]["seconds"]
        found[f"{checkpoint.name}/state.json"] = state
        for file in sorted(checkpoint.iterdir()):
            if file.name not in ("state.json", "manifest.json"):
                found[f"{checkpoint.name}/{file.name}"] = file.read_bytes()
    return found


def leftovers(path: Path) -> list[str]:
    """Files of half-finished work, and damaged checkpoints."""
    from harness import checkpoint

    found = [str(file.relative_to(path)) for file in path.rglob("*") if "tmp" in file.name.split(".")]
    return found + [c.name for c in sorted((path / "checkpoints").iterdir()) if checkpoint.verify(c) is not None]


def repeated(path: Path) -> list[str]:
    """Records that occur twice: steps of the metrics, samples of the generations and verdicts."""
    found = []
    for file in (path / "metrics.jsonl", *(path / "generations").iterdir(), *(path / "verdicts").iterdir()):
        rows = [json.loads(line) for line in file.open()]
        keys = [row["step"] if "step" in row else (row["problem"], row["sample"]) for row in rows]
        found += [f"{file.name} {key}" for key in keys if keys.count(key) > 1]
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open()]
