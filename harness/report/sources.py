"""Sources of a report: finished runs, loaded once a path, and what a reader must know of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from harness.cli import is_user_error
from harness.compare import compare_loaded
from harness.compare_load import Run, load_runs
from harness.report.document import Source
from harness.report.options import nearest
from harness.report.spec import ReportSpec, SourceSpec
from harness.store import read_json

Loaded = tuple[list[Run], list[Path]]
NAMED = 5  # cells that a notice names one by one


def load_sources(
    spec: ReportSpec, folder: Path, say: Callable[[str], None], partial: bool = False
) -> tuple[dict[str, Source], list[str], dict[str, str]]:
    """(sources by name, notices, provenance); paths are relative to `folder`.

    A path that several sources name is read once. `partial`: sources whose path does not exist are left out, with a
    notice. Raises ValueError, naming the source, for a path without finished
    runs, an unknown strategy or baseline, and runs that must not be compared.
    """
    loaded: dict[Path, Loaded] = {}
    sources, notices, provenance = {}, [], {}
    for name, one in spec.sources.items():
        path = (folder / one.path).resolve()
        if partial and not path.exists():
            notices.append(f"The source {name} has no runs here ({one.path}): what needs it is left out.")
            say(f"source {name}: missing")
            continue
        try:
            if path not in loaded:
                loaded[path] = load_runs(path)
            source, missing = _source(name, one, loaded[path], path, spec.level)
        except ValueError as problem:
            if not is_user_error(problem):
                raise
            told = str(problem).replace("With --force", "With force = true")
            if not path.exists():
                told += " With --partial the report is made without it."
            raise ValueError(f"source {name} ({one.path}): {told}") from None
        sources[name] = source
        comparison = source.comparison
        say(f"source {name}: {sum(len(row.runs) for row in comparison.rows)} runs, {len(comparison.rows)} rows")
        told = [f"NOT COMPARABLE (forced): {reason}" for reason in comparison.forced]
        told += missing + comparison.warnings
        notices += [f"{source.label}: {text}" if len(spec.sources) > 1 else text for text in told]
        provenance[f"source {name}"] = describe(source)
    if not sources:
        raise ValueError(f"none of the sources exists: {', '.join(one.path for one in spec.sources.values())}.")
    return sources, notices, provenance


def describe(source: Source) -> str:
    """Number of runs, their experiments, and a digest of settings and scores, by which results can be told apart."""
    runs = [run for row in source.comparison.rows for run in row.runs]
    digest = hashlib.sha256()
    for run in sorted(runs, key=lambda one: one.name):
        digest.update(json.dumps([run.name, run.spec], sort_keys=True).encode())
        for (suite, fraction), result in sorted(run.evaluations.items()):
            digest.update(f"{suite}@{fraction} {' '.join(result.questions.ids)}".encode())
            digest.update(result.score.astype("<f8").tobytes())
    experiments = ", ".join(sorted({run.experiment for run in runs}))
    return f"{len(runs)} runs of {experiments}, sha256 {digest.hexdigest()[:16]}"


def _source(name: str, spec: SourceSpec, loaded: Loaded, path: Path, level: float) -> tuple[Source, list[str]]:
    runs, unfinished = loaded
    wanted = set(spec.strategies)
    if wanted:
        known = {name for run in runs for name in _names(run)}
        unknown = [one for one in spec.strategies if one not in known]
        if unknown:
            raise ValueError(f"there is no finished run of {unknown[0]!r}{nearest(unknown[0], known)}.")
        runs = [run for run in runs if wanted & _names(run)]
    cells = _planned(path)
    planned = {cell for cell, names in cells.items() if not wanted or names & wanted}
    if wanted:
        unfinished = [one for one in unfinished if wanted & (cells.get(one.resolve().name) or _strategy(one))]
    comparison = compare_loaded(runs, unfinished, spec.baseline, spec.force, level)
    begun = {run.run_id for run in runs} | {one.resolve().name for one in unfinished}
    missing = sorted(planned - begun)
    told = []
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        told = [f"{len(missing)} of {len(planned)} planned runs are missing: {', '.join(missing[:NAMED])}{more}."]
    return Source(name, spec.label or name, comparison), told


def _names(run: Run) -> set[str]:
    return {run.strategy, *([run.arm] if run.arm else [])}


def _strategy(unfinished: Path) -> set[str]:
    return {str(read_json(unfinished / "manifest.json").get("spec", {}).get("strategy"))}


def _planned(path: Path) -> dict[str, set[str]]:
    """Run id -> arm and strategy, for all cells of the matrices that the experiments at `path` were made by."""
    found: dict[str, set[str]] = {}
    for file in sorted({*path.glob("*.matrix.json"), *path.glob("*/*.matrix.json")}):
        for run_id, cell in read_json(file).get("cells", {}).items():
            names = (cell.get("arm"), cell.get("axes", {}).get("strategy"))
            found[run_id] = {str(name) for name in names if name}
    return found
