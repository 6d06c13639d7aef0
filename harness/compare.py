"""Compare finished runs: group them by setting, refuse what is not comparable, estimate with honest intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.compare_checks import (
    TOLERANCE,
    budget_refusals,
    cost_warnings,
    evaluation_warnings,
    refusals,
    settings_warnings,
)
from harness.compare_estimates import estimate, mean_over
from harness.compare_load import Run, load_runs
from harness.compare_rows import Row, few, group_runs, set_baselines


@dataclass(frozen=True)
class Comparison:
    """Rows in label order with everything that tables and figures show.

    `suites` maps a split to the suites that every row has. `forced` holds the reasons for which the comparison would
    have been refused, and `unequal` the costs that are not equal, both as sentences that every output shows; those of
    `unequal` are among the `warnings` as well.
    """

    rows: list[Row]
    suites: dict[str, list[str]]
    baseline: str | None
    level: float
    warnings: list[str]
    forced: list[str]
    unequal: list[str] = field(default_factory=list)

    def shown(self, limit: int) -> list[Row]:
        """The rows, or the `limit` of them with the highest mean score, in label order: for what cannot hold all."""
        if len(self.rows) <= limit:
            return self.rows
        best = sorted(self.rows, key=lambda row: (-row.scores["eval"].mean.mean, row.label))[:limit]
        return sorted(best, key=lambda row: row.label)

    def left_out(self, limit: int) -> str | None:
        """The sentence on the rows that `shown` leaves out; None where it leaves out none."""
        if len(self.rows) <= limit:
            return None
        return (
            f"Shown are the {limit} of {len(self.rows):,} settings with the highest mean; the tables in files hold all."
        )


def compare_runs(
    root: Path,
    baseline: str | None,
    force: bool,
    level: float = 0.95,
    tolerance: float = TOLERANCE,
    equal: Sequence[str] = (),
) -> Comparison:
    """Compare all finished runs at or below `root` (a results directory, one experiment, one run, or packs of them).

    `baseline`: a strategy name or a row label; each other row is then compared with the baseline row nearest to it in
    settings. Different base models, evaluation settings, suites, problem data or graders are refused with ValueError,
    one sentence a reason, and so are budgets, or what was spent of them, that differ by more than `tolerance` (a share
    of the smaller one). `equal` names costs (`harness.run_steps.COSTS`) that must be equal besides; other unequal cost
    gives a warning. With `force` what is refused is compared and every output says so.
    """
    runs, unfinished = load_runs(Path(root))
    return compare_loaded(runs, unfinished, baseline, force, level, tolerance, equal)


def compare_loaded(
    runs: Sequence[Run],
    unfinished: Sequence[Path],
    baseline: str | None,
    force: bool,
    level: float = 0.95,
    tolerance: float = TOLERANCE,
    equal: Sequence[str] = (),
) -> Comparison:
    """`compare_runs` of runs that `load_runs` has given, or of some of them."""
    rows = group_runs(runs)
    for row in rows:
        row.cost = mean_over(run.cost for run in row.runs)
    reasons = [*refusals(rows), *budget_refusals(rows, tolerance, equal)]
    if reasons and not force:
        raise ValueError(
            " ".join(
                ["These runs are not comparable.", *reasons, "With --force they are compared and every output says so."]
            )
        )

    suites = _shared_suites(rows)
    if baseline is not None:
        set_baselines(rows, baseline)
    estimate(rows, suites, level)
    warnings = []
    if unfinished:
        names = few([f"{path.resolve().parent.name}/{path.resolve().name}" for path in unfinished])
        warnings.append(f"Left out as unfinished (no DONE): {', '.join(names)}.")
    unequal = cost_warnings(rows, tolerance)
    warnings += unequal + settings_warnings(rows) + evaluation_warnings(rows)
    return Comparison(rows, suites, baseline, level, warnings, reasons, unequal)


def write(comparison: Comparison, out_dir: Path) -> list[Path]:
    """Write all tables (Markdown, CSV, LaTeX) and figures (PNG, PDF); return the paths. Equal input, equal bytes."""
    from harness.figures import draw_figures, save  # matplotlib takes a second to import
    from harness.tables import write_tables

    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    figures = draw_figures(comparison)
    saved = save(figures, out_dir)
    tables = write_tables(comparison, out_dir, [f"{name}.png" for name in figures])
    return tables + saved()


def render_terminal(comparison: Comparison, width: int) -> str:
    """The comparison as plain text of at most `width` columns wherever a single column of numbers fits."""
    from harness.tables import terminal

    return terminal(comparison, width)


def _shared_suites(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Split -> suites in which every run has problems of that split at its row's last fraction."""
    found = None
    for row in rows:
        for run in row.runs:
            here = {
                (split, suite)
                for (suite, fraction), result in run.evaluations.items()
                if fraction == row.last
                for split in result.questions.known_splits
            }
            found = here if found is None else found & here
    shared: dict[str, list[str]] = {}
    for split, suite in sorted(found or ()):
        shared.setdefault(split, []).append(suite)
    if "eval" not in shared:
        raise ValueError("No suite was evaluated by all runs; compare runs that share a suite.")
    return shared
