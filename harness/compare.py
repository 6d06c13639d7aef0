"""Compare finished runs: group them by setting, refuse what is not comparable, estimate with honest intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.compare_checks import cost_warnings, evaluation_warnings, refusals, settings_warnings
from harness.compare_estimates import estimate
from harness.compare_load import find_runs, load_run
from harness.compare_rows import Row, group_runs, nearest_baseline


@dataclass(frozen=True)
class Comparison:
    """Rows in label order with everything that tables and figures show.

    `suites` maps a split to the suites that every row has. `forced` holds the reasons for which the comparison would
    have been refused; every output shows them.
    """

    rows: list[Row]
    suites: dict[str, list[str]]
    baseline: str | None
    level: float
    warnings: list[str]
    forced: list[str]


def compare_runs(root: Path, baseline: str | None, force: bool, level: float = 0.95) -> Comparison:
    """Compare all finished runs at or below `root` (a results directory, one experiment or one run).

    `baseline`: a strategy name or a row label; each other row is then compared with the baseline row nearest to it in
    settings. Unequal cost gives a warning. Different base models, evaluation settings, suites, problem data or graders
    are refused with ValueError, one sentence a reason; with `force` they are compared and every output says so.
    """
    finished, unfinished = find_runs(Path(root))
    rows = group_runs([load_run(path) for path in finished])
    reasons = refusals(rows)
    if reasons and not force:
        raise ValueError(" ".join(["These runs are not comparable.", *reasons, "Use force to compare them anyway."]))

    suites = _shared_suites(rows)
    if baseline is not None:
        for row in rows:
            row.baseline = nearest_baseline(rows, row, baseline)
    estimate(rows, suites, level)
    warnings = []
    if unfinished:
        names = ", ".join(f"{path.resolve().parent.name}/{path.resolve().name}" for path in unfinished)
        warnings.append(f"Left out as unfinished (no DONE): {names}.")
    warnings += cost_warnings(rows) + settings_warnings(rows) + evaluation_warnings(rows)
    return Comparison(rows, suites, baseline, level, warnings, reasons)


def write(comparison: Comparison, out_dir: Path) -> list[Path]:
    """Write all tables (Markdown, CSV, LaTeX) and figures (PNG, PDF); return the paths. Equal input, equal bytes."""
    from harness.figures import write_figures  # matplotlib takes a second to import
    from harness.tables import write_tables

    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    figures = write_figures(comparison, out_dir)
    return write_tables(comparison, out_dir, [path.name for path in figures if path.suffix == ".png"]) + figures


def render_terminal(comparison: Comparison, width: int) -> str:
    """The comparison as plain text of at most `width` columns wherever a single column of numbers fits."""
    from harness.tables import terminal

    return terminal(comparison, width)


def _shared_suites(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Split -> suites in which every run has problems of that split at its row's last fraction."""
    found = []
    for row in rows:
        for run in row.runs:
            frames = {suite: run.evaluations[suite, row.last].problems for suite in run.suites_at(row.last)}
            found.append({(split, suite) for suite, frame in frames.items() for split in frame["split"].unique()})
    shared: dict[str, list[str]] = {}
    for split, suite in sorted(set.intersection(*found)):
        shared.setdefault(split, []).append(suite)
    if "eval" not in shared:
        raise ValueError("No suite was evaluated by all runs; compare runs that share a suite.")
    return shared
