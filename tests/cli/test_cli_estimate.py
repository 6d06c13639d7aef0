"""`--dry-run`: the specification it prints, the course it plans, the memory it foretells."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import footprint, settings, spec
from harness.estimate import evaluation_samples, simulate
from harness.ledger import Cost
from harness.models import ladder, published
from harness.store import read_lines
from harness.trial import Rates

RATES = Rates(
    prompt=10, demonstration=20, response=15, longest=30, step=0.01, token=0.001, grade=0.002, flop=1e-9, basis="given"
)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def flags(tiny: Path) -> list[object]:
    small = ("data.style=plain", "data.problems=30", "rollout.max_tokens=10", "runtime.threads=1", "train.prompts=4")
    return ["--model", tiny, *(part for setting in small for part in ("--set", setting))]


def test_dry_run_tells_everything_and_writes_nothing(say: Callable[..., Any], tmp_path: Path, tiny: Path) -> None:
    before = files(tiny)
    said = say("run", "--dry-run", "--seed", "3", *flags(tiny))
    assert said.code == 0
    assert files(tmp_path) == set()
    assert files(tiny) == before
    assert "seed = 3  # default: 0" in said.out
    assert "1-60" in said.out and "4 prompts x 8 rollouts + 32 demonstrations" in said.out
    for word in ("directory", "(new)", "evaluation", "FLOPs", "memory", "time", "tried out on"):
        assert word in said.out


def test_dry_run_of_a_published_model_needs_no_network(say: Callable[..., Any], tmp_path: Path) -> None:
    said = say("run", "--dry-run", "--model", "7b", "--budget", "2", "--set", "train.dtype=bfloat16")
    assert said.code == 0
    assert "estimates: none" not in said.out
    assert "weights 28.4 GB" in said.out  # 7.62e9 weights of 4 bytes
    assert files(tmp_path) == set()


def test_dry_run_of_an_unknown_hub_model_says_so(say: Callable[..., Any]) -> None:
    said = say("run", "--dry-run", "--model", "nobody/no-such-model")
    assert said.code == 0
    (line,) = [line for line in said.out.splitlines() if line.startswith("estimates")]
    assert "none" in line and "nobody/no-such-model" in line


def test_printed_specification_is_the_specification(make_spec: Callable[..., Any]) -> None:
    made = make_spec(strategy="hpt", options={"gate": 2}, data={"demo_noise": 0.25}, eval={"suites": ["logic"]})
    assert spec.build(tomllib.loads(settings.text(made))) == made


def test_differences_are_exactly_what_was_changed() -> None:
    changed = {"strategy": "sft", "options": {"rows": 3}, "train": {"group": 2}}
    found = settings.differences(spec.build(changed).as_dict())
    assert found == {"strategy": ("sft", "gac"), "options": ({"rows": 3}, {}), "train.group": (2, 8)}


@pytest.mark.parametrize("strategy", ["gac", "sft", "grpo", "sft_then_rl", "gft"])
def test_course_counts_like_the_ledger(strategy: str) -> None:
    made = spec.build({"strategy": strategy, "budget": {"limit": 10}})
    cost = Cost(layer_weights=1000, head_weights=100, attention=8)
    course = simulate(made, cost, RATES)
    assert course.steps == 10
    rollouts = sum((last - first + 1) * plan.prompts * plan.rollouts for first, last, plan in course.stretches)
    given = sum(
        (last - first + 1) * (plan.prompts * (plan.expert + plan.teacher) + plan.pool)
        for first, last, plan in course.stretches
    )
    assert course.tokens == rollouts * 15
    assert course.flops_train == rollouts * cost.train(10, 15) + given * cost.train(10, 20)
    assert course.update_seconds == pytest.approx(1e-9 * course.flops_train)
    groups = {"gac": 8, "sft": 0, "grpo": 8, "sft_then_rl": 4, "gft": 4}
    assert rollouts == 16 * 10 * groups[strategy]  # sft_then_rl: half the steps have 8 a prompt


@pytest.mark.parametrize("kind", ["generated_tokens", "flops", "seconds"])
def test_course_ends_where_the_budget_does(kind: str) -> None:
    cost = Cost(layer_weights=1000, head_weights=100, attention=8)
    ten = simulate(spec.build({"budget": {"limit": 10}}), cost, RATES)
    limit = {"generated_tokens": ten.tokens, "flops": ten.flops, "seconds": ten.seconds}[kind]
    assert simulate(spec.build({"budget": {"kind": kind, "limit": limit * 0.999}}), cost, RATES).steps == 10
    assert simulate(spec.build({"budget": {"kind": kind, "limit": limit * 1.001}}), cost, RATES).steps == 11


def test_budget_that_is_never_spent_is_refused() -> None:
    made = spec.build({"strategy": "sft", "budget": {"kind": "generated_tokens", "limit": 1000}})
    with pytest.raises(ValueError, match="never reached"):
        simulate(made, Cost(1000, 100, 8), RATES)


def test_samples_of_an_evaluation_are_those_of_a_run(finished: Path, make_spec: Callable[..., Any]) -> None:
    made = make_spec()
    (run,) = (finished / "trial").glob("sft-*")
    for fraction in made.eval.fractions:
        drawn = sum(len(read_lines(path)) for path in (run / "generations").glob(f"*@{fraction:.2f}.jsonl"))
        assert evaluation_samples(made, fraction) == drawn


# billions of weights as the Qwen2.5 technical report and the model cards state them
@pytest.mark.parametrize(
    ("name", "stated"), [("0.5b", 0.49), ("1.5b", 1.54), ("3b", 3.09), ("7b", 7.61), ("14b", 14.7)]
)
def test_published_sizes(name: str, stated: float) -> None:
    config = published.config(ladder.resolve(name))
    assert config is not None
    assert ladder.parameters(config) / 1e9 == pytest.approx(stated, rel=0.01)


def test_activations_are_what_autograd_keeps() -> None:
    import torch

    from harness.models.pretrain import Recipe, build_model

    model = build_model(Recipe(hidden=64, layers=3, heads=4, steps=1), 99, 0, 1)
    model.set_attn_implementation("sdpa")
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = 8 * 96
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model(input_ids=torch.randint(3, 99, (8, 96)), use_cache=False).last_hidden_state
    measured = sum(size for place, size in kept.items() if place not in weights)
    assert hidden.shape == (8, 96, 64)
    assert footprint.activation_bytes(model.config.to_dict(), tokens, False) == pytest.approx(measured, rel=0.05)


def test_static_memory_is_the_optimisers(tiny: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    states = sum(v.nbytes for state in optimizer.state.values() for v in state.values() if v.dim())
    plan = footprint.Training(1, 1, 1, 1, 1, 1, reference=True)
    parts = footprint.training(model.config.to_dict(), plan)
    # norms and biases are not counted; at width 16 they are a tenth
    assert parts["gradients"] == pytest.approx(gradients, rel=0.12)
    assert parts["optimiser"] == pytest.approx(states, rel=0.12)
    assert footprint.training(model.config.to_dict(), replace(plan, reference=False))["reference"] == 0
