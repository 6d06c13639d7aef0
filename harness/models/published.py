"""Architecture numbers of the models with short names, so that their needs can be told without a network.

Source: config.json of the repositories Qwen/Qwen2.5-{0.5B,1.5B,3B,7B,14B}-Instruct on the Hugging Face hub; the sizes
that follow from them agree with the Qwen2.5 technical report (arXiv 2412.15115): 0.49, 1.54, 3.09, 7.61 and 14.7
billion weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.models import ladder

_KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "vocab_size", "tie_word_embeddings",
)  # fmt: skip
_QWEN = {
    "0.5b": (896, 4864, 24, 14, 2, 151936, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151936, True),
    "3b": (2048, 11008, 36, 16, 2, 151936, True),
    "7b": (3584, 18944, 28, 28, 4, 152064, False),
    "14b": (5120, 13824, 48, 40, 8, 152064, False),
}
CONFIGS: dict[str, dict[str, Any]] = {
    ladder.REAL[name]: {**dict(zip(_KEYS, numbers, strict=True)), "max_position_embeddings": 32768}
    for name, numbers in _QWEN.items()
}


def config(ref: ladder.ModelRef) -> dict[str, Any] | None:
    """The model's configuration, as far as it is known without a network: on disk, in the hub's cache, or above."""
    if ref.config is not None:
        return ref.config
    if ref.location in CONFIGS:
        return CONFIGS[ref.location]
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(ref.location, "config.json")
    return json.loads(Path(cached).read_text()) if isinstance(cached, str) else None


__all__ = ["CONFIGS", "config"]
