"""Cost of a controller's step: its signals, its statistics, and the move of mu. Prints a table.

The batch is 64 rows of up to 2,048 tokens, 48 rollouts and 16 demonstrations; 2 threads. Medians over repetitions,
and the least of them: on a busy machine threads wait for each other.
Run: python tests/bench/bench_controller.py [--strategy NAME] [--rows N] [--tokens N] [--threads N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from harness.terminal import Grid, show
from strategies import registry
from strategies.base import Batch, Role, Sizes, Step

GROUP = 8  # rollouts of a prompt
LIMIT_MS = 0.1  # of the move of mu, once the statistics are there


def batch_of(rows: int, tokens: int) -> Batch:
    """Three quarters rollouts, the rest demonstrations; lengths between a quarter of `tokens` and all of them."""
    noise = torch.Generator().manual_seed(0)
    rollouts = 3 * rows // 4
    logp = -2 * torch.rand(rows, tokens, generator=noise)
    length = torch.randint(tokens // 4, tokens + 1, (rows, 1), generator=noise)
    group = [i // GROUP if i < rollouts else rows + i for i in range(rows)]
    return Batch(
        logp=logp,
        mask=(torch.arange(tokens) < length).float(),
        role=torch.tensor([int(Role.ROLLOUT if i < rollouts else Role.DEMO) for i in range(rows)]),
        group=torch.tensor(group),
        reward=torch.rand(rows, generator=noise).round(),
        old_logp=logp,
        row=torch.arange(rows),
    )


def timed(call: Callable[[int], object], repetitions: int) -> tuple[float, float]:
    """(median, least) milliseconds of a call."""
    times = []
    for index in range(repetitions):
        started = time.perf_counter()
        call(index)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times), 1000 * min(times)


def measure(name: str, rows: int, tokens: int, repetitions: int) -> list[tuple[str, tuple[float, float]]]:
    """(what, (median, least) milliseconds a step). Every step refreshes the statistics, by default only some do."""
    sizes = Sizes(prompts=3 * rows // 4 // GROUP, group=GROUP, demos=rows // 4, max_response=tokens)
    strategy = registry.build(name, {"clock": "steps", "f_mu": 1}, sizes)
    batch = batch_of(rows, tokens)
    batch = replace(batch, advantage=strategy.advantages(batch))
    signals = strategy.signals(batch)
    values = strategy.statistics(signals)
    found = [
        ("signals: per-row numbers from all tokens", timed(lambda _: strategy.signals(batch), repetitions // 20)),
        ("statistics: from the per-row numbers", timed(lambda _: strategy.statistics(signals), repetitions)),
        ("adapt: the move of mu", timed(lambda index: strategy.adapt(values, Step(index)), repetitions)),
    ]
    assert strategy.controller.ticks == repetitions
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="gac")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options.strategy, options.rows, options.tokens, options.repetitions)
    title = f"{options.strategy}: {options.rows} rows x {options.tokens} tokens, {options.threads} threads"
    rows = [(what, f"{median:.4f}", f"{least:.4f}") for what, (median, least) in found]
    show(Grid(("part of a controller step", "median ms", "least ms"), rows, frozenset({1, 2}), title))
    moved = found[-1][1][0]
    print(f"the move of mu takes {moved:.4f} ms; bound {LIMIT_MS} ms: {'kept' if moved < LIMIT_MS else 'BROKEN'}")
    return int(moved >= LIMIT_MS)


if __name__ == "__main__":
    raise SystemExit(main())
