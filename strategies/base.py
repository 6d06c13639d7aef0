"""The seam between a method and a trainer: what a strategy decides, and the plain data it decides on.

A strategy owns decisions only: how many rollouts and demonstrations a step takes, which rows are trained,
and the four parts of the unified policy-gradient estimator for each of them (see `estimator.py`). The trainer
owns everything else. Nothing here imports torch: tensors are used through their methods, so that a strategy's
configuration can be read and checked without loading it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Role(IntEnum):
    """Where a trained row comes from."""

    ROLLOUT = 0  # sampled from the policy, scored by the verifier
    DEMO = 1  # expert demonstration
    TEACHER = 2  # response of a teacher model: off-policy, neither the expert's nor the policy's


@dataclass(frozen=True)
class Row:
    """One prompt with one response, as token ids. `logp` are the sampler's log-probs (rollouts only)."""

    problem: str  # id of the problem
    suite: str
    group: int  # rows of one prompt in one step share this number
    role: Role
    prompt: tuple[int, ...]
    response: tuple[int, ...]
    reward: float
    logp: tuple[float, ...] | None = None
    truncated: bool = False


@dataclass(frozen=True)
class Group:
    """One prompt of a step with its scored rollouts and the demonstrations that `SamplingPlan` asked for."""

    rollouts: tuple[Row, ...]
    demos: tuple[Row, ...] = ()  # first the expert's (Role.DEMO), then teachers' (Role.TEACHER)

    @property
    def n_correct(self) -> int:
        return sum(row.reward > 0.5 for row in self.rollouts)


@dataclass(frozen=True)
class Sizes:
    """Sizes of one step, from the run's specification."""

    prompts: int  # prompts per step
    group: int  # responses per prompt
    demos: int  # expert rows per step for methods with a separate pool of demonstrations
    max_response: int  # tokens: the L_max of Dr.GRPO-type aggregation


@dataclass(frozen=True)
class Step:
    """Where the run stands: optimiser steps done, and the share of the budget that is spent."""

    index: int
    fraction: float = 0.0  # in [0, 1]
    kl: float | None = None  # newest estimate of KL(pi_theta || pi_0), nats per token; None before the first


@dataclass(frozen=True)
class SamplingPlan:
    """What the trainer prepares for the coming step."""

    prompts: int = 0  # prompts to sample from; 0 = no rollouts this step
    rollouts: int = 0  # rollouts per prompt
    expert: int = 0  # expert demonstrations of the same prompt (0 or 1)
    teacher: int = 0  # teacher responses of the same prompt
    pool: int = 0  # expert rows drawn from the pool of demonstrations, prompts of their own


@dataclass(frozen=True)
class Batch:
    """Rows of one optimiser step, or of one micro-batch of it, as plain tensors.

    logp [B, T]: log pi_theta of every response token, now. mask [B, T]: 1 on response tokens, else 0.
    role, group [B] (long), reward [B]. old_logp [B, T]: log-probs of the policy that sampled the row
    (rows that were not sampled: any finite value). entropy [B, T]: of the next-token distribution, nats.
    advantage [B] or [B, T]: from `Strategy.advantages` on the whole step.
    """

    logp: Tensor
    mask: Tensor
    role: Tensor
    group: Tensor
    reward: Tensor
    old_logp: Tensor | None = None
    ref_logp: Tensor | None = None
    entropy: Tensor | None = None
    advantage: Tensor | None = None

    def take(self, rows: Tensor | slice) -> Batch:
        """The same batch restricted to `rows` (an index tensor or a slice)."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Batch(**{name: None if value is None else value[rows] for name, value in values.items()})

    def detached(self) -> Batch:
        """The same batch with no gradient through `logp` and `entropy`."""
        entropy = None if self.entropy is None else self.entropy.detach()
        return replace(self, logp=self.logp.detach(), entropy=entropy)

    def is_role(self, *roles: Role) -> Tensor:
        """[B] bool: rows whose role is one of `roles`."""
        found = self.role == int(roles[0])
        for role in roles[1:]:
            found = found | (self.role == int(role))
        return found


@dataclass(frozen=True)
class Component:
    """One term of the loss: the parts of the unified estimator for the rows of the given roles.

    Its coefficient on grad log pi of token (i, t) is

        scale * aggregator(i, t) * mask * stable * advantage * weight * exp(logp - log_reference)

    (HPT, arXiv 2509.04419, Eq. 6, with a token weight and an aggregator added). All parts are taken as constants.
    `log_reference` None means pi_ref = pi_theta, a factor of 1.
    """

    name: str
    roles: tuple[Role, ...]
    advantage: Tensor | float = 1.0  # [B], [B, T] or a number
    log_reference: Tensor | None = None  # [B, T]
    stable: Tensor | None = None  # [B, T], 0 or 1: tokens that a clip takes out
    weight: Tensor | None = None  # [B] or [B, T]
    aggregator: str = "token"  # a key of estimator.AGGREGATORS
    scale: float = 1.0


@dataclass(frozen=True)
class NoConfig:
    """For strategies without options."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


class Strategy:
    """A method. Subclasses override the hooks whose timing fits; every hook has a neutral default.

    One optimiser step calls, in this order: plan, route, advantages, signals (once a micro-batch, only when
    `wants_signals`), observe (once, with an empty mapping when no signals were wanted), components (once a
    micro-batch), accept, metrics.
    """

    name: ClassVar[str]
    summary: ClassVar[str]  # one line
    source: ClassVar[str]  # paper and code the definition is taken from
    kind: ClassVar[str]  # single | sequential | mixture | group | gate | control
    requires: frozenset[str] = frozenset()  # of {"old_logp", "ref_logp", "entropy"}
    entropy_coefficient: float = 0.0  # weight of the token-mean entropy bonus
    Config: ClassVar[type] = NoConfig

    def __init__(self, config: Any, sizes: Sizes) -> None:
        self.config = config
        self.sizes = sizes

    def plan(self, step: Step) -> SamplingPlan:
        raise NotImplementedError

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        """The rows to train on. Default: all rollouts, all demonstrations, the whole pool."""
        rows = [row for group in groups for row in (*group.rollouts, *group.demos)]
        return rows + list(pool)

    def advantages(self, batch: Batch) -> Tensor:
        """[B] advantages from rewards, groups and roles of the whole step. `batch.logp` must not be used."""
        return batch.reward.new_ones(batch.reward.shape)

    def wants_signals(self, step: Step) -> bool:
        """Whether `observe` needs this step's signals (they may cost a forward pass)."""
        return False

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """Per-row scalars [B] for `observe`; pure, called per micro-batch, then gathered over the whole step."""
        return {}

    def observe(self, signals: Mapping[str, Tensor], step: Step) -> None:
        """Moves the controller; called exactly once an optimiser step, before the loss. `signals`: of all rows of the
        step, empty if none were wanted."""

    def components(self, batch: Batch, step: Step) -> list[Component]:
        """The terms of the loss for these rows; pure, called once a micro-batch."""
        raise NotImplementedError

    def accept(self, grad_norm: float) -> bool:
        """Whether the optimiser may take this step, given the gradient norm before clipping."""
        return True

    def metrics(self) -> dict[str, float]:
        """Numbers of the last step for the log, `mu` among them if the method has one."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as JSON values (floats survive exactly)."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            raise ValueError(f"strategy {self.name} has no state, but the checkpoint holds {sorted(state)}")


__all__ = ["Batch", "Component", "Group", "NoConfig", "Role", "Row", "SamplingPlan", "Sizes", "Step", "Strategy"]
