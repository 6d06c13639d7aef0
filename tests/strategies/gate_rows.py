"""Questions, batches and totals for the tests of methods that choose per question."""

from __future__ import annotations

import torch

from strategies import estimator
from strategies.base import Batch, Group, Role, Sizes, Step

STEP = Step(0, 0.5)
SIZES = Sizes(prompts=3, group=8, demos=3, max_response=6)
UNCLIPPED = {"clip_low": "off", "clip_high": "off"}
RELEASED = {**UNCLIPPED, "normalize_std": False, "aggregation": "constant_sum"}


def question(row, rewards, number=0, demo=True, teachers=()):
    """A group with rollouts of these rewards, an expert demonstration, and teacher responses of these rewards."""
    rollouts = tuple(row(Role.ROLLOUT, number, reward) for reward in rewards)
    demos = (row(Role.DEMO, number, 1.0),) if demo else ()
    return Group(rollouts, demos + tuple(row(Role.TEACHER, number, reward) for reward in teachers))


def solved(row, n_correct, size=8, **options):
    return question(row, [float(i < n_correct) for i in range(size)], **options)


def as_batch(rows, seed=0, width=7):
    """Rows of a step as a float64 batch with random log-probs and lengths."""
    noise = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=noise, dtype=torch.float64)

    n = len(rows)
    length = 1 + (uniform(n) * width).long()
    logp = -2.0 * uniform(n, width)
    return Batch(
        logp=logp,
        mask=(torch.arange(width) < length.unsqueeze(-1)).double(),
        role=torch.tensor([int(r.role) for r in rows], dtype=torch.long),
        group=torch.tensor([r.group for r in rows], dtype=torch.long),
        reward=torch.tensor([r.reward for r in rows], dtype=torch.float64),
        old_logp=logp + 0.6 * (uniform(n, width) - 0.5),
        ref_logp=logp + uniform(n, width) - 0.5,
        entropy=uniform(n, width),
        row=torch.arange(n),
    )


def total(strategy, batch, counts=None):
    parts = estimator.coefficients(strategy, batch, STEP, counts)
    return sum(parts.values(), torch.zeros_like(batch.logp))
