"""Read finished run directories: specification, metrics, timing, and graded samples reduced to problem scores."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.spec import RunSpec


@dataclass(frozen=True)
class Evaluation:
    """One suite evaluated at one moment of one run.

    `problems`: index = problem id; columns split, level, score (mean over scored samples, NaN if none), scored (samples
    with a score), passed (samples of score 1). `graders` holds (grader, version) pairs.
    """

    problems: pd.DataFrame
    samples: int
    statuses: dict[str, int]
    truncated: int
    graders: frozenset[tuple[str, str]]
    sandboxes: frozenset[str]
    data_hash: str | None
    ledger: dict[str, float]

    def ids(self, split: str) -> frozenset[str]:
        """Ids of the problems of a split."""
        return frozenset(self.problems.index[self.problems["split"] == split])


@dataclass(frozen=True)
class Run:
    """One finished run. `metrics` and `timing` have one row an optimiser step and may be empty."""

    experiment: str
    run_id: str
    spec: dict[str, Any]
    metrics: pd.DataFrame
    timing: pd.DataFrame
    evaluations: dict[tuple[str, str], Evaluation]
    arm: str | None = None  # its name in the matrix that it was run by

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.run_id}"

    @property
    def strategy(self) -> str:
        return str(self.spec["strategy"])

    @property
    def seed(self) -> int:
        return int(self.spec["seed"])

    @cached_property
    def fractions(self) -> list[str]:
        """Evaluated fractions of the budget, as written in file names, ascending."""
        return sorted({fraction for _, fraction in self.evaluations}, key=float)

    def suites_at(self, fraction: str) -> list[str]:
        """Suites evaluated at `fraction`, by name."""
        return sorted(suite for suite, at in self.evaluations if at == fraction)


def find_runs(root: Path) -> tuple[list[Path], list[Path]]:
    """Run directories at `root`, one or two levels below it: (finished, unfinished), each sorted by path.

    A directory with a manifest.json is a run and is not searched further; those of kind "evaluation" are no training
    runs and are left out. Raises ValueError where `root` is missing or holds no finished run.
    """
    if not root.is_dir():
        raise ValueError(f"There is no directory {root}; give the results directory or one experiment below it.")
    runs: list[Path] = []
    layer = [root]
    for depth in range(3):
        below = []
        for directory in layer:
            if (directory / "manifest.json").is_file():
                if _read_json(directory / "manifest.json").get("kind") != "evaluation":
                    runs.append(directory)
            elif depth < 2:
                below += [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")]
        layer = below
    runs.sort()
    finished = [path for path in runs if (path / "DONE").exists()]
    if not finished:
        raise ValueError(f"No finished run below {root} ({len(runs)} unfinished); a finished run holds a file DONE.")
    return finished, [path for path in runs if not (path / "DONE").exists()]


def load_run(path: Path) -> Run:
    """Load one finished run directory. Raises ValueError for a damaged or incomplete one."""
    spec = _read_json(path / "manifest.json").get("spec", {})
    missing = [key for key in ("strategy", "model", "seed", "budget") if key not in spec]
    if missing:
        raise ValueError(f"{path / 'manifest.json'} has no {', '.join(missing)} in its spec; the run is damaged.")
    spec = completed(spec)
    moments = _read_json(path / "evaluation.json")
    evaluations = {}
    for file in sorted((path / "verdicts").glob("*@*.jsonl")):
        suite, _, fraction = file.stem.rpartition("@")
        summary = moments.get(fraction, {}).get(suite)
        if summary is None:
            raise ValueError(f"{path / 'evaluation.json'} lacks suite {suite} at {fraction}, which verdicts/ holds.")
        evaluations[suite, fraction] = _evaluation(file, summary)
    if not evaluations:
        raise ValueError(f"{path} holds no verdicts; evaluate the run before comparing it.")
    return Run(
        experiment=path.resolve().parent.name,
        run_id=path.resolve().name,
        spec=spec,
        metrics=_read_steps(path / "metrics.jsonl"),
        timing=_read_steps(path / "timing.jsonl"),
        evaluations=evaluations,
        arm=_arm(path.resolve()),
    )


def completed(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification with the keys that it lacks at their defaults: runs made before a key existed had those."""
    found = {}
    for key, default in RunSpec().as_dict().items():
        value = spec.get(key, default)
        sections = isinstance(default, dict) and key != "options"
        found[key] = {**default, **value} if sections else value
    return found


def _arm(path: Path) -> str | None:
    """The run's name in a matrix file beside it, if there is one."""
    for file in sorted(path.parent.glob("*.matrix.json")):
        cell = _read_json(file).get("cells", {}).get(path.name)
        if cell is not None and cell.get("arm"):
            return str(cell["arm"])
    return None


def _evaluation(file: Path, summary: dict[str, Any]) -> Evaluation:
    # A re-graded sample is appended again: the last verdict of a sample holds.
    rows = list({(row["problem"], row["sample"]): row for row in _read_lines(file)}.values())
    if not rows:
        raise ValueError(f"{file} is empty; evaluate the run again.")
    _check_complete(file, rows, summary)
    frame = pd.DataFrame(
        {
            "problem": [row["problem"] for row in rows],
            "split": [row.get("split", "eval") for row in rows],
            "level": [row.get("level") for row in rows],
            "score": pd.array([row["score"] for row in rows], dtype="Float64").to_numpy(float, na_value=float("nan")),
        }
    )
    frame["scored"] = frame["score"].notna().astype(int)
    frame["passed"] = (frame["score"] >= 1.0).astype(int)
    problems = frame.groupby("problem", sort=True).agg(
        {"split": "first", "level": "first", "score": "mean", "scored": "sum", "passed": "sum"}
    )
    return Evaluation(
        problems=problems,
        samples=len(rows),
        statuses=dict(sorted(Counter(str(row["status"]) for row in rows).items())),
        truncated=sum(bool(row.get("truncated")) for row in rows),
        graders=frozenset((str(row.get("grader")), str(row.get("grader_version"))) for row in rows),
        sandboxes=frozenset(str(row.get("sandbox")) for row in rows),
        data_hash=summary.get("data_hash"),
        ledger={key: float(value) for key, value in summary.get("at", {}).items() if value is not None},
    )


def _check_complete(file: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """ValueError unless there are k samples of each of the n problems of the summary, with scores that are numbers."""
    samples = Counter(row["problem"] for row in rows)
    expected = sum(block["n"] for block in (summary, summary.get("ood", {})) if "n" in block)
    if expected and len(samples) != expected:
        raise ValueError(
            f"{file} has verdicts on {len(samples)} different problems, but {expected} were evaluated: problem ids are "
            "missing or duplicated, so evaluate the run again."
        )
    k = summary.get("k") or summary.get("ood", {}).get("k")
    wrong = next((problem for problem, count in samples.items() if k and count != k), None)
    if wrong is not None:
        raise ValueError(
            f"{file} has {samples[wrong]} samples of problem {wrong} instead of {k}: samples are missing or its id is "
            "duplicated, so evaluate the run again."
        )
    for problem, splits in _splits(rows).items():
        if len(splits) > 1:
            raise ValueError(
                f"{file} has problem {problem} in the splits {' and '.join(sorted(splits))}: the id is duplicated."
            )
    for row in rows:
        if row["score"] is not None and not math.isfinite(row["score"]):
            raise ValueError(f"{file} has the score {row['score']} for problem {row['problem']}: rescore the run.")


def _splits(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["problem"], set()).add(row.get("split", "eval"))
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; the run is damaged.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); the run is damaged.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object; the run is damaged.")
    return value


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file; a last line without its line end was torn by a kill and is skipped."""
    text = path.read_text(encoding="utf-8")
    rows = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} line {number} is not valid JSON ({error}); the run is damaged.") from None
    return rows


def _read_steps(path: Path) -> pd.DataFrame:
    """Numeric columns indexed by step; a step redone after a resume keeps its last line. Empty for a missing file."""
    rows = {row["step"]: row for row in _read_lines(path)} if path.is_file() else {}
    numbers = [
        {key: float(value) for key, value in rows[step].items() if key != "step" and isinstance(value, int | float)}
        for step in sorted(rows)
    ]
    return pd.DataFrame(numbers, index=pd.Index(sorted(rows), name="step"))
