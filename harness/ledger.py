"""What a run has spent: prompts, tokens, updates, FLOPs, seconds. A budget is a limit on one of these."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.models import ladder
from harness.spec import Budget

COUNTERS = (
    "updates", "prompts", "rollouts", "generated_tokens", "trained_tokens_rollout", "trained_tokens_demo",
    "discarded_rollouts", "flops_generate", "flops_train", "flops_reference",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """FLOPs of a dense decoder: 2 per weight and token, plus attention over the context.

    A forward pass of one sequence of n tokens costs 2 * weights * n for the layers, the output head only where its
    logits are formed, and 4 * layers * heads * head_dim * n (n + 1) / 2 for causal scores and values (half of what an
    unmasked implementation executes); a backward pass costs twice the forward pass.
    """

    layer_weights: int
    head_weights: int
    attention: int  # 4 * layers * heads * head_dim

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Cost:
        shape = ladder.shape(config)
        head = shape["vocabulary"] * shape["hidden"]
        return cls(
            ladder.matmul_parameters(config) - head, head, 4 * shape["layers"] * shape["heads"] * shape["head_dim"]
        )

    def forward(self, length: int, logits: int) -> int:
        """One sequence of `length` tokens with `logits` positions through the output head."""
        pairs = length * (length + 1) // 2
        return 2 * self.layer_weights * length + 2 * self.head_weights * logits + self.attention * pairs

    def generate(self, prompt: int, response: int, shared: int = 1) -> int:
        """A response sampled after a prompt whose prefill is shared by `shared` responses.

        The last sampled token is never fed back, so prompt + response - 1 tokens pass through the layers.
        """
        return self.forward(prompt + response - 1, response) - (self.forward(prompt, 0) * (shared - 1)) // shared

    def train(self, prompt: int, response: int) -> int:
        """Forward and backward of one row, logits on the response only."""
        return 3 * self.forward(prompt + response, response)


class Ledger:
    """Counters of one run. Seconds are kept apart: they are the only entries that are not reproducible."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.counts: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.seconds: dict[str, float] = {}

    def add(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self.counts[name] += amount

    @contextmanager
    def clock(self, phase: str) -> Iterator[None]:
        """Charges the time inside to `phase`. Evaluation and checkpoints are not run under a clock."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started

    @property
    def flops(self) -> int:
        """All that the method needed: generation, discarded rollouts included, and training."""
        return self.counts["flops_generate"] + self.counts["flops_train"] + self.counts["flops_reference"]

    @property
    def spent(self) -> float:
        """In the unit of the budget."""
        kind = self.budget.kind
        if kind == "flops":
            return float(self.flops)
        return sum(self.seconds.values()) if kind == "seconds" else float(self.counts[kind])

    @property
    def fraction(self) -> float:
        return min(1.0, self.spent / self.budget.limit)

    def snapshot(self) -> dict[str, int]:
        return {**self.counts, "flops": self.flops}

    def state_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "seconds": dict(self.seconds)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = {name: int(state["counts"][name]) for name in COUNTERS}
        self.seconds = dict(state["seconds"])
