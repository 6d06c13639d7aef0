"""`harness validate-statistics`"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from harness import terminal

EXAMPLE = """harness validate-statistics
  harness validate-statistics --repetitions 400 --world usual --world loud"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repetitions",
        type=int,
        default=2000,
        metavar="N",
        help="simulated comparisons a world and number of seeds, half as many families; default 2000",
    )
    parser.add_argument("--world", action="append", default=[], metavar="NAME", help="one simulated world; default all")
    parser.add_argument("--list", action="store_true", help="list the worlds and exit")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation; default 0")
    parser.add_argument("--out", type=Path, default=Path("results/statistics"), help="default results/statistics")


def run(options: argparse.Namespace) -> int:
    """0 where every promise is kept within the noise of the simulation, 1 where one is broken."""
    from harness.statistics import report, validation
    from harness.statistics.world import WORLDS

    if options.list:
        rows = [(world.name, world.summary, "yes" if world.fair else "no") for world in WORLDS.values()]
        terminal.show(terminal.Grid(("world", "what happens", "promise"), rows))
        return 0
    if options.repetitions < 1 or options.seed < 0:
        raise ValueError("--repetitions must be at least 1 and --seed at least 0.")
    if unknown := [name for name in options.world if name not in WORLDS]:
        raise ValueError(f"There is no world {unknown[0]!r}; choose from {', '.join(WORLDS)}.")
    worlds = [WORLDS[name] for name in dict.fromkeys(options.world)] or list(WORLDS.values())
    began = time.perf_counter()
    records = []
    for found in validation.validate(options.repetitions, options.seed, worlds):
        records += found
        spent = terminal.duration(time.perf_counter() - began)
        print(f"{found[0].world}, {found[0].seeds} seeds, {found[0].study}: done after {spent}", file=sys.stderr)
    settings = (
        f"{options.repetitions} simulated comparisons and {max(1, options.repetitions // 2)} families a world and "
        f"number of seeds, simulation seed {options.seed}; binary answers, 4 suites of 100 problems and 4 samples a "
        "problem, unless the world says otherwise."
    )
    paths = report.write(records, settings, options.out)
    verdicts = report.verdicts(records)
    for grid in (*report.grids(records), report.summary(verdicts)):
        terminal.show(grid)
        print()
    for verdict in (verdict for verdict in verdicts if verdict.word != "kept"):
        record = verdict.record
        print(
            f"{verdict.word}: {record.study}, {record.world}, {record.seeds} seeds: {100 * record.value:.1f} +/- "
            f"{100 * record.error:.1f}, promised {100 * verdict.low:g} to {100 * verdict.high:g}"
        )
    spent = terminal.duration(time.perf_counter() - began)
    # not on stdout: that may be piped into a file
    print(f"written to {options.out}: {', '.join(path.name for path in paths)} ({spent})", file=sys.stderr)
    return int(any(verdict.word == "BROKEN" for verdict in verdicts))
