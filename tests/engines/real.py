"""An embedded model, vLLM engines of it, and the truth about what they sample."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from benchmarks import registry
from harness.data import Renderer
from harness.engines.base import Completion
from harness.engines.vllm import VllmEngine
from harness.engines.vllm_setup import Settings
from harness.models import ladder
from tests.engines.tiny import next_logits

NAME = "1m"
LOCATION = ladder.resolve(NAME).location
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
cpu_only = pytest.mark.skipif(DEVICE != "cpu", reason="exact in float32 on a CPU; the GPU has tests of its own")


def load() -> tuple[PreTrainedModel, Renderer]:
    """The model with float32 weights, and its renderer."""
    model, tokenizer = ladder.load(ladder.resolve(NAME), DEVICE)
    return model, Renderer(tokenizer, "plain", True, int(model.config.max_position_embeddings))


def make(model: PreTrainedModel, location: str | Path, **settings: object) -> VllmEngine:
    """An engine that takes `model`'s shape and the weights in `location`."""
    context = int(model.config.max_position_embeddings)
    values = {"device": DEVICE, "dtype": "float32", "context": context, "memory": 0.1, **settings}
    return VllmEngine(str(location), model.config.to_dict(), Settings(**values))


def questions_of(renderer: Renderer) -> list[tuple[int, ...]]:
    """Eight prompts of each built-in suite."""
    return [renderer.prompt(p) for name in registry.BUILT_IN for p in registry.get(name).problems("eval", 8, 0)]


def long_prompt(questions: list[tuple[int, ...]], length: int = 120) -> tuple[int, ...]:
    return tuple(token for question in questions for token in question)[:length]


def teacher_forced(model: PreTrainedModel, prompt: tuple[int, ...], row: Completion, temperature: float) -> list[float]:
    """Log-probs of the sampled tokens, by a plain forward of the whole text."""
    logits = next_logits(model, [*prompt, *row.tokens])[len(prompt) - 1 : -1] / (temperature or 1)
    return torch.log_softmax(logits, -1)[torch.arange(len(row.tokens)), list(row.tokens)].tolist()
