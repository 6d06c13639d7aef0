"""The command line in this process, and a results directory with two finished runs, an interrupted one and no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from trained import run_of

from harness import cli


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """(arguments) -> exit code and output of `harness ARGUMENTS` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse ends this way
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations run in this process, which has everything loaded; their own process has tests of its own."""
    from harness import evaluation_run, supervisor
    from harness.commands.evaluate import prepare

    def evaluate(options: Any, directory: Any, deadline: float, say: Any, report: Any) -> None:
        evaluation_run.execute(prepare(options)[0], options.split, directory, say, report)

    monkeypatch.setattr(supervisor, "evaluate", evaluate)


@pytest.fixture(scope="session")
def finished(make_spec: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Really trained runs: gac and sft finished, gac with seed 1 as a kill after two steps would leave it."""
    from harness.run import execute

    results = tmp_path_factory.mktemp("finished") / "results"
    small = {"budget": {"limit": 4}, "probe": {"every": 2}}
    for strategy, seed in (("gac", 0), ("sft", 0), ("gac", 1)):
        execute(make_spec(strategy=strategy, seed=seed, experiment="trial", **small), results, quiet=True)
    cut = run_of(results, "gac", 1)
    (cut / "DONE").unlink()
    for name in ("metrics.jsonl", "timing.jsonl"):
        lines = (cut / name).read_text().splitlines(keepends=True)
        (cut / name).write_text("".join(lines[:2]))
    return results


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "results"))
