"""The validation with smaller counts: what the intervals promise, the world's truth, and the command."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.cli import main
from harness.statistics import report, validation
from harness.statistics.validation import POOLED, Record
from harness.statistics.world import WORLDS, counts, easiness, shift_for, true_mean

FAIR = [world.name for world in WORLDS.values() if world.fair]


def by_study(records: list[Record]) -> dict[tuple[str, str], Record]:
    return {(record.study, record.method): record for record in records}


def slack(bound: float, count: int) -> float:
    """Three Monte Carlo standard errors."""
    return 3 * math.sqrt(bound * (1 - bound) / count)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("name", FAIR)
def test_intervals_cover_and_identical_strategies_are_told_apart_as_often_as_promised(name, seeds):
    count = 240
    found = by_study(validation.intervals(WORLDS[name], seeds, count, 1))
    for study in ("score", "difference", "pass@2"):
        value = found[study, "calibrated"].value
        assert 0.93 - slack(0.93, count) <= value <= 0.97 + slack(0.97, count)
    assert 0.035 - slack(0.035, count) <= found["identical", "calibrated"].value <= 0.065 + slack(0.065, count)


@pytest.mark.parametrize("name", ["usual", "loud"])
def test_holm_keeps_the_family_error_where_satterthwaite_does_not(name):
    count = 200
    found = by_study(validation.families(WORLDS[name], 3, count, 1))
    assert found["family error", "calibrated"].value <= 0.05 + slack(0.05, count)
    assert found["family error", POOLED].value <= 0.05 + slack(0.05, count)
    assert found["uncorrected", "calibrated"].value > 0.2
    if name == "loud":
        assert found["family error", "satterthwaite"].value > 0.05 + slack(0.05, count) / 2


def test_power_is_what_the_design_predicts_and_pooling_raises_it():
    found = by_study(validation.families(WORLDS["usual"], 5, 250, 1, (0.02, 0.05)))
    for points in ("2", "5"):
        measured, predicted = found[f"power {points}", "calibrated"], found[f"power {points}", "predicted"]
        assert measured.value == pytest.approx(predicted.value, abs=0.1)
    assert found["family power 2", POOLED].value > found["family power 2", "calibrated"].value + 0.1


def test_error_over_problems_alone_is_refuted():
    found = by_study(validation.intervals(WORLDS["loud"], 3, 100, 1))
    assert found["difference", "problems alone"].value < 0.6
    assert found["score", "seeds alone"].value < 1


def test_integrated_coverage_stays_within_the_bounds_of_the_docstring():
    found = {(record.seeds, record.method): record.value for record in validation.calibration()}
    for seeds, low, high in ((3, 0.948, 0.961), (5, 0.949, 0.956), (10, 0.949, 0.955)):
        assert low <= found[seeds, "lowest"] <= found[seeds, "highest"] <= high


@pytest.mark.parametrize("name", WORLDS)
def test_truth_of_a_world_is_the_mean_of_many_draws(name):
    world, rng = WORLDS[name], np.random.default_rng(2)
    hits = counts(world, rng, easiness(world, rng, 1500), 4, 0.3, True)
    means = np.mean([suite.mean(axis=(1, 2)) for suite in hits], axis=0) / world.samples
    error = means.std(ddof=1) / math.sqrt(means.size)
    assert means.mean() == pytest.approx(true_mean(world, 0.3, True), abs=4 * error)


def test_shift_makes_the_difference_it_is_asked_for():
    world = WORLDS["lively"]
    assert true_mean(world, shift_for(world, 0.05), True) - true_mean(world) == pytest.approx(0.05, abs=1e-8)


def test_jackknife_covers_where_the_bootstrap_does_not():
    found = by_study(validation.resampled(WORLDS["usual"], 3, 8, 1))
    assert found["interquartile mean", "jackknife"].value > 0.92
    assert found["interquartile mean", "bootstrap"].value < 0.85


def test_nested_interval_covers():
    found = by_study(validation.nested(WORLDS["usual"], 3, 300, 1))
    assert found["nested", "nested"].value == pytest.approx(0.95, abs=0.04)


def test_verdicts_tell_noise_from_a_broken_promise():
    def word(study: str, value: float, method: str = "calibrated", world: str = "usual") -> list[str]:
        return [verdict.word for verdict in report.verdicts([Record(study, world, 3, method, value, 1000)])]

    assert word("difference", 0.95) == ["kept"]
    assert word("difference", 0.92) == ["noise"]
    assert word("difference", 0.90) == ["BROKEN"] == word("difference", 1.0)
    assert word("family error", 0.2) == ["BROKEN"]
    assert word("difference", 0.5, "satterthwaite") == [] == word("score", 0.5, world="collapse")


def test_command_writes_the_same_bytes_twice(tmp_path, capsys):
    arguments = ["validate-statistics", "--repetitions", "12", "--world", "quiet"]
    codes = [main([*arguments, "--out", str(tmp_path / name)]) for name in "ab"]
    printed = capsys.readouterr().out
    assert "Promises of the calibrated method" in printed and codes[0] == codes[1]
    for name in ("validation.md", "validation.csv", "validation.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_command_refuses_an_unknown_world(capsys):
    assert main(["validate-statistics", "--world", "nowhere"]) == 2
    assert "There is no world 'nowhere'" in capsys.readouterr().err
    assert main(["validate-statistics", "--repetitions", "0"]) == 2
    assert main(["validate-statistics", "--list"]) == 0
    assert "collapse" in capsys.readouterr().out
