"""ReLIFT: RL on every question, and now and then a fine-tuning update on questions that the policy cannot solve.

Sources: arXiv 2506.07527; TheRoadQaQ/ReLIFT `relift/trainer.py`, `actor.py` (`sft_update_policy`), `core_algos.py`.

A question whose rollouts all have the reward `fail_value` enters a buffer with its demonstration, newest first. When
the buffer holds `sft_size` rows, its first `sft_size` leave it for one fine-tuning (FT) update, after the RL update, at
most one a step, with optimiser states of its own on the same weights:

    L_RL = - sum_{i,t} A r / L_max - 0.001 H,   r = pi_theta / pi_old
    L_FT = - mean over tokens of log pi_theta(y_it) - 0.001 H

The four parts. RL: pi_ref = pi_old; advantage R - group mean (Dr.GRPO); no mask (no clip); weight 1; a sum over rows,
not a mean, as released ("constant_sum"). FT: pi_ref = pi_theta, advantage 1, no mask, weight 1; another loss by
`sft_loss` (`sft_losses`).

Defaults: fail_value 0 (-0.5 with one of the released rewards; a penalty on the format is no fail value);
gradient norm at most 0.7 in RL (`rl_grad_clip`, None: the run's) and 1.0 in FT (`sft_grad_clip`);
entropy_coefficient 0.001. `sft_size` None is the run's `demos` (released: 128, at 128 questions a step). `buffer`, the
most rows kept, the oldest leaving first; None is 4 * sft_size (ours: the released one has no bound). Every option of
the RL term can be given: `aggregation`, clips, `normalize_std`, `kl_coefficient`. The released FT loss is a mean over
each MICRO-batch: `sft_aggregation` "token_micro". A question that fails again is in the buffer twice. Unlike the
released buffer, this one is part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from strategies.base import Batch, Component, ExtraUpdate, Group, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.demo_buffer import DemoBuffer
from strategies.policy_gradient import VARIANTS, PolicyGradient, PolicyOptions
from strategies.registry import register
from strategies.sft_losses import SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor

RL_TERM = replace(VARIANTS["dr_grpo"], clip_low="off", clip_high="off", aggregation="constant_sum")


@dataclass(frozen=True)
class ReliftOptions(SftLossOptions, PolicyOptions):
    """Options of `relift`, and of both terms."""

    fail_value: float = 0.0
    sft_size: int | None = None
    buffer: int | None = None
    rl_grad_clip: float | None = 0.7
    sft_grad_clip: float | None = 1.0
    entropy_coefficient: float = 0.001

    def __post_init__(self) -> None:
        SftLossOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        if self.sft_size is not None and self.sft_size < 1:
            raise ValueError(f"option sft_size must be >= 1, not {self.sft_size}")
        for option in ("rl_grad_clip", "sft_grad_clip"):
            value = getattr(self, option)
            if value is not None and not value > 0.0:
                raise ValueError(f"option {option} must be > 0, not {value}")
        if not self.entropy_coefficient >= 0.0:
            raise ValueError(f"option entropy_coefficient must be >= 0, not {self.entropy_coefficient}")


@register
class Relift(Strategy):
    name = "relift"
    summary = "RL on every question, and fine-tuning updates on those that no rollout solves"
    source = "arXiv 2506.07527; TheRoadQaQ/ReLIFT"
    kind = "gate"
    parity = "original code: RL and FT losses"
    Config = ReliftOptions

    def __init__(self, config: ReliftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient(config, RL_TERM)
        self.sft = SftTerm(config)
        entropy = {"entropy"} if config.entropy_coefficient else frozenset()
        self.requires = self.policy.requires | self.sft.requires | {"second_optimizer"} | entropy
        self.entropy_coefficient = config.entropy_coefficient
        self.grad_clip = config.rl_grad_clip
        self.sft_size = sizes.demos if config.sft_size is None else config.sft_size
        bound = 4 * self.sft_size if config.buffer is None else config.buffer
        if self.sft_size < 1:
            raise ValueError("strategy relift needs rows for an update: set the run's `demos` or its option sft_size")
        if bound < self.sft_size:
            raise ValueError(
                f"option buffer of strategy relift is {bound}, below the {self.sft_size} rows of one update"
            )
        self.buffer = DemoBuffer(bound)
        self.updates = 0
        self._failed = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(self.sizes.prompts, self.sizes.group, expert=1)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        failed = [g.demos[0] for g in groups if g.demos and all(r.reward == self.config.fail_value for r in g.rollouts)]
        self.buffer.push(failed)
        self._failed = len(failed) / max(len(groups), 1)
        return [row for group in self.policy.select(groups) for row in group.rollouts]

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        # rollouts and demonstrations never meet in one update, so that each update has one of the two terms
        return [*self.policy.components(batch), *self.sft.components(batch)]

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)

    def extra_update(self, step: Step) -> ExtraUpdate | None:
        rows = self.buffer.take(self.sft_size)
        if not rows:
            return None
        self.updates += 1
        return ExtraUpdate(rows, self.config.sft_grad_clip)

    def metrics(self) -> dict[str, float]:
        """buffer: rows in it; ft_updates: so far; buffered: share of the last step's questions that entered it."""
        return {"buffer": float(len(self.buffer)), "ft_updates": float(self.updates), "buffered": self._failed}

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "buffer": self.buffer.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != {"updates", "buffer"}:
            raise ValueError(f"state of strategy relift must be updates and buffer, not {sorted(state)}")
        self.updates = state["updates"]
        self.buffer.load(state["buffer"])
