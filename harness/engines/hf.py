"""The rollout engine on transformers: any causal LM, on CPU or CUDA, with the trainer's own module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.engines.base import Completion, SamplingParams, check_request
from harness.engines.cache_decoder import CacheDecoder
from harness.engines.llama_decoder import LlamaDecoder, supports
from harness.engines.sampling import draw, uniforms

# Ended rows are dropped once no more than this share of the batch is alive: dropping them singly
# would cost more in moved rows than it saves.
_LIVE_SHARE = 0.8

# Steps between two looks at who has ended. On a device a look waits for the queued work, so it is not taken each step.
_LOOK_EVERY = {"cpu": 1}
_LOOK_EVERY_DEVICE = 8

# Steps whose random numbers are made at once.
_UNIFORM_STEPS = 64


class Decoder(Protocol):
    """One batch under way: prefill, one step, and a change of rows (see `LlamaDecoder`)."""

    device: torch.device

    def start(self, prompts: Sequence[Sequence[int]], repeats: Sequence[int], max_tokens: int) -> Tensor: ...
    def step(self, tokens: Tensor) -> Tensor: ...
    def keep(self, order: Tensor) -> None: ...


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every submodule in eval mode inside, each back in its own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class HFEngine:
    """Samples from a transformers causal LM that may be the one being trained: weights are read anew at each call.

    `batch_size` is the largest number of rows decoded together. Llama, Qwen2 and Qwen3 models take a lean path
    (`llama_decoder`), every other architecture its own forward (`cache_decoder`). Raises ValueError for a model that
    transformers did not make, such as a PEFT or DDP wrapper.
    """

    own_weights = False

    def __init__(self, model: PreTrainedModel, batch_size: int = 256) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1.")
        if not isinstance(model, PreTrainedModel):  # a wrapper's forward hides which arguments the model takes
            raise ValueError(f"{type(model).__name__} is no transformers model; give the model inside the wrapper.")
        self.model = model
        self.batch_size = batch_size

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
        eos_ids: Sequence[int],
    ) -> list[Completion]:
        """One completion per prompt, in order; see `Engine.sample` and `Completion`.

        Completion i depends on (prompts[i], seeds[i], params, eos_ids) and the weights, not on the rest of the batch,
        up to the rounding of batched products. Equal prompts of a batch are prefilled once. Raises ValueError where
        the numbers of prompts and seeds differ, a seed is outside [0, 2**63), a prompt is empty, has an id outside
        the vocabulary or leaves no room for `max_tokens` in the model's `max_position_embeddings`.
        """
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        check_request(prompts, seeds, params, eos_ids, vocabulary, positions)
        done: list[Completion | None] = [None] * len(prompts)
        # Similar lengths together save padding; equal prompts side by side share their prefill.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
        with _evaluating(self.model):
            decoder = LlamaDecoder(self.model) if supports(self.model) else CacheDecoder(self.model)
            for first in range(0, len(order), self.batch_size):
                batch = order[first : first + self.batch_size]
                rows = self._decode(decoder, [prompts[i] for i in batch], [seeds[i] for i in batch], params, eos_ids)
                for i, completion in zip(batch, rows, strict=True):
                    done[i] = completion
        return done

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy the tensors into the model's parameters and buffers of these names; a tensor already shared is skipped.

        Raises ValueError for a name that the model does not have or a shape that differs.
        """
        own = dict(self.model.named_parameters(remove_duplicate=False))
        own.update(self.model.named_buffers(remove_duplicate=False))
        with torch.no_grad():
            for name, value in weights:
                if name not in own:
                    raise ValueError(f"The model has no weight named {name!r}; give the names of its state_dict.")
                if own[name].shape != value.shape:
                    raise ValueError(f"{name} is {tuple(own[name].shape)} in the model but {tuple(value.shape)} here.")
                if own[name] is not value:
                    own[name].copy_(value)

    def sleep(self) -> None:
        """Give cached device memory back; the weights stay, they are the trainer's."""
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def wake(self) -> None:
        """Nothing to do: caches are made anew at each call."""

    def close(self) -> None:
        """Give cached device memory back; the model belongs to the caller."""
        self.sleep()

    def _decode(
        self,
        decoder: Decoder,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
        eos_ids: Sequence[int],
    ) -> list[Completion]:
        """Decode one batch; equal prompts stand side by side, shortest first."""
        device = decoder.device
        distinct, repeats = [], []
        for prompt in prompts:
            if distinct and tuple(prompt) == distinct[-1]:
                repeats[-1] += 1
            else:
                distinct.append(tuple(prompt))
                repeats.append(1)
        logits = decoder.start(distinct, repeats, params.max_tokens)
        n = len(prompts)
        ends = torch.zeros(logits.shape[1], dtype=torch.bool, device=device)
        ends[list(eos_ids)] = True
        tokens = torch.zeros(n, params.max_tokens, dtype=torch.int64, device=device)
        logps = torch.zeros(n, params.max_tokens, device=device)
        rows = torch.arange(n, device=device)  # the sample that each live row belongs to
        streams = torch.tensor(seeds, dtype=torch.int64, device=device)
        live = torch.ones(n, dtype=torch.bool, device=device)
        look = _LOOK_EVERY.get(device.type, _LOOK_EVERY_DEVICE)
        for t in range(params.max_tokens):
            if t % _UNIFORM_STEPS == 0:
                u = uniforms(streams, t, min(t + _UNIFORM_STEPS, params.max_tokens))
            token, logp = draw(logits, u[t % _UNIFORM_STEPS], params.temperature, params.top_p)
            tokens[rows, t], logps[rows, t] = token, logp
            if t + 1 == params.max_tokens:
                break
            if eos_ids:
                live &= ~ends[token]
                if (t + 1) % look == 0:
                    left = int(live.sum())
                    if left == 0:
                        break
                    if left <= _LIVE_SHARE * len(rows):
                        order = _fill(live, left)
                        decoder.keep(order)
                        token, rows, streams, live, u = (x[..., order] for x in (token, rows, streams, live, u))
            logits = decoder.step(token)
        return _completions(tokens, logps, ends)


def _fill(live: Tensor, left: int) -> Tensor:
    """Order of rows [left] that moves the live rows from behind into the places of ended ones and leaves the others."""
    order = torch.arange(left, device=live.device)
    order[~live[:left]] = live[left:].nonzero()[:, 0] + left
    return order


def _completions(tokens: Tensor, logps: Tensor, ends: Tensor) -> list[Completion]:
    """Cut each row after its first end-of-sequence id; what stands behind it was never part of the sample."""
    ended = ends[tokens]
    stops = ended.any(1)
    lengths = torch.where(stops, ended.int().argmax(1) + 1, tokens.shape[1])
    table = zip(tokens.tolist(), logps.tolist(), lengths.tolist(), stops.tolist(), strict=True)
    return [
        Completion(tuple(ids[:k]), tuple(values[:k]), "stop" if stop else "length") for ids, values, k, stop in table
    ]
