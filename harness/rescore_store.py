"""New verdicts into a run directory in a way that a kill at any moment loses nothing and the next call completes.

rescores/pending/SUITE@FRACTION.jsonl   new verdicts, as far as they are graded
rescores/pending/commit.json            written when all of them are there: from now on they are carried over
rescores/N/verdicts/, evaluation.json   what rescore number N has replaced
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import score_file
from harness.store import RunDir, read_json, sync_directory, write_json

Place = tuple[str, str]  # suite, evaluation's key
Summaries = Mapping[str, Mapping[str, Any]]  # evaluation's key -> suite -> summary


def folder(run: RunDir) -> Path:
    return run.path / "rescores"


def staged(run: RunDir, suite: str, key: str) -> Path:
    """Where new verdicts are collected."""
    return folder(run) / "pending" / f"{suite}@{key}.jsonl"


def replaced(run: RunDir, number: int) -> RunDir:
    """The verdicts and the evaluation.json that rescore `number` has replaced, laid out as in a run directory."""
    return RunDir(folder(run) / str(number))


def next_number(run: RunDir) -> int:
    return 1 + max((entry["number"] for entry in run.manifest.get("rescores", ())), default=0)


def commit(run: RunDir, entry: Mapping[str, Any], places: Sequence[Place], summaries: Summaries) -> None:
    """Puts the staged verdicts of `places` and `summaries` in the place of the old ones, which are kept.

    `entry`, with the number, goes to the manifest.
    """
    kept = replaced(run, entry["number"])
    if kept.path.exists():  # of a call that was killed before it was decided
        shutil.rmtree(kept.path)
    for suite, key in places:
        if run.verdicts(suite, float(key)).exists():
            _copy(run.verdicts(suite, float(key)), kept.verdicts(suite, float(key)))
    _copy(run.evaluation, kept.evaluation)
    content = {"entry": entry, "places": [list(place) for place in places], "summaries": summaries}
    write_json(_decision(run), content)
    finish(run)


def finish(run: RunDir) -> dict[str, Any] | None:
    """Carries a rescore over that has been decided, and returns its manifest entry; None if there is none."""
    if not _decision(run).exists():
        return None
    content = read_json(_decision(run))
    for suite, key in content["places"]:
        target = run.verdicts(suite, float(key))
        if staged(run, suite, key).exists():  # else a call before this one has moved it
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged(run, suite, key), target)
            sync_directory(target.parent)
    evaluation = read_json(run.evaluation)
    for key, summaries in content["summaries"].items():
        evaluation[key] = {**evaluation.get(key, {}), **summaries}
    write_json(run.evaluation, evaluation)
    manifest, entry = run.manifest, content["entry"]
    entries = manifest.setdefault("rescores", [])
    if entry["number"] not in [known["number"] for known in entries]:
        entries.append(entry)
        write_json(run.path / "manifest.json", manifest)
    if (run.path / score_file.NAME).exists():
        score_file.write(run)
    clear(run)
    return entry


def clear(run: RunDir) -> None:
    """Removes what is pending, and copies that a call has made before it was killed."""
    for path in (folder(run) / "pending", replaced(run, next_number(run)).path):
        if path.exists():
            shutil.rmtree(path)
    if folder(run).exists() and not any(folder(run).iterdir()):
        folder(run).rmdir()


def _decision(run: RunDir) -> Path:
    return folder(run) / "pending" / "commit.json"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "rb") as old, open(target, "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())
    sync_directory(target.parent)
