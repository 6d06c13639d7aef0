"""Batches and simulated runs for the tests of strategies."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from strategies import estimator
from strategies.base import Batch, Group, Role, Row, Sizes, Step

SIZES = Sizes(prompts=3, group=8, demos=5, max_response=7)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def sizes():
    return SIZES


@pytest.fixture(scope="session")
def golden():
    """Outputs of the original implementations, measured on the inputs of `parity_batch`."""
    path = Path(__file__).resolve().parents[2] / "../shared/parity/golden.json"
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"the parity numbers {path.name} are missing")
        pytest.skip("the parity numbers of the original implementations are not on this machine")
    return json.loads(path.read_text())


def _u(row, token, k):
    return math.modf(abs(math.sin(12.9898 * (row + 1) + 78.233 * (token + 1) + 37.719 * k)) * 43758.5453)[0]


@pytest.fixture
def parity_batch():
    """8 rows of two prompts, rows 3 and 7 demonstrations, made without a random generator."""

    def grid(k):
        return torch.tensor([[_u(i, t, k) for t in range(6)] for i in range(8)], dtype=torch.float64)

    logp = -0.05 - 2.5 * grid(0)
    lengths = torch.tensor([6, 4, 5, 3, 6, 2, 5, 6])
    return Batch(
        logp=logp,
        mask=(torch.arange(6) < lengths.unsqueeze(-1)).double(),
        role=torch.tensor([0, 0, 0, 1, 0, 0, 0, 1]),
        group=torch.tensor([0] * 4 + [1] * 4),
        reward=torch.tensor([1, 0, 0, 1, 0, 0, 0, 1], dtype=torch.float64),
        old_logp=logp - 0.4 * (grid(1) - 0.5),
        entropy=0.1 + 1.5 * grid(2),
    )


def tensors(rows, seed, width=9):
    """A float64 batch for rows of (role, group, reward[, prefix]): random lengths and log-probs, padded to `width`."""
    noise = torch.Generator().manual_seed(seed)
    size = len(rows)

    def uniform(*shape):
        return torch.rand(*shape, generator=noise, dtype=torch.float64)

    length = 1 + (uniform(size) * 7).long()
    logp = -3.0 * uniform(size, width)
    return Batch(
        logp=logp,
        mask=(torch.arange(width) < length.unsqueeze(-1)).double(),
        role=torch.tensor([int(row[0]) for row in rows], dtype=torch.long),
        group=torch.tensor([row[1] for row in rows], dtype=torch.long),
        reward=torch.tensor([row[2] for row in rows], dtype=torch.float64),
        old_logp=logp + 0.8 * (uniform(size, width) - 0.5),
        ref_logp=logp + 1.0 * (uniform(size, width) - 0.5),
        entropy=uniform(size, width),
        row=torch.arange(size),
        soft_logp=-3.0 * uniform(size, width),
        prefix=given(length, width, [row[3] if len(row) > 3 else 0 for row in rows]),
    )


def given(length, width, prefix):
    """[B, T] 1 on the leading tokens of rollouts that were given; at least one token is left to sample."""
    most = torch.minimum(torch.tensor(prefix), length - 1).clamp(min=0)
    return (torch.arange(width) < most.unsqueeze(-1)).double() if any(prefix) else None


@pytest.fixture
def random_batch():
    """seed -> rows of every role: two prompts with rollouts, expert and teacher responses, and three pool rows."""

    def make(seed=0):
        rows = []
        for group in range(2):
            rows += [(Role.ROLLOUT, group, float((i + seed) % 3 == 0), 3 * (i == 3)) for i in range(4)]
            rows += [(Role.DEMO, group, 1.0)] + [(Role.TEACHER, group, float(i)) for i in range(2)]
        rows += [(Role.DEMO, 2 + i, 1.0) for i in range(3)]
        return tensors(rows, seed)

    return make


@pytest.fixture
def row():
    """Makes a Row of a role, group and reward."""

    def make(role, group=0, reward=0.0, prefix=0, hint=0, length=2):
        response = tuple(2 + i % 5 for i in range(length))
        steps = tuple(range(2, length + 1, 2)) if role != Role.ROLLOUT else ()
        return Row(f"p{group}", "suite", group, role, (1,), response, reward, prefix=prefix, hint=hint, steps=steps)

    return make


@pytest.fixture
def run_steps(row):
    """(strategy, first, last, total) -> what each step of a simulated trainer did."""

    def one(strategy, index, total):
        # the likelihood of held-out demonstrations falls until a third of the run, then rises
        nll = 1.0 + abs(index / total - 0.3)
        step = Step(index, index / total, kl=0.01 + 0.002 * (index % 7), validation_nll=nll, seed=7 * index + 1)
        plan = strategy.plan(step)
        noise = torch.Generator().manual_seed(index)
        groups = []

        def sample(group, n, prefix=0, hint=0):
            correct = torch.rand(n, generator=noise) < min(0.3 * (group % 3) + 0.05 * (prefix + hint), 1.0)
            return tuple(row(Role.ROLLOUT, group, float(value), prefix, hint, 9) for value in correct)

        def opened(rollouts):
            group = len(groups)
            demos = [row(Role.DEMO, group, 1.0, length=8)] * plan.expert
            demos += [row(Role.TEACHER, group, float(i % 2)) for i in range(plan.teacher)]
            groups.append(Group(sample(group, rollouts), tuple(demos)))

        for _ in range(plan.prompts):
            opened(plan.rollouts)
        while requests := strategy.more(groups, step):
            for request in requests:
                if request.group is None:
                    opened(request.rollouts)
                    continue
                old = groups[request.group]
                more = sample(request.group, request.rollouts, request.prefix, request.hint)
                groups[request.group] = Group(old.rollouts + more, old.demos)
        pool = [row(Role.DEMO, len(groups) + i, 1.0) for i in range(plan.pool)]
        rows = strategy.route(groups, pool, step)

        def trained(rows, seed):
            batch = tensors([(r.role, r.group, r.reward, r.prefix) for r in rows], seed)
            batch = replace(batch, advantage=strategy.advantages(batch))
            return {name: value.tolist() for name, value in estimator.coefficients(strategy, batch, step).items()}

        batch = tensors([(r.role, r.group, r.reward, r.prefix) for r in rows], seed=index)
        batch = replace(batch, advantage=strategy.advantages(batch))
        wanted = strategy.wants_signals(step)
        halves = [batch.take(slice(0, 5)), batch.take(slice(5, None))]
        parts = [strategy.signals(half) for half in halves] if wanted and rows else [{}, {}]
        strategy.observe({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, step)
        values = trained(rows, index) if rows else {}
        accepted = strategy.accept(1.0 + 30.0 * (index % 4))
        extra = strategy.extra_update(step)
        second = trained(extra.rows, index + 1000) if extra else {}
        return {
            "wanted": wanted,
            "metrics": strategy.metrics(),
            "coefficients": values,
            "accepted": accepted,
            "second": second,
        }

    return lambda strategy, first, last, total: [one(strategy, index, total) for index in range(first, last)]
