"""A lean cached decoder for the Llama family (Llama, Qwen2, Qwen3), straight on the weights of a transformers model.

On small models the Python code of a transformers forward, the repeated key-value heads and the growing cache cost more
than the arithmetic. This decoder runs the same arithmetic with fused projections and a cache that is written in place.
Rotated head dimensions are kept interleaved, (x_0, x_D/2, x_1, x_D/2+1, ...): the rotation is then one complex
product, and scores, being dot products of queries and keys in the same order, do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

# Rotary frequencies of these kinds do not depend on the length of the sequence, so one table serves every step.
_STATIC_ROPE = {"default", "linear", "llama3", "yarn"}

# Fused copies of the projections are made up to this many bytes of weights; larger models use their own tensors.
_FUSE_BYTES = 64 * 2**20

# Prompts are prefilled in groups of about this many tokens: activations stay in the processor's cache.
_PREFILL_TOKENS = {"cpu": 1024}
_PREFILL_TOKENS_DEVICE = 16384

# New columns that a full cache grows by, at the least.
_GROW = 128

_Projection = tuple[tuple[Tensor, Tensor | None], ...]


@dataclass(frozen=True)
class _Layer:
    norm_1: Tensor
    qkv: _Projection
    qk_norm: Tensor | None  # [query heads + kv heads, D]
    out: tuple[Tensor, Tensor | None]
    norm_2: Tensor
    gate_up: _Projection
    down: tuple[Tensor, Tensor | None]


def _plain(module: nn.Module) -> bool:
    """Whether calling the module is the arithmetic of its class and nothing else: no hooks, no sharded parameters."""
    return not any(
        part._forward_hooks
        or part._forward_pre_hooks
        or any(type(p) is not nn.Parameter for p in part._parameters.values() if p is not None)
        for part in module.modules()
    )


def supports(model: nn.Module) -> bool:
    """Whether `LlamaDecoder` computes exactly what `model` does: the family, dense attention, unwrapped modules."""
    config = getattr(model, "config", None)
    if _CLASSES.get(getattr(config, "model_type", "")) != type(model).__name__:
        return False
    layers = model.model.layers
    linears = [model.lm_head] + [
        linear
        for layer in layers
        for linear in (
            *(getattr(layer.self_attn, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
            *(getattr(layer.mlp, name) for name in ("gate_proj", "up_proj", "down_proj")),
        )
    ]
    weights = {(p.device, p.dtype) for p in model.parameters()}
    return (
        all(type(linear) is nn.Linear for linear in linears)
        and type(model.model.embed_tokens) is nn.Embedding
        and len(weights) == 1
        and next(iter(weights))[0].type != "meta"
        and model.model.rotary_emb.rope_type in _STATIC_ROPE
        and all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
        and _plain(model)
    )


def _project(x: Tensor, parts: _Projection) -> Tensor:
    if len(parts) == 1:
        return F.linear(x, *parts[0])
    return torch.cat([F.linear(x, weight, bias) for weight, bias in parts], -1)


def _add_linear(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x + h @ weight.T + bias in one product, in place: x [N, H], h [N, K]."""
    x.addmm_(h, weight.t())
    return x if bias is None else x.add_(bias)


class LlamaDecoder:
    """Cached decoding of one batch; `start` once, then `step` and `keep`. Raises ValueError for other architectures.

    Rows are left-padded to a common width, so every row writes its next key and value in the same cache column.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        if not supports(model):
            raise ValueError("This model is not a plain Llama, Qwen2 or Qwen3 causal LM; decode with CacheDecoder.")
        body, config = model.model, model.config
        attention = body.layers[0].self_attn
        self.head_dim: int = attention.head_dim
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.groups = self.heads // self.kv_heads
        self.scale: float = attention.scaling
        self.eps: float = config.rms_norm_eps
        self.act = body.layers[0].mlp.act_fn
        self.rotary = body.rotary_emb
        self.embedding: Tensor = body.embed_tokens.weight
        self.norm: Tensor = body.norm.weight
        self.head = (model.lm_head.weight, model.lm_head.bias)
        self.device, self.dtype = self.embedding.device, self.embedding.dtype
        size = sum(p.nbytes for p in body.layers.parameters())
        self.layers = [self._layer(layer, fuse=size <= _FUSE_BYTES) for layer in body.layers]
        self.cache: list[Tensor] = []  # per layer [2, B, kv heads, T, D]: keys (rotated, interleaved) and values

    def _layer(self, layer: nn.Module, fuse: bool) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp

        def join(*linears: nn.Linear) -> _Projection:
            parts = tuple((linear.weight, linear.bias) for linear in linears)
            if not fuse:
                return parts
            biases = [bias for _, bias in parts if bias is not None]
            assert len(biases) in (0, len(parts))
            return ((torch.cat([weight for weight, _ in parts]), torch.cat(biases) if biases else None),)

        qk_norm = None
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm.weight, attention.k_norm.weight
            qk_norm = torch.cat([q.expand(self.heads, -1), k.expand(self.kv_heads, -1)])
        return _Layer(
            norm_1=layer.input_layernorm.weight,
            qkv=join(attention.q_proj, attention.k_proj, attention.v_proj),
            qk_norm=qk_norm,
            out=(attention.o_proj.weight, attention.o_proj.bias),
            norm_2=layer.post_attention_layernorm.weight,
            gate_up=join(mlp.gate_proj, mlp.up_proj),
            down=(mlp.down_proj.weight, mlp.down_proj.bias),
        )

    def start(self, prompts: Sequence[Sequence[int]], repeats: Sequence[int], max_tokens: int) -> Tensor:
        """Prefill `prompts` (distinct, shortest first), prompt i standing for `repeats[i]` rows in a line.

        Returns the next-token logits, float32 [sum(repeats), V].
        """
        lengths = [len(prompt) for prompt in prompts]
        self.width = lengths[-1]  # columns in use
        self.limit = self.width + max_tokens
        self.n = sum(repeats)
        columns = min(self.limit, self.width + _GROW)
        shape = (2, self.n, self.kv_heads, columns, self.head_dim)
        self.cache = [torch.empty(shape, device=self.device, dtype=self.dtype) for _ in self.layers]
        positions = torch.arange(self.limit, device=self.device)[None]
        cos, sin = self.rotary(torch.empty(0, device=self.device), positions)
        half = self.head_dim // 2
        self.turn = torch.complex(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())  # [limit, D / 2]
        counts = torch.tensor(repeats)
        pad = (self.width - torch.tensor(lengths)).repeat_interleave(counts)
        self.pad = pad.to(self.device)
        self.mask: Tensor | None = None  # additive [B, 1, 1, limit]
        if lengths[0] != lengths[-1]:
            hidden = torch.arange(self.limit, device=self.device) < self.pad[:, None]
            self.mask = torch.zeros(hidden.shape, device=self.device, dtype=self.dtype)
            self.mask = self.mask.masked_fill_(hidden, -torch.inf)[:, None, None]
        budget = _PREFILL_TOKENS.get(self.device.type, _PREFILL_TOKENS_DEVICE)
        logits, first, row = [], 0, 0
        while first < len(prompts):
            last = first + 1
            while last < len(prompts) and (last + 1 - first) * lengths[last] <= budget:
                last += 1
            times = counts[first:last].to(self.device)
            logits.append(self._prefill(prompts[first:last], times, row))
            row += int(counts[first:last].sum())
            first = last
        return torch.cat(logits)

    def _prefill(self, prompts: Sequence[Sequence[int]], times: Tensor, row: int) -> Tensor:
        """Prefill one group of prompts, left-padded to the width of its longest, into the cache from `row` on."""
        width = len(prompts[-1])
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        pad = width - torch.tensor([len(p) for p in prompts], device=self.device)
        column = torch.arange(width, device=self.device)
        mask = None
        if len(prompts[0]) < width:
            # A padding query sees itself: a row without any key would be NaN and spoil the values it is masked from.
            seen = (column >= pad[:, None])[:, None] & (column[:, None] >= column) | torch.eye(
                width, device=self.device, dtype=torch.bool
            )
            mask = torch.zeros(seen.shape, device=self.device, dtype=self.dtype)
            mask = mask.masked_fill_(~seen, -torch.inf)[:, None]  # [m, 1, L, L]
        turn = self.turn[(column - pad[:, None]).clamp_(min=0)][:, :, None]  # [m, L, 1, D / 2]
        m = len(prompts)
        rows = slice(row, row + int(times.sum()))
        many = rows.stop - row > m
        left = self.width - width
        x = F.embedding(ids, self.embedding)  # [m, L, H]
        for layer, cache in zip(self.layers, self.cache, strict=True):
            q, k, v = self._heads(layer, x, turn)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            for part, new in zip(cache, (k, v), strict=True):
                part[rows, :, :left] = 0
                part[rows, :, left : self.width] = new.repeat_interleave(times, 0) if many else new
            k, v = (t[:, :, None].expand(-1, -1, self.groups, -1, -1).flatten(1, 2) for t in (k, v))
            if cache is self.cache[-1]:  # only the last position is read any more
                q, x = q[:, :, -1:], x[:, -1:]
                h = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=None if mask is None else mask[:, :, -1:], scale=self.scale
                )
            else:
                h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=self.scale)
            x = self._rest(layer, x.flatten(0, 1), h.transpose(1, 2).flatten(2).flatten(0, 1)).unflatten(0, (m, -1))
        logits = self._logits(x[:, -1])
        return logits.repeat_interleave(times, 0) if many else logits

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token per row, int64 [n]; returns the next-token logits, float32 [n, V]."""
        if self.width == self.cache[0].shape[3]:
            self._grow()
        n, column = self.n, self.width
        self.width += 1
        turn = self.turn[column - self.pad][:, None]  # [n, 1, D / 2]
        mask = None if self.mask is None else self.mask[:n, :, :, : self.width]
        x = F.embedding(tokens, self.embedding)
        for layer, cache in zip(self.layers, self.cache, strict=True):
            q, k, v = self._heads(layer, x, turn)
            keys, values = cache[0, :n], cache[1, :n]
            keys[:, :, column] = k
            values[:, :, column] = v
            # The queries that share a kv head stand in for query positions: no repeated keys or values.
            h = F.scaled_dot_product_attention(
                q.unflatten(1, (self.kv_heads, self.groups)),
                keys[:, :, : self.width],
                values[:, :, : self.width],
                attn_mask=mask,
                scale=self.scale,
            )
            x = self._rest(layer, x, h.flatten(1))
        return self._logits(x)

    def keep(self, order: Tensor) -> None:
        """Go on with fewer rows: new row j is old row `order[j]`, int64 [m], where order[j] is j or at least m."""
        self.n = len(order)
        moved = (order != torch.arange(self.n, device=self.device)).nonzero()[:, 0]
        source = order[moved]
        for cache in self.cache:
            cache[:, moved, :, : self.width] = cache[:, source, :, : self.width]
        self.pad = self.pad[order]
        if self.mask is not None:
            self.mask = self.mask[order]

    def _grow(self) -> None:
        columns = min(self.limit, self.width + max(_GROW, self.width // 2))
        for i, cache in enumerate(self.cache):
            shape = (2, self.n, self.kv_heads, columns, self.head_dim)
            self.cache[i] = torch.empty(shape, device=self.device, dtype=self.dtype)
            self.cache[i][:, :, :, : self.width] = cache[:, : self.n]

    def _heads(self, layer: _Layer, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys (rotated, interleaved) and values of x [..., H]: [..., heads, D]."""
        h = F.rms_norm(x, x.shape[-1:], layer.norm_1, self.eps)
        qkv = _project(h, layer.qkv).unflatten(-1, (-1, self.head_dim))
        turned = self.heads + self.kv_heads
        qk = qkv[..., :turned, :]
        if layer.qk_norm is not None:
            qk = F.rms_norm(qk, (self.head_dim,), None, self.eps) * layer.qk_norm
        first, second = qk.float().chunk(2, -1)
        qk = torch.view_as_real(torch.complex(first, second).mul_(turn)).flatten(-2).to(self.dtype)
        return qk[..., : self.heads, :], qk[..., self.heads :, :], qkv[..., turned:, :]

    def _rest(self, layer: _Layer, x: Tensor, h: Tensor) -> Tensor:
        """The layer from the attention's output h [N, heads * D] on; x [N, H] is the residual stream."""
        x = _add_linear(x, h, *layer.out)
        gate, up = _project(F.rms_norm(x, x.shape[-1:], layer.norm_2, self.eps), layer.gate_up).chunk(2, -1)
        return _add_linear(x, self.act(gate).mul_(up), *layer.down)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(F.rms_norm(x, x.shape[-1:], self.norm, self.eps), *self.head).float()
