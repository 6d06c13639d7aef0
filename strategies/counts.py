"""What a term of the loss is divided by: tokens and rows of the whole optimiser step, and aggregators made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strategies.batch import Batch, Part
from strategies.rows import Role

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Trained tokens and rows by role, over ALL micro-batches and ranks of the optimiser step.

    `prefix` holds the same for the given prefixes of rollouts.
    """

    tokens: Mapping[int, float]
    rows: Mapping[int, float]
    prefix: Counts | None = None

    @classmethod
    def of(cls, batch: Batch) -> Counts:
        prefix = None if batch.prefix is None else cls._of(batch, batch.part("prefix"))
        return replace(cls._of(batch, batch.mask), prefix=prefix)

    @classmethod
    def _of(cls, batch: Batch, mask: Tensor) -> Counts:
        per_row = mask.sum(-1)
        of_role = [batch.role == int(role) for role in Role]
        return cls(
            {int(role): float(per_row[rows].sum()) for role, rows in zip(Role, of_role, strict=True)},
            # a row without a response still counts; one without a prefix is no row of the prefixes
            {
                int(role): float((rows & (per_row > 0)).sum() if mask is not batch.mask else rows.sum())
                for role, rows in zip(Role, of_role, strict=True)
            },
        )

    def of_part(self, part: Part) -> Counts:
        """Counts of a part of the responses; every row has a continuation."""
        if part == "all" or (self.prefix is None and part == "continuation"):
            return self
        if self.prefix is None:
            return Counts({}, {})
        if part == "prefix":
            return self.prefix
        given = self.prefix.tokens
        return Counts({role: n - given.get(role, 0.0) for role, n in self.tokens.items()}, self.rows)

    def n_tokens(self, roles: tuple[Role, ...]) -> float:
        return sum(self.tokens.get(int(role), 0.0) for role in roles)

    def n_rows(self, roles: tuple[Role, ...]) -> float:
        return sum(self.rows.get(int(role), 0.0) for role in roles)


# every aggregator sees a batch whose mask, and counts, are those of the component's part


def _token(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / max(counts.n_tokens(roles), 1.0)


def _token_micro(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / max(Counts.of(batch).n_tokens(roles), 1.0)


def _sequence(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / (batch.mask.sum(-1, keepdim=True).clamp(min=1) * max(counts.n_rows(roles), 1.0))


def _constant(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / (max_response * max(counts.n_rows(roles), 1.0))


def _constant_sum(batch: Batch, roles: tuple[Role, ...], counts: Counts, max_response: int) -> Tensor:
    return batch.mask / max_response


AGGREGATORS: dict[str, Callable[[Batch, tuple[Role, ...], Counts, int], Tensor]] = {
    "token": _token,  # 1 / tokens of the step: DAPO, corrected SFT
    "sequence": _sequence,  # 1 / (own length * rows of the step): GRPO
    "constant": _constant,  # 1 / (L_max * rows of the step): Dr.GRPO
    "constant_sum": _constant_sum,  # 1 / L_max, not divided by rows: LUFFY, HPT, ReLIFT as released
    "token_micro": _token_micro,  # 1 / tokens of the MICRO-batch: compat with released code; depends on the split
}
