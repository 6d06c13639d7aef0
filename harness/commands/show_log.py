"""`harness show RUN_DIR --log NAME`: sends what the files of runs hold to services that lack it."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness import sinks
from harness.store import RunDir, find_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    sinks.add_argument(parser, "the run, or of all runs below RUN_DIR,")


def run(path: Path, options: argparse.Namespace) -> int:
    """ValueError if there is no training run, or a process is writing to one."""
    sinks.check(options.log)
    runs = [RunDir(path)] if (path / "manifest.json").exists() else find_runs(path)
    if not runs:
        raise ValueError(f"no runs under {path}: name a directory that `harness run` made, or a folder of them")
    from harness.sinks.feed import publish

    for directory in runs:
        print(directory.path, flush=True)
        publish(options.log, directory, lambda text: print(f"  {text}", flush=True))
    return 0
