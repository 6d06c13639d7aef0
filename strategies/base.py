"""The seam between a method and a trainer: what a strategy decides, and the plain data it decides on.

A strategy owns decisions only: how many rollouts and demonstrations a step takes, which rows are trained,
and the four parts of the unified policy-gradient estimator for each of them (see `estimator.py`). The trainer
owns everything else. Nothing here imports torch: tensors are used through their methods, so that a strategy's
configuration can be read and checked without loading it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies.batch import Batch, Component, Part
from strategies.rows import ExtraUpdate, Group, Request, Role, Row, SamplingPlan, Sizes, Step

if TYPE_CHECKING:
    from torch import Tensor


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
