"""Cached decoding of any causal LM of transformers through its own forward and its own cache class."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CacheDecoder:
    """Same calls as `LlamaDecoder`, by `model(...)`: left padding, attention mask, position ids where it takes them.

    Raises ValueError for a model whose forward takes no `past_key_values`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        accepted = inspect.signature(model.forward).parameters
        if "past_key_values" not in accepted:
            raise ValueError(f"{type(model).__name__} keeps no key-value cache, which this engine decodes with.")
        self.model = model
        self.device = model.get_input_embeddings().weight.device
        self.takes_positions = "position_ids" in accepted
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def start(self, prompts: Sequence[Sequence[int]], repeats: Sequence[int], max_tokens: int) -> Tensor:
        """Prefill `prompts` (distinct, shortest first), prompt i standing for `repeats[i]` rows in a line.

        Returns the next-token logits, float32 [sum(repeats), V].
        """
        width = len(prompts[-1])
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        pad = width - torch.tensor([len(p) for p in prompts], device=self.device)
        self.mask = (torch.arange(width, device=self.device) >= pad[:, None]).long()
        self.cache = None
        logits = self._forward(ids)
        times = torch.tensor(repeats, device=self.device)
        if sum(repeats) > len(prompts):
            rows = torch.arange(len(prompts), device=self.device).repeat_interleave(times)
            self.keep(rows)
            logits = logits[rows]
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token per row, int64 [n]; returns the next-token logits, float32 [n, V]."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._forward(tokens[:, None])

    def keep(self, order: Tensor) -> None:
        """Go on with other rows: new row j is old row `order[j]`, int64 [m]."""
        self.cache.reorder_cache(order)
        self.mask = self.mask[order]

    def _forward(self, ids: Tensor) -> Tensor:
        positions = {}
        if self.takes_positions:
            positions["position_ids"] = (self.mask.cumsum(1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **positions,
            **self.last_only,
        )
        self.cache = out.past_key_values
        return out.logits[:, -1].float()
