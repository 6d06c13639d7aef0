"""Files of tunings: what is refused, which points are drawn, and what the trials of all strategies have in common."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import qmc

from harness import matrix
from harness.spec import build
from harness.tune import Tuning, cells, load, plan, reruns
from harness.tune_space import Parameter, points

BASE = """
tuning = "study"
strategies = ["sft", "hpt"]
[base]
model = "0.2m"
seed = 3
budget = { kind = "updates", limit = 2 }
eval = { seed = 1, fractions = [0.5, 1.0], problems = 10 }
[search]
trials = 3
studies = 2
seed = 7
[space]
"train.learning_rate" = { low = 1e-4, high = 4e-3, log = true }
[rerun]
seeds = [100, 101]
eval = { seed = 0 }
"""
RATE = Parameter("train.learning_rate", 1e-4, 4e-3, True)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Tuning]:
    """(replacements in BASE) -> the tuning."""

    def make(*changes: tuple[str, str]) -> Tuning:
        text = BASE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "study.toml"
        path.write_text(text)
        return load(path)

    return make


GATE = '[strategy_space.hpt]\n"options.gate" = { choices = [0, 1] }\n[rerun]\n'
CLIP = '[strategy_space.sft]\n"train.grad_clip" = { low = 0.5, high = 2.0 }\n'
REFUSED = {
    "an unknown table": ("[space]", "[spaces]", "did you mean space"),
    "an unknown key of the search": ("trials = 3", "trails = 3", "did you mean trials"),
    "an unknown key of a range": ("low = 1e-4", "lowest = 1e-4", "did you mean low"),
    "an unknown strategy": ('"hpt"]', '"htp"]', "did you mean hpt"),
    "an unknown parameter": ('"train.learning_rate"', '"train.learning_rat"', "did you mean train.learning_rate"),
    "no learning rate": ('"train.learning_rate"', '"train.weight_decay"', "searches its learning rate"),
    "a learning rate on a plain scale": (", log = true", "", "searches its learning rate"),
    "an empty range": ("high = 4e-3", "high = 1e-4", "low below high"),
    "the logarithm of zero": ("low = 1e-4", "low = 0.0", "low must be above 0"),
    "a budget of its own": ("[rerun]\n", '[strategy_space.hpt]\n"budget.limit" = { low = 1, high = 9 }\n[rerun]\n',
                            "cannot be searched"),
    "data of its own": ("[space]\n", '[space]\n"data.problems" = { low = 1, high = 9 }\n', "cannot be searched"),
    "unequal dimensions": ("[rerun]\n", GATE, "hpt searches 2 dimensions, sft only 1"),
    "a space of nobody": ("[rerun]\n", GATE.replace(".hpt", ".gac"), "is of no use"),
    "set and searched": ("[rerun]\n", "[strategy_options.hpt]\ngate = 1\n" + CLIP + GATE, "both set and searched"),
    "seeds of trials again": ("[100, 101]", "[100, 8]", "holds 8, which trials have too (seeds 3 to 8)"),
    "a seed twice": ("[100, 101]", "[100, 100]", "different whole numbers"),
    "no fresh seeds": ("seeds = [100, 101]", "", "rerun.seeds"),
    "the same problems": ("eval = { seed = 0 }", "eval = { k = 2 }", "scored on the same problems"),
    "the same problems by default": ("eval = { seed = 1, ", "eval = { ", "those of eval.seed 0"),
    "another budget for re-runs": ("eval = { seed = 0 }", "budget = { limit = 9 }", "unknown key 'budget' in [rerun]"),
    "a fixed list of problems": ("eval = { seed = 1, ", 'eval = { seed = 1, suites = ["math500"], ', "same for every"),
    "no score at the end": ("[0.5, 1.0]", "[0.5]", "needs 1.0"),
    "one strategy twice": ('"hpt"]', '"sft"]', "named twice"),
    "a strategy in base": ("seed = 3", 'strategy = "sft"', "base must not set strategy"),
    "only the default": ("trials = 3", "trials = 1", "one trial besides the default"),
    "no study": ("studies = 2", "studies = 0", "at least one study"),
    "another sampler": ("seed = 7", 'sampler = "cma"', "must be qmc or tpe"),
    "a pruner without a warm-up": ("seed = 7", 'pruner = "median"', "needs its warm-up"),
    "a warm-up without a pruner": ("seed = 7", "warmup_trials = 2", "is for pruner"),
    "a warm-up beyond all scores": (
        "seed = 7", 'pruner = "median"\nwarmup_trials = 1\nwarmup_fraction = 0.6', "needs one of at least"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, read: Callable[..., Tuning]) -> None:
    old, new, message = REFUSED[name]
    with pytest.raises(ValueError) as problem:
        read((old, new))
    assert message in str(problem.value) and "\n" not in str(problem.value)


def test_a_default_outside_of_the_space(read: Callable[..., Tuning]) -> None:
    outside = ("low = 1e-4", "low = 1e-3")
    with pytest.raises(ValueError, match=r"sft trial 0\.0: train\.learning_rate = 0\.0005 lies outside"):
        cells(read(outside))
    tuning = read(outside, ("seed = 7", "include_default = false"))
    assert all(cell.parameters["train.learning_rate"] >= 1e-3 for cell in cells(tuning))


def test_unequal_dimensions_may_be_allowed(read: Callable[..., Tuning]) -> None:
    tuning = read(("[rerun]\n", GATE), ("seed = 7", "allow_unequal = true"))
    assert {name: len(space) for name, space in tuning.spaces.items()} == {"sft": 1, "hpt": 2}


# ---- points


@pytest.mark.parametrize("seed", [0, 1, 2**20])
def test_points_are_those_of_a_scrambled_sobol_sequence(seed: int) -> None:
    space = [RATE, Parameter("train.grad_clip", 0.5, 2.5), Parameter("rollout.temperature", 0.25, 1.0)]
    unit = qmc.Sobol(3, scramble=True, seed=seed).random(8)
    found = points(space, 8, seed)
    rates = np.exp(np.log(1e-4) + unit[:, 0] * np.log(4e-3 / 1e-4))
    assert [p["train.learning_rate"] for p in found] == pytest.approx(rates, rel=5e-4)
    assert [p["train.grad_clip"] for p in found] == pytest.approx(0.5 + 2 * unit[:, 1], rel=5e-4)
    assert [p["rollout.temperature"] for p in found] == pytest.approx(0.25 + 0.75 * unit[:, 2], rel=5e-4)
    assert points(space, 3, seed) == found[:3]
    # four significant digits, so that a table shows what was run
    assert all(value == float(f"{value:.4g}") for p in found for value in p.values())


def test_every_quarter_of_a_range_gets_one_of_four_points() -> None:
    for seed in range(5):
        places = [math.log(p["train.learning_rate"] / 1e-4) / math.log(40) for p in points([RATE], 4, seed)]
        assert sorted(int(4 * place) for place in places) == [0, 1, 2, 3]


def test_integers_and_choices() -> None:
    space = [Parameter("train.warmup", 1, 4), Parameter("options.gate", choices=("a", "b"))]
    found = points(space, 64, 0)
    assert {p["train.warmup"] for p in found} == {1, 2, 3, 4}
    assert sum(p["options.gate"] == "a" for p in found) == 32
    assert all(isinstance(p["train.warmup"], int) for p in found)


def test_strategies_with_other_parameters_get_the_same_points(read: Callable[..., Tuning]) -> None:
    more = (
        '[strategy_space.hpt]\n"options.gate" = { low = 0.0, high = 1.0 }\n'
        '[strategy_space.sft]\n"train.grad_clip" = { low = 0.0, high = 2.0 }\n[rerun]\n'
    )
    tuning = read(("[rerun]\n", more))
    for study in range(2):
        sft, hpt = (plan(tuning, name, study)[1:] for name in ("sft", "hpt"))
        assert [p["train.learning_rate"] for p in sft] == [p["train.learning_rate"] for p in hpt]
        halves = [p["train.grad_clip"] / 2 for p in sft]
        assert halves == pytest.approx([p["options.gate"] for p in hpt], rel=2e-3)
    assert plan(tuning, "sft", 0) != plan(tuning, "sft", 1)


def test_the_edge_of_a_range() -> None:
    # a tenth of 1e-4 .. 1e-2 on the log scale ends at 1e-3.8
    rate = Parameter("train.learning_rate", 1e-4, 1e-2, True)
    assert [rate.edge(10**x) for x in (-3.81, -3.79, -2.21, -2.19)] == ["low", "", "", "high"]
    plain = Parameter("train.grad_clip", 0.0, 10.0)
    assert [plain.edge(x) for x in (0.0, 1.0, 1.01, 9.0, 10.0)] == ["low", "low", "", "high", "high"]
    assert Parameter("options.gate", choices=(0, 1)).edge(0) == ""


# ---- trials


def test_all_strategies_have_the_same_trials(read: Callable[..., Tuning]) -> None:
    tuning = read()
    found = cells(tuning)
    assert [cell.number for cell in found] == list(range(1, 13))
    assert [cell.slot for cell in found[:5]] == [
        ("sft", 0, 0), ("hpt", 0, 0), ("sft", 1, 0), ("hpt", 1, 0), ("sft", 0, 1),
    ]  # fmt: skip
    by_strategy = {name: [cell for cell in found if cell.strategy == name] for name in ("sft", "hpt")}
    for sft, hpt in zip(*by_strategy.values(), strict=True):
        one, other = sft.spec.as_dict(), hpt.spec.as_dict()
        assert one.pop("strategy") != other.pop("strategy")
        assert one == other  # budget, seed, learning rate, evaluation
    # a new seed for every trial, and none of the re-runs'
    assert sorted(cell.spec.seed for cell in by_strategy["sft"]) == [3, 4, 5, 6, 7, 8]
    assert {cell.spec.experiment for cell in found} == {"study-trials"}
    assert len({cell.spec.run_id for cell in found}) == 12


def test_more_trials_begin_with_the_same(read: Callable[..., Tuning]) -> None:
    few, many = cells(read()), cells(read(("trials = 3", "trials = 5")))
    assert [cell.spec for cell in few] == [cell.spec for cell in many[:12]]


def test_the_default_trial_is_the_plain_run(read: Callable[..., Tuning]) -> None:
    first = cells(read())[0]
    values = tomllib.loads(BASE)["base"]
    assert first.default and first.spec.run_id == build({**values, "strategy": "sft"}).run_id
    assert first.parameters == {"train.learning_rate": 5e-4}


def test_reruns(read: Callable[..., Tuning]) -> None:
    tuning = read()
    found = reruns(tuning, {"sft": {"train.learning_rate": 1e-3}, "hpt": None})
    assert [cell.label for cell in found] == [
        f"{arm} seed={seed}" for seed in (100, 101) for arm in ("sft-default", "sft-tuned", "hpt-default")
    ]
    assert {cell.spec.experiment for cell in found} == {"study"}
    for cell in found:
        spec = cell.spec
        assert (spec.eval.seed, spec.eval.problems, spec.eval.fractions) == (0, 10, (0.5, 1.0))
        assert spec.train.learning_rate == (1e-3 if cell.setting == "tuned" else 5e-4)
        assert (spec.budget.limit, spec.model) == (2, "0.2m")


def test_tpe_trials_are_not_known_beforehand(read: Callable[..., Tuning]) -> None:
    with pytest.raises(ValueError, match="not known beforehand"):
        cells(read(("seed = 7", 'sampler = "tpe"')))


# ---- presets


def presets(root: Path) -> list[Path]:
    return sorted((root / "reports" / "tuning").glob("*.toml"))


def test_presets(root: Path) -> None:
    found = presets(root)
    assert {path.stem for path in found} >= {"reference-0.2m", "smoke"}
    names: set[str] = set()
    for path in found:
        tuning = load(path)
        assert {"sft", "sft_then_rl"} <= set(tuning.strategies)
        trials = cells(tuning)
        assert len(trials) == len(tuning.strategies) * tuning.search.trials * tuning.search.studies
        names |= {tuning.name, tuning.trial_experiment}
    assert len(names) == 2 * len(found)
    # no experiment of a matrix, whose tables would change
    matrices = {matrix.load(path).name for path in (root / "reports" / "matrices").glob("*.toml")}
    assert not names & matrices


def test_the_reference_preset_is_scored_as_the_reference_study(root: Path) -> None:
    tuning = load(root / "reports" / "tuning" / "reference-0.2m.toml")
    study = matrix.load(root / "reports" / "matrices" / "reference-0.2m.toml")
    expected = {cell.spec.run_id for cell in matrix.expand(study, Path("results"))}
    found = reruns(tuning, dict.fromkeys(tuning.strategies))
    # with default settings they are the same runs
    assert {cell.spec.run_id for cell in found} <= expected
    assert {cell.spec.seed for cell in found} == {0, 1, 2, 3, 4}
    rates = [cell.parameters["train.learning_rate"] for cell in cells(tuning) if cell.strategy == "sft"]
    quarters = [int(4 * math.log(rate / 1e-4) / math.log(40)) for rate in rates]
    assert rates[0] == 5e-4 and sorted(quarters) == [0, 1, 2, 3]
