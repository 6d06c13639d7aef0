"""A model in training and an engine that samples from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.engines.base import Engine

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def sampling(engine: Engine, model: nn.Module) -> Iterator[None]:
    """Inside, `engine` samples from the present weights of `model`; outside, the memory of its copy is free."""
    if not engine.own_weights:
        yield
        return
    engine.wake()
    engine.load_weights(model.named_parameters())
    yield
    engine.sleep()
