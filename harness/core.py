"""The training core: rows in, one optimiser step out. It knows the one loss form and no method.

With several processes (torch.distributed initialised) each computes its share of the rows: counts and controller
signals are those of the whole step everywhere, gradients are summed, so that every process takes the same step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness import collective, head
from harness.spec import RunSpec
from harness.tensors import Bucket, Tokens, by_length, prefix_mask, response_mask, tokens_of
from strategies.base import Batch, Role, Row, Step, Strategy
from strategies.estimator import Counts, surrogate

SUMS = ("loss", "rollout", "demo", "entropy", "entropy_tokens", "gap", "gap_tokens")


@dataclass(frozen=True)
class Values:
    """What a forward pass gives for the response tokens, each [B, T], 0 where masked."""

    logp: Tensor
    entropy: Tensor
    soft_logp: Tensor | None = None


def _head(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the output head."""
    layer = model.get_output_embeddings()
    return layer.weight, getattr(layer, "bias", None)


class Learner:
    """Model, optimisers and strategy. `update` does one optimiser step on the rows of a whole batch."""

    def __init__(
        self, model: PreTrainedModel, strategy: Strategy, spec: RunSpec, reference: PreTrainedModel | None
    ) -> None:
        self.model = model
        self.reference = reference
        self.strategy = strategy
        self.spec = spec
        self.device = next(model.parameters()).device
        self.dtype = next(model.parameters()).dtype  # float32; float64 in tests of exactness
        names = ("main", "second") if "second_optimizer" in strategy.requires else ("main",)
        self.optimizers = {name: self._optimizer() for name in names}
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=spec.train.dtype == "bfloat16")

    def _optimizer(self) -> torch.optim.Optimizer:
        train = self.spec.train
        return torch.optim.AdamW(
            self.model.parameters(),
            lr=train.learning_rate,
            betas=train.betas,
            weight_decay=train.weight_decay,
            foreach=False,
        )

    def learning_rate(self, step: Step) -> float:
        """Linear warm-up over steps, then the schedule over the share of the budget that is spent."""
        train = self.spec.train
        warm = min(1.0, (step.index + 1) / train.warmup) if train.warmup else 1.0
        decay = {"constant": 1.0, "linear": 1 - step.fraction, "cosine": 0.5 * (1 + math.cos(math.pi * step.fraction))}
        return train.learning_rate * warm * decay[train.schedule]

    # ---- forward

    def tokens(self, rows: Sequence[Row], prefixed: bool = False) -> Tokens:
        """`tensors.tokens_of` on the model's device."""
        return tokens_of(rows, prefixed, self.device, self.dtype)

    def forward(
        self, model: PreTrainedModel, tokens: Tokens, gradient_entropy: bool = False, soft: bool = False
    ) -> Values:
        """Log-probs and entropies of the response tokens at the rollout temperature.

        The output head is applied to response positions only. Entropy carries a gradient only if asked for. `soft`:
        also the expected log-prob under the strategy's full-vocabulary target.
        """
        picked, entropies, softs = [], [], []
        temperature, dtype = self.spec.rollout.temperature, self.dtype
        for bucket in tokens.buckets:
            hidden, (weight, bias) = self._hidden(model, bucket), _head(model)
            logp, entropy = head.selected(hidden, weight, bias, bucket.target, temperature, dtype)
            picked.append(logp)
            entropies.append(entropy if gradient_entropy else entropy.detach())
            if soft:
                assert self.reference is not None
                with torch.no_grad():
                    start = self._hidden(self.reference, bucket)

                def target(where: slice, start: Tensor = start, bucket: Bucket = bucket) -> Tensor:
                    reference = head.log_probs(start[where], *_head(self.reference), temperature, dtype)
                    return self.strategy.soft_target(reference, bucket.target[where])

                softs.append(head.expected(hidden, weight, bias, temperature, dtype, target))
        place = torch.cat([bucket.place for bucket in tokens.buckets])
        flat = torch.zeros_like(tokens.mask).flatten()

        def spread(parts: list[Tensor]) -> Tensor:
            return flat.index_put((place,), torch.cat(parts)).view_as(tokens.mask)

        return Values(spread(picked), spread(entropies), spread(softs) if soft else None)

    def _hidden(self, model: PreTrainedModel, bucket: Bucket) -> Tensor:
        """[n, H] of the positions before the response tokens, in the type in which the head computes."""
        with self.autocast:
            hidden = model.base_model(input_ids=bucket.ids, use_cache=False).last_hidden_state
        hidden = hidden.flatten(0, 1)[bucket.source]
        return hidden.to(torch.bfloat16) if self.spec.train.dtype == "bfloat16" else hidden

    def micro_batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Indices of this process's rows, those of like length together, at most `micro_rows` at a time."""
        order = by_length(rows)[collective.rank() :: collective.world()]
        step = self.spec.train.micro_rows
        return [order[start : start + step] for start in range(0, len(order), step)]

    def labels(self, rows: Sequence[Row]) -> Batch:
        """What is known of the whole step before any forward pass; logp is a placeholder of the right counts."""
        mask = response_mask(rows, self.dtype)
        prefixed = any(row.prefix for row in rows if row.role == Role.ROLLOUT)
        batch = Batch(
            logp=torch.zeros_like(mask),
            mask=mask,
            role=torch.tensor([int(row.role) for row in rows]),
            group=torch.tensor([row.group for row in rows]),
            reward=torch.tensor([row.reward for row in rows], dtype=mask.dtype),
            prefix=prefix_mask(rows, mask.shape[1], self.dtype) if prefixed else None,
            row=torch.arange(len(rows)),
        )
        return replace(batch, advantage=self.strategy.advantages(batch))

    def micro(self, whole: Batch, index: list[int], tokens: Tokens, gradient: bool) -> tuple[Batch, Tensor]:
        """The micro-batch of rows `index` after its forward pass, and its entropies."""
        needs = self.strategy.requires
        with torch.set_grad_enabled(gradient):
            bonus = bool(self.strategy.entropy_coefficient)
            values = self.forward(self.model, tokens, gradient_entropy=bonus, soft="soft_target" in needs)
        reference = None
        if "ref_logp" in needs:
            assert self.reference is not None
            with torch.no_grad():
                reference = self.forward(self.reference, tokens).logp
        assert whole.advantage is not None and whole.row is not None
        advantage = whole.advantage[index].to(self.device)
        batch = Batch(
            logp=values.logp,
            mask=tokens.mask,
            role=whole.role[index].to(self.device),
            group=whole.group[index].to(self.device),
            reward=whole.reward[index].to(self.device),
            # what no sampler has seen has the log-probs of the policy before the step, which is the present one
            old_logp=torch.where(tokens.known, tokens.old_logp, values.logp.detach()),
            ref_logp=reference,
            entropy=values.entropy,
            prefix=tokens.prefix,
            row=whole.row[index].to(self.device),
            soft_logp=values.soft_logp,
            advantage=advantage if advantage.dim() == 1 else advantage[:, : tokens.mask.shape[1]],
        )
        return batch, values.entropy.detach()

    @torch.no_grad()
    def given(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with the present log-probs of their given tokens: demonstrations, and prefixes of rollouts."""
        found = list(rows)
        chosen = [i for i, row in enumerate(rows) if row.role != Role.ROLLOUT or row.prefix]
        for start in range(0, len(chosen), self.spec.train.micro_rows):
            index = chosen[start : start + self.spec.train.micro_rows]
            logp = self.forward(self.model, self.tokens([rows[i] for i in index])).logp.tolist()
            for i, values in zip(index, logp, strict=True):
                n = rows[i].prefix if rows[i].role == Role.ROLLOUT else len(rows[i].response)
                found[i] = replace(rows[i], given_logp=tuple(values[:n]))
        return found

    # ---- the optimiser step

    def update(
        self,
        rows: Sequence[Row],
        step: Step,
        optimizer: str = "main",
        grad_clip: float | None = None,
        measure: Callable[[Batch, Counts], None] | None = None,
    ) -> dict[str, float | None]:
        """One optimiser step. Returns metrics; `seconds_controller` among them is the controller's own time.

        The controller moves at steps of the "main" optimiser only. `measure` is called after it has, before the step.
        """
        strategy, model = self.strategy, self.model
        model.train()
        started = time.perf_counter()
        whole = self.labels(rows)
        counts = Counts.of(whole)
        chunks = self.micro_batches(rows)
        made = [self.tokens([rows[i] for i in index], whole.prefix is not None) for index in chunks]
        # with one micro-batch the loss's own forward pass serves the controller as well
        ready = self.micro(whole, chunks[0], made[0], gradient=True) if len(chunks) == 1 else None
        controller = self._control(whole, chunks, made, ready, step) if optimizer == "main" else 0.0
        paused = 0.0
        if measure is not None:
            mark = time.perf_counter()
            measure(whole, counts)
            paused = time.perf_counter() - mark

        states = self.optimizers[optimizer]
        states.zero_grad(set_to_none=True)
        sums = dict.fromkeys(SUMS, 0.0)
        for index, tokens in zip(chunks, made, strict=True):
            batch, entropy = ready or self.micro(whole, index, tokens, gradient=True)
            loss, parts = surrogate(strategy, batch, step, counts)
            loss.backward()
            self._count(sums, batch, entropy, float(loss.detach()), parts)
        collective.sum_gradients(model.parameters())
        sums = collective.sum_numbers(sums)
        clip = self.spec.train.grad_clip if strategy.grad_clip is None else strategy.grad_clip
        clip = clip if grad_clip is None else grad_clip
        grad_norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip))
        taken = math.isfinite(grad_norm) and strategy.accept(grad_norm)
        for group in states.param_groups:
            group["lr"] = self.learning_rate(step)
        if taken:
            states.step()
        coefficients = sums["rollout"] + sums["demo"]
        metrics = {
            "loss": sums["loss"],
            "grad_norm": grad_norm,
            "skipped": float(not taken),
            "learning_rate": states.param_groups[0]["lr"],
            "effective_mix": sums["demo"] / coefficients if coefficients else None,
            "entropy": sums["entropy"] / sums["entropy_tokens"] if sums["entropy_tokens"] else None,
            "mismatch": sums["gap"] / sums["gap_tokens"] if sums["gap_tokens"] else None,
            "seconds_controller": controller,
            "seconds_update": time.perf_counter() - started - paused,
        }
        return {name: value if value is None or math.isfinite(value) else None for name, value in metrics.items()}

    def _control(
        self,
        whole: Batch,
        chunks: list[list[int]],
        made: list[Tokens],
        ready: tuple[Batch, Tensor] | None,
        step: Step,
    ) -> float:
        """Gathers the step's signals if they are wanted and lets the controller observe them. Returns its seconds."""
        strategy, seconds = self.strategy, 0.0
        signals: dict[str, Tensor] = {}
        if strategy.wants_signals(step):
            gathered: dict[str, list[Tensor]] = {}
            for index, tokens in zip(chunks, made, strict=True):
                mark = time.perf_counter()
                batch = (ready or self.micro(whole, index, tokens, gradient=False))[0]
                # a forward pass that only the controller needs is the controller's cost
                mark = time.perf_counter() if ready else mark
                for name, value in strategy.signals(batch.detached()).items():
                    gathered.setdefault(name, []).append(value)
                seconds += time.perf_counter() - mark
            mark = time.perf_counter()
            mine = {name: torch.cat(parts) for name, parts in gathered.items()}
            signals = collective.gather_rows(mine, [row for index in chunks for row in index])
            seconds += time.perf_counter() - mark
        mark = time.perf_counter()
        strategy.observe(signals, step)
        return seconds + time.perf_counter() - mark

    @staticmethod
    def _count(sums: dict[str, float], batch: Batch, entropy: Tensor, loss: float, parts: dict[str, Tensor]) -> None:
        """Adds a micro-batch to the sums that the common metrics are made of."""
        sampled = batch.part("continuation") * batch.is_role(Role.ROLLOUT).unsqueeze(-1)
        # the coefficient of a token is the sum over components
        total = torch.stack(list(parts.values())).sum(0).abs() if parts else batch.mask * 0
        sums["loss"] += loss
        sums["rollout"] += float((total * sampled).sum())
        sums["demo"] += float((total * (batch.mask - sampled)).sum())
        sums["entropy"] += float((entropy * sampled).sum())
        sums["entropy_tokens"] += float(sampled.sum())
        assert batch.old_logp is not None
        sums["gap"] += float(((batch.logp.detach() - batch.old_logp).abs() * sampled).sum())
        sums["gap_tokens"] += float(sampled.sum())
