"""KL(pi_theta || pi_0) and the policy's reward, measured for every method alike: fresh samples on fixed prompts."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from harness.collect import Collector, mean_score
from harness.core import Learner
from harness.engines.base import SamplingParams
from harness.seeds import permutation, seed_for
from harness.spec import RunSpec
from strategies.base import Row


class Probe:
    """Samples on `probe.prompts` training prompts, the same ones each time. Nothing of it is charged to the ledger."""

    def __init__(self, spec: RunSpec, collector: Collector, learner: Learner, reference: PreTrainedModel) -> None:
        self.spec = spec
        self.collector = collector
        self.learner = learner
        self.reference = reference
        items = collector.data.prompts.items
        self.problems = [items[i] for i in permutation(len(items), "probe")[: spec.probe.prompts]]

    def measure(self, index: int) -> dict[str, float | None]:
        """Metrics after optimiser step `index`, `kl` among them: the k3 estimator, mean over sampled tokens, nats."""
        problems, n = self.problems, len(self.problems)
        prompts = [self.collector.renderer.prompt(problem) for problem in problems]
        params = SamplingParams(max_tokens=self.spec.rollout.max_tokens, temperature=self.spec.rollout.temperature)
        seeds = [seed_for("probe", self.spec.seed, index, problem.id) for problem in problems]
        completions = self.collector.engine.sample(prompts, seeds, params, self.collector.renderer.ends)
        rows = [
            self.collector.rollout_row(problem, i, completion, 0.0)
            for i, (problem, completion) in enumerate(zip(problems, completions, strict=True))
        ]
        verdicts = self.collector.grade(problems, completions)
        kl, entropy = self._kl(rows)
        held_out = self.collector.data.validation
        return {
            **({"validation_nll": self.nll(held_out)} if held_out else {}),
            "kl": kl,
            "probe_reward": mean_score(verdicts),
            "probe_entropy": entropy,
            "probe_response_length": sum(len(completion.tokens) for completion in completions) / n,
            "probe_truncated": sum(completion.finish == "length" for completion in completions) / n,
        }

    @torch.no_grad()
    def nll(self, rows: list[Row]) -> float:
        """Mean -log p of the tokens of demonstrations, nats."""
        learner = self.learner
        learner.model.eval()
        total = count = 0.0
        for start in range(0, len(rows), self.spec.train.micro_rows):
            tokens = learner.tokens(rows[start : start + self.spec.train.micro_rows])
            total -= float(learner.forward(learner.model, tokens).logp.sum())
            count += float(tokens.mask.sum())
        return total / count

    @torch.no_grad()
    def _kl(self, rows: list[Row]) -> tuple[float, float]:
        """(mean k3 KL to the start policy, mean entropy) per sampled token, nats."""
        learner = self.learner
        learner.model.eval()
        total = entropy_sum = count = 0.0
        for start in range(0, len(rows), self.spec.train.micro_rows):
            tokens = learner.tokens(rows[start : start + self.spec.train.micro_rows])
            own = learner.forward(learner.model, tokens)
            gap = learner.forward(self.reference, tokens).logp - own.logp
            total += float(((gap.exp() - 1 - gap) * tokens.mask).sum())
            entropy_sum += float((own.entropy * tokens.mask).sum())
            count += float(tokens.mask.sum())
        return total / count, entropy_sum / count
