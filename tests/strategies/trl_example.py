"""A strategy inside TRL: `GRPOTrainer` with demonstrations among its rollouts and the loss of `strategies.standalone`.

    pip install trl datasets
    python tests/strategies/trl_example.py --strategy luffy      # or chord_mu, gac, srft, grpo, ...

trains the embedded 1M-parameter model on procedural mathematics for a few steps on a CPU. What a trainer of your own
needs is `StrategyTrainer`; the rest is data. It takes one process and one micro-batch an optimiser step, and strategies
whose rollouts are plain: no prefixes or hints, no second update, no refused steps, no prompts beyond those planned.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from itertools import cycle
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL reports its use otherwise

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import pad

from benchmarks import registry as suites
from harness.models import ladder
from strategies import registry, standalone
from strategies.base import Role, Sizes, Step, Strategy

# names of `standalone.loss` and of TRL's inputs; without old log-probs the rollouts are the present policy's
INPUTS = {name: name for name in ("role", "group", "reward")}
INPUTS |= {"old_logp": "old_per_token_logps", "ref_logp": "ref_per_token_logps", "mask": "completion_mask"}


class StrategyTrainer(GRPOTrainer):
    """Its data set has a column `demonstration`; `pool` are (prompt, demonstration) pairs, for strategies with one."""

    def __init__(self, strategy: Strategy, pool: Sequence[tuple[str, str]], **arguments: Any) -> None:
        super().__init__(**arguments)
        own = [hook for hook in ("accept", "extra_update") if getattr(type(strategy), hook) != getattr(Strategy, hook)]
        if own or strategy.plan(Step(0)).later:
            raise ValueError(f"strategy {strategy.name} asks for more than this example gives: use `harness run`")
        self.strategy, self.pool = strategy, cycle(pool)

    def _calculate_rewards(self, *arguments: Any) -> torch.Tensor:
        self.rewards = super()._calculate_rewards(*arguments)  # [rows, reward functions]
        return self.rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """TRL's rollouts, then the demonstrations that the strategy plans: of the same prompts, or of the pool."""
        done, n = self.state.global_step, self.num_generations
        self.step = Step(done, done / max(self.state.max_steps, 1), seed=done)
        plan = self.strategy.plan(self.step)
        if plan.rollouts != n:
            raise ValueError(f"strategy {self.strategy.name} plans {plan.rollouts} rollouts a prompt, TRL makes {n}")
        sampled, tokens = super()._generate_and_score_completions(inputs), self.processing_class
        beside = [(one["prompt"], one["demonstration"]) for one in inputs[::n]] if plan.expert else []
        demos = beside + [next(self.pool) for _ in range(plan.pool)]
        prompts = [tokens(prompt)["input_ids"] for prompt, _ in demos]
        answers = [[*tokens(answer)["input_ids"], tokens.eos_token_id] for _, answer in demos]
        found = self._extended(sampled, "prompt", prompts, "left")
        found |= self._extended(sampled, "completion", answers, "right")
        # TRL's rollouts of a prompt stand together; a demonstration beside them shares their number
        group = [i // n for i in range(len(inputs))] + list(range(len(beside))) + list(range(-plan.pool, 0))
        role = [Role.ROLLOUT] * len(inputs) + [Role.DEMO] * len(demos)
        found["role"], found["group"] = found["prompt_ids"].new_tensor([role, group])
        return {**found, "reward": torch.cat([self.rewards.nansum(-1), self.rewards.new_ones(len(demos))])}

    def _extended(self, sampled: dict[str, Any], name: str, more: list[list[int]], side: str) -> dict[str, Any]:
        """Ids and mask of the sampled rows and `more`, padded on one side."""
        ids, mask = sampled[f"{name}_ids"], sampled[f"{name}_mask"].bool()
        rows = [row[keep] for row, keep in zip(ids, mask, strict=True)] + [ids.new_tensor(row) for row in more]
        ids = pad(rows, padding_value=self.processing_class.pad_token_id, padding_side=side)
        return {f"{name}_ids": ids, f"{name}_mask": pad([torch.ones_like(row) for row in rows], 0, padding_side=side)}

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The strategy's loss on the log-probs of TRL's own forward pass."""
        ids, seen = (torch.cat([inputs[f"prompt_{x}"], inputs[f"completion_{x}"]], 1) for x in ("ids", "mask"))
        span = inputs["completion_ids"].size(1)
        logp, entropy, _ = self._get_per_token_logps_and_entropies(model, ids, seen, span, compute_entropy=True)
        known = {ours: inputs.get(theirs) for ours, theirs in INPUTS.items()}
        loss, parts = standalone.loss(self.strategy, self.step, logp=logp, entropy=entropy, **known)
        size = torch.stack(list(parts.values())).sum(0).abs().sum(-1)
        share = size[inputs["role"] == int(Role.DEMO)].sum() / size.sum().clamp(min=1e-30)
        for name, value in {**self.strategy.metrics(), "demo_share": float(share)}.items():
            self._metrics["train"][name].append(value)
        return loss


def train(strategy: str, steps: int = 3, **options: Any) -> StrategyTrainer:
    """The trainer after `steps` steps; its `state.log_history` has the numbers. `options` are the strategy's."""
    sizes, suite, location = Sizes(4, 4, 4, max_response=40), suites.get("math"), ladder.resolve("1m").location
    built = registry.build(strategy, options, sizes)
    plan, problems = built.plan(Step(0)), suite.problems("train", 64, seed=0, levels=[1, 2])
    rows = [{"prompt": f"{p.prompt}\n", "demonstration": suite.demonstration(p)} for p in problems]
    index = {row["prompt"]: problem for row, problem in zip(rows, problems, strict=True)}

    def correct(prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        return [verdict.score for verdict in suite.grade([index[prompt] for prompt in prompts], completions)]

    given = {"model": AutoModelForCausalLM.from_pretrained(location, dtype="float32"), "reward_funcs": correct}
    given |= {"processing_class": AutoTokenizer.from_pretrained(location), "train_dataset": Dataset.from_list(rows)}
    settings = {"learning_rate": 1e-3, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "use_cpu": True}
    settings |= {"num_generations": plan.rollouts, "per_device_train_batch_size": plan.prompts * plan.rollouts}
    settings |= {"max_completion_length": sizes.max_response, "max_grad_norm": built.grad_clip or 1.0, "bf16": False}
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(folder, max_steps=steps, gradient_checkpointing=False, **settings)
        trainer = StrategyTrainer(built, [tuple(row.values()) for row in rows], args=config, **given)
        trainer.train()
    return trainer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="luffy", help="name of a strategy")
    parser.add_argument("--steps", type=int, default=3)
    train(**vars(parser.parse_args()))
