"""What the page knows of each run, as plain JSON values; what many runs have in common is kept once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.compare_load import Run
from harness.examples import Example, examples
from harness.report.document import Source
from harness.report.html import run_origin
from harness.report.html.run_curves import charts
from harness.report.html.run_tables import cost, mean_score, scores, spent
from harness.report.html.text import address, shortened, visible

EXAMPLES = 6  # of one run
# Characters that the texts, and points that the curves, of all runs may take; and the bounds of a single one.
TEXTS, TEXT = 1_200_000, (200, 1600)
CURVES, CURVE = 250_000, (50, 240)


@dataclass(frozen=True)
class Entry:
    """A run as the report shows it: `key` is its address, `label` that of its setting, `sources` where it is used."""

    key: str
    label: str
    run: Run
    sources: list[str]


@dataclass
class Shared:
    """Things that runs refer to by their number or name."""

    texts: dict[str, int] = field(default_factory=dict)
    origins: list[list[list[str]]] = field(default_factory=list)
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    groups: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)  # seeds of one setting

    def text(self, value: str) -> int:
        return self.texts.setdefault(value, len(self.texts))

    def origin(self, value: list[list[str]]) -> int:
        if value not in self.origins:
            self.origins.append(value)
        return self.origins.index(value)

    def values(self) -> dict[str, Any]:
        return {
            "texts": list(self.texts),
            "origins": self.origins,
            "defaults": run_origin.defaults(),
            "options": self.options,
            "groups": list(self.groups.values()),
        }


def entries(sources: Mapping[str, Source]) -> list[Entry]:
    """Every run of the report once, in the order of sources, rows and seeds."""
    found: dict[str, Entry] = {}
    for source in sources.values():
        name = source.label or source.name
        for row in source.comparison.rows:
            for run in row.runs:
                key = address("run", run.experiment, run.run_id)
                while key in found and not _same(found[key].run, run):
                    key += "~"  # two runs of one name, from different directories
                entry = found.setdefault(key, Entry(key, row.label, run, []))
                entry.sources.append(name)
    return list(found.values())


def _same(one: Run, other: Run) -> bool:
    if one is other:
        return True
    if one.path is not None and other.path is not None:
        return one.path.resolve() == other.path.resolve()
    return one.spec == other.spec and one.metrics.equals(other.metrics)


def describe(found: list[Entry]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(what is shared, key -> what is known of the run). The more runs, the shorter the texts and curves of each."""
    shared = Shared()
    longest = _within(TEXTS // (2 * EXAMPLES * max(len(found), 1)), TEXT)
    points = _within(CURVES // (8 * max(len(found), 1)), CURVE)
    runs = {}
    manifests = run_origin.manifests([entry.run for entry in found])
    for entry, manifest in zip(found, manifests, strict=True):
        runs[entry.key] = _describe(entry, shared, longest, points)
        runs[entry.key]["origin"] = shared.origin(_visible(run_origin.origin(manifest)))
        runs[entry.key]["attempts"] = run_origin.attempts(manifest)
        group = shared.groups.setdefault((entry.run.experiment, entry.label), [])
        group.append((entry.run.seed, entry.key))
        runs[entry.key]["group"] = list(shared.groups).index((entry.run.experiment, entry.label))
    return shared.values(), runs


def _within(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])


def _describe(entry: Entry, shared: Shared, longest: int, points: int) -> dict[str, Any]:
    run = entry.run
    shared.options.setdefault(run.strategy, run_origin.option_texts(run.strategy))
    values = {
        "name": run.name,
        "label": entry.label,
        "strategy": run.strategy,
        "model": str(run.spec["model"]),
        "seed": run.seed,
        "experiment": run.experiment,
        "id": run.run_id,
        "sources": entry.sources,
        "score": mean_score(run),
        "ood": mean_score(run, "ood"),
        "spent": spent(run),
        "scores": scores(run),
        "cost": cost(run),
        "changes": run_origin.changes(run),
    }
    values = _visible(values)
    values["axes"], values["charts"] = _axes(_visible(charts(run, points)))
    values["examples"] = [_example(example, shared, longest) for example in examples(run, EXAMPLES)]
    return values


def _axes(found: list[dict[str, Any]]) -> tuple[list[list[float]], list[dict[str, Any]]]:
    """x values, each list once, and the charts with their numbers instead."""
    axes: list[list[float]] = []
    for series in (series for chart in found for series in chart["series"]):
        if series["x"] not in axes:
            axes.append(series["x"])
        series["x"] = axes.index(series["x"])
    return axes, found


def _example(example: Example, shared: Shared, longest: int) -> dict[str, Any]:
    return {
        "suite": visible(example.suite),
        "problem": visible(example.problem),
        "split": example.split,
        "level": example.level,
        "at": f"{100 * float(example.fraction):g}",
        "status": visible(example.status),
        "score": example.score,
        "prompt": shared.text(shortened(example.prompt, longest)),
        "response": shared.text(shortened(example.response, longest)),
        "expected": None if example.expected is None else shared.text(shortened(example.expected, longest)),
    }


def _visible(value: Any) -> Any:
    """The same with every text visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible(item) for item in value]
    if isinstance(value, dict):
        return {visible(key): _visible(item) for key, item in value.items()}
    return value
