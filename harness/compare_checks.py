"""What makes runs incomparable (refused unless forced), and what a reader must be warned of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.compare_load import Evaluation, Run
from harness.compare_rows import Row, flatten

TOLERANCE = 1.10
MEASURED = {"flops": "FLOPs", "generated_tokens": "generated tokens"}


def refusals(rows: Sequence[Row]) -> list[str]:
    """One sentence for each reason why the rows must not be compared; empty where they may."""
    runs = [run for row in rows for run in row.runs]
    reasons = []
    models = sorted({str(run.spec["model"]) for run in runs})
    if len(models) > 1:
        reasons.append(f"The base models differ: {', '.join(models)}.")
    sampling = [flatten(run.spec.get("eval", {})) for run in runs]
    for key in sorted({key for settings in sampling for key in settings}):
        values = sorted({settings.get(key, "unset") for settings in sampling})
        if len(values) > 1:
            reasons.append(f"The evaluation setting {key} differs: {' against '.join(values)}.")
    suite_sets = sorted({", ".join(run.suites_at(row.last)) for row in rows for run in row.runs})
    if len(suite_sets) > 1:
        reasons.append(f"The runs were evaluated on different suites: {' against '.join(suite_sets)}.")
    for suite in sorted({suite for run in runs for suite, _ in run.evaluations}):
        found = [result for _, result in _results(runs, suite)]
        graders = sorted({f"{grader} {version}" for result in found for grader, version in result.graders})
        # One suite may use several graders; the same grader in two versions is what changes verdicts.
        grader_sets = {result.graders for result in found}
        versions = Counter(grader for grader, _ in {pair for result in found for pair in result.graders})
        if max(versions.values()) > 1 or len(grader_sets) > 1:
            reasons.append(f"The graders of {suite} differ: {', '.join(graders)}.")
        hashes = sorted({str(result.data_hash or "not recorded") for result in found})
        if len(hashes) > 1:
            reasons.append(f"The problem data of {suite} differ: {' against '.join(value[:12] for value in hashes)}.")
        for split in ("eval", "ood"):
            asked = [(run.name, result.ids(split)) for run, result in _results(runs, suite) if result.ids(split)]
            other = next((pair for pair in asked if pair[1] != asked[0][1]), None)
            if other is not None:
                (first, ids), (second, others) = asked[0], other
                reasons.append(
                    f"The {split} problems of {suite} are not the same in {first} and {second}: "
                    f"{len(ids ^ others)} are in one of them only, such as {min(ids ^ others)}."
                )
    for row in rows:
        repeated = sorted(seed for seed, count in Counter(row.seeds).items() if count > 1)
        if repeated:
            names = ", ".join(run.name for run in row.runs if run.seed in repeated)
            reasons.append(f"Two finished runs of {row.label} have the same seed: {names}.")
    return reasons


def cost_warnings(rows: Sequence[Row]) -> list[str]:
    """Sentences on unequal budgets: different limits, or measured cost that differs by more than a tenth."""
    warnings = []
    budgets = _by_value((row.settings.get("budget", "unset"), row.label) for row in rows)
    if len(budgets) > 1:
        warnings.append(f"The budgets differ: {_listed(budgets)}.")
    for key, name in MEASURED.items():
        spent = sorted((row.cost[key], row.label) for row in rows if key in row.cost)
        if len(spent) > 1 and spent[-1][0] > TOLERANCE * spent[0][0]:
            (least, frugal), (most, lavish) = spent[0], spent[-1]
            warnings.append(f"The cost is not equal: {name} from {least:.3g} ({frugal}) to {most:.3g} ({lavish}).")
    return warnings


def settings_warnings(rows: Sequence[Row]) -> list[str]:
    """Sentences on settings that strategies share but do not set alike, and on unequal seeds."""
    warnings = []
    in_label = {"strategy", "model", "budget", "experiment"}
    for key in sorted(set.intersection(*(set(row.settings) for row in rows)) - in_label):
        values = _by_value((row.settings[key], row.label) for row in rows)
        if len(values) > 1 and not key.startswith("eval."):
            warnings.append(f"The setting {key} differs: {_listed(values)}.")
    seeds = _by_value((", ".join(map(str, row.seeds)), row.label) for row in rows)
    if len(seeds) > 1:
        warnings.append(f"The seeds differ (differences use the shared ones): {_listed(seeds)}.")
    fractions = _by_value((row.last, row.label) for row in rows)
    if len(fractions) > 1:
        warnings.append(f"The last evaluation lies at different fractions of the budget: {_listed(fractions)}.")
    single = [row.label for row in rows if len(set(row.seeds)) == 1]
    if single:
        warnings.append(f"One seed only, intervals cover problems and not training: {', '.join(single)}.")
    return warnings


def evaluation_warnings(rows: Sequence[Row]) -> list[str]:
    """Sentences on unscored samples, problems left out, sandboxes, and missing pairs."""
    warnings = []
    for row in rows:
        unscored = 0
        for run in row.runs:
            for suite in run.suites_at(row.last):
                result = run.evaluations[suite, row.last]
                unscored += result.samples - int(result.problems["scored"].sum())
        dropped = sum(scores.dropped for scores in row.scores.values())
        if unscored:
            warnings.append(f"{row.label}: {unscored} samples have no score; {dropped} problems are left out.")
        if row.baseline not in (None, row):
            for split, scores in row.scores.items():
                if scores.difference is None:
                    warnings.append(f"{row.label} shares no seed or problem with {row.baseline.label} ({split}).")
    sandboxes = _by_value(
        (
            ", ".join(
                sorted(set().union(*(result.sandboxes for run in row.runs for result in run.evaluations.values())))
            ),
            row.label,
        )
        for row in rows
    )
    if len(sandboxes) > 1:
        warnings.append(f"The sandboxes differ: {_listed(sandboxes)}.")
    return warnings


def _results(runs: Sequence[Run], suite: str) -> list[tuple[Run, Evaluation]]:
    return [(run, result) for run in runs for (name, _), result in run.evaluations.items() if name == suite]


def _by_value(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for value, label in pairs:
        groups.setdefault(value, []).append(label)
    return dict(sorted(groups.items()))


def _listed(groups: dict[str, list[str]]) -> str:
    return "; ".join(f"{value} ({', '.join(labels)})" for value, labels in groups.items())
