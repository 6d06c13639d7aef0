"""What a model is trained on, as texts: from a specification, a run, a suite or a file of records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import registry
from benchmarks.base import Suite
from benchmarks.records import read_records
from harness import spec as specification
from harness.data import training_suites
from harness.spec import RunSpec
from harness.store import read_json

Text = tuple[str, str]  # name, text


def specified(source: str) -> RunSpec | None:
    """The specification that `source` names: a TOML file, a run directory or a suite's name; None for anything else.

    ValueError for a specification that is wrong.
    """
    path = Path(source)
    if path.suffix == ".toml":
        return specification.build(specification.load(path))
    if (path / "manifest.json").is_file():
        content = read_json(path / "manifest.json")
        if content.get("kind") is not None or "spec" not in content:
            raise ValueError(f"{path} is no training run: name a run, a specification or a file of records")
        return specification.build(content["spec"])
    if source.partition("@")[0] in registry.names():
        default = RunSpec()
        return replace(default, data=replace(default.data, suites=(source,)))
    return None


def texts(source: str, spec: RunSpec | None) -> Iterator[Text]:
    """Prompts and demonstrations of the training problems of `spec`; without one every text of the file `source`."""
    if spec is None:
        for number, row in enumerate(read_records(source), start=1):
            yield from ((f"record {number} {name}", text) for name, text in _strings(row, ""))
        return
    data = spec.data
    found = False
    for suite in training_suites(data):
        for problem in suite.problems("train", data.problems, data.seed, data.levels):
            found = True
            yield problem.id, problem.prompt
            yield from ((f"{problem.id} demonstration", text) for text in _demonstrations(suite, problem))
    if not found:
        raise ValueError(f"{source} has no training problems: name what the model is trained on")


def _demonstrations(suite: Suite, problem: Any) -> list[str]:
    if problem.demonstrations:
        return list(problem.demonstrations)
    try:
        return [suite.demonstration(problem)]
    except ValueError:
        return []  # trained on by reinforcement only


def _strings(value: Any, name: str) -> Iterator[Text]:
    """The texts inside a record, however deep, with the names of their fields."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _strings(item, f"{name}[{i}]")
