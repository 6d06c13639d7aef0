"""Log-likelihoods of given continuations, exactly: one teacher-forced forward, padded batches, float32 log-softmax."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

TOKENS = 2**14  # input tokens in a batch, padding included
LOGITS = 2**27  # logits of a batch: half a GiB in float32

Pair = tuple[Sequence[int], Sequence[int]]  # token ids of a context, at least one, and of its continuation


def cut(pair: Pair, limit: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(input ids, target ids): the last `limit` inputs; the last len(target) of them predict the targets.

    A context that is too long loses its beginning, as in lm-eval's `hf` model. ValueError for an empty context or
    continuation, and for a continuation longer than `limit`.
    """
    context, continuation = pair
    if not context or not continuation:
        raise ValueError("a log-likelihood was asked for without a context or a continuation: check the task's texts")
    if len(continuation) > limit:
        raise ValueError(
            f"a continuation of {len(continuation)} tokens is longer than the model's context of {limit}: "
            "choose a model with a longer context, or another task"
        )
    whole = (*context, *continuation)
    return whole[-(limit + 1) : -1], tuple(continuation)


@torch.no_grad()
def log_likelihoods(
    model: PreTrainedModel, pairs: Sequence[Pair], limit: int, done: Callable[[int], None] = lambda tokens: None
) -> list[tuple[float, bool]]:
    """For every pair: the natural log-prob of the continuation, summed over its tokens, and whether it is the greedy
    one. `limit`: the model's context in tokens. `done` is told the input tokens of each batch.

    Rows are padded on the right, where a causal model cannot look. Pairs with the same input, such as the letters of a
    multiple choice, share one row.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    targets = []
    for i, pair in enumerate(pairs):
        inputs, target = cut(pair, limit)
        rows.setdefault(inputs, []).append(i)
        targets.append(target)
    device = model.get_input_embeddings().weight.device
    selects = "logits_to_keep" in inspect.signature(model.forward).parameters
    found: list[tuple[float, bool] | None] = [None] * len(pairs)
    for batch, first in _batches(rows, targets, model.config.get_text_config().vocab_size):
        width = len(batch[0])
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch], device=device)
        kept = {"logits_to_keep": torch.arange(first, width, device=device)} if selects else {}
        logits = model(input_ids=ids, use_cache=False, **kept).logits
        logits = logits if selects else logits[:, first:]
        for row, scores in zip(batch, logits, strict=True):
            for i in rows[row]:
                end = len(row) - first
                found[i] = _score(scores[end - len(targets[i]) : end].float(), targets[i])
        done(sum(map(len, batch)))
    return found


def _batches(
    rows: dict[tuple[int, ...], list[int]], targets: Sequence[Sequence[int]], vocabulary: int
) -> Iterator[tuple[list[tuple[int, ...]], int]]:
    """(rows of a batch, the first position whose logits are needed), the longest rows first."""
    batch: list[tuple[int, ...]] = []
    first = 0
    for row in sorted(rows, key=len, reverse=True):
        start = len(row) - max(len(targets[i]) for i in rows[row])
        n, width, lowest = len(batch) + 1, len((batch or [row])[0]), min(first, start) if batch else start
        if batch and (n * width > TOKENS or n * (width - lowest) * vocabulary > LOGITS):
            yield batch, first
            batch, lowest = [], start
        batch.append(row)
        first = lowest
    if batch:
        yield batch, first


def _score(logits: Tensor, target: Sequence[int]) -> tuple[float, bool]:
    """Sum of log-probs and whether all are the most probable: logits float32 [T, V], target T ids."""
    ids = torch.tensor(target, device=logits.device)
    logp = logits.log_softmax(-1)
    return float(logp.gather(1, ids[:, None]).sum()), bool((logp.argmax(-1) == ids).all())
