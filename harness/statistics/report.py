"""Tables of a validation, and whether it kept what the intervals promise."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.statistics.validation import DIFFERENCES, PASS_K, POOLED, STRATEGIES, Record
from harness.statistics.world import WORLDS
from harness.terminal import Grid

COVERAGE = (0.93, 0.97)
REJECTED = (0.035, 0.065)
FAMILY = (0.0, 0.05)
PROMISES = {
    "score": COVERAGE,
    "difference": COVERAGE,
    f"pass@{PASS_K}": COVERAGE,
    "identical": REJECTED,
    "family error": FAMILY,
}
POINTS = [f"{100 * difference:.0f}" for difference in DIFFERENCES]
TITLES = {
    "difference": "Coverage of 95% intervals (%): paired difference of 2 points, strategies with effects of their own",
    "score": "Coverage of 95% intervals (%): score of one strategy",
    f"pass@{PASS_K}": f"Coverage of 95% intervals (%): pass@{PASS_K}",
    "identical": "Identical strategies called different at 5% (%)",
    "family error": f"Any of {STRATEGIES} identical strategies called different after Holm at 5% (%)",
    "uncorrected": f"Any of {STRATEGIES} identical strategies called different without correction (%)",
    **{f"power {n}": f"Power for {n} point{'s'[: n != '1']}, one comparison (%)" for n in POINTS},
    **{f"family power {n}": f"Power for {n} point{'s'[: n != '1']}, after Holm over {STRATEGIES} (%)" for n in POINTS},
    "detectable": "Smallest difference detected with 80% power (points)",
    "calibration": "Coverage of 95% intervals by numerical integration, normal effects, over all ratios of parts (%)",
    "nested": "Coverage where every seed has problems of its own (%)",
    "interquartile mean": "Coverage of the interquartile mean over seeds x suites (%)",
    "improvement": "Coverage of the probability of improvement (%)",
}  # fmt: skip
NOTES = (
    "Cells: one number a number of seeds, in the order of the head. Method names: calibrated is the method of "
    "`harness.statistics.margins`; satterthwaite crossed random effects with his degrees of freedom; problems "
    f"alone the usual standard error over problems; {POOLED} takes the spread between seeds from all strategies of the "
    "family."
)


@dataclass(frozen=True)
class Verdict:
    """A promise and how it was kept: `kept`, `noise` (outside by less than two Monte Carlo errors) or `BROKEN`."""

    record: Record
    low: float
    high: float
    word: str


def verdicts(records: Iterable[Record]) -> list[Verdict]:
    """Every promise about the calibrated method in a world that it is made for."""
    found = []
    for record in records:
        world = WORLDS.get(record.world)
        if record.method != "calibrated" or record.study not in PROMISES or world is None or not world.fair:
            continue
        low, high = PROMISES[record.study]
        bound = low if record.value < low else high
        # the error under the bound: that of a share of 0 or 1 would be zero
        noise = 2 * math.sqrt(bound * (1 - bound) / record.count)
        kept = low <= record.value <= high
        word = "kept" if kept else "noise" if abs(record.value - bound) <= noise else "BROKEN"
        found.append(Verdict(record, low, high, word))
    return found


def summary(found: Sequence[Verdict]) -> Grid:
    """One line a promise: its range, what was measured, and the verdict."""
    rows = []
    for study, (low, high) in PROMISES.items():
        mine = [verdict for verdict in found if verdict.record.study == study]
        if not mine:
            continue
        values = [verdict.record.value for verdict in mine]
        counts = [sum(verdict.word == word for verdict in mine) for word in ("kept", "noise", "BROKEN")]
        measured = f"{100 * min(values):.1f} to {100 * max(values):.1f}"
        rows.append([study, f"{100 * low:g} to {100 * high:g}", measured, *map(str, counts)])
    head = ("study", "promised (%)", "measured (%)", "kept", "within noise", "broken")
    worlds = ", ".join(world.name for world in WORLDS.values() if world.fair)
    note = f"Worlds with a promise: {worlds}. Within noise: outside by less than two Monte Carlo standard errors."
    return Grid(head, rows, frozenset({3, 4, 5}), "Promises of the calibrated method", (note,))


def grids(records: Sequence[Record]) -> list[Grid]:
    """One table a study: worlds down, methods across, the numbers of seeds within a cell."""
    found = []
    for study, title in TITLES.items():
        mine = [record for record in records if record.study == study]
        if not mine:
            continue
        seeds = sorted({record.seeds for record in mine})
        methods = list(dict.fromkeys(record.method for record in mine))
        cells = {(record.world, record.method, record.seeds): record.value for record in mine}
        rows = [
            [world, *(" / ".join(_percent(cells.get((world, method, count))) for count in seeds) for method in methods)]
            for world in dict.fromkeys(record.world for record in mine)
        ]
        right = frozenset(range(1, len(methods) + 1))
        found.append(Grid(("world", *methods), rows, right, f"{title}; seeds {' / '.join(map(str, seeds))}"))
    return found


def markdown(records: Sequence[Record], settings: str, figure: str) -> str:
    """The whole report."""
    lines = ["# Validation of the statistics", "", settings, "", NOTES, ""]
    lines += [f"- `{world.name}`: {world.summary}" for world in WORLDS.values()]
    lines += [
        "- `uneven`: as `lively`, but one of the identical strategies varies four times as much between seeds",
        "",
    ]
    lines += [f"![coverage, false rejections and power]({figure})", ""]
    for grid in (summary(verdicts(records)), *grids(records)):
        lines += [f"## {grid.title}", "", *_pipes(grid), "", *(line for note in grid.notes for line in (note, ""))]
    return "\n".join(lines).rstrip() + "\n"


def table_csv(records: Iterable[Record]) -> str:
    """One line a record; values and errors are shares, half-widths scores in [0, 1]."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("study", "world", "seeds", "method", "value", "monte_carlo_error", "count", "mean_half_width"))
    for record in records:
        width = "" if math.isnan(record.width) else f"{record.width:.6g}"
        numbers = (f"{record.value:.6g}", f"{record.error:.3g}" if record.count else "", record.count or "", width)
        writer.writerow((record.study, record.world, record.seeds, record.method, *numbers))
    return buffer.getvalue()


def write(records: Sequence[Record], settings: str, out: Path) -> list[Path]:
    """validation.md, validation.csv and validation.png; equal input, equal bytes."""
    from harness.statistics import figure  # matplotlib takes a second to import

    out.mkdir(parents=True, exist_ok=True)
    texts = {"validation.md": markdown(records, settings, "validation.png"), "validation.csv": table_csv(records)}
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*(out / name for name in texts), figure.write(records, out / "validation.png")]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _pipes(grid: Grid) -> list[str]:
    rule = "|".join("--:" if i in grid.right else "---" for i in range(len(grid.headers)))
    rows = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (grid.headers, *grid.rows)]
    return [rows[0], f"|{rule}|", *rows[1:]]
