"""Tables of a comparison, and their files: Markdown, CSV (full precision) and LaTeX (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.problem_scores import Evaluation, matrix
from harness.statistics.intervals import Estimate
from harness.stats import clustered_standard_error, pass_at_k
from harness.table_formats import DAGGER, Cell, Column, Table, latex_table, markdown_table, terminal_table, write_csv

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_rows import Row

COSTS = (
    Column("updates", "updates", "count"),
    Column("prompts", "prompts", "count"),
    Column("generated_tokens", "generated tokens", "count"),
    Column("trained_tokens_rollout", "trained tokens (rollouts)", "count"),
    Column("trained_tokens_demo", "trained tokens (demos)", "count"),
    Column("flops", "FLOPs", "scientific"),
    Column("seconds", "seconds", "count"),
)
REASONS = (
    Column("effective_mix_first", "eff. mix Q1", "number"),
    Column("effective_mix_last", "eff. mix Q4", "number"),
    Column("mu_last", "mu end", "number"),
    Column("large_dmu_events", "large |dmu|", "number"),
    Column("kl_last", "KL end", "number"),
    Column("kl_drift_area", "KL drift area", "number"),
    Column("entropy_first", "entropy Q1", "number"),
    Column("entropy_last", "entropy Q4", "number"),
    Column("response_length_last", "length Q4", "number"),
    Column("truncated_last", "truncated Q4 %", "percent"),
    Column("reward_last", "reward Q4", "number"),
    Column("grad_norm", "grad norm", "number"),
    Column("mismatch", "mismatch", "number"),
    Column("controller_share", "controller %", "percent"),
)
LABEL = Column("strategy", "strategy", "text")
SIGNIFICANT = 0.05
TERMINAL_ROWS = 40


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table with something to show, in reading order."""
    tables = main_tables(comparison)
    tables += [suite_levels_table(comparison), _evaluations(comparison), _runs(comparison)]
    return _filled(tables)


def main_tables(comparison: Comparison) -> list[Table]:
    """Those of them with one line a row of the comparison."""
    tables = []
    for split in sorted(comparison.suites, key=lambda name: (name != "eval", name)):
        tables.append(scores_table(comparison, split))
        if comparison.baseline is not None:
            tables.append(differences_table(comparison, split))
    return _filled([*tables, levels_table(comparison), cost_table(comparison), reasons_table(comparison)])


def _filled(tables: Sequence[Table]) -> list[Table]:
    return [table for table in tables if table.rows and len(table.columns) > 1]


def terminal(comparison: Comparison, width: int) -> str:
    """The comparison as text; the finest tables, and settings beyond `TERMINAL_ROWS`, are left to the files."""
    hidden = {_name("differences", split) for split in comparison.suites if split != "eval"}
    part = replace(comparison, rows=comparison.shown(TERMINAL_ROWS))
    shown = [table for table in main_tables(part) if table.name not in hidden]
    notices = [f"NOT COMPARABLE (forced): {reason}" for reason in comparison.forced]
    notices += [f"Warning: {warning}" for warning in comparison.warnings]
    notices += [sentence] if (sentence := comparison.left_out(TERMINAL_ROWS)) else []
    return terminal_table(shown, notices, width)


def write_tables(comparison: Comparison, out_dir: Path, figures: Sequence[str]) -> list[Path]:
    """Write comparison.md (with `figures` embedded), and each table as CSV and LaTeX; return the paths."""
    tables = all_tables(comparison)
    lines = ["# Comparison", ""]
    lines += [f"**NOT COMPARABLE (forced):** {reason}\n" for reason in comparison.forced]
    lines += [f"**Warning:** {warning}\n" for warning in comparison.warnings]
    lines += [markdown_table(table) for table in tables]
    lines += [f"![{Path(name).stem.replace('_', ' ')}]({name})\n" for name in figures]
    paths = [out_dir / "comparison.md"]
    paths[0].write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8", newline="\n")
    forced = bool(comparison.forced)
    for table in tables:
        paths.append(out_dir / f"{table.name}.csv")
        write_csv(table, paths[-1], forced, comparison.unequal)
        paths.append(out_dir / f"{table.name}.tex")
        paths[-1].write_text(latex_table(table, comparison.forced, comparison.warnings), encoding="utf-8", newline="\n")
    return paths


def estimate_cell(interval: Estimate | None, p: float | None = None) -> Cell:
    """An estimate with its marks: * where the adjusted `p` is significant, a dagger where one seed stands behind it."""
    if interval is None:
        return Cell()
    significant = p is not None and p < SIGNIFICANT
    mark = ("*" if significant else "") + (DAGGER if interval.problems_only else "")
    return Cell(interval.mean, interval=interval, p=p, mark=mark)


def estimate_notes(comparison: Comparison, cells: Sequence[Sequence[Cell]], first: str) -> list[str]:
    """`first`, and what the marks in `cells` mean."""
    notes = [first]
    marks = "".join(cell.mark for row in cells for cell in row)
    if DAGGER in marks:
        notes.append(f"{DAGGER} One seed: the interval covers problems only, not training.")
    if "*" in marks:
        notes.append(f"* Differs from {comparison.baseline}: Holm-adjusted p < {SIGNIFICANT}.")
    if any(math.isnan(cell.interval.half_width) for row in cells for cell in row if cell.interval is not None):
        notes.append("An estimate without +/- has no spread to make an interval from (all scores equal).")
    return notes


def scores_table(comparison: Comparison, split: str) -> Table:
    """Scores by suite and in the mean, gain over the start, and difference to the baseline if there is one."""
    suites = comparison.suites[split]
    columns = [LABEL, Column("seeds", "seeds", "count")]
    columns += [Column(f"suite_{suite}", suite, "percent") for suite in suites]
    columns += [Column("mean", "mean", "percent"), Column("gain", "gain over start", "signed")]
    if comparison.baseline is not None:
        columns.append(Column("difference", f"minus {comparison.baseline}", "signed"))
    cells = []
    for row in comparison.rows:
        scores = row.scores[split]
        line = [Cell(row.label), Cell(float(len(row.runs)))]
        line += [estimate_cell(scores.by_suite[suite]) for suite in suites]
        line += [estimate_cell(scores.mean), estimate_cell(scores.gain)]
        if comparison.baseline is not None:
            line.append(estimate_cell(scores.difference, scores.holm))
        cells.append(line)
    share = f"{100 * comparison.level:g}%"
    first = (
        f"avg@k in percent at the last evaluation, +/- half-width of the {share} interval over seeds and problems "
        "(`harness.statistics`, validated by `harness validate-statistics`); mean = unweighted over suites; gain and "
        "difference are paired by problem and seed."
    )
    title = "Scores" if split == "eval" else f"Scores, split {split}"
    return Table(_name("scores", split), title, columns, cells, estimate_notes(comparison, cells, first))


def differences_table(comparison: Comparison, split: str) -> Table:
    """Paired differences to the baseline by suite and in the mean, with adjusted p-values; needs a baseline."""
    suites = comparison.suites[split]
    columns = [LABEL, Column("baseline", "baseline", "text"), Column("seeds", "paired seeds", "count")]
    columns += [Column(f"suite_{suite}", suite, "signed") for suite in suites]
    columns += [Column("mean", "mean", "signed"), Column("p_holm", "p (Holm)", "number")]
    cells = []
    for row in comparison.rows:
        scores = row.scores[split]
        if scores.difference is None:
            continue
        line = [Cell(row.label), Cell(row.baseline.label), Cell(float(scores.difference.seeds))]
        line += [estimate_cell(scores.suite_difference[suite], scores.suite_holm[suite]) for suite in suites]
        line += [estimate_cell(scores.difference, scores.holm), Cell(scores.holm)]
        cells.append(line)
    first = (
        "Difference in percentage points, paired by problem and seed. Intervals are not adjusted; p-values are, by "
        "Holm: the mean over strategies, the suites over strategies and suites."
    )
    title = f"Difference to {comparison.baseline}" + ("" if split == "eval" else f", split {split}")
    return Table(_name("differences", split), title, columns, cells, estimate_notes(comparison, cells, first))


def levels_table(comparison: Comparison) -> Table:
    """Scores by difficulty, mean over suites."""
    found = {row.label: row.mean_levels for row in comparison.rows}
    levels = sorted({level for by_level in found.values() for level in by_level})
    columns = [LABEL, *(Column(f"level_{level}", f"level {level}", "percent") for level in levels)]
    cells = [
        [Cell(label), *(estimate_cell(by_level.get(level)) for level in levels)] for label, by_level in found.items()
    ]
    first = "avg@k in percent by difficulty: unweighted mean over suites, for the levels that every suite has."
    return Table("levels", "Scores by level", columns, cells, estimate_notes(comparison, cells, first))


def suite_levels_table(comparison: Comparison) -> Table:
    """Scores by suite and difficulty."""
    levels = sorted({level for row in comparison.rows for found in row.levels.values() for level in found})
    columns = [LABEL, Column("suite", "suite", "text")]
    columns += [Column(f"level_{level}", f"level {level}", "percent") for level in levels]
    cells = [
        [Cell(row.label), Cell(suite), *(estimate_cell(row.levels[suite].get(level)) for level in levels)]
        for suite in comparison.suites["eval"]
        for row in comparison.rows
    ]
    note = estimate_notes(comparison, cells, "avg@k in percent by difficulty.")
    return Table("levels_by_suite", "Scores by suite and level", columns, cells if levels else [], note)


def cost_table(comparison: Comparison) -> Table:
    """What a run spent."""
    return _plain(
        "cost",
        "Cost of a run",
        COSTS,
        [(row.label, row.cost) for row in comparison.rows],
        "Mean over seeds, up to the last update; evaluation is not counted.",
    )


def reasons_table(comparison: Comparison) -> Table:
    """Signals of training, to read the scores by."""
    return _plain(
        "reasons",
        "What happened in training",
        REASONS,
        [(row.label, row.reasons) for row in comparison.rows],
        "Mean over seeds. Q1, Q4: mean over the first and last quarter of steps; end: last step; grad norm and "
        "mismatch: mean over all steps; eff. mix: demonstrations' share of sum |coefficient|; large |dmu|: events up "
        "to the last step; controller: share of step time.",
    )


def _plain(
    name: str, title: str, columns: Sequence[Column], records: Sequence[tuple[str, dict[str, float]]], note: str
) -> Table:
    used = [column for column in columns if any(column.key in values for _, values in records)]
    cells = [[Cell(label), *(Cell(values.get(column.key)) for column in used)] for label, values in records]
    return Table(name, title, [LABEL, *used], cells, [note])


def _evaluations(comparison: Comparison) -> Table:
    """Per row and suite, seeds pooled: sizes, pass@k averaged over problems and seeds, and what was not answered."""
    blocks = [(split, suite) for split, suites in comparison.suites.items() for suite in suites]
    pairs = [(row, split, suite) for row in comparison.rows for split, suite in blocks]
    largest = max(_largest(_results(row, suite), split) for row, split, suite in pairs)
    ks = [k for k in (2**i for i in range(largest.bit_length())) if k <= largest]
    columns = [LABEL, Column("split", "split", "text"), Column("suite", "suite", "text")]
    columns += [Column("problems", "problems", "count"), Column("k", "k", "count")]
    columns += [Column("avg", "avg@k", "percent"), Column("se", "SE", "percent")]
    columns += [Column(f"pass_{k}", f"pass@{k}", "percent") for k in ks]
    columns += [Column(key, key.replace("_", " "), "count") for key in ("truncated", "no_answer", "infra")]
    columns.append(Column("grader", "grader", "text"))
    cells = []
    for row, split, suite in pairs:
        results = _results(row, suite)
        scores = matrix(results, split).values
        line = [Cell(row.label), Cell(split), Cell(suite), Cell(float(len(results[0].questions.places(split))))]
        line += [Cell(float(_largest(results, split))), Cell(float(scores.mean()))]
        line.append(Cell(clustered_standard_error(scores.T)))
        line += [Cell(value) for value in _passes(results, split, ks)]
        line.append(Cell(float(sum(result.truncated for result in results))))
        line += [Cell(float(sum(result.statuses.get(key, 0) for result in results))) for key in ("no_answer", "infra")]
        line.append(Cell(", ".join(sorted({" ".join(pair) for result in results for pair in result.graders}))))
        cells.append(line)
    notes = [
        "SE: clustered by problem, seeds pooled. pass@k: unbiased, mean over problems and seeds, undefined (-) where a "
        "problem has fewer than k scored samples. truncated, no answer, infra: samples of the suite, all splits and "
        "seeds."
    ]
    return Table("evaluations", "Last evaluation", columns, cells, notes)


def _results(row: Row, suite: str) -> list[Evaluation]:
    return [run.evaluations[suite, row.last] for run in row.runs]


def _largest(results: Sequence[Evaluation], split: str) -> int:
    """Scored samples of the problem with the most."""
    return max(int(found.scored[found.questions.places(split)].max(initial=0)) for found in results)


def _passes(results: Sequence[Evaluation], split: str, ks: Sequence[int]) -> list[float]:
    """pass@k, mean over problems and runs; NaN where it is undefined for one of them."""
    places = [found.questions.places(split) for found in results]
    scored, passed = (
        np.concatenate([getattr(found, key)[own] for found, own in zip(results, places, strict=True)]).astype(int)
        for key in ("scored", "passed")
    )
    # many problems have the same counts
    base = int(passed.max(initial=0)) + 1
    pairs, times = np.unique(scored * base + passed, return_counts=True)
    values = [[pass_at_k(*divmod(pair, base), k) for pair in pairs.tolist()] for k in ks]
    return [float(np.dot(found, times) / times.sum()) for found in values]


def _runs(comparison: Comparison) -> Table:
    columns = [LABEL, Column("run", "run", "text"), Column("seed", "seed", "count")]
    pairs = [(split, suite) for split, suites in comparison.suites.items() for suite in suites]
    columns += [Column(f"{split}_{suite}", f"{suite} ({split})", "percent") for split, suite in pairs]
    columns += [*COSTS, *REASONS]
    cells = []
    for row in comparison.rows:
        for run in row.runs:
            line = [Cell(row.label), Cell(run.name), Cell(float(run.seed))]
            for split, suite in pairs:
                line.append(Cell(float(matrix([run.evaluations[suite, row.last]], split).values.mean())))
            values = run.cost | run.reasons
            cells.append([*line, *(Cell(values.get(column.key)) for column in (*COSTS, *REASONS))])
    return Table("runs", "Single runs", columns, cells, ["avg@k over the run's scored problems; columns as above."])


def _name(stem: str, split: str) -> str:
    return stem if split == "eval" else f"{stem}_{split}"
