"""Studies that measure coverage, type I error, family-wise error and power on worlds with a known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from harness.statistics import aggregates
from harness.statistics.components import Components, components
from harness.statistics.design import Design
from harness.statistics.family import holm_array, pooled_seed_part
from harness.statistics.margins import half_width, p_value, t_quantile
from harness.statistics.passk import pass_at_k_scores
from harness.statistics.resampling import jackknife_interval
from harness.statistics.rivals import METHODS, satterthwaite_p
from harness.statistics.world import WORLDS, World, counts, easiness, scores, shift_for, true_mean

LEVEL = 0.95
SEEDS = (3, 5, 10)
STRATEGIES = 12
DIFFERENCES = (0.01, 0.02, 0.05)
PASS_K = 2
POOLED = "pooled over strategies"
CELLS = 1_500_000  # of one array in memory
RUNS = 240  # whose aggregate is taken as the truth


@dataclass(frozen=True)
class Record:
    """One measured share: `value` out of `count` simulated cases (or an exact number where count is 0).

    `width`: mean half-width of the intervals, in score units; NaN where none.
    """

    study: str
    world: str
    seeds: int
    method: str
    value: float
    count: int
    width: float = float("nan")

    @property
    def error(self) -> float:
        """Monte Carlo standard error of the share; 0 for an exact number."""
        return float(np.sqrt(self.value * (1 - self.value) / self.count)) if self.count else 0.0


def intervals(world: World, seeds: int, repetitions: int, seed: int) -> list[Record]:
    """Coverage of a score, of a paired difference of 2 points and of pass@2; rejections for identical strategies."""
    rng = _generator(seed, "intervals", world, seeds)
    shift = shift_for(world, 0.02)
    truths = {
        "score": true_mean(world),
        "difference": 0.02,
        "identical": 0.0,
        f"pass@{PASS_K}": true_mean(world, k=PASS_K),
    }
    tally: dict[tuple[str, str], list[np.ndarray]] = {}
    for size in _chunks(repetitions, seeds * world.problems):
        problems = easiness(world, rng, size)
        hits = counts(world, rng, problems, seeds, 0.0, False)
        first = [suite / world.samples for suite in hits]
        same = scores(world, rng, problems, seeds, 0.0, False)
        better = scores(world, rng, problems, seeds, shift, True)
        strata = {
            "score": first,
            "difference": [b - a for a, b in zip(first, better, strict=True)],
            "identical": [b - a for a, b in zip(first, same, strict=True)],
            f"pass@{PASS_K}": [pass_at_k_scores(suite, world.samples, PASS_K) for suite in hits],
        }
        for study, matrices in strata.items():
            parts = components(matrices)
            for method, of in METHODS.items():
                half = of(parts, LEVEL)
                inside = np.abs(parts.mean - truths[study]) <= half
                outcome = ~inside if study == "identical" else inside
                tally.setdefault((study, method), []).append(np.stack([outcome, half]))
    return _records(tally, world, seeds)


def nested(world: World, seeds: int, repetitions: int, seed: int) -> list[Record]:
    """Coverage of a score where every seed has problems of its own: t over seed means, and the crossed method."""
    rng = _generator(seed, "nested", world, seeds)
    tally: dict[tuple[str, str], list[np.ndarray]] = {}
    for size in _chunks(repetitions, seeds * world.problems):
        flat = scores(world, rng, easiness(world, rng, size * seeds), 1, 0.0, False)
        parts = components([suite.reshape(size, seeds, -1) for suite in flat])
        for method, half in (
            ("nested", t_quantile(1 - LEVEL, seeds - 1) * parts.seed_error),
            ("calibrated", half_width(parts, LEVEL)),
        ):
            outcome = np.abs(parts.mean - true_mean(world)) <= half
            tally.setdefault(("nested", method), []).append(np.stack([outcome, half]))
    return _records(tally, world, seeds)


def families(
    world: World, seeds: int, repetitions: int, seed: int, differences: Sequence[float] = (), uneven: float = 1.0
) -> list[Record]:
    """12 strategies against a baseline, Holm over the family: any false rejection, and power for `differences`.

    11 strategies are identical with the baseline; the twelfth is so too, or better by a difference. `power` is of its
    test alone, `family power` after Holm. `uneven`: factor of the seed effect of the last identical strategy.
    """
    rng = _generator(seed, f"families {uneven}", world, seeds)
    shifts = {0.0: 0.0} | {d: shift_for(world, d) for d in differences}
    tally: dict[tuple[str, str], list[np.ndarray]] = {}
    expected: list[Components] = []
    for size in _chunks(repetitions, seeds * world.problems):
        problems = easiness(world, rng, size)
        base = scores(world, rng, problems, seeds, 0.0, False)
        parts, means = [], [_seed_means(base)]
        for number, difference in enumerate([0.0] * (STRATEGIES - 1) + list(shifts)):
            own = replace(world, seed=world.seed * uneven) if number == STRATEGIES - 2 else world
            arm = scores(own, rng, problems, seeds, shifts[difference], difference > 0)
            parts.append(components([b - a for a, b in zip(base, arm, strict=True)]))
            means.append(_seed_means(arm))
        tested = dict(zip(shifts, parts[STRATEGIES - 1 :], strict=True))
        for method, of in (("calibrated", p_value), ("satterthwaite", satterthwaite_p)):
            p = np.stack([of(part) for part in parts], axis=-1)
            for rank, difference in enumerate(shifts):
                _tally_family(tally, method, difference, p[..., [*range(STRATEGIES - 1), STRATEGIES - 1 + rank]])
        for rank, difference in enumerate(shifts):
            seed_means = np.stack([*means[:STRATEGIES], means[STRATEGIES + rank]], axis=-2)
            variance, df = pooled_seed_part(seed_means)
            family = [*parts[: STRATEGIES - 1], tested[difference]]
            p = np.stack([p_value(replace(part, seed_part=variance, seed_df=df)) for part in family], axis=-1)
            _tally_family(tally, POOLED, difference, p)
        expected.append(parts[-1])
    return _records(tally, world, seeds) + (_predicted(expected, world, seeds) if differences else [])


def _tally_family(
    tally: dict[tuple[str, str], list[np.ndarray]], method: str, difference: float, p: np.ndarray
) -> None:
    adjusted = holm_array(p) < 1 - LEVEL
    plain = p < 1 - LEVEL
    if difference == 0:
        outcomes = {"family error": adjusted.any(axis=-1), "uncorrected": plain.any(axis=-1)}
    else:
        points = f"{100 * difference:.0f}"
        outcomes = {f"power {points}": plain[..., -1], f"family power {points}": adjusted[..., -1]}
    for study, outcome in outcomes.items():
        tally.setdefault((study, method), []).append(np.stack([outcome, np.full(outcome.shape, np.nan)]))


def _predicted(expected: Sequence[Components], world: World, seeds: int) -> list[Record]:
    """Power and detectable differences that `Design` says, from the expected parts of the largest difference."""
    weights = [part.mean.size for part in expected]

    def mean(name: str) -> np.ndarray:
        return np.average([getattr(part, name).mean() for part in expected], weights=weights)

    names = ("mean", "seed_part", "problem_part", "interaction_part", "problem_df")
    design = Design.of(replace(expected[0], **{name: mean(name) for name in names}))
    rows = [Record(f"power {100 * d:.0f}", world.name, seeds, "predicted", design.power(d), 0) for d in DIFFERENCES]
    rows.append(Record("detectable", world.name, seeds, "one comparison", design.detectable(), 0))
    first = design.detectable(rate=0.05 / STRATEGIES)
    return [*rows, Record("detectable", world.name, seeds, f"family of {STRATEGIES}", first, 0)]


def resampled(world: World, seeds: int, sets: int, seed: int) -> list[Record]:
    """Coverage of the interquartile mean and of the probability of improvement (1 point better), on given problems.

    The truth of a problem set is the aggregate of 240 runs on it, which the experiments divide among themselves.
    """
    rng = _generator(seed, "resampled", world, seeds)
    tally: dict[tuple[str, str], list[np.ndarray]] = {}
    draws = rng.integers(seeds, size=(200, seeds))
    for _ in range(sets):
        problems = easiness(world, rng, 1)
        tables = []
        for shift in (0.0, shift_for(world, 0.01, False)):
            runs = scores(world, rng, problems, RUNS, shift, False)
            tables.append(np.stack([suite[0].mean(axis=-1) for suite in runs], axis=-1))
        cases: dict[str, tuple[Callable[..., np.ndarray], int]] = {
            "interquartile mean": (aggregates.interquartile_mean, 1),
            "improvement": (aggregates.probability_of_improvement, 2),
        }
        for study, (aggregate, needed) in cases.items():
            used = tables[:needed]
            truth = aggregate(*used)
            groups = [table.reshape(RUNS // seeds, seeds, -1) for table in used]
            estimate, half = jackknife_interval(aggregate, *groups)
            covered = np.abs(estimate - truth) <= half
            tally.setdefault((study, "jackknife"), []).append(np.stack([covered, half]))
            # the same draws for every experiment; those of the second table are the first ones in reverse
            again = [group[:, draws if i == 0 else draws[::-1]] for i, group in enumerate(groups)]
            low, high = np.quantile(aggregate(*again), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
            covered = (low <= truth) & (truth <= high)
            tally.setdefault((study, "bootstrap"), []).append(np.stack([covered, (high - low) / 2]))
    return _records(tally, world, seeds)


def calibration() -> list[Record]:
    """Lowest and highest coverage of 95% intervals by numerical integration: normal effects, all ratios of parts."""
    rows = []
    for seeds in (2, *SEEDS):
        found = [
            1 - Design(noise * (1 + extra), 1.0, noise, seeds - 1.0, 1e6).power(0.0)
            for noise in np.geomspace(0.01, 1000, 16)
            for extra in (0.0, *np.geomspace(0.1, 1000, 17))
        ]
        rows += [
            Record("calibration", "normal", seeds, name, pick(found), 0)
            for name, pick in (("lowest", min), ("highest", max))
        ]
    return rows


def validate(
    repetitions: int, seed: int, worlds: Sequence[World] = tuple(WORLDS.values()), seeds: Sequence[int] = SEEDS
) -> Iterator[list[Record]]:
    """All studies, one list of records at a time; `repetitions` simulated comparisons, half as many families.

    Uneven strategies are studied where the world `lively` is among `worlds`, aggregates and nested problems where
    `usual` is.
    """
    yield calibration()
    for world in worlds:
        for count in seeds:
            yield intervals(world, count, repetitions, seed)
            differences = DIFFERENCES if world.powered else ()
            yield families(world, count, max(1, repetitions // 2), seed, differences)
    usual, lively = WORLDS["usual"], WORLDS["lively"]
    for count in seeds if lively in worlds else ():
        rows = families(lively, count, max(1, repetitions // 2), seed, uneven=4.0)
        yield [replace(row, world="uneven") for row in rows]
    for count in seeds if usual in worlds else ():
        yield nested(usual, count, repetitions, seed)
        yield resampled(usual, count, max(1, repetitions // 20), seed)


def _generator(seed: int, study: str, world: World, seeds: int) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(f"{study}/{world.name}".encode()), seeds])


def _chunks(repetitions: int, cells: int) -> list[int]:
    size = max(1, CELLS // cells)
    return [min(size, repetitions - start) for start in range(0, repetitions, size)]


def _seed_means(strata: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean([suite.mean(axis=-1) for suite in strata], axis=0)


def _records(tally: dict[tuple[str, str], list[np.ndarray]], world: World, seeds: int) -> list[Record]:
    rows = []
    for (study, method), pieces in tally.items():
        outcome, half = np.concatenate(pieces, axis=-1)
        # an interval that is not defined covers nothing, and has no width
        width = float(np.nanmean(half)) if np.isfinite(half).any() else float("nan")
        rows.append(Record(study, world.name, seeds, method, float(outcome.mean()), outcome.size, width))
    return rows
