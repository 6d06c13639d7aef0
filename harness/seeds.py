"""Seeds for everything that is random, from the run's seed and a name: no hidden generator state to save."""

from __future__ import annotations

import random

from benchmarks.base import digest


def seed_for(*names: object) -> int:
    """A 63-bit seed, a pure function of its arguments."""
    return digest("harness", *names)


def permutation(n: int, *names: object) -> list[int]:
    """A random order of range(n)."""
    order = list(range(n))
    random.Random(seed_for("permutation", n, *names)).shuffle(order)
    return order


def chance(share: float, *names: object) -> bool:
    """True with probability `share`."""
    return share > 0 and random.Random(seed_for("chance", *names)).random() < share
