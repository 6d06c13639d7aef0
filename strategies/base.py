"""The seam between a method and a trainer: what a strategy decides, and the plain data it decides on.

A strategy owns decisions only: how many rollouts and demonstrations a step takes, which rows are trained,
and the four parts of the unified policy-gradient estimator for each of them (see `estimator.py`). The trainer
owns everything else. Nothing here imports torch: tensors are used through their methods, so that a strategy's
configuration can be read and checked without loading it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies.rows import ExtraUpdate, Group, Request, Role, Row, SamplingPlan, Sizes, Step

if TYPE_CHECKING:
    from torch import Tensor


Part = Literal["all", "prefix", "continuation"]

# what a strategy may ask its trainer for, beyond log-probs, entropies and rewards of the step
NEEDS = {
    "old_logp": "log-probs of the sampler",
    "given_logp": "log-probs of demonstrations before the step's first update",
    "ref_logp": "log-probs of the start policy",
    "entropy": "entropy of every token",
    "soft_target": "full distributions of the start policy",
    "kl": "KL to the start policy (probe)",
    "validation_nll": "likelihood of held-out demonstrations (probe)",
    "second_optimizer": "optimiser states for a second update",
}
START_POLICY = frozenset({"ref_logp", "soft_target"})  # of these, what takes a forward pass of the start policy


@dataclass(frozen=True)
class Batch:
    """Rows of one optimiser step, or of one micro-batch of it, as plain tensors.

    logp [B, T]: log pi_theta of every response token, now. mask [B, T]: 1 on response tokens, else 0.
    role, group [B] (long), reward [B]. old_logp [B, T]: log-probs of the policy that sampled the row; of given tokens
    (demonstrations, prefixes) those of the policy before the step's first update, which only strategies that require
    "given_logp" may use. ref_logp [B, T]: of the start policy. entropy [B, T]: of the next-token distribution, nats.
    prefix [B, T]: 1 on the given tokens that a rollout starts with, None if no row has any. row [B] (long): index of
    the row in the step. soft_logp [B, T]: sum_v q_v log pi_theta(v), q from `Strategy.soft_target`.
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
    prefix: Tensor | None = None
    row: Tensor | None = None
    soft_logp: Tensor | None = None
    advantage: Tensor | None = None

    def take(self, rows: Tensor | slice) -> Batch:
        """The same batch restricted to `rows` (an index tensor or a slice)."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Batch(**{name: None if value is None else value[rows] for name, value in values.items()})

    def detached(self) -> Batch:
        """The same batch with no gradient through `logp`, `entropy` and `soft_logp`."""
        entropy = None if self.entropy is None else self.entropy.detach()
        soft = None if self.soft_logp is None else self.soft_logp.detach()
        return replace(self, logp=self.logp.detach(), entropy=entropy, soft_logp=soft)

    def part(self, name: Part) -> Tensor:
        """[B, T] mask of a part of the responses: "all", "prefix", or "continuation", what follows the prefix."""
        if name == "all" or (self.prefix is None and name == "continuation"):
            return self.mask
        if self.prefix is None:
            return self.mask * 0
        return self.mask * (self.prefix if name == "prefix" else 1 - self.prefix)

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
    `log_reference` None means pi_ref = pi_theta, a factor of 1. `part` restricts it to a part of the responses, whose
    tokens and rows the aggregator then counts. A `soft` component puts its coefficient on grad soft_logp instead: the
    cross-entropy to a full-vocabulary target.
    """

    name: str
    roles: tuple[Role, ...]
    advantage: Tensor | float = 1.0  # [B], [B, T] or a number
    log_reference: Tensor | None = None  # [B, T]
    stable: Tensor | None = None  # [B, T], 0 or 1: tokens that a clip takes out
    weight: Tensor | None = None  # [B] or [B, T]
    aggregator: str = "token"  # a key of estimator.AGGREGATORS
    scale: float = 1.0
    part: Part = "all"
    soft: bool = False


@dataclass(frozen=True)
class NoConfig:
    """For strategies without options."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


class Strategy:
    """A method. Subclasses override the hooks whose timing fits; every hook has a neutral default.

    One step calls, in this order: plan, more (until it asks for nothing), route, advantages, signals (once a
    micro-batch, only when `wants_signals`), observe (once, with an empty mapping when no signals were wanted),
    components (once a micro-batch), accept, extra_update (whose rows pass advantages to accept again), metrics.
    """

    name: ClassVar[str]
    summary: ClassVar[str]  # one line
    source: ClassVar[str]  # paper and code the definition is taken from
    kind: ClassVar[str]  # one of registry.KINDS
    parity: ClassVar[str]  # what its gradients were checked against
    requires: frozenset[str] = frozenset()  # of NEEDS
    entropy_coefficient: float = 0.0  # weight of the token-mean entropy bonus
    grad_clip: float | None = None  # bound of the gradient norm; None: the run's
    Config: ClassVar[type] = NoConfig

    def __init__(self, config: Any, sizes: Sizes) -> None:
        self.config = config
        self.sizes = sizes

    def plan(self, step: Step) -> SamplingPlan:
        raise NotImplementedError

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        """Rollouts still wanted, given all groups so far; asked again after each round until there are none."""
        return ()

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

    def branches(self, batch: Batch, step: Step) -> dict[str, list[Component]]:
        """The terms behind each signal, without the weights of a mix; for measurements.

        "rl" is measured on rollouts; "sft" on demonstrations, and on rollouts' prefixes.
        """
        components = self.components(batch, step)
        prefixes = [component for component in components if component.part == "prefix"]
        return {"rl": [c for c in components if c.part != "prefix"], "sft": prefixes or components}

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        """[n, V] target distributions of n tokens from the start policy's log-probs [n, V] and the tokens [n]."""
        raise NotImplementedError

    def extra_update(self, step: Step) -> ExtraUpdate | None:
        """A second update after the main one, if this step has one."""
        return None

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


__all__ = [
    "NEEDS",
    "START_POLICY",
    "Batch",
    "Component",
    "ExtraUpdate",
    "Group",
    "NoConfig",
    "Part",
    "Request",
    "Role",
    "Row",
    "SamplingPlan",
    "Sizes",
    "Step",
    "Strategy",
]
