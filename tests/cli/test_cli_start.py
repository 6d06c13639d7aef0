"""What a verb loads, and that every verb explains itself."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import VERBS

HEAVY = ("torch", "transformers", "vllm")


def python(root: Path, folder: Path, code: str) -> str:
    """Standard output of a fresh interpreter; fails with its error."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(root: Path, folder: Path, *arguments: str) -> set[str]:
    """Modules that are imported after `harness ARGUMENTS` has run well."""
    code = (
        "import sys, json\nfrom harness.cli import main\n"
        f"try:\n    code = main({list(arguments)!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "assert not code, code\nprint(); print(json.dumps(sorted(sys.modules)))"
    )
    return set(json.loads(python(root, folder, code).splitlines()[-1]))


def test_help_loads_only_the_standard_library(root: Path, tmp_path: Path) -> None:
    modules = loaded(root, tmp_path, "--help")
    assert not modules & {*HEAVY, "pydantic", "numpy", "pandas", "rich", "matplotlib", "scipy"}
    assert not any(name.startswith(("strategies", "benchmarks")) for name in modules)


def test_help_takes_less_than_four_tenths_of_a_second(root: Path, tmp_path: Path) -> None:
    spent = []
    for _ in range(3):
        # processor time: what a busy machine does besides does not count
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(root, tmp_path, "from harness.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(spent) < 0.4


@pytest.mark.parametrize(
    "arguments",
    [["models"], ["strategies"], ["strategies", "gac"], ["suites"], ["suites", "math", "--demos"]],
    ids=" ".join,
)
def test_listing_needs_no_torch(root: Path, tmp_path: Path, arguments: list[str]) -> None:
    assert not loaded(root, tmp_path, *arguments) & set(HEAVY)


def test_looking_at_results_needs_no_torch(root: Path, results: Path) -> None:
    for arguments in (["ls"], ["compare", "results"], ["show", "latest"]):
        assert not loaded(root, results.parent, *arguments) & set(HEAVY)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(say: Callable[..., Any], verb: str) -> None:
    said = say(verb, "--help")
    assert said.code == 0
    assert f"example:\n  harness {verb}" in said.out
    assert not said.err


def test_top_help_names_every_verb(say: Callable[..., Any]) -> None:
    said = say("--help")
    assert said.code == 0
    assert all(f"\n  {verb} " in said.out for verb in VERBS)
    assert "example:" in said.out
