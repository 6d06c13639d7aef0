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
    """A float64 batch for rows of (role, group, reward): lengths and log-probs at random, padding to `width`."""
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
    )


@pytest.fixture
def random_batch():
    """seed -> rows of every role: two prompts with rollouts, expert and teacher responses, and three pool rows."""

    def make(seed=0):
        rows = []
        for group in range(2):
            rows += [(Role.ROLLOUT, group, float((i + seed) % 3 == 0)) for i in range(4)]
            rows += [(Role.DEMO, group, 1.0)] + [(Role.TEACHER, group, float(i)) for i in range(2)]
        rows += [(Role.DEMO, 2 + i, 1.0) for i in range(3)]
        return tensors(rows, seed)

    return make


@pytest.fixture
def row():
    """Makes a Row of a role, group and reward."""

    def make(role, group=0, reward=0.0):
        return Row(f"p{group}", "suite", group, role, (1,), (2, 3), reward)

    return make


@pytest.fixture
def run_steps(row):
    """(strategy, first, last, total) -> what each step of a simulated trainer did."""

    def one(strategy, index, total):
        step = Step(index, index / total, kl=0.01 + 0.002 * (index % 7))
        plan = strategy.plan(step)
        noise = torch.Generator().manual_seed(index)
        groups = []
        for group in range(plan.prompts):
            correct = torch.rand(plan.rollouts, generator=noise) < 0.3 * (group % 3)
            demos = [row(Role.DEMO, group, 1.0)] * plan.expert
            demos += [row(Role.TEACHER, group, float(i % 2)) for i in range(plan.teacher)]
            rollouts = [row(Role.ROLLOUT, group, float(value)) for value in correct]
            groups.append(Group(tuple(rollouts), tuple(demos)))
        pool = [row(Role.DEMO, plan.prompts + i, 1.0) for i in range(plan.pool)]
        rows = strategy.route(groups, pool, step)
        batch = tensors([(r.role, r.group, r.reward) for r in rows], seed=index)
        batch = replace(batch, advantage=strategy.advantages(batch))
        wanted = strategy.wants_signals(step)
        halves = [batch.take(slice(0, 5)), batch.take(slice(5, None))]
        parts = [strategy.signals(half) for half in halves] if wanted else [{}, {}]
        strategy.observe({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, step)
        found = estimator.coefficients(strategy, batch, step)
        accepted = strategy.accept(1.0 + 30.0 * (index % 4))
        values = {name: value.tolist() for name, value in found.items()}
        return {"wanted": wanted, "metrics": strategy.metrics(), "coefficients": values, "accepted": accepted}

    return lambda strategy, first, last, total: [one(strategy, index, total) for index in range(first, last)]
