"""What a scenario showed: measures with intervals over seeds, kinds of arms, and who beats whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.statistics.family import holm_array
from harness.statistics.intervals import Estimate, crossed_interval, paired_interval
from harness.testbed.arms import NOISE, ORACLE, ORACLES, SCHEDULE, Arm
from harness.testbed.simulate import FIXED, Trace

LEVEL = 0.95
SIGNIFICANT = 0.05
MARGIN = 0.01  # of the comparator's mean: a smaller difference is a tie, however sure it is
FINAL = 0.1  # share of steps at the end that `final` averages over
MEASURES = {
    "regret": "E(mu) - E(mu*), declared target, mean over steps",
    "regret_direction": "the same for the true direction",
    "mean_j": "J, mean over steps",
    "final_j": "J, mean over the last tenth of the steps",
    "excess_oracle": f"mean J less that of `{ORACLE}`",
    "excess_schedule": f"mean J less that of `{SCHEDULE}`",
}
JUDGED = ("regret", "mean_j")  # measures that verdicts are given on
COMPARATORS = ("best fixed", "default fixed", "best scheduled", "best rule-based", "baseline")


@dataclass(frozen=True)
class Verdict:
    """How an arm's measure differs from a comparator's, paired by seed; less is better."""

    arm: str
    measure: str
    comparator: str  # of COMPARATORS
    against: str  # the arm that it is here
    difference: Estimate
    relative: float  # difference over the comparator's mean
    p: float  # adjusted after Holm over all tests of the scenario and measure
    word: str  # beats, ties, loses


@dataclass(frozen=True)
class Result:
    """One scenario: per-seed measures [seeds] and their intervals by (arm, measure), and the verdicts."""

    trace: Trace
    values: dict[tuple[str, str], np.ndarray]
    intervals: dict[tuple[str, str], Estimate]
    best_fixed: dict[str, str]  # measure -> name of the best fixed weight in hindsight
    verdicts: tuple[Verdict, ...]


def kinds(arms: Sequence[Arm], traces: Sequence[Trace]) -> dict[str, str]:
    """Kind of every arm, by what it did: a constant mu is fixed, one that no seed and scenario changed is scheduled;
    what reacts is noise-aware if it reads a noise statistic, else rule-based."""
    found = {}
    for arm in arms:
        courses = [trace.mu[:, :, trace.of(arm.name)] for trace in traces]
        first = courses[0][:, :1]
        if all((course == first[0]).all() for course in courses):
            found[arm.name] = "fixed"
        elif all((course == first).all() for course in courses):
            found[arm.name] = "scheduled"
        else:
            found[arm.name] = "noise-aware" if arm.read & NOISE else "rule-based"
    return found


def distinct(arms: Sequence[Arm], traces: Sequence[Trace], baseline: str | None = None) -> tuple[list[Arm], list[str]]:
    """Arms whose mu differs somewhere from that of every arm before, and a note for each of the others.

    The baseline always stays. Strategies may differ in what only a language model has, such as the SFT branch's loss.
    """
    seen: dict[bytes, str] = {}
    kept, notes = [], []
    for arm in arms:
        course = b"".join(trace.mu[:, :, trace.of(arm.name)].tobytes() for trace in traces)
        first = seen.setdefault(course, arm.name)
        if arm.name in (first, baseline):
            kept.append(arm)
        else:
            notes.append(f"{arm.name} is left out: its mu is that of {first} in every step")
    return kept, notes


def measure(trace: Trace, arms: Sequence[Arm], kind: dict[str, str], baseline: str | None = None) -> Result:
    """All measures and verdicts of one scenario. `baseline`: one more arm to compare with, by name."""
    j = trace.suboptimality
    last = max(1, round(FINAL * len(j)))
    mean_j = j.mean(0)
    arrays = {
        "regret": trace.regret.mean(0),
        "regret_direction": trace.regret_direction.mean(0),
        "mean_j": mean_j,
        "final_j": j[-last:].mean(0),
        "excess_oracle": mean_j - mean_j[:, [trace.of(ORACLE)]],
        "excess_schedule": mean_j - mean_j[:, [trace.of(SCHEDULE)]],
    }
    values = {(name, key): array[:, i] for key, array in arrays.items() for i, name in enumerate(trace.names)}
    intervals = {pair: crossed_interval([value[:, None]], LEVEL) for pair, value in values.items()}
    best = {key: _least(FIXED, key, intervals) for key in MEASURES}
    others = {"baseline": baseline} if baseline else {}
    verdicts = [
        verdict
        for key in JUDGED
        for verdict in _judge(key, arms, kind, {"best fixed": best[key], **others}, values, intervals)
    ]
    return Result(trace, values, intervals, best, tuple(verdicts))


def _least(names: Sequence[str], key: str, intervals: dict[tuple[str, str], Estimate]) -> str:
    return min(names, key=lambda name: intervals[name, key].mean)


def _judge(
    key: str,
    arms: Sequence[Arm],
    kind: dict[str, str],
    given: dict[str, str],
    values: dict[tuple[str, str], np.ndarray],
    intervals: dict[tuple[str, str], Estimate],
) -> list[Verdict]:
    groups = {
        "default fixed": [arm.name for arm in arms if kind[arm.name] == "fixed" and arm.by_default],
        "best scheduled": [arm.name for arm in arms if kind[arm.name] == "scheduled"],
        "best rule-based": [arm.name for arm in arms if kind[arm.name] == "rule-based"],
    }
    against = given | {name: _least(group, key, intervals) for name, group in groups.items() if group}
    pairs = [(arm.name, name, other) for arm in arms for name, other in against.items() if arm.name != other]
    # one arm may be two comparators: their test is one test
    tests = list(dict.fromkeys((arm, other) for arm, _, other in pairs))
    found = {
        (arm, other): paired_interval([values[arm, key][:, None]], [values[other, key][:, None]], LEVEL)
        for arm, other in tests
    }
    adjusted = dict(zip(tests, holm_array([found[test].p_value for test in tests]).tolist(), strict=True))
    verdicts = []
    for arm, name, other in pairs:
        difference, p = found[arm, other], adjusted[arm, other]
        base = intervals[other, key].mean
        relative = difference.mean / base if base > 0 else math.nan
        sure = not math.isnan(p) and p < SIGNIFICANT and abs(difference.mean) >= MARGIN * base
        word = "ties" if not sure else "beats" if difference.mean < 0 else "loses"
        verdicts.append(Verdict(arm, key, name, other, difference, relative, p, word))
    return verdicts


def shown(arms: Sequence[Arm], result: Result) -> list[str]:
    """Names of the rows of a table: oracles, the best fixed weights of the judged measures, then the arms."""
    best = sorted({result.best_fixed[key] for key in JUDGED})
    return [*ORACLES, *best, *(arm.name for arm in arms)]
