"""The testbed against numerical minimisation, closed forms, and itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import cli
from harness.testbed import arms as arms_of
from harness.testbed import measures, oracle, plan, scenarios, simulate
from harness.testbed.arms import Arm
from harness.testbed.output import Outcome
from harness.testbed.scenarios import SCENARIOS, Settings, at
from harness.testbed.world import World
from strategies import registry
from strategies.base import Step
from strategies.mixture import Mixture, MixtureOptions

SMALL = Settings(dimension=5, steps=30, seeds=4)
GRID = np.linspace(0.0, 1.0, 100_001)


def arm(name: str, strategy: str, **options: Any) -> Arm:
    (found,), notes = arms_of.collect([(name, strategy, options)], SMALL, defaults=False)
    assert not notes
    return found


@pytest.fixture(scope="module")
def trace() -> simulate.Trace:
    """A short run of a scenario in which everything moves."""
    return simulate.simulate(
        SCENARIOS["sparse_reward"], SMALL, [arm("third", "fixed", mu=0.3), arm("falling", "decay")]
    )


def world_at(scenario: str, settings: Settings) -> tuple[World, Any]:
    """A world, and what is true somewhere between its start and its optimum."""
    world = World(SCENARIOS[scenario], settings)
    return world, world.truth(0.6 * world.start[:, None], 0.4)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scenario", ["constant", "sparse_reward", "biased_demos"])
def test_best_mu_is_that_of_a_numerical_search(scenario: str, alpha: float) -> None:
    _, truth = world_at(scenario, SMALL)
    targets = {
        "declared": alpha * truth.g_s + (1.0 - alpha) * truth.g_r,
        "direction": truth.gradient,
    }
    errors = {"declared": truth.declared(alpha), "direction": truth.direction()}
    for name, target in targets.items():
        mean = GRID[:, None, None, None] * truth.g_s + (1.0 - GRID[:, None, None, None]) * truth.g_r
        error = ((mean - target) ** 2).sum(-1)
        error += GRID[:, None, None] ** 2 * truth.sigma_s2 + (1.0 - GRID[:, None, None]) ** 2 * truth.sigma_r2
        np.testing.assert_allclose(errors[name].best, GRID[error.argmin(0)], atol=1e-5)
        for mu in (0.0, 0.2, 1.0):
            np.testing.assert_allclose(errors[name].at(mu), error[round(mu * 100_000)], rtol=1e-9)
            gap = error[round(mu * 100_000)] - error.min(0)
            np.testing.assert_allclose(errors[name].regret(mu), gap, rtol=1e-4, atol=1e-8)


def test_limits_of_the_closed_form() -> None:
    ones = np.ones(1)
    assert oracle.declared(0.3, 0.0 * ones, ones, 3.0 * ones).best == pytest.approx(0.75)  # inverse variances
    assert oracle.declared(0.3, 1e12 * ones, ones, ones).best == pytest.approx(0.3)
    # without a bias of the RL branch the true direction is the declared target at alpha = 0
    _, truth = world_at("constant", SMALL)
    np.testing.assert_allclose(truth.direction().best, truth.declared(0.0).best)


@pytest.mark.parametrize("scenario", ["constant", "sparse_reward"])
def test_estimates_are_unbiased(scenario: str) -> None:
    """Means over many batches of a fixed theta, within five standard errors of the truth."""
    settings = replace(SMALL, seeds=2)
    world = World(SCENARIOS[scenario], settings)
    truth = world.truth(0.6 * world.start[:, None], 0.4)
    drawn = [world.sample(truth, 0.4) for _ in range(4000)]
    for name, true in (
        ("sigma_r2", truth.sigma_r2),
        ("sigma_s2", truth.sigma_s2),
        ("delta", truth.delta),
        ("reward", truth.reward),
        ("g_r", truth.g_r),
        ("g_s", truth.g_s),
    ):
        values = np.stack([getattr(sample, name) for sample in drawn])
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(0) - true) < 5.0 * error).all(), name
    # the variances are those that the batch gradients really have
    spread = np.stack([sample.g_r for sample in drawn]).var(0, ddof=1).sum(-1)
    np.testing.assert_allclose(spread, truth.sigma_r2, rtol=0.1)


def test_the_floor_biases_the_squared_distance_and_its_absence_does_not() -> None:
    settings = replace(SMALL, proxy="gradient")
    world, truth = world_at("constant", settings)
    drawn = [world.sample(truth, 0.4) for _ in range(500)]
    floored = np.mean([world.statistics(sample)["delta_g2"] for sample in drawn], axis=0)
    unfloored = World(SCENARIOS["constant"], replace(settings, proxy="unfloored"))
    raw = np.mean([unfloored.statistics(sample)["delta_g2"] for sample in drawn], axis=0)
    np.testing.assert_allclose(raw, np.mean([sample.delta for sample in drawn], axis=0))
    assert (floored > 1.5 * truth.delta).all()


def test_coefficient_proxies_do_not_see_the_scale_of_the_noise() -> None:
    """Their closed form lies at 0.7 to 0.8 for any noise, as the shares of mixed groups make it."""
    for noise in (0.1, 10.0):
        scenario = replace(
            SCENARIOS["constant"],
            sigma_r=scenarios.constant(noise),
            sigma_s=scenarios.constant(1.0 / noise),
            start_reward=0.5,
        )
        world = World(scenario, replace(SMALL, proxy="coefficient"))
        truth = world.truth(world.start[:, None], 0.0)
        told = world.statistics(world.sample(truth, 0.0))
        assert (told["sigma_r2"] > 0.5).all() and (told["sigma_r2"] <= 1.0).all()
        error = oracle.declared(0.5, told["delta_g2"], told["sigma_s2"], told["sigma_r2"])
        assert (error.best > 0.7).all() and (error.best < 0.8).all()
        assert (abs(truth.declared(0.5).best - error.best) > 0.1).all()
    world = World(SCENARIOS["constant"], replace(SMALL, proxy="z_score"))
    assert (world.statistics(world.sample(truth, 0.0))["delta_g2"] == 2.0).all()


def test_the_oracle_has_no_regret_and_no_arm_has_less(trace: simulate.Trace) -> None:
    assert (trace.regret[:, :, trace.of("oracle")] == 0.0).all()
    assert (trace.regret_direction[:, :, trace.of("oracle-direction")] == 0.0).all()
    assert (trace.regret >= 0.0).all() and (trace.regret_direction >= 0.0).all()
    assert trace.regret[:, :, trace.of("third")].min() > 0.0


def test_regret_of_a_fixed_weight_is_its_closed_form() -> None:
    """E(mu) - E(mu*) = (D + S + R) (mu - mu*)^2, with D, S, R and mu* from a replay of the run."""
    scenario = SCENARIOS["switch"]
    trace = simulate.simulate(scenario, SMALL, [arm("third", "fixed", mu=0.3)])
    world, place = World(scenario, SMALL), trace.of("third")
    theta = world.start[:, None]
    for index in range(SMALL.steps):
        fraction = index / SMALL.steps
        truth = world.truth(theta, fraction)
        rl, sft = (at(course, fraction) ** 2 * world.unit2 for course in (scenario.sigma_r, scenario.sigma_s))
        delta = ((truth.g_s - truth.g_r) ** 2).sum(-1)
        best = (SMALL.alpha * delta + rl) / (delta + sft + rl)
        expected = (delta + sft + rl) * (0.3 - best) ** 2 / world.unit2
        np.testing.assert_allclose(trace.regret[index, :, place], expected[:, 0], rtol=1e-9)
        sample = world.sample(truth, fraction)
        theta = theta - SMALL.learning_rate * (0.3 * sample.g_s + 0.7 * sample.g_r)
        np.testing.assert_allclose(trace.suboptimality[index, :, place], world.suboptimality(theta)[:, 0], rtol=1e-9)
    np.testing.assert_array_equal(trace.suboptimality[:, :, place], trace.suboptimality[:, :, trace.of("mu=0.30")])


def test_planned_cost_is_the_mean_of_simulated_runs() -> None:
    settings = replace(SMALL, seeds=300)
    world = World(SCENARIOS["demo_noise_rises"], settings)
    expected, _ = plan.cost(world, np.full(settings.steps, 0.4))
    trace = simulate.simulate(SCENARIOS["demo_noise_rises"], settings, [])
    means = trace.suboptimality[:, :, trace.of("mu=0.40")].mean(0)
    assert abs(means.mean() - expected) < 4.0 * means.std() / np.sqrt(len(means))


@pytest.mark.parametrize("scenario", ["switch", "sparse_reward"])
def test_gradient_and_optimality_of_the_plan(scenario: str) -> None:
    world = World(SCENARIOS[scenario], SMALL)
    course = np.random.default_rng(1).random(SMALL.steps)
    _, gradient = plan.cost(world, course)
    for index in (0, 7, SMALL.steps - 1):
        step = np.zeros(SMALL.steps)
        step[index] = 1e-5
        slope = (plan.cost(world, course + step)[0] - plan.cost(world, course - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-5, abs=1e-10)
    best = plan.best_schedule(world)
    least, _ = plan.cost(world, best)
    draws = np.random.default_rng(2)
    others = [np.full(SMALL.steps, mu) for mu in np.linspace(0, 1, 11)]
    others += [np.clip(best + 0.1 * draws.standard_normal(SMALL.steps), 0, 1) for _ in range(20)]
    assert all(plan.cost(world, other)[0] > least for other in others)


def test_courses_are_piecewise_linear_with_jumps() -> None:
    course = ((0.0, 1.0), (0.5, 3.0), (0.5, 10.0))
    assert [at(course, x) for x in (0.0, 0.25, 0.49999999, 0.5, 0.9)] == pytest.approx([1.0, 2.0, 3.0, 10.0, 10.0])


def test_a_seed_does_not_depend_on_the_others_nor_on_the_arms() -> None:
    scenario = SCENARIOS["constant"]
    alone = simulate.simulate(scenario, replace(SMALL, seeds=2, seed=1), [arm("a", "decay")])
    among = simulate.simulate(scenario, replace(SMALL, seeds=4), [arm("third", "fixed", mu=0.3), arm("a", "decay")])
    for name in ("oracle", "mu=0.50", "a"):
        np.testing.assert_allclose(
            alone.suboptimality[:, :, alone.of(name)], among.suboptimality[:, 1:3, among.of(name)], rtol=1e-12
        )


class Curious(Mixture):
    """Follows the statistics that it is told of, and notes what it saw."""

    name, summary, source, kind, parity = "curious", "-", "-", "controller", "-"
    Config = MixtureOptions

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        assert step.kl is not None and step.kl >= 0.0
        assert 0.0 <= statistics["reward"] <= 1.0
        self.mu = min(statistics["sigma_r2"] / (statistics["sigma_r2"] + statistics["sigma_s2"]), 1.0)


class Demanding(Curious):
    name = "demanding"

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        self.mu = statistics.get("loss_of_the_day", 0.5)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two strategies of somebody else."""
    registry.names()
    for cls in (Curious, Demanding):
        monkeypatch.setitem(registry._classes, cls.name, cls)


def test_any_mixture_can_be_driven(foreign: None) -> None:
    found, notes = arms_of.collect([], SMALL)
    names = [arm.name for arm in found]
    mixtures = {name for name in registry.names() if issubclass(registry.get(name), Mixture)}
    left_out = {note.split()[0] for note in notes}
    assert set(names) | left_out == mixtures and not set(names) & left_out
    assert "curious" in names and "demanding" in left_out
    assert any(note.startswith("demanding") and "loss_of_the_day" in note for note in notes)
    (curious,) = (arm for arm in found if arm.name == "curious")
    assert curious.read == {"reward", "sigma_r2", "sigma_s2"}


def test_kinds_are_seen_from_what_arms_do(foreign: None) -> None:
    arms = [
        arm("still", "fixed", mu=0.3),
        arm("falling", "decay"),
        arm("own", "curious"),
        arm("rule", "reward_adaptive"),
    ]
    traces = [simulate.simulate(SCENARIOS[name], SMALL, arms) for name in ("constant", "switch")]
    assert measures.kinds(arms, traces) == {
        "still": "fixed", "falling": "scheduled", "own": "noise-aware", "rule": "rule-based"
    }  # fmt: skip


def test_arms_that_do_the_same_are_named_once() -> None:
    arms = [arm("one", "fixed", mu=0.3), arm("two", "fixed", mu=0.3, clip_low=0.1), arm("three", "fixed", mu=0.4)]
    trace = simulate.simulate(SCENARIOS["constant"], SMALL, arms)
    kept, notes = measures.distinct(arms, [trace])
    assert [arm.name for arm in kept] == ["one", "three"]
    assert len(notes) == 1 and "two" in notes[0] and "one" in notes[0]


def test_verdicts_follow_the_differences() -> None:
    settings = replace(SMALL, seeds=10)
    arms = [arm("fixed", "fixed"), arm("wild", "fixed", mu=0.0), arm("falling", "decay")]
    outcome = Outcome.of(settings, arms, [simulate.simulate(SCENARIOS["switch"], settings, arms)])
    (result,) = outcome.results
    words = {(verdict.arm, verdict.comparator): verdict for verdict in result.verdicts if verdict.measure == "regret"}
    means = {name: result.intervals[name, "regret"].mean for name in result.trace.names}
    grid = {name: mean for name, mean in means.items() if name.startswith("mu=")}
    assert result.best_fixed["regret"] == min(grid, key=lambda name: grid[name])
    assert words["wild", "default fixed"].against == "fixed"
    for verdict in words.values():
        gap = means[verdict.arm] - means[verdict.against]
        assert verdict.difference.mean == pytest.approx(gap)
        assert verdict.word == ("ties" if verdict.p >= 0.05 or abs(gap) < 0.01 * means[verdict.against] else
                                "beats" if gap < 0 else "loses")  # fmt: skip
    assert words["wild", "best fixed"].word == "loses"


def test_the_baseline_is_kept_and_compared_with() -> None:
    arms = [arm("one", "fixed", mu=0.3), arm("two", "fixed", mu=0.3), arm("three", "fixed", mu=0.4)]
    trace = simulate.simulate(SCENARIOS["constant"], SMALL, arms)
    kept, _ = measures.distinct(arms, [trace], "two")
    outcome = Outcome.of(SMALL, kept, [trace], baseline="two")
    found = {verdict.arm: verdict for verdict in outcome.results[0].verdicts if verdict.comparator == "baseline"}
    assert set(found) == {"one", "three"}
    assert found["one"].word == "ties" and found["one"].difference.mean == 0.0


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


SHORT = ("--steps", "20", "--seeds", "3", "--dimension", "4", "--scenario", "switch", "--only-arms")


def test_same_seed_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = ("--arm", "a=fixed:mu=0.3", "--arm", "b=decay:shape=cosine,peak=0.8")
    for name, seed in (("one", "0"), ("two", "0"), ("three", "5")):
        assert cli.main(["testbed", *SHORT, *ways, "--seed", seed, "--out", str(tmp_path / name)]) == 0
    first, second, third = (files(tmp_path / name) for name in ("one", "two", "three"))
    assert first == second
    assert set(first) == {"testbed.md", "testbed.json", "measures.csv", "verdicts.csv", "testbed.png", "testbed.svg"}
    assert first["measures.csv"] != third["measures.csv"]
    text = first["testbed.md"].decode()
    assert '{"shape": "cosine", "peak": 0.8}' in text and "nan" not in text.lower()
    said = capsys.readouterr()
    assert "oracle-schedule" in said.out and "written to" in said.err


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("--scenario", "swich"), "switch"),
    (("--scenario", "switch", "--scenario", "switch"), "twice"),
    (("--proxy", "gradients"), "gradient"),
    (("--seeds", "1"), ">= 2"),
    (("--learning-rate", "2"), "(0, 2)"),
    (("--alpha", "1.5"), "alpha"),
    (("--arm", "fixed"), "NAME=STRATEGY"),
    (("--arm", "a=fixd"), "fixed"),
    (("--arm", "a=fixed:mue=0.3"), "mu"),
    (("--arm", "a=fixed:mu=2"), "[0, 1]"),
    (("--arm", "a=fixed:0.3"), "OPTION=VALUE"),
    (("--arm", "a=sft"), "mixing weight"),
    (("--arm", "a=fixed", "--arm", "a=fixed:mu=0.3"), "two arms"),
    (("--arm", "oracle=fixed"), "reserved"),
    (("--arms", "nowhere.toml"), "nowhere.toml"),
    (("--only-arms",), "no arm"),
    (("--only-arms", "--arm", "a=fixed", "--baseline", "b"), "baseline"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    short = () if "--seeds" in arguments else ("--seeds", "2")
    assert cli.main(["testbed", *arguments, *short, "--steps", "10", "--dimension", "2"]) == 2
    said = capsys.readouterr()
    assert expected in said.err.splitlines()[-1] and said.err.splitlines()[-1].startswith("harness testbed: ")
    assert said.out == "" and not (tmp_path / "results").exists()


BAD_FILES = [
    ("arm = []", "unknown key"),
    ("arms = 3", "[[arms]]"),
    ("figure = 'a'", "figure"),
    ("baseline = 3", "baseline"),
    ("[[arms]]\nname = 'a'", "arm 1"),
    ("[[arms]]\nname = 'a'\nstrategy = 'fixed'\noptions = 3", "options"),
    ("[[arms]]\nname = 'a b'\nstrategy = 'fixed'", "letters"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES, ids=[text for text, _ in BAD_FILES])
def test_bad_files_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "arms.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(expected)):
        arms_of.collect(arms_of.load(path).arms, SMALL, defaults=False)


def test_the_file_of_arms_of_the_project_is_sound(root: Path) -> None:
    file = arms_of.load(root / "reports" / "testbed.toml")
    found, _ = arms_of.collect(file.arms, SMALL)
    names = {arm.name for arm in found}
    assert {name for name, _, _ in file.arms} | set(file.figure) | {file.baseline} <= names


def test_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["testbed", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in SCENARIOS)
