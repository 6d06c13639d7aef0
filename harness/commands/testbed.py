"""`harness testbed`"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from harness import terminal
from harness.testbed.scenarios import Settings

ARMS = Path(__file__).resolve().parents[2] / "reports" / "testbed.toml"
EXAMPLE = """harness testbed
  harness testbed --scenario switch --proxy coefficient --seeds 40
  harness testbed --only-arms --arm slow=STRATEGY:mu=0.2 --arm fast=STRATEGY:mu=0.4"""
NUMBERS = {
    "dimension": (int, "dimension of theta"),
    "steps": (int, "optimiser steps"),
    "seeds": (int, "seeds; every arm of a seed meets the same noise"),
    "seed": (int, "the first seed"),
    "learning_rate": (float, "learning rate; the largest curvature is 1"),
    "alpha": (float, "SFT share of the declared target gradient"),
    "rl_rows": (int, "RL rows (groups of rollouts) a step"),
    "sft_rows": (int, "demonstrations a step"),
    "group": (int, "rollouts a group"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="one scenario; default all")
    parser.add_argument("--list", action="store_true", help="list the scenarios and exit")
    parser.add_argument(
        "--arm",
        action="append",
        default=[],
        metavar="NAME=STRATEGY:OPTION=VALUE,...",
        help="a strategy with options, beside those of --arms",
    )
    parser.add_argument("--arms", type=Path, help="TOML file of arms; default reports/testbed.toml where there is one")
    parser.add_argument("--only-arms", action="store_true", help="just the arms of --arm and --arms, no other")
    parser.add_argument("--baseline", metavar="ARM", help="an arm that all others are compared with, beside the usual")
    parser.add_argument(
        "--proxy",
        default="gradient",
        help="what controllers are told: gradient (estimates from noisy rows; unfloored: with squared distances below "
        "zero), coefficient or z_score (token coefficients, whose scales are not those of the gradients)",
    )
    for name, (kind, text) in NUMBERS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            metavar="N" if kind is int else "X",
            help=f"{text}; default {getattr(Settings, name)}",
        )
    parser.add_argument("--out", type=Path, default=Path("results/testbed"), help="default results/testbed")


def run(options: argparse.Namespace) -> int:
    from harness.testbed import arms as arms_of
    from harness.testbed import measures, output, scenarios, simulate

    if options.list:
        rows = [(scenario.name, scenario.summary) for scenario in scenarios.SCENARIOS.values()]
        terminal.show(terminal.Grid(("scenario", "what happens"), rows))
        return 0
    began = time.perf_counter()
    chosen = scenarios.choose(options.scenario)
    given = {name: getattr(options, name) for name in NUMBERS if getattr(options, name) is not None}
    settings = scenarios.Settings(**given, proxy=options.proxy)
    # a file that is there anyway is not meant by someone who wants own arms only
    path = options.arms or (ARMS if ARMS.is_file() and not options.only_arms else None)
    file = arms_of.load(path) if path else arms_of.ArmFile()
    variants = [*file.arms, *map(arms_of.parse, options.arm)]
    arms, notes = arms_of.collect(variants, settings, defaults=not options.only_arms)
    baseline = options.baseline or file.baseline
    if baseline is not None and baseline not in (names := [arm.name for arm in arms]):
        raise ValueError(f"the baseline {baseline!r} is no arm here: choose from {', '.join(names)}")
    traces = []
    for scenario in chosen:
        traces.append(simulate.simulate(scenario, settings, arms))
        print(f"{scenario.name}: done after {terminal.duration(time.perf_counter() - began)}", file=sys.stderr)
    arms, same = measures.distinct(arms, traces, baseline)
    outcome = output.Outcome.of(settings, arms, traces, [*notes, *same], file.figure, baseline)
    paths = output.write(outcome, options.out)
    for grid in output.summary(outcome):
        terminal.show(grid)
        print()
    for note in outcome.notes:
        print(note)
    spent = terminal.duration(time.perf_counter() - began)
    # not on stdout: that may be piped into a file
    print(f"written to {options.out}: {', '.join(path.name for path in paths)} ({spent})", file=sys.stderr)
    return 0
