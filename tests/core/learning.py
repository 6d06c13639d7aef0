"""Small float64 models, rows of every kind, and a slow implementation of one optimiser step's gradient."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.models.pretrain import Recipe, build_model
from strategies import registry
from strategies.base import Batch, Group, Role, Row, Sizes, Step, Strategy
from strategies.estimator import coefficients

VOCABULARY = 23
TEMPERATURE = 0.8
SIZES = Sizes(prompts=4, group=4, demos=5, max_response=12)
LATE = Step(index=3, fraction=0.6, kl=0.05)


def random_model(dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    recipe = Recipe(hidden=16, layers=2, heads=2, steps=1, seed=seed)
    model = build_model(recipe, VOCABULARY, eos=0, pad=1).to(dtype)
    # its softmax stays in the dtype of the model; the eager one is float32 throughout
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(20)
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases are zero and norms one: neither would be missed
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@dataclass
class Case:
    """A strategy with the rows it has chosen to train on."""

    name: str
    options: dict[str, Any]
    rows: list[Row]
    step: Step

    def strategy(self) -> Strategy:
        """A fresh one, in the state in which it has planned and routed this step."""
        strategy = registry.build(self.name, self.options, SIZES)
        strategy.plan(self.step)
        return strategy


def make_case(name: str, options: dict[str, Any], model: Any, step: Step = LATE, seed: int = 0) -> Case:
    """Rows of different lengths, rewards of both kinds, sampler's log-probs some of which the clip takes out."""
    rng = random.Random(seed)
    strategy = registry.build(name, options, SIZES)
    plan = strategy.plan(step)

    def row(role: Role, group: int, prompt: tuple[int, ...], reward: float) -> Row:
        response = tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(1, SIZES.max_response)))
        made = Row(f"p{group}", "suite", group, role, prompt, response, reward)
        if role != Role.ROLLOUT:
            return made
        with torch.no_grad():
            logp, _ = unpadded(model, made, TEMPERATURE)
        # as the engine gives them: float32
        noisy = (logp + 0.5 * torch.tensor([rng.uniform(-1, 1) for _ in response])).float()
        return replace(made, logp=tuple(noisy.tolist()))

    def prompt() -> tuple[int, ...]:
        return tuple(rng.randrange(2, VOCABULARY) for _ in range(rng.randint(1, 20)))

    groups = []
    for group in range(plan.prompts):
        text = prompt()
        rollouts = [row(Role.ROLLOUT, group, text, float((group * j) % 3 == 1)) for j in range(plan.rollouts)]
        demos = [row(Role.DEMO, group, text, 1.0) for _ in range(plan.expert)]
        demos += [row(Role.TEACHER, group, text, float(i % 2)) for i in range(plan.teacher)]
        groups.append(Group(tuple(rollouts), tuple(demos)))
    pool = [row(Role.DEMO, plan.prompts + i, prompt(), float(i % 3 > 0)) for i in range(plan.pool)]
    return Case(name, options, strategy.route(groups, pool, step), step)


def unpadded(model: Any, row: Row, temperature: float) -> tuple[Tensor, Tensor]:
    """(log-probs, entropies) of a row's response tokens from the logits of all of its tokens."""
    logits = model(torch.tensor([row.prompt + row.response])).logits[0]
    log_probs = torch.log_softmax(logits / temperature, -1)
    first = len(row.prompt) - 1
    positions = range(first, first + len(row.response))
    logp = torch.stack([log_probs[p, token] for p, token in zip(positions, row.response, strict=True)])
    entropy = torch.stack([-(log_probs[p].exp() * log_probs[p]).sum() for p in positions])
    return logp, entropy


def naive_loss(model: Any, reference: Any, case: Case, temperature: float) -> tuple[Tensor, Batch]:
    """(loss, the rows as one batch): one row at a time, coefficients from the strategy, no batching of forwards."""
    rows = case.rows
    results = [unpadded(model, row, temperature) for row in rows]
    span = max(len(row.response) for row in rows) + 3

    def grid(values: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([[*v, *[0.0] * (span - len(v))] for v in values], dtype=torch.float64)

    with torch.no_grad():
        ref = [unpadded(reference, row, temperature)[0].tolist() for row in rows]
    batch = Batch(
        logp=grid([logp.tolist() for logp, _ in results]),
        mask=grid([[1.0] * len(row.response) for row in rows]),
        role=torch.tensor([int(row.role) for row in rows]),
        group=torch.tensor([row.group for row in rows]),
        reward=torch.tensor([row.reward for row in rows], dtype=torch.float64),
        old_logp=grid([row.logp or () for row in rows]),
        ref_logp=grid(ref),
        entropy=grid([entropy.tolist() for _, entropy in results]),
    )
    strategy = case.strategy()
    batch = replace(batch, advantage=strategy.advantages(batch))
    strategy.observe(strategy.signals(batch) if strategy.wants_signals(case.step) else {}, case.step)
    total = sum(coefficients(strategy, batch, case.step).values())
    loss = torch.zeros((), dtype=torch.float64)
    for i, (logp, entropy) in enumerate(results):
        for t in range(len(rows[i].response)):
            loss = loss - float(total[i, t]) * logp[t]
            loss = loss - strategy.entropy_coefficient * entropy[t] / float(batch.mask.sum())
    return loss, batch


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Largest difference of two sets of tensors, relative to the largest entry."""
    assert a.keys() == b.keys()
    largest = max(float(value.abs().max()) for value in a.values())
    assert largest > 0
    return max(float((a[name] - b[name]).abs().max()) for name in a) / largest


def copied(model: Any) -> Any:
    return copy.deepcopy(model)


def values_close(a: dict[str, float | None], b: dict[str, float | None]) -> bool:
    """Whether two sets of metrics are the same up to rounding."""
    assert {name for name, value in a.items() if value is None} == {n for n, value in b.items() if value is None}
    known = {name: value for name, value in a.items() if value is not None}
    return known == pytest.approx({name: b[name] for name in known}, rel=1e-10, abs=1e-13)
