"""Small float64 models, rows of every kind, and a slow implementation of one optimiser step's gradient."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.models.pretrain import Recipe, build_model
from strategies import registry
from strategies.base import Batch, Group, Request, Role, Row, Sizes, Step, Strategy
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
    """A strategy with the rows it has chosen to train on, and, where it asks for one, those of a second update."""

    name: str
    options: dict[str, Any]
    groups: list[Group]
    pool: list[Row]
    step: Step
    rows: list[Row] = field(default_factory=list)
    second: tuple[Row, ...] = ()

    def strategy(self) -> Strategy:
        """A fresh one, in the state in which it has planned and routed this step."""
        strategy = registry.build(self.name, self.options, SIZES)
        strategy.plan(self.step)
        strategy.route(self.groups, self.pool, self.step)
        return strategy


def make_case(name: str, options: dict[str, Any], model: Any, step: Step = LATE, seed: int = 0) -> Case:
    """Rows of different lengths, rewards of both kinds, sampler's log-probs some of which the clip takes out."""
    rng = random.Random(seed)
    strategy = registry.build(name, options, SIZES)
    plan = strategy.plan(step)

    def row(role: Role, prompt: tuple[int, ...], group: int, reward: float, given: tuple[int, ...] = ()) -> Row:
        most = SIZES.max_response
        low = min(5, most) if role != Role.ROLLOUT else 1
        response = given + tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(low, most)))
        made = Row(f"p{group}", "suite", group, role, prompt, response, reward, prefix=len(given))
        with torch.no_grad():
            logp, _ = unpadded(model, made, TEMPERATURE)
        # as the engine gives them: float32
        noisy = tuple((logp + 0.5 * torch.tensor([rng.uniform(-1, 1) for _ in response])).float().tolist())
        if role != Role.ROLLOUT:
            steps = tuple(range(2, len(response), 2))
            return replace(made, steps=steps, given_logp=noisy if "given_logp" in strategy.requires else None)
        given_logp = noisy[: len(given)] if given and "given_logp" in strategy.requires else None
        return replace(made, logp=noisy[len(given) :], given_logp=given_logp)

    def prompt() -> tuple[int, ...]:
        return tuple(rng.randrange(2, VOCABULARY) for _ in range(rng.randint(1, 20)))

    groups: list[Group] = []
    texts: list[tuple[int, ...]] = []

    def rollouts(group: int, first: int, n: int, request: Request) -> tuple[Row, ...]:
        given = groups[group].demos[0].response[: request.prefix] if request.prefix else ()
        shown = groups[group].demos[0].response[: request.hint] if request.hint else ()
        rewards = [float((group * j) % 3 == 1) for j in range(first, first + n)]
        made = [row(Role.ROLLOUT, texts[group] + shown, group, reward, given) for reward in rewards]
        return tuple(replace(one, hint=request.hint) for one in made)

    def opened(n: int) -> None:
        group = len(groups)
        texts.append(prompt())
        demos = [row(Role.DEMO, texts[group], group, 1.0) for _ in range(plan.expert)]
        demos += [row(Role.TEACHER, texts[group], group, float(i % 2)) for i in range(plan.teacher)]
        groups.append(Group((), tuple(demos)))
        groups[group] = Group(rollouts(group, 0, n, Request(n)), tuple(demos))

    for _ in range(plan.prompts):
        opened(plan.rollouts)
    while requests := strategy.more(groups, step):
        for request in requests:
            if request.group is None:
                opened(request.rollouts)
                continue
            old = groups[request.group]
            more = rollouts(request.group, len(old.rollouts), request.rollouts, request)
            groups[request.group] = Group(old.rollouts + more, old.demos)
    pool = [row(Role.DEMO, prompt(), len(groups) + i, float(i % 3 > 0)) for i in range(plan.pool)]
    case = Case(name, options, groups, pool, step, strategy.route(groups, pool, step))
    extra = strategy.extra_update(step)
    return replace(case, second=extra.rows) if extra else case


def unpadded(model: Any, row: Row, temperature: float) -> tuple[Tensor, Tensor]:
    """(log-probs, entropies) of a row's response tokens from the logits of all of its tokens."""
    log_probs = all_log_probs(model, row, temperature)
    logp = torch.stack([log_probs[t, token] for t, token in enumerate(row.response)])
    return logp, -(log_probs.exp() * log_probs).sum(-1)


def all_log_probs(model: Any, row: Row, temperature: float) -> Tensor:
    """[T, V] at the row's response tokens."""
    logits = model(torch.tensor([row.prompt + row.response])).logits[0]
    first = len(row.prompt) - 1
    return torch.log_softmax(logits[first : first + len(row.response)] / temperature, -1)


def naive_loss(model: Any, reference: Any, case: Case, temperature: float) -> tuple[Tensor, Batch]:
    """(loss, the rows as one batch): one row at a time, coefficients from the strategy, no batching of forwards."""
    rows = case.rows
    results = [unpadded(model, row, temperature) for row in rows]
    span = max(len(row.response) for row in rows) + 3

    def grid(values: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([[*v, *[0.0] * (span - len(v))] for v in values], dtype=torch.float64)

    strategy = case.strategy()
    with torch.no_grad():
        starts = [all_log_probs(reference, row, temperature) for row in rows]
    targets = [torch.tensor(row.response).unsqueeze(-1) for row in rows]
    ref = [start.gather(-1, target).squeeze(-1).tolist() for start, target in zip(starts, targets, strict=True)]
    softs = [logp * 0 for logp, _ in results]
    if "soft_target" in strategy.requires:
        q = [strategy.soft_target(start, target[:, 0]) for start, target in zip(starts, targets, strict=True)]
        softs = [(q[i] * all_log_probs(model, row, temperature)).sum(-1) for i, row in enumerate(rows)]

    def old(i: int) -> list[float]:
        """As the sampler, or the trainer before the step, gave them; else the present ones."""
        now = results[i][0].tolist()
        start = rows[i].prefix if rows[i].logp is not None else 0
        for values, first in ((rows[i].given_logp, 0), (rows[i].logp, start)):
            if values is not None:
                now[first : first + len(values)] = values
        return now

    hybrid = [row.prefix if row.role == Role.ROLLOUT else 0 for row in rows]
    batch = Batch(
        logp=grid([logp.tolist() for logp, _ in results]),
        mask=grid([[1.0] * len(row.response) for row in rows]),
        role=torch.tensor([int(row.role) for row in rows]),
        group=torch.tensor([row.group for row in rows]),
        reward=torch.tensor([row.reward for row in rows], dtype=torch.float64),
        old_logp=grid([old(i) for i in range(len(rows))]),
        ref_logp=grid(ref),
        entropy=grid([entropy.tolist() for _, entropy in results]),
        prefix=grid([[1.0] * n for n in hybrid]) if any(hybrid) else None,
        row=torch.arange(len(rows)),
        soft_logp=grid([soft.tolist() for soft in softs]),
    )
    batch = replace(batch, advantage=strategy.advantages(batch))
    strategy.observe(strategy.signals(batch) if strategy.wants_signals(case.step) else {}, case.step)
    parts = coefficients(strategy, batch, case.step)
    soft = {component.name for component in strategy.components(batch, case.step) if component.soft}
    loss = torch.zeros((), dtype=torch.float64)
    for name, part in parts.items():
        for i, (logp, _) in enumerate(results):
            value = softs[i] if name in soft else logp
            for t in range(len(rows[i].response)):
                loss = loss - float(part[i, t]) * value[t]
    for _, entropy in results:
        loss = loss - strategy.entropy_coefficient * entropy.sum() / float(batch.mask.sum())
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
