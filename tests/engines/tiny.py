"""Tiny random models of several architectures, and the distribution over completions that a model defines."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, PreTrainedModel

SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}

LEAN = {
    "qwen2": ("Qwen2", {}),
    "qwen2-tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-yarn": ("Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"head_dim": 16, "attention_bias": True}),
    "llama": ("Llama", {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3, "hidden_act": "gelu"}),
    "llama-mha": ("Llama", {"num_key_value_heads": 4}),
}
OTHER = {
    "gpt2": ("GPT2", {"n_positions": 512}),
    "mistral": ("Mistral", {"sliding_window": 12}),
    "gemma2": ("Gemma2", {"sliding_window": 12, "head_dim": 8}),
    "qwen2-sliding": ("Qwen2", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}),
    "llama-dynamic": ("Llama", {"rope_parameters": DYNAMIC}),
    "bloom": ("Bloom", {}),
}


def make(name: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random model of `LEAN` or `OTHER` in eval mode; norms and biases are random too, so that none is a no-op."""
    family, extra = {**LEAN, **OTHER}[name]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **extra, **changes})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def prompts(lengths: list[int], vocabulary: int = 40, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, vocabulary, size=length).tolist() for length in lengths]


@torch.no_grad()
def next_logits(model: PreTrainedModel, sequence: list[int]) -> torch.Tensor:
    """Next-token logits [L, V] after every prefix of one sequence: no batch, no padding, no cache."""
    return model(torch.tensor([sequence], device=model.device), use_cache=False).logits[0].float()


def truncated(probs: np.ndarray, top_p: float) -> np.ndarray:
    """The nucleus by its definition: the most probable tokens, one after another, until their mass reaches top_p."""
    kept, mass = np.zeros_like(probs), 0.0
    for token in np.argsort(-probs):
        if mass >= top_p:
            break
        kept[token] = probs[token]
        mass += probs[token]
    return kept / kept.sum()


def enumerate_completions(
    model: PreTrainedModel, prompt: list[int], steps: int, eos: int, temperature: float, top_p: float
) -> dict[tuple[int, ...], float]:
    """Exact probability of every completion of at most `steps` tokens, ended by `eos` or by length."""
    done: dict[tuple[int, ...], float] = {}
    open_ = {(): 1.0}
    for step in range(steps):
        longer = {}
        for prefix, mass in open_.items():
            logits = next_logits(model, [*prompt, *prefix])[-1].double().numpy() / temperature
            probs = np.exp(logits - logits.max())
            probs = truncated(probs / probs.sum(), top_p)
            for token, p in enumerate(probs):
                if p > 0:
                    ended = token == eos or step + 1 == steps
                    (done if ended else longer)[(*prefix, token)] = mass * p
        open_ = longer
    return done


def chi_square_p(observed: list[tuple[int, ...]], exact: dict[tuple[int, ...], float]) -> float:
    """p-value of the observed completions under the exact probabilities; cells expecting fewer than 5 are pooled.

    A completion that the distribution excludes gives 0.
    """
    if any(completion not in exact for completion in observed):
        return 0.0
    counts = dict.fromkeys(exact, 0)
    for completion in observed:
        counts[completion] += 1
    cells: list[list[float]] = []
    pool = [0.0, 0.0]
    for completion, p in exact.items():
        cell = [counts[completion], p * len(observed)]
        if cell[1] >= 5:
            cells.append(cell)
        else:
            pool = [a + b for a, b in zip(pool, cell, strict=True)]
    if pool[1] >= 5:
        cells.append(pool)
    elif pool[1] > 0:
        cells[0] = [a + b for a, b in zip(cells[0], pool, strict=True)]
    table = np.array(cells)
    return float(chisquare(table[:, 0], table[:, 1] * table[:, 0].sum() / table[:, 1].sum()).pvalue)
