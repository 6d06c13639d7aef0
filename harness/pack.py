"""Finished runs in compact form, without weights: everything that comparisons and reports are made of.

A pack holds, for each run of an experiment, manifest and evaluation.json as they are, the scores of every problem, the
totals of the steps in full, every number of metrics.jsonl and timing.jsonl (six significant digits; whole numbers
exactly) and a few sample generations. The files are those of `harness.pack_load`. The same runs give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import examples, run_steps, score_file
from harness.compare_load import Run, find_runs, load_each
from harness.compare_run import read_object
from harness.pack_load import DETAILS, NAME, RUNS, SCHEMA, is_pack
from harness.problem_scores import encode

DIGITS = 6
BESIDE = ("*.matrix.json", "*.tuning.json")


@dataclass(frozen=True)
class Packed:
    """What became of one experiment: its pack, the number of runs in it, those left out as unfinished, and bytes."""

    path: Path
    runs: int
    unfinished: int
    size: int


def pack(results: Sequence[Path], out: Path, wanted: int = 8) -> list[Packed]:
    """Packs the finished runs at or below `results` into a directory an experiment below `out`.

    `wanted`: sample generations of each run. Raises ValueError where nothing is finished, a run is damaged, two runs of
    an experiment have the same name, or a directory in `out` is in the way.
    """
    if wanted < 0:
        raise ValueError(f"the number of sample generations must not be negative, but is {wanted}")
    finished: dict[str, dict[str, Path]] = {}
    unfinished: dict[str, int] = {}
    for root in results:
        found, left = find_runs(root)
        if not found:
            raise ValueError(f"{root} holds packs only: pack the run directories that they were made of")
        for path in found:
            path = path.resolve()
            runs = finished.setdefault(path.parent.name, {})
            if runs.setdefault(path.name, path) != path:
                raise ValueError(f"two runs are named {path.parent.name}/{path.name}: {runs[path.name]} and {path}")
        for path in left:
            name = path.resolve().parent.name
            unfinished[name] = unfinished.get(name, 0) + 1
    for name in finished:
        if (out / name).exists() and not is_pack(out / name) and any((out / name).iterdir()):
            raise ValueError(f"{out / name} is there and is no pack: choose another --out")
    return [
        Packed(out / name, len(runs), unfinished.get(name, 0), _experiment(out / name, name, runs, wanted))
        for name, runs in sorted(finished.items())
    ]


def _experiment(target: Path, name: str, runs: Mapping[str, Path], wanted: int) -> int:
    """Writes one pack and returns its size in bytes."""
    target.mkdir(parents=True, exist_ok=True)
    sets: dict[bytes, int] = {}
    lines, details = [], io.BytesIO()
    for run in load_each([path for _, path in sorted(runs.items())]):
        content = gzip.compress(_line(_details(run, wanted)), mtime=0)
        place = [details.tell(), len(content)]
        details.write(content)
        lines.append({**_summary(run, sets), "run": run.run_id, "details": place})
    rows = [line + b"\n" for line in sets] + [_line(line) for line in lines]
    files = {RUNS: gzip.compress(b"".join(rows), mtime=0), DETAILS: details.getvalue()}
    beside = _beside({path.parent for path in runs.values()})
    for old in [file for kind in BESIDE for file in target.glob(kind) if file.name not in beside]:
        old.unlink()
    files |= {file: path.read_bytes() for file, path in beside.items()}
    for file, content in files.items():
        score_file.replace(target / file, content)
    head = {
        "schema": SCHEMA,
        "experiment": name,
        "runs": len(runs),
        "sha256": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
    }
    score_file.replace(target / NAME, json.dumps(head, indent=1).encode() + b"\n")
    return sum(file.stat().st_size for file in target.iterdir())


def _beside(folders: set[Path]) -> dict[str, Path]:
    """Files of matrices and searches; ValueError where two of a name differ."""
    found: dict[str, Path] = {}
    for path in sorted(path for folder in folders for kind in BESIDE for path in folder.glob(kind)):
        if found.setdefault(path.name, path).read_bytes() != path.read_bytes():
            raise ValueError(f"{found[path.name]} and {path} differ: pack their directories into different --out")
    return found


def _summary(run: Run, sets: dict[bytes, int]) -> dict[str, Any]:
    """Everything that is always read. `sets` takes up the run's sets of problems, with their places."""
    scores = []
    for (suite, fraction), found in sorted(run.evaluations.items()):
        place = sets.setdefault(found.questions.line, len(sets))
        scores.append({"suite": suite, "fraction": fraction, "set": place, **encode(found)})
    return {
        "manifest": read_object(run.path / "manifest.json"),
        "evaluation": read_object(run.path / "evaluation.json"),
        "scores": scores,
        "totals": run.totals,
    }


def _details(run: Run, wanted: int) -> dict[str, Any]:
    """Everything that is read when it is asked for."""
    metrics, timing = (_columns(path) for path in (run.path / name for name in score_file.STEPS))
    return {
        "run": run.run_id,
        "metrics": metrics,
        "timing": timing,
        "examples": [asdict(example) for example in examples.examples(run, wanted)],
    }


def _columns(path: Path) -> dict[str, list[float | None]]:
    """The numbers of a file of steps by name, as `harness.run_steps` reads them, rounded."""
    steps = run_steps.read(path)
    columns = {key: [_rounded(value) for value in values.tolist()] for key, values in steps.columns.items()}
    return {"step": steps.index.tolist(), **columns}


def _rounded(value: float) -> float | int | None:
    if value != value:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.{DIGITS}g}")


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
