"""Packs: finished runs of one experiment in compact form, read back. `harness.pack` writes them.

pack.json          schema, experiment, number of runs, SHA-256 of the files below
runs.jsonl.gz      one line for each set of problems, then one a run: manifest, evaluation.json, scores by problem,
                   totals of the steps, and where its details are
details.jsonl.gz   one line a run, each a gzip member of its own: steps as columns, and sample generations
*.matrix.json, *.tuning.json   as they lay beside the runs
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import problem_scores, run_steps, score_file
from harness.compare_run import Run, arms, checked_spec, evaluation, read_object
from harness.problem_scores import Questions
from harness.run_steps import Steps

SCHEMA = 1
NAME, RUNS, DETAILS = "pack.json", "runs.jsonl.gz", "details.jsonl.gz"


def is_pack(path: Path) -> bool:
    """Whether a directory is a pack."""
    return (path / NAME).is_file()


def load(path: Path, shared: dict[bytes, Questions]) -> list[Run]:
    """The runs of a pack, equal to those of the directories that it was made of; steps are read when asked for.

    Metrics and timing have six significant digits. `shared`: sets of problems that were read before, by their line.
    Raises ValueError for a damaged pack and for one of another schema.
    """
    head = read_object(path / NAME)
    if head.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} is a pack of schema {head.get('schema')}, this version reads {SCHEMA}: pack it again."
        )
    if score_file.digest(path / RUNS) != head.get("sha256", {}).get(RUNS):
        raise _damaged(path / RUNS)
    named = arms(path)
    sets: list[Questions] = []
    runs = []
    with gzip.open(path / RUNS) as stream:
        for line in stream:
            if line.startswith(b'{"ids"'):
                sets.append(problem_scores.questions(line[:-1], shared))
            else:
                runs.append(_run(path, str(head["experiment"]), json.loads(line), sets, named))
    return runs


def _run(
    path: Path, experiment: str, packed: Mapping[str, Any], sets: list[Questions], named: Mapping[str, str]
) -> Run:
    evaluations = {}
    for scores in packed["scores"]:
        suite, fraction = scores["suite"], scores["fraction"]
        summary = packed["evaluation"][fraction][suite]
        evaluations[suite, fraction] = evaluation(sets[scores["set"]], scores, summary)
    name, place = packed["run"], tuple(packed["details"])

    def steps() -> tuple[Steps, Steps]:
        found = _details(path, name, place)
        return _columns(found["metrics"]), _columns(found["timing"])

    return Run(
        experiment=experiment,
        run_id=name,
        spec=checked_spec(path / RUNS, packed["manifest"]),
        evaluations=evaluations,
        arm=named.get(name),
        path=path,
        steps=steps,
        totals=packed["totals"],
        examples=lambda: _details(path, name, place)["examples"],
    )


def _details(path: Path, name: str, place: tuple[int, int]) -> dict[str, Any]:
    begin, size = place
    try:
        with open(path / DETAILS, "rb") as stream:
            stream.seek(begin)
            found = json.loads(gzip.decompress(stream.read(size)))
    except (FileNotFoundError, EOFError, zlib.error, gzip.BadGzipFile, json.JSONDecodeError):
        raise _damaged(path / DETAILS) from None
    if found["run"] != name:
        raise _damaged(path / DETAILS)
    return found


def _columns(columns: Mapping[str, list[float | None]]) -> Steps:
    names = [key for key in columns if key != "step"]
    return run_steps.of_columns(columns["step"], {key: columns[key] for key in names})


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged or belongs to another pack: restore it, or pack the runs again.")
