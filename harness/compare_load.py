"""Finished runs as comparisons need them, from run directories and from packs: specification, steps, problem scores."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness import compare_verdicts, pack_load, run_steps, score_file
from harness.compare_read import Raw, read_ahead
from harness.compare_run import Run, arms, checked_spec, decode, evaluation, read_object
from harness.compare_run import completed as completed
from harness.problem_scores import Evaluation as Evaluation
from harness.problem_scores import Questions
from harness.run_steps import Steps


def load_runs(root: Path) -> tuple[list[Run], list[Path]]:
    """(finished runs by path, directories of unfinished ones) at `root`, one or two levels below it; packs as well.

    Raises ValueError where `root` is missing or holds no finished run, and for one that is damaged or incomplete.
    """
    finished, unfinished, packs = _search(Path(root))
    shared: dict[bytes, Questions] = {}
    with without_cycles():
        runs = list(_decoded(finished, shared))
        for pack in packs:
            runs += pack_load.load(pack, shared)
    runs.sort(key=lambda run: (run.experiment, run.run_id))
    return runs, unfinished


def load_each(paths: Iterable[Path]) -> Iterator[Run]:
    """Finished run directories one after the other. Raises ValueError for a damaged or incomplete one."""
    return _decoded(list(paths), {})


def load_run(path: Path) -> Run:
    """One finished run directory. Raises ValueError for a damaged or incomplete one."""
    (run,) = load_each([Path(path)])
    return run


def find_runs(root: Path) -> tuple[list[Path], list[Path]]:
    """Run directories at `root`, one or two levels below it: (finished, unfinished), each sorted by path.

    A directory with a manifest.json is a run and is not searched further; those of kind "evaluation" are no training
    runs and are left out. Raises ValueError where `root` is missing or holds no finished run.
    """
    finished, unfinished, _ = _search(Path(root))
    return finished, unfinished


def find_packs(root: Path) -> list[Path]:
    """Packs at `root`, one or two levels below it, by path."""
    return _walk(Path(root))[1]


def _search(root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """(finished runs, unfinished runs, packs)"""
    runs, packs = _walk(root)
    runs = [path for path in runs if read_object(path / "manifest.json").get("kind") != "evaluation"]
    finished = [path for path in runs if os.path.exists(path / "DONE")]
    if not finished and not packs:
        raise ValueError(f"No finished run below {root} ({len(runs)} unfinished); a finished run holds a file DONE.")
    done = set(finished)
    return finished, [path for path in runs if path not in done], packs


def _walk(root: Path) -> tuple[list[Path], list[Path]]:
    """(directories with a manifest, packs), each by path"""
    if not root.is_dir():
        raise ValueError(f"There is no directory {root}; give the results directory or one experiment below it.")
    runs, packs = [], []
    layer = [str(root)]
    for depth in range(3):
        below = []
        for directory in layer:
            if os.path.isfile(f"{directory}/manifest.json"):
                runs.append(Path(directory))
            elif os.path.isfile(f"{directory}/{pack_load.NAME}"):
                packs.append(Path(directory))
            elif depth < 2:
                with os.scandir(directory) as entries:
                    below += [entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        layer = below
    return sorted(runs), sorted(packs)


@contextmanager
def without_cycles() -> Iterator[None]:
    """Without the search for reference cycles, which looks at every run again and again; memory of none is freed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _decoded(paths: Sequence[Path], shared: dict[bytes, Questions]) -> Iterator[Run]:
    folders: dict[Path, tuple[str, dict[str, str]]] = {}  # experiment's name and arms
    for raw in read_ahead(paths):
        path = raw.path if raw.path.name not in ("", "..") else raw.path.resolve()
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve().name, arms(path.parent)
        experiment, named = folders[path.parent]
        yield _decode(raw, experiment, path.name, named.get(path.name), shared)


def _decode(raw: Raw, experiment: str, run_id: str, arm: str | None, shared: dict[bytes, Questions]) -> Run:
    path = raw.path
    spec = checked_spec(path / "manifest.json", decode(path / "manifest.json", raw.manifest))
    moments = decode(path / "evaluation.json", raw.evaluation)
    condensed = score_file.read(path, shared)
    evaluations = {}
    for name, sha256 in raw.verdicts:
        suite, _, fraction = name.removesuffix(".jsonl").rpartition("@")
        summary = moments.get(fraction, {}).get(suite)
        if summary is None:
            raise ValueError(f"{path / 'evaluation.json'} lacks suite {suite} at {fraction}, which verdicts/ holds.")
        known = condensed.scores.get(name, {"sha256": None})
        if known["sha256"] == sha256 and compare_verdicts.fits(condensed.questions[name], known, summary):
            asked, scores = condensed.questions[name], known
        else:
            asked, scores = compare_verdicts.read(path / "verdicts" / name, summary, shared)
        evaluations[suite, fraction] = evaluation(asked, scores, summary)
    if not evaluations:
        raise ValueError(f"{path} holds no verdicts; evaluate the run before comparing it.")
    files = [path / name for name in score_file.STEPS]

    def steps() -> tuple[Steps, Steps]:
        metrics, timing = (run_steps.read(file) for file in files)
        return metrics, timing

    run = Run(
        experiment=experiment,
        run_id=run_id,
        spec=spec,
        evaluations=evaluations,
        arm=arm,
        path=path,
        steps=steps,
        totals=condensed.totals if condensed.steps == raw.steps else None,
    )
    run.totals  # noqa: B018 - damage is found while loading
    return run
