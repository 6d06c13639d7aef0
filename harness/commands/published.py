"""The part of `harness suites` on published suites: what there is, how it is defined, and whether its data are here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import sources
from benchmarks.base import Preset, Suite
from harness import terminal

HEADERS = ("name", "domain", "n", "grader", "data", "summary")
PRESETS = ("preset", "problems", "k", "temperature", "top-p", "max tokens", "stop")
LABEL = 12  # columns


def table(suites: Sequence[Suite], data_dir: Path | None) -> None:
    """Every suite with the state of its data in `data_dir`, or in the hub's cache without one."""
    names = sources.index(data_dir) if data_dir else None
    rows = [
        (suite.name, suite.domain, _count(suite), _grader(suite), _state(suite, data_dir, names), suite.summary)
        for suite in suites
    ]
    where = f"data: in {data_dir}" if data_dir else "data: in the hub's cache; --data-dir names a folder instead"
    notes = [where, "`harness suites NAME` says what to download", "`harness eval MODEL --suite NAME --preset quick`"]
    terminal.show(terminal.Grid(HEADERS, rows, frozenset({2}), title="published", notes=notes, whole=frozenset({0})))


def _definition(suite: Suite) -> Any:
    """Of the suites of this package; None for third parties'."""
    return getattr(suite, "definition", None)


def _count(suite: Suite) -> str:
    definition = _definition(suite)
    return f"{definition.rows:,}" if definition else "-"


def _grader(suite: Suite) -> str:
    definition = _definition(suite)
    return definition.grader if definition else "-"


def _state(suite: Suite, data_dir: Path | None, names: Mapping[str, Sequence[Path]] | None) -> str:
    definition = _definition(suite)
    if definition is None:
        return "-"
    if definition.generator is not None:
        return "no package" if suite.available() else "generated"
    return sources.state(definition, data_dir, names)


def describe(suite: Suite, data_dir: Path | None) -> None:
    """The definition in words, the presets, and what to do about missing data."""
    terminal.heading(f"{suite.name}  ({suite.domain}): {suite.summary}")
    definition = _definition(suite)
    if definition is not None:
        _line("problems", f"{definition.rows:,} to evaluate; splits: {', '.join(definition.splits)}")
        _line("answer", definition.answer)
        _line("grader", f"{definition.grader}, version {definition.grader_version}")
        _line("instruction", definition.instruction or "none: the questions say it themselves")
        _line("licence", definition.licence)
        _line("source", definition.source)
        for file in definition.files:
            _line("file", f"{file.path} ({file.split}), sha256 {file.sha256 or 'not known'}")
        if definition.hub is not None:
            revision = definition.hub.revision or "no known commit"
            _line("hub", f"{definition.hub.dataset} at {revision}")
        if definition.generator is not None:
            made = definition.generator
            _line("generator", f"{made.package} {made.version}, {made.dataset}, seed {made.seed}")
        for note in definition.notes:
            _line("note", note)
        state = _state(suite, data_dir, sources.index(data_dir) if data_dir else None)
        _line("data", state)
        if state == "missing":
            _line("", sources.advice(definition))
        if state == "no package":
            _line("", suite.available())
    print()
    terminal.show(terminal.Grid(PRESETS, [_preset(name, preset) for name, preset in suite.presets.items()]))


def _preset(name: str, preset: Preset) -> tuple[str, ...]:
    return (
        name,
        f"{preset.n:,}" if preset.n else "all",
        str(preset.k),
        f"{preset.temperature:g}",
        f"{preset.top_p:g}",
        f"{preset.max_tokens:,}",
        " ".join(map(repr, preset.stop)) or "-",
    )


def _line(label: str, text: str) -> None:
    indent = " " * LABEL
    print(textwrap.fill(text, terminal.width(), initial_indent=label.ljust(LABEL), subsequent_indent=indent,
                        break_long_words=False, break_on_hyphens=False))  # fmt: skip
