"""Batches and simulated sampling for the tests of prefix and hint methods."""

from __future__ import annotations

from dataclasses import replace

import torch

from strategies import estimator, registry
from strategies.base import Batch, Group, Role, Row, Sizes

SIZES = Sizes(prompts=3, group=8, demos=0, max_response=11)
NAMES = ("prefix_rft", "uft", "bread", "ghpo", "trapo")


def build(name, sizes=SIZES, **options):
    return registry.build(name, options, sizes)


def demo(length=21, steps=(), group=0):
    return Row(f"p{group}", "suite", group, Role.DEMO, (1,), tuple(range(2, 2 + length)), 1.0, steps=steps)


def run(strategy, step, demos, success, lost=lambda group, j: False):
    """(groups, rounds) after sampling; success(group, prefix, hint, j) -> 0 or 1; lost rollouts come back never."""
    plan = strategy.plan(step)
    groups = [Group((), (one,) if one is not None and plan.expert else ()) for one in demos]

    def sample(g, n, prefix=0, hint=0):
        given = groups[g].demos[0].response[:prefix] if prefix else ()
        rows = [
            Row(
                f"p{g}", "suite", g, Role.ROLLOUT, (1,), (*given, 9), float(success(g, prefix, hint, j)), None, False,
                prefix, hint,
            )
            for j in range(n)
            if not lost(g, j)
        ]  # fmt: skip
        groups[g] = replace(groups[g], rollouts=groups[g].rollouts + tuple(rows))

    for g in range(len(demos)):
        sample(g, plan.rollouts)
    rounds = []
    while requests := strategy.more(groups, step):
        assert len(rounds) < 10
        rounds.append(requests)
        for request in requests:
            given = max(request.prefix, request.hint)
            assert given == 0 or (groups[request.group].demos and given < len(groups[request.group].demos[0].response))
            sample(request.group, request.rollouts, request.prefix, request.hint)
    return groups, rounds


def random_batch(prefixes, seed=0, width=11, groups=None):
    """Rollouts with given prefix lengths; rewards, lengths and log-probs at random. Equal prefixes of a group share the
    log-probs of the prefix, as the same tokens after the same prompt do."""
    noise = torch.Generator().manual_seed(seed)
    n = len(prefixes)
    group = torch.tensor(groups or [0] * n)
    prefix = torch.tensor(prefixes)
    length = prefix + 1 + (torch.rand(n, generator=noise) * (width - prefix - 1)).long()
    at = torch.arange(width)

    def grid():
        value = torch.rand(n, width, generator=noise, dtype=torch.float64)
        for i in range(n):
            for j in range(i):
                if group[i] == group[j] and prefix[i] == prefix[j]:
                    value[i, : prefix[i]] = value[j, : prefix[j]]
        return value

    logp = -0.05 - 3.0 * grid()
    return Batch(
        logp=logp,
        mask=(at < length.unsqueeze(-1)).double(),
        role=torch.zeros(n, dtype=torch.long),
        group=group,
        reward=(torch.rand(n, generator=noise) < 0.5).double(),
        old_logp=logp + 0.8 * (grid() - 0.5),
        ref_logp=logp + 1.0 * (grid() - 0.5),
        entropy=grid(),
        prefix=(at < prefix.unsqueeze(-1)).double(),
        row=torch.arange(n),
        soft_logp=-3.0 * grid(),
    )


def gradient(strategy, batch, step):
    logp = batch.logp.clone().requires_grad_()
    frozen = replace(batch, logp=logp, entropy=batch.entropy.detach())
    estimator.surrogate(strategy, frozen, step)[0].backward()
    return logp.grad


def autograd(loss, batch):
    logp = batch.logp.clone().requires_grad_()
    loss(logp).backward()
    return logp.grad


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
