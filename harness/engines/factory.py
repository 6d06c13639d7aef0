"""Engines by the names that a specification gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.engines.base import Engine
from harness.models.ladder import ModelRef
from harness.spec import RunSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VLLM = "vllm"
BESIDE, ALONE = 0.4, 0.9  # share of a GPU's memory for an engine with weights of its own: beside a trainer, by itself


def check(spec: RunSpec) -> None:
    """ValueError in one sentence for engines that this machine cannot have; imports nothing large."""
    if VLLM in (spec.rollout.engine, spec.evaluation_engine):
        from harness.engines import vllm_setup

        vllm_setup.require()


def of_trainer(spec: RunSpec, ref: ModelRef, model: PreTrainedModel) -> tuple[Engine, Engine]:
    """The engines of rollouts and of evaluations for the model in training; one and the same where both are alike.

    An engine with weights of its own begins with those of `ref`. It samples in `train.dtype`, as the trainer computes.
    ValueError for such an engine in a run of several processes.
    """
    from harness import collective

    def make(name: str) -> Engine:
        if name != VLLM:
            return of_model(model)
        if collective.world() > 1:
            raise ValueError("engine vllm samples for one process: choose the engine transformers, or one process")
        return _vllm(spec, ref, model.config.to_dict(), model.device.type, spec.train.dtype, BESIDE)

    rollouts = make(spec.rollout.engine)
    same = spec.evaluation_engine == spec.rollout.engine
    return rollouts, rollouts if same else make(spec.evaluation_engine)


def of_model(model: PreTrainedModel) -> Engine:
    """An engine that samples with `model` itself."""
    from harness.engines.hf import HFEngine

    return HFEngine(model)


def alone(spec: RunSpec, ref: ModelRef, config: Mapping[str, Any], device: str) -> Engine:
    """An engine with weights of its own for evaluations, where nothing is trained: float32 on a CPU, else bfloat16."""
    return _vllm(spec, ref, config, device, "float32" if device == "cpu" else "bfloat16", ALONE)


def _vllm(spec: RunSpec, ref: ModelRef, config: Mapping[str, Any], device: str, dtype: str, usual: float) -> Engine:
    from harness.engines.vllm import VllmEngine
    from harness.engines.vllm_setup import Settings

    settings = Settings(
        device=device,
        dtype=dtype,
        context=int(config["max_position_embeddings"]),
        memory=spec.runtime.engine_memory or usual,
        sleeps=usual == BESIDE and device != "cpu",
    )
    return VllmEngine(ref.location, config, settings)
