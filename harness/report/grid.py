"""Rows of several sources as one grid, strategy x model size or strategy x noise level, and what forbids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.compare import Comparison
from harness.compare_checks import budget_refusals, refusals
from harness.compare_rows import Row
from harness.models.ladder import parameters, resolve
from harness.report.document import Source

MODELS = "The base models differ"


def suites_shared(sources: Sequence[Source], split: str, wanted: Sequence[str]) -> list[str]:
    """The suites that every source evaluated on the split, or those `wanted` of them; ValueError for none."""
    shared = set.intersection(*(set(source.comparison.suites.get(split, ())) for source in sources))
    unknown = [suite for suite in wanted if suite not in shared]
    if not shared or unknown:
        what = f"the suite {unknown[0]!r}" if unknown else "no suite"
        raise ValueError(
            f"{', '.join(source.name for source in sources)} do not share {what} on the split {split!r}; "
            f"they share: {', '.join(sorted(shared)) or 'none'}."
        )
    return list(wanted) or sorted(shared)


def check_alike(sources: Sequence[Source], models_differ: bool) -> list[str]:
    """Why rows of the sources must not stand side by side, as notes where a source is forced; else ValueError.

    `models_differ`: different base models are what the grid is about.
    """
    rows = [row for source in sources for row in source.comparison.rows]
    reasons = refusals(rows)
    if models_differ:  # and so do the budgets that they are given
        reasons = [reason for reason in reasons if not reason.startswith(MODELS)]
    else:
        reasons += budget_refusals(rows)
    if reasons and not any(source.comparison.forced for source in sources):
        names = ", ".join(source.name for source in sources)
        raise ValueError(f"the sources {names} are not comparable with each other. {' '.join(reasons)}")
    return reasons


def names_of(comparison: Comparison) -> dict[str, Row]:
    """Rows by arm or strategy name, by label where a name belongs to several rows."""
    names = [row.name for row in comparison.rows]
    return {row.name if names.count(row.name) == 1 else row.label: row for row in comparison.rows}


def size_of(source: Source, given: Mapping[str, float]) -> float:
    """Parameters of the source's one model, without biases and norms: from its config.json, or `given` by name.

    ValueError for several models, or one whose size is not known.
    """
    models = sorted({str(run.spec["model"]) for row in source.comparison.rows for run in row.runs})
    if len(models) > 1:
        raise ValueError(f"source {source.name} holds several models ({', '.join(models)}); give each its own source.")
    if models[0] in given:
        return float(given[models[0]])
    if source.name in given:
        return float(given[source.name])
    try:
        config = resolve(models[0]).config
    except ValueError:
        config = None  # a name of another machine: its size must be given
    if config is None:
        raise ValueError(
            f"the size of model {models[0]} of source {source.name} is not known here; give it as "
            f'options.parameters = {{ "{models[0]}" = 5e8 }}.'
        )
    return float(parameters(config))
