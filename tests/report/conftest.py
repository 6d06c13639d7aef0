"""Small finished studies for the tests of reports: two model sizes and two levels of noise, a second to make."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.compare import compare_loaded
from harness.compare_load import load_runs
from harness.report.document import Source
from harness.report.spec import Item

SEEDS = (0, 1, 2)
SKILLS = {"plain_rl": 0.4, "mixer": 0.8, "third": 0.5}
NOISE = "data.demo_noise"


def _compare_conftest() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "compare" / "conftest.py"
    specification = importlib.util.spec_from_file_location("compare_conftest", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def make_source(path: Path, name: str = "main", baseline: str | None = "plain_rl", **options: Any) -> Source:
    """The finished runs at or below `path` as a source; options: label, force, level."""
    runs, unfinished = load_runs(path)
    force, level = options.get("force", False), options.get("level", 0.95)
    return Source(name, options.get("label", name), compare_loaded(runs, unfinished, baseline, force, level))


def make_item(show: str, kind: str = "table", /, **values: Any) -> Item:
    """An item of a report; values that are no fields of it are options."""
    fields = {key: values.pop(key) for key in ("name", "sources", "title", "caption") if key in values}
    return Item(kind=kind, show=show, **{"name": show, **fields}, options=values)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """(root, strategy, seed, skill, ...) -> the directory of one run; see tests/compare/conftest.py.

    It holds the responses that were graded as well, as a real run does.
    """
    make = _compare_conftest().write_run

    def write(*arguments: Any, **options: Any) -> Path:
        path = make(*arguments, **options)
        (path / "generations").mkdir()
        for file in (path / "verdicts").glob("*.jsonl"):
            lines = []
            for row in map(json.loads, file.read_text().splitlines()):
                text = f"The answer to {row['problem']} is {int(row['score'])}."
                keys = {"problem": row["problem"], "sample": row["sample"], "seed": 1}
                lines.append(json.dumps({**keys, "text": text, "n_tokens": len(text), "finish": "stop"}) + "\n")
            (path / "generations" / file.name).write_text("".join(lines))
        return path

    return write


@pytest.fixture(scope="session", name="make_source")
def _make_source() -> Callable[..., Source]:
    return make_source


@pytest.fixture(scope="session", name="make_item")
def _make_item() -> Callable[..., Item]:
    return make_item


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, write_run: Callable[..., Path]) -> Path:
    """Experiments below one directory, 3 seeds each; read only.

    `small` and `large`: models 0.2m and 1m, strategies plain_rl, mixer (which has a mu) and third (not in `large`),
    splits eval and ood. `noisy`: model 0.2m, plain_rl and mixer at 0.3 and 0.6 of data.demo_noise.
    """
    root = tmp_path_factory.mktemp("study")
    for seed in SEEDS:
        for strategy, skill in SKILLS.items():
            common = {"ood": True, "has_mu": strategy == "mixer"}
            write_run(root, strategy, seed, skill, experiment="small", spec={"model": "0.2m"}, **common)
            if strategy == "third":
                continue
            write_run(root, strategy, seed, skill + 0.1, experiment="large", spec={"model": "1m"}, **common)
            for noise in (0.3, 0.6):
                spec = {"model": "0.2m", "data": {"demo_noise": noise}}
                loss = noise * (0.4 if strategy == "mixer" else 0.1)
                write_run(root, strategy, seed, skill - loss, experiment="noisy", spec=spec, **common)
    return root


@pytest.fixture(scope="session")
def sources(study: Path) -> dict[str, Source]:
    """The experiments of `study` as sources with the baseline plain_rl."""
    return {name: make_source(study / name, name) for name in ("small", "large", "noisy")}


def problem_means(path: Path, suite: str, split: str = "eval", fraction: str = "1.00") -> dict[str, float]:
    """Mean score of every problem of one run, from its verdicts as they are on disk."""
    scores: dict[str, list[float]] = {}
    for line in (path / "verdicts" / f"{suite}@{fraction}.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["split"] == split:
            scores.setdefault(row["problem"], []).append(row["score"])
    return {problem: sum(found) / len(found) for problem, found in sorted(scores.items())}


@pytest.fixture(scope="session", name="problem_means")
def _problem_means() -> Callable[..., dict[str, float]]:
    return problem_means


@pytest.fixture(scope="session")
def matrix(study: Path) -> Callable[..., np.ndarray]:
    """(experiment, strategy, suite, split, noise) -> scores [seeds, problems], read without the package."""

    def read(experiment: str, strategy: str, suite: str, split: str = "eval", noise: float | None = None) -> np.ndarray:
        rows = {}
        for path in (study / experiment).glob(f"{strategy}-*"):
            spec = json.loads((path / "manifest.json").read_text())["spec"]
            if noise in (None, spec.get("data", {}).get("demo_noise")):
                rows[spec["seed"]] = list(problem_means(path, suite, split).values())
        return np.array([rows[seed] for seed in sorted(rows)])

    return read
