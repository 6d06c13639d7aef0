"""Strategies inside TRL's `GRPOTrainer`, and our policy-gradient losses against TRL's own on the same inputs."""

from __future__ import annotations

import importlib
import math
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from strategies import registry, standalone
from strategies.base import Batch, Role, Sizes, Step

trl = pytest.importorskip("trl", reason="the optional package trl is not installed")
pytest.importorskip("datasets", reason="the optional package datasets is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:TRL currently supports vLLM")
SIZES = Sizes(prompts=4, group=4, demos=2, max_response=12)
PROMPTS = ["12+3\n", "7*8-1\n", "5x+1=11\n", "4-4+9\n"]
DEMONSTRATION = "1+1=2#2"
# a group without a correct rollout; the others have two each, so that their deviations are the same
REWARDS = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]
DEVIATION = math.sqrt(1 / 3)
EPSILON = (DEVIATION + 1e-4) / (DEVIATION + 1e-6)  # TRL divides by deviation + 1e-4; we do by deviation + 1e-6, as verl

# strategy, its options, TRL's settings
PARITY: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "grpo": ("grpo", {}, {"loss_type": "grpo"}),
    "dual_clip": ("grpo", {"dual_clip": 1.3}, {"loss_type": "grpo", "delta": 1.3}),
    "dr_grpo": ("dr_grpo", {}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    # TRL multiplies the penalty by the importance ratio unless told otherwise; GRPO's paper does not
    "kl": (
        "dr_grpo",
        {"kl_coefficient": 0.04},
        {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.04, "use_bias_correction_kl": False},
    ),
    "dapo_loss": (
        "grpo",
        {"variant": "dapo", "drop_uniform_groups": False},
        {"loss_type": "dapo", "epsilon_high": 0.28},
    ),
    "bnpo": ("grpo", {"variant": "dapo", "drop_uniform_groups": False}, {"loss_type": "bnpo", "epsilon_high": 0.28}),
    "dapo": ("dapo", {"overlong_cache": "off"}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "cispo": ("cispo", {"cispo_clip": "trl"}, {"loss_type": "cispo", "epsilon_high": 5.0}),
    "cispo_low": ("cispo", {"cispo_clip": "trl", "clip_high": 1.1}, {"loss_type": "cispo", "epsilon_high": 1.1}),
    "gspo": (
        "gspo",
        {},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
}
UNCLIPPED = {
    "grpo": {"clip_low": "off", "clip_high": "off"},
    "dual_clip": {"dual_clip": "off"},
    "dapo": {"clip_low": "off", "clip_high": "off"},
    "cispo_low": {"clip_high": "off"},
    "gspo": {"clip_low": "off", "clip_high": "off"},
}


@pytest.fixture(scope="module", autouse=True)
def offline():
    """TRL reports its use otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def example():
    return importlib.import_module("tests.strategies.trl_example")


@pytest.fixture
def make(tiny, tmp_path) -> Callable[..., Any]:
    """(trainer class, its own arguments, GRPOConfig's) -> a trainer of the tiny model, ready for a step."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def build(cls, *own, **config):
        size = {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": SIZES.max_response}
        settings = {"use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False, "beta": 0.0}
        trainer = cls(
            *own,
            model=AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(tiny),
            reward_funcs=lambda completions, **_: REWARDS[: len(completions)],
            train_dataset=Dataset.from_list([{"prompt": prompt, "demonstration": DEMONSTRATION} for prompt in PROMPTS]),
            args=trl.GRPOConfig(str(tmp_path), max_steps=1, **(size | settings | config)),
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        return trainer

    return build


def sampled(trainer: Any) -> dict[str, torch.Tensor]:
    """TRL's rollouts and advantages, with old log-probs off the present ones, so that clips are active."""
    torch.manual_seed(0)
    made = trainer._generate_and_score_completions([{"prompt": prompt} for prompt in PROMPTS for _ in range(4)])
    ids, mask = (torch.cat([made[f"prompt_{x}"], made[f"completion_{x}"]], 1) for x in ("ids", "mask"))
    with torch.no_grad():
        logp, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, made["completion_ids"].size(1))
    made["old_per_token_logps"] = logp + 0.8 * (torch.rand_like(logp) - 0.5)
    made["ref_per_token_logps"] = logp + torch.rand_like(logp) - 0.5
    made["role"], made["group"] = torch.zeros(16, dtype=torch.long), torch.arange(16) // 4
    made["reward"] = torch.tensor(REWARDS)
    return made


def gradient(trainer: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    trainer._compute_loss(trainer.model, inputs).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


# ---- our losses against TRL's


@pytest.mark.parametrize("case", PARITY)
def test_gradient_of_a_step_equals_trl(case, example, make):
    name, options, settings = PARITY[case]
    theirs = make(trl.GRPOTrainer, **settings)
    inputs = sampled(theirs)
    lengths = inputs["completion_mask"].sum(1)
    assert len(set(lengths.tolist())) > 1  # or aggregators would agree
    expected = gradient(theirs, inputs)
    ours = make(example.StrategyTrainer, registry.build(name, options, SIZES), [])
    ours.step = Step(0)
    found = gradient(ours, inputs)
    factor = 1.0 if settings.get("scale_rewards") == "none" else EPSILON
    if case == "dapo":  # TRL's mean counts the tokens of the group whose rewards are equal; DAPO drops the group
        factor *= float(lengths.sum() / lengths[4:].sum())
    assert float(expected.abs().max()) > 1e-4
    torch.testing.assert_close(found, factor * expected, rtol=1e-4, atol=2e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("case", UNCLIPPED)
def test_the_comparison_would_miss_a_clip(case, make):
    name, options, settings = PARITY[case]
    inputs = sampled(make(trl.GRPOTrainer, **settings))
    coefficients = []
    for changes in ({}, UNCLIPPED[case]):
        labels = {key: inputs[key] for key in ("role", "group", "reward")}
        logp = inputs["ref_per_token_logps"]
        strategy = registry.build(name, {**options, **changes}, SIZES)
        old, mask = inputs["old_per_token_logps"], inputs["completion_mask"]
        _, parts = standalone.loss(strategy, Step(0), logp=logp, mask=mask, old_logp=old, **labels)
        coefficients.append(parts["policy"])
    assert not torch.allclose(*coefficients, rtol=1e-3)


def test_advantages_differ_from_trl_by_its_epsilon(make):
    inputs = sampled(make(trl.GRPOTrainer, loss_type="grpo"))
    labels = {key: inputs[key] for key in ("role", "group", "reward")}
    batch = Batch(inputs["ref_per_token_logps"], inputs["completion_mask"], **labels)
    found = registry.build("grpo", {}, SIZES).advantages(batch)
    torch.testing.assert_close(found, EPSILON * inputs["advantages"], rtol=1e-6, atol=1e-7)


# ---- demonstrations among TRL's rollouts


def rows_of(trainer: Any) -> dict[str, torch.Tensor]:
    inputs = [{"prompt": p, "demonstration": DEMONSTRATION} for p in PROMPTS for _ in range(trainer.num_generations)]
    return trainer._generate_and_score_completions(inputs)


def texts(trainer: Any, rows: dict[str, torch.Tensor], name: str) -> list[str]:
    ids, mask = rows[f"{name}_ids"], rows[f"{name}_mask"].bool()
    return [trainer.processing_class.decode(row[keep]) for row, keep in zip(ids, mask, strict=True)]


def test_a_demonstration_joins_every_group(example, make):
    strategy = registry.build("luffy", {}, SIZES)
    trainer = make(example.StrategyTrainer, strategy, [], num_generations=3, per_device_train_batch_size=12)
    rows = rows_of(trainer)
    assert rows["role"].tolist() == [int(Role.ROLLOUT)] * 12 + [int(Role.DEMO)] * 4
    assert rows["group"].tolist() == [g for g in range(4) for _ in range(3)] + [0, 1, 2, 3]
    assert rows["reward"].tolist() == REWARDS[:12] + [1.0] * 4
    assert texts(trainer, rows, "prompt") == [p for p in PROMPTS for _ in range(3)] + PROMPTS
    assert texts(trainer, rows, "completion")[12:] == [f"{DEMONSTRATION}<|endoftext|>"] * 4
    assert rows["prompt_mask"][:, -1].all() and rows["completion_mask"][:, 0].all()  # padded outside


def test_the_pool_follows_the_rollouts(example, make):
    pool = [("1+1\n", "1+1=2#2"), ("2+2\n", "2+2=4#4"), ("3+3\n", "3+3=6#6")]
    trainer = make(example.StrategyTrainer, registry.build("fixed", {}, SIZES), pool)
    first, second = rows_of(trainer), rows_of(trainer)
    assert texts(trainer, first, "prompt")[16:] == ["1+1\n", "2+2\n"]
    assert texts(trainer, second, "prompt")[16:] == ["3+3\n", "1+1\n"]
    assert not set(first["group"][16:].tolist()) & set(first["group"][:16].tolist())


@pytest.mark.parametrize("name", ["hpt", "relift", "uft"])
def test_what_the_example_does_not_give_is_refused(name, example, make):
    with pytest.raises(ValueError, match=f"strategy {name} asks for more than this example gives"):
        make(example.StrategyTrainer, registry.build(name, {}, SIZES), [])


@pytest.mark.parametrize("name", ["luffy", "chord_mu", "gac"])
def test_it_trains(name, example, monkeypatch):
    steps, original = [], standalone.loss

    def counted(strategy, step, **tensors):
        steps.append(step)
        return original(strategy, step, **tensors)

    monkeypatch.setattr(standalone, "loss", counted)
    trainer = example.train(name, steps=3)
    assert [step.index for step in steps] == [0, 1, 2]
    assert [step.fraction for step in steps] == pytest.approx([0, 1 / 3, 2 / 3])
    logged = [line for line in trainer.state.log_history if "demo_share" in line]
    assert len(logged) == 3
    for line in logged:
        assert 0.0 < line["demo_share"] < 1.0
        assert math.isfinite(line["loss"]) and line["grad_norm"] > 0.0
        assert ("mu" in line) == (name != "luffy")
    if name == "chord_mu":  # what its schedule says
        fresh = registry.build(name, {}, SIZES)
        assert [line["mu"] for line in logged] == pytest.approx([fresh.mu_at(step) for step in steps])


def test_it_runs_as_a_script(root, capsys, monkeypatch):
    script = root / "tests" / "strategies" / "trl_example.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--strategy", "grpo", "--steps", "1"])
    runpy.run_path(str(script), run_name="__main__")
    assert "'demo_share': '0'" in capsys.readouterr().out
