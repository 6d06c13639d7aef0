"""A finished evaluation as `harness eval` leaves it, made without a model: the answers are demonstrations."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.evaluate import data_hash
from harness.samples import problems_of, spec_of, suites_of
from harness.scores import summarise, verdict_row
from harness.store import SCHEMA, RunDir, keep_lines, read_json, read_lines, write_json

K = 3


def make(path: Path, *suites: str, problems: int = 6, ood: int = 2, data: dict[str, Any] | None = None) -> RunDir:
    """Right and wrong demonstrations and some responses without an answer, graded by the graders of today."""
    run = RunDir(path)
    evaluation = {"suites": list(suites) or None, "problems": problems, "ood_problems": ood, "k": K}
    content = {"seed": 0, "model": "1m", "data": data or {}, "eval": evaluation}
    write_json(path / "manifest.json", {"schema": SCHEMA, "kind": "evaluation", "spec": content, "attempts": []})
    spec = spec_of(run)
    summaries: dict[str, Any] = {}
    for name, suite in suites_of(spec).items():
        asked = problems_of(spec, suite)
        generations = []
        for problem in asked.values():
            for sample in range(K):
                rng = random.Random(f"{problem.id} {sample}")
                text = suite.demonstration(problem, sample, wrong=rng.random() < 0.4)
                text = text if rng.random() < 0.85 else "I do not know"
                generations.append(
                    {
                        "problem": problem.id, "sample": sample, "seed": 1, "text": text,
                        "n_tokens": len(text), "finish": "length" if "know" in text else "stop",
                    }
                )  # fmt: skip
        keep_lines(run.generations(name, 0.0), generations)
        verdicts = suite.grade([asked[row["problem"]] for row in generations], [row["text"] for row in generations])
        rows = [verdict_row(asked[g["problem"]], g, verdict) for g, verdict in zip(generations, verdicts, strict=True)]
        keep_lines(run.verdicts(name, 0.0), rows)
        splits = {
            split: [problem for problem in asked.values() if (problem.split or "eval") == split]
            for split in ("eval", "ood")
        }
        blocks = {
            split: {**summarise(rows, split, K), "data_hash": data_hash(chosen)}
            for split, chosen in splits.items()
            if chosen
        }
        summaries[name] = blocks["eval"] | ({"ood": blocks["ood"]} if "ood" in blocks else {})
    write_json(run.evaluation, {"0.00": summaries})
    run.finish()
    return run


def change_verdicts(run: RunDir, suite: str, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrites verdicts and their summary, as another grader would have left them."""
    rows = [change(i, row) for i, row in enumerate(read_lines(run.verdicts(suite, 0.0)))]
    keep_lines(run.verdicts(suite, 0.0), rows)
    evaluation = read_json(run.evaluation)
    block = evaluation["0.00"][suite]
    block |= summarise(rows, "eval", K)
    if "ood" in block:
        block["ood"] |= summarise(rows, "ood", K)
    write_json(run.evaluation, evaluation)


def older(i: int, row: dict[str, Any]) -> dict[str, Any]:
    """What a stricter grader of version 0 said: every third right answer is wrong."""
    strict = {"status": "fail", "score": 0.0} if row["status"] == "pass" and i % 3 == 0 else {}
    return {**row, **strict, "grader_version": "0"}


def files(path: Path) -> dict[str, Any]:
    """The content of every file that a rescore may touch; the time of a rescore is left out."""
    found: dict[str, Any] = {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("run.lock", "manifest.json")
    }
    manifest = json.loads((path / "manifest.json").read_text())
    for entry in manifest.get("rescores", ()):
        del entry["time"]
    return {**found, "manifest.json": manifest}
