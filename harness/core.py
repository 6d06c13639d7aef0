"""The training core: rows in, one optimiser step out. It knows the one loss form and no method."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.spec import RunSpec
from strategies.base import Batch, Role, Row, Step, Strategy
from strategies.estimator import Counts, surrogate

# widths are rounded up, so that the allocator and the matrix library meet few different shapes
WIDTH_STEP = 8
# tokens of one forward pass, padding included: rows of like length share a pass; on a CPU its activations fit a cache
BUCKET_TOKENS = {"cpu": 2048, "cuda": 32768}


@dataclass(frozen=True)
class Bucket:
    """Right-padded rows of like length, for one forward pass."""

    ids: Tensor  # [rows, width]
    source: Tensor  # [n] flat indices into ids of the tokens before the n response tokens
    target: Tensor  # [n] the response tokens
    place: Tensor  # [n] flat indices of the response tokens in [B, T]


@dataclass(frozen=True)
class Tokens:
    """The rows of a micro-batch: [B, T] of the responses, and the buckets they are computed in."""

    mask: Tensor  # [B, T] float
    old_logp: Tensor  # [B, T], 0 on rows that were not sampled
    buckets: tuple[Bucket, ...]


def length(row: Row) -> int:
    return len(row.prompt) + len(row.response)


def padded(width: int) -> int:
    return -(-width // WIDTH_STEP) * WIDTH_STEP


def by_length(rows: Sequence[Row]) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: (length(rows[i]), i))


def bucketed(rows: Sequence[Row], tokens: int) -> list[list[int]]:
    """Indices of rows, shortest first, cut so that a bucket holds at most `tokens` tokens (one row at least)."""
    buckets: list[list[int]] = []
    for i in by_length(rows):
        if not buckets or (len(buckets[-1]) + 1) * padded(length(rows[i])) > tokens:
            buckets.append([])
        buckets[-1].append(i)
    return buckets


class Learner:
    """Model, optimiser and strategy. `update` does one optimiser step on the rows of a whole batch."""

    def __init__(
        self, model: PreTrainedModel, strategy: Strategy, spec: RunSpec, reference: PreTrainedModel | None
    ) -> None:
        self.model = model
        self.reference = reference
        self.strategy = strategy
        self.spec = spec
        self.device = next(model.parameters()).device
        self.dtype = next(model.parameters()).dtype  # float32; float64 in tests of exactness
        train = spec.train
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=train.learning_rate,
            betas=train.betas,
            weight_decay=train.weight_decay,
            foreach=False,
        )
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=train.dtype == "bfloat16")

    def learning_rate(self, step: Step) -> float:
        """Linear warm-up over steps, then the schedule over the share of the budget that is spent."""
        train = self.spec.train
        warm = min(1.0, (step.index + 1) / train.warmup) if train.warmup else 1.0
        decay = {"constant": 1.0, "linear": 1 - step.fraction, "cosine": 0.5 * (1 + math.cos(math.pi * step.fraction))}
        return train.learning_rate * warm * decay[train.schedule]

    def tokens(self, rows: Sequence[Row]) -> Tokens:
        """Rows as tensors. Padding is on the right: under causal attention it cannot reach what is before it."""
        span = max(len(row.response) for row in rows)
        mask, old = torch.zeros(len(rows), span), torch.zeros(len(rows), span)
        for i, row in enumerate(rows):
            mask[i, : len(row.response)] = 1.0
            if row.logp is not None:
                old[i, : len(row.response)] = torch.tensor(row.logp)
        buckets = tuple(self._bucket(rows, index, span) for index in bucketed(rows, BUCKET_TOKENS[self.device.type]))
        return Tokens(mask.to(self.device, self.dtype), old.to(self.device, self.dtype), buckets)

    def _bucket(self, rows: Sequence[Row], index: Sequence[int], span: int) -> Bucket:
        width = padded(max(length(rows[i]) for i in index))
        ids = torch.zeros(len(index), width, dtype=torch.long)
        source, target, place = [], [], []
        for j, i in enumerate(index):
            row, n = rows[i], len(rows[i].response)
            ids[j, : length(row)] = torch.tensor(row.prompt + row.response)
            first = j * width + len(row.prompt) - 1
            source += range(first, first + n)
            target += row.response
            place += range(i * span, i * span + n)
        flat = (torch.tensor(part, device=self.device) for part in (source, target, place))
        return Bucket(ids.to(self.device), *flat)

    def forward(self, model: PreTrainedModel, tokens: Tokens, gradient_entropy: bool = False) -> tuple[Tensor, Tensor]:
        """(logp, entropy) [B, T] of the response tokens at the rollout temperature; 0 where masked.

        The output head is applied to response positions only. Entropy carries a gradient only if asked for.
        """
        picked, entropies = [], []
        for bucket in tokens.buckets:
            with self.autocast:
                hidden = model.base_model(input_ids=bucket.ids, use_cache=False).last_hidden_state
                logits = model.get_output_embeddings()(hidden.flatten(0, 1)[bucket.source])
            log_probs = (logits.to(self.dtype) / self.spec.rollout.temperature).log_softmax(-1)
            picked.append(log_probs.gather(-1, bucket.target.unsqueeze(-1)).squeeze(-1))
            with torch.set_grad_enabled(gradient_entropy and torch.is_grad_enabled()):
                entropies.append(-(log_probs.exp() * log_probs).sum(-1))
        place = torch.cat([bucket.place for bucket in tokens.buckets])
        flat = torch.zeros_like(tokens.mask).flatten()
        logp = flat.index_put((place,), torch.cat(picked)).view_as(tokens.mask)
        entropy = flat.index_put((place,), torch.cat(entropies)).view_as(tokens.mask)
        return logp, entropy

    def micro_batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Indices of rows of like length, at most `micro_rows` at a time."""
        order = by_length(rows)
        step = self.spec.train.micro_rows
        return [order[start : start + step] for start in range(0, len(order), step)]

    def labels(self, rows: Sequence[Row]) -> Batch:
        """What is known of the whole step before any forward pass; logp is a placeholder of the right counts."""
        lengths = torch.tensor([len(row.response) for row in rows])
        mask = (torch.arange(int(lengths.max())) < lengths.unsqueeze(1)).to(self.dtype)
        batch = Batch(
            logp=torch.zeros_like(mask),
            mask=mask,
            role=torch.tensor([int(row.role) for row in rows]),
            group=torch.tensor([row.group for row in rows]),
            reward=torch.tensor([row.reward for row in rows], dtype=mask.dtype),
        )
        return replace(batch, advantage=self.strategy.advantages(batch))

    def micro(self, whole: Batch, index: list[int], tokens: Tokens, gradient: bool) -> tuple[Batch, Tensor]:
        """The micro-batch of rows `index` after its forward pass, and its entropies."""
        needs = self.strategy.requires
        with torch.set_grad_enabled(gradient):
            bonus = bool(self.strategy.entropy_coefficient)
            logp, entropy = self.forward(self.model, tokens, gradient_entropy=bonus)
        reference = None
        if "ref_logp" in needs:
            assert self.reference is not None
            with torch.no_grad():
                reference, _ = self.forward(self.reference, tokens)
        assert whole.advantage is not None
        batch = Batch(
            logp=logp,
            mask=tokens.mask,
            role=whole.role[index].to(self.device),
            group=whole.group[index].to(self.device),
            reward=whole.reward[index].to(self.device),
            old_logp=tokens.old_logp,
            ref_logp=reference,
            entropy=entropy,
            advantage=whole.advantage[index].to(self.device),
        )
        return batch, entropy.detach()

    def update(self, rows: Sequence[Row], step: Step) -> dict[str, float]:
        """One optimiser step. Returns metrics; `seconds_controller` among them is the controller's own time."""
        strategy, model = self.strategy, self.model
        model.train()
        started = time.perf_counter()
        whole = self.labels(rows)
        counts = Counts.of(whole)
        controller = 0.0
        chunks = self.micro_batches(rows)
        made = [self.tokens([rows[i] for i in index]) for index in chunks]
        wants = strategy.wants_signals(step)
        # with one micro-batch the loss's own forward pass serves the controller as well
        ready = self.micro(whole, chunks[0], made[0], gradient=True) if len(chunks) == 1 else None
        gathered: dict[str, list[Tensor]] = {}
        if wants:
            for index, tokens in zip(chunks, made, strict=True):
                mark = time.perf_counter()
                batch = (ready or self.micro(whole, index, tokens, gradient=False))[0]
                # a forward pass that only the controller needs is the controller's cost
                mark = time.perf_counter() if ready else mark
                for name, value in strategy.signals(batch.detached()).items():
                    gathered.setdefault(name, []).append(value)
                controller += time.perf_counter() - mark
        mark = time.perf_counter()
        strategy.observe({name: torch.cat(parts) for name, parts in gathered.items()}, step)
        controller += time.perf_counter() - mark

        self.optimizer.zero_grad(set_to_none=True)
        sums = dict.fromkeys(("loss", "rollout", "demo", "entropy", "entropy_tokens", "gap", "gap_tokens"), 0.0)
        for index, tokens in zip(chunks, made, strict=True):
            batch, entropy = ready or self.micro(whole, index, tokens, gradient=True)
            loss, parts = surrogate(strategy, batch, step, counts)
            loss.backward()
            self._count(sums, batch, entropy, float(loss.detach()), parts)
        grad_norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), self.spec.train.grad_clip))
        finite = math.isfinite(grad_norm)
        taken = finite and strategy.accept(grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        if taken:
            self.optimizer.step()
        coefficients = sums["rollout"] + sums["demo"]
        metrics = {
            "loss": sums["loss"],
            "grad_norm": grad_norm,
            "skipped": float(not taken),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "effective_mix": sums["demo"] / coefficients if coefficients else None,
            "entropy": sums["entropy"] / sums["entropy_tokens"] if sums["entropy_tokens"] else None,
            "mismatch": sums["gap"] / sums["gap_tokens"] if sums["gap_tokens"] else None,
            "seconds_controller": controller,
            "seconds_update": time.perf_counter() - started,
        }
        return {name: value if value is None or math.isfinite(value) else None for name, value in metrics.items()}

    @staticmethod
    def _count(sums: dict[str, float], batch: Batch, entropy: Tensor, loss: float, parts: dict[str, Tensor]) -> None:
        """Adds a micro-batch to the sums that the common metrics are made of."""
        rollout = batch.is_role(Role.ROLLOUT).unsqueeze(-1).to(batch.mask.dtype)
        # the coefficient of a token is the sum over components
        total = torch.stack(list(parts.values())).sum(0).abs()
        sums["loss"] += loss
        sums["rollout"] += float((total * rollout).sum())
        sums["demo"] += float((total * (1 - rollout)).sum())
        own = batch.mask * rollout if float(rollout.sum()) else batch.mask * 0
        sums["entropy"] += float((entropy * own).sum())
        sums["entropy_tokens"] += float(own.sum())
        assert batch.old_logp is not None
        sums["gap"] += float(((batch.logp.detach() - batch.old_logp).abs() * own).sum())
        sums["gap_tokens"] += float(own.sum())
