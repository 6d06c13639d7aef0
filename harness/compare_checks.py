"""What makes runs incomparable (refused unless forced), and what a reader must be warned of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from harness.compare_load import Evaluation, Run
from harness.compare_rows import Row, few
from harness.run_steps import COSTS

TOLERANCE = 0.10
MEASURED = ("flops", "generated_tokens")  # warned of wherever they are unequal
NAMES = {
    "flops": "FLOPs",
    "generated_tokens": "generated tokens",
    "trained_tokens_rollout": "trained tokens of rollouts",
    "trained_tokens_demo": "trained tokens of demonstrations",
}


def refusals(rows: Sequence[Row]) -> list[str]:
    """One sentence for each reason why the evaluations of the rows must not be compared; empty where they may."""
    runs = [run for row in rows for run in row.runs]
    reasons = []
    models = sorted({str(row.runs[0].spec["model"]) for row in rows})
    if len(models) > 1:
        reasons.append(f"The base models differ: {', '.join(few(models))}.")
    for key in sorted({key for row in rows for key in row.settings if key.startswith("eval.")}):
        values = sorted({row.settings.get(key, "unset") for row in rows})
        if len(values) > 1:
            name = key.removeprefix("eval.")
            reasons.append(f"The evaluation setting {name} differs: {' against '.join(few(values))}.")
    suite_sets = sorted({", ".join(run.suites_at(row.last)) for row in rows for run in row.runs})
    if len(suite_sets) > 1:
        reasons.append(f"The runs were evaluated on different suites: {' against '.join(few(suite_sets))}.")
    for suite in sorted({suite for run in runs for suite, _ in run.evaluations}):
        reasons += _of_suite(suite, [(run, found) for run in runs for found in _results(run, suite)])
    for row in rows:
        repeated = sorted(seed for seed, count in Counter(row.seeds).items() if count > 1)
        if repeated:
            names = ", ".join(few([run.name for run in row.runs if run.seed in repeated]))
            reasons.append(f"Two finished runs of {row.label} have the same seed: {names}.")
    return reasons


def _of_suite(suite: str, results: Sequence[tuple[Run, Evaluation]]) -> list[str]:
    """What differs in how a suite was graded and in what it asked."""
    reasons = []
    grader_sets = {result.graders for _, result in results}
    # One suite may use several graders; the same grader in two versions is what changes verdicts.
    graders = sorted(set().union(*grader_sets))
    versions = Counter(grader for grader, _ in graders)
    if max(versions.values()) > 1 or len(grader_sets) > 1:
        named = ", ".join(few([f"{grader} {version}" for grader, version in graders]))
        reasons.append(f"The graders of {suite} differ: {named}.")
    hashes = sorted({str(result.data_hash or "not recorded") for _, result in results})
    if len(hashes) > 1:
        shown = few([value[:12] for value in hashes])
        reasons.append(f"The problem data of {suite} differ: {' against '.join(shown)}.")
    asked: dict[int, tuple[str, Evaluation]] = {}
    for run, result in results:
        asked.setdefault(id(result.questions), (run.name, result))
    for split in ("eval", "ood"):
        sets = [(name, ids) for name, result in asked.values() if (ids := result.ids(split))]
        other = next(((name, ids) for name, ids in sets if ids != sets[0][1]), None)
        if other is not None:
            (first, ids), (second, others) = sets[0], other
            reasons.append(
                f"The {split} problems of {suite} are not the same in {first} and {second}: "
                f"{len(ids ^ others)} are in one of them only, such as {min(ids ^ others)}."
            )
    return reasons


def budget_refusals(rows: Sequence[Row], tolerance: float = TOLERANCE, equal: Sequence[str] = ()) -> list[str]:
    """One sentence for each reason why the rows did not have the same budget, or not the same of the costs `equal`.

    Reasons are budgets of different kinds, limits that are further apart than `tolerance` (a share of the smaller one),
    and what was spent, as the mean of a row, in the unit of the budget or one of `equal`. Raises ValueError for a
    negative tolerance, and for a cost that is none.
    """
    if not tolerance >= 0:
        raise ValueError(f"The tolerance is a share and must not be negative, but is {tolerance}.")
    unknown = [key for key in equal if key not in COSTS]
    if unknown:
        raise ValueError(f"There is no cost {unknown[0]!r}; choose from {', '.join(COSTS)}.")
    budgets = [(dict(row.runs[0].spec["budget"]), row.label) for row in rows]
    kinds = _by_value((str(budget.get("kind")), label) for budget, label in budgets)
    if len(kinds) > 1:
        reasons = [f"The budgets are of different kinds: {_listed(kinds)}."]
        units: list[str] = []
    else:
        (kind,) = kinds
        limits = sorted((float(budget.get("limit", 0)), label) for budget, label in budgets)
        apart = _apart(limits, tolerance)
        reasons = [f"The budgets differ: limits {apart} {_name(kind)}, {_more_than(tolerance)}."] if apart else []
        units = [] if apart else [kind]
    for key in dict.fromkeys([*units, *equal]):
        spent = sorted((row.cost[key], row.label) for row in rows if key in row.cost)
        if key in equal and len(spent) < len(rows):
            label = next(row.label for row in rows if key not in row.cost)
            reasons.append(f"The {_name(key)} of {label} are not recorded, so that they cannot be held equal.")
        elif apart := _apart(spent, tolerance):
            reasons.append(f"The {_name(key)} spent are not equal: {apart}, {_more_than(tolerance)}.")
    return reasons


def _more_than(tolerance: float) -> str:
    return f"which is more than {100 * tolerance:.3g}% apart"


def _name(key: str) -> str:
    return NAMES.get(key, key)


def _apart(values: Sequence[tuple[float, str]], tolerance: float) -> str | None:
    """From the least to the most of (value, label), ascending, where that is too far; else None."""
    if len(values) < 2 or values[-1][0] <= (1 + tolerance) * values[0][0]:
        return None
    (least, frugal), (most, lavish) = values[0], values[-1]
    return f"from {least:.3g} ({frugal}) to {most:.3g} ({lavish})"


def cost_warnings(rows: Sequence[Row], tolerance: float = TOLERANCE) -> list[str]:
    """Sentences on measured cost that differs by more than the tolerance; they belong on the face of every output.

    FLOPs hold all that a method needs, sampling included: where they are equal, no other cost is called unequal.
    """
    warnings = []
    for key in MEASURED:
        known = sorted((row.cost[key], row.label) for row in rows if key in row.cost)
        apart = _apart(known, tolerance)
        if apart:
            warnings.append(f"The cost is not equal: {_name(key)} {apart}.")
        elif key == "flops" and len(known) == len(rows):
            break
    return warnings


def settings_warnings(rows: Sequence[Row]) -> list[str]:
    """Sentences on settings that strategies share but do not set alike, and on unequal seeds."""
    warnings = []
    budgets = _by_value((row.settings.get("budget", "unset"), row.label) for row in rows)
    if len(budgets) > 1:
        warnings.append(f"The budgets differ: {_listed(budgets)}.")
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
        warnings.append(f"One seed only, intervals cover problems and not training: {', '.join(few(single))}.")
    return warnings


def evaluation_warnings(rows: Sequence[Row]) -> list[str]:
    """Sentences on unscored samples, problems left out, sandboxes, and missing pairs."""
    unscored, apart = [], []
    for row in rows:
        lost = sum(
            found.samples - int(found.scored.sum())
            for run in row.runs
            for (_, fraction), found in run.evaluations.items()
            if fraction == row.last
        )
        dropped = sum(scores.dropped for scores in row.scores.values())
        if lost:
            unscored.append(f"{row.label}: {lost} samples have no score; {dropped} problems are left out.")
        if row.baseline not in (None, row):
            for split, scores in row.scores.items():
                if scores.difference is None:
                    apart.append(f"{row.label} shares no seed or problem with {row.baseline.label} ({split}).")
    warnings = [*_first(unscored, "have samples without a score"), *_first(apart, "share nothing with their baseline")]
    sandboxes = _by_value((", ".join(_sandboxes(row)), row.label) for row in rows)
    if len(sandboxes) > 1:
        warnings.append(f"The sandboxes differ: {_listed(sandboxes)}.")
    return warnings


def _sandboxes(row: Row) -> list[str]:
    return sorted({name for run in row.runs for found in run.evaluations.values() for name in found.sandboxes})


def _first(sentences: Sequence[str], what: str) -> list[str]:
    """The first sentences, and one on how many there would be beside them."""
    shown = few(sentences)
    return list(shown) if len(shown) == len(sentences) else [*shown[:-1], f"{shown[-1]} settings {what}."]


def _results(run: Run, suite: str) -> Iterator[Evaluation]:
    return (result for (name, _), result in run.evaluations.items() if name == suite)


def _by_value(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for value, label in pairs:
        groups.setdefault(value, []).append(label)
    return dict(sorted(groups.items()))


def _listed(groups: dict[str, list[str]]) -> str:
    return "; ".join(few([f"{value} ({', '.join(few(labels))})" for value, labels in groups.items()]))
