"""Names of models: embedded ones inside the package, short names of real ones, Hugging Face ids, local directories."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = Path(__file__).parent / "weights"
EMBEDDED = ("0.2m", "1m", "4m")
REAL = {
    "0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "1.5b": "Qwen/Qwen2.5-1.5B-Instruct",
    "3b": "Qwen/Qwen2.5-3B-Instruct",
    "7b": "Qwen/Qwen2.5-7B-Instruct",
    "14b": "Qwen/Qwen2.5-14B-Instruct",
}


@dataclass(frozen=True)
class ModelRef:
    """A resolved name. `location` is a directory or a Hugging Face id."""

    name: str
    location: str
    kind: str  # embedded | local | hub

    @property
    def config(self) -> dict[str, Any] | None:
        """The model's config.json, where it is at hand without a network."""
        path = Path(self.location) / "config.json"
        return json.loads(path.read_text()) if path.is_file() else None


def resolve(name: str) -> ModelRef:
    """The model called `name`; ValueError with the nearest names if it is none of the known kinds."""
    if name in EMBEDDED:
        directory = WEIGHTS / name
        if not (directory / "model.safetensors").is_file():
            raise ValueError(
                f"the weights of embedded model {name!r} are not in this installation: "
                f"make them with `harness pretrain {name}`"
            )
        return ModelRef(name, str(directory), "embedded")
    if name in REAL:
        return ModelRef(name, REAL[name], "hub")
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ValueError(f"directory {name} holds no config.json: name a Hugging Face model directory")
        return ModelRef(name, str(Path(name).resolve()), "local")
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return ModelRef(name, name, "hub")
    known = [*EMBEDDED, *REAL]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(known)}."
    raise ValueError(f"unknown model {name!r}: {hint} A Hugging Face id (owner/name) or a local directory works too.")


def check_reachable(ref: ModelRef) -> None:
    """ValueError if a hub model is neither in the local cache nor to be had from the hub."""
    if ref.kind != "hub":
        return
    import socket
    from urllib.parse import urlsplit

    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(ref.location, "config.json"), str):
        return
    missing = f"the weights of {ref.location} are not in the Hugging Face cache"
    advice = "download them on a machine with network, or name a local directory with --model"
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"{missing}, and HF_HUB_OFFLINE is set: {advice}")
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=10).close()
    except OSError as problem:
        raise ValueError(f"{missing}, and the hub does not answer ({problem}): {advice}") from None


def load(ref: ModelRef, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Float32 weights on `device` and the tokenizer; safetensors only, no remote code."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    with _loading(ref):
        tokenizer = AutoTokenizer.from_pretrained(ref.location, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            ref.location, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    return model.to(device), tokenizer


def load_tokenizer(ref: ModelRef) -> tuple[dict[str, Any], PreTrainedTokenizerBase]:
    """The model's configuration and its tokenizer, without weights."""
    from transformers import AutoConfig, AutoTokenizer

    with _loading(ref):
        config = AutoConfig.from_pretrained(ref.location, trust_remote_code=False).to_dict()
        tokenizer = AutoTokenizer.from_pretrained(ref.location, trust_remote_code=False)
    return config, tokenizer


def end_ids(ref: ModelRef, config: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end a response by the model's generation config, or by its configuration where it has none.

    Chat models often name more than the tokenizer's EOS (Qwen2.5-Instruct: <|im_end|> and <|endoftext|>).
    """
    from transformers import GenerationConfig

    try:
        ids = GenerationConfig.from_pretrained(ref.location).eos_token_id
    except OSError:  # it has none
        ids = config.get("eos_token_id")
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)


@contextmanager
def _loading(ref: ModelRef) -> Iterator[None]:
    """What cannot be loaded is a user's error."""
    try:
        yield
    except OSError as problem:
        first = str(problem).strip().splitlines()[0]
        raise ValueError(
            f"model {ref.name!r} ({ref.location}) could not be loaded: {first} "
            "Download it on a machine with network, or name a local directory."
        ) from None


def shape(config: Mapping[str, Any]) -> dict[str, int]:
    """Sizes that cost estimates need, from a config.json of the Llama family."""
    heads = config["num_attention_heads"]
    return {
        "hidden": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "intermediate": config["intermediate_size"],
        "vocabulary": config["vocab_size"],
        "tied": int(bool(config.get("tie_word_embeddings", False))),
    }


def parameters(config: Mapping[str, Any]) -> int:
    """Weights of the model, without biases and norms (under 0.2% of the whole)."""
    s = shape(config)
    return matmul_parameters(config) + s["vocabulary"] * s["hidden"] * (1 if not s["tied"] else 0)


def matmul_parameters(config: Mapping[str, Any]) -> int:
    """Weights that every token is multiplied with: the layers' and the output head's."""
    s = shape(config)
    width = s["heads"] * s["head_dim"]
    attention = s["hidden"] * (2 * width + 2 * s["kv_heads"] * s["head_dim"])
    return s["layers"] * (attention + 3 * s["hidden"] * s["intermediate"]) + s["vocabulary"] * s["hidden"]
