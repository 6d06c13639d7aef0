"""How much memory a model needs for training and for evaluation, from its configuration alone.

Let P be the weights, L layers, D the hidden size, W = heads * head_dim, K = KV heads * head_dim, I the intermediate
size, V the vocabulary; everything is counted in bytes, float32 weights = 4.

    weights 4 P    gradients 4 P    optimiser 8 P (Adam, each)    reference 4 P (copy of the start policy, if kept)
    activations    4 L (6 D + 2 W + 2 K + 4 I) per token of a micro-batch: what the backward pass of a Llama-type layer
                   keeps (two norms: input, normalised, scaled; q, k, v and the output of attention; gate, its
                   activation, up, their product); attention itself is fused and keeps no scores. With bfloat16 the
                   inputs of products take half: 16 L D + 2 L (2 D + 2 W + 2 K + 4 I), and 2 P for the cast weights.
    logits         4 V per response token of a micro-batch, and 12 V per response token of one forward pass (`bucket`)
    cache          8 L K per row and position, room for prompt and response, and 24 V per row for the draw
                   of a token (logits, probabilities, their float64 sums)

    training   = weights + gradients + optimiser + reference + max(1.3 (activations + logits), cache)
    evaluation = weights + cache

1.3 is what an allocator holds beyond what is asked for, measured on a CPU. A process on a CPU holds `PROCESS` besides:
Python, torch and transformers with their libraries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.models import ladder

PROCESS = 600 * 2**20  # resident beside a tiny model, its data and graders, measured
ALLOCATOR = 1.3
DECODED_ROWS = 256  # rows that are decoded together at most


@dataclass(frozen=True)
class Training:
    """What the memory of an optimiser step depends on. Lengths are means in tokens."""

    rows: int  # of a micro-batch
    prompt: float
    response: float
    bucket: int  # tokens of one forward pass at most
    sampled_rows: int  # decoded together
    max_tokens: int  # longest response
    reference: bool
    bfloat16: bool = False
    optimizers: int = 1


def cache_bytes(config: Mapping[str, Any], rows: int, positions: float) -> int:
    """Keys and values of `rows` sequences, and the draw of their next token."""
    s = ladder.shape(config)
    per_row = 8 * s["layers"] * s["kv_heads"] * s["head_dim"] * positions + 24 * s["vocabulary"]
    return round(rows * per_row)


def activation_bytes(config: Mapping[str, Any], tokens: float, bfloat16: bool) -> int:
    """Kept for the backward pass of `tokens` tokens."""
    s = ladder.shape(config)
    attention = 2 * (s["heads"] + s["kv_heads"]) * s["head_dim"]
    inputs = 2 * s["hidden"] + attention + 4 * s["intermediate"]
    per_layer = 16 * s["hidden"] + (2 if bfloat16 else 4) * inputs
    return round(tokens * s["layers"] * per_layer)


def training(config: Mapping[str, Any], plan: Training) -> dict[str, int]:
    """Bytes by part, and their sum as `peak`; see the module's formula."""
    weights = 4 * ladder.parameters(config)
    vocabulary = ladder.shape(config)["vocabulary"]
    # rows are not padded to one length, so that means are enough
    tokens = plan.rows * (plan.prompt + plan.response)
    answered = plan.rows * plan.response
    at_once = min(1.0, plan.bucket / tokens) * answered if tokens else 0.0
    activations = activation_bytes(config, tokens, plan.bfloat16) + (weights // 2 if plan.bfloat16 else 0)
    parts = {
        "weights": weights,
        "gradients": weights,
        "optimiser": 2 * weights * plan.optimizers,
        "reference": weights if plan.reference else 0,
        "activations": round(ALLOCATOR * activations),
        "logits": round(ALLOCATOR * vocabulary * (4 * answered + 12 * at_once)),
        "cache": cache_bytes(config, plan.sampled_rows, plan.prompt + plan.max_tokens),
    }
    fixed = parts["weights"] + parts["gradients"] + parts["optimiser"] + parts["reference"]
    return {**parts, "peak": fixed + max(parts["activations"] + parts["logits"], parts["cache"])}


def evaluation(config: Mapping[str, Any], rows: int, positions: float) -> int:
    """Bytes of sampling `rows` sequences of `positions` tokens with float32 weights."""
    return 4 * ladder.parameters(config) + cache_bytes(config, rows, positions)


def machine_bytes() -> int:
    """The machine's memory, or the limit of the container that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as stream:
            limit = stream.read().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def device_bytes() -> int | None:
    """Memory of the first CUDA device, None without one; asks the driver's tool, so that torch is not imported."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # a driver without a device
    first = answer.split("\n")[0].strip()
    return int(first) * 2**20 if first.isdigit() else None
