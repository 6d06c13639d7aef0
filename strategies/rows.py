"""The plain data that strategies decide on: rows, groups, where a run stands, and what they ask a trainer for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """Where a trained row comes from."""

    ROLLOUT = 0  # sampled from the policy, scored by the verifier
    DEMO = 1  # expert demonstration
    TEACHER = 2  # response of a teacher model: off-policy, neither the expert's nor the policy's


@dataclass(frozen=True)
class Row:
    """One prompt with one response, as token ids. `logp`: the sampler's, of `response[prefix:]` (rollouts only)."""

    problem: str  # id of the problem
    suite: str
    group: int  # rows of one prompt in one step share this number
    role: Role
    prompt: tuple[int, ...]
    response: tuple[int, ...]
    reward: float
    logp: tuple[float, ...] | None = None
    truncated: bool = False
    prefix: int = 0  # leading response tokens of a rollout that were given: taken from the expert's demonstration
    hint: int = 0  # tokens of the expert's demonstration that the prompt shows
    steps: tuple[int, ...] = ()  # of a demonstration: how many of its tokens end with each step (line) of the solution
    given_logp: tuple[float, ...] | None = None  # of given tokens, under the policy before the step's first update

    @property
    def correct(self) -> bool:
        """Whether the verifier (with its noise, if any) calls the response correct."""
        return self.reward > 0.5


@dataclass(frozen=True)
class Group:
    """One prompt of a step with its scored rollouts and the demonstrations that `SamplingPlan` asked for."""

    rollouts: tuple[Row, ...]
    demos: tuple[Row, ...] = ()  # first the expert's (Role.DEMO), then teachers' (Role.TEACHER)

    @property
    def n_correct(self) -> int:
        return sum(row.correct for row in self.rollouts)


@dataclass(frozen=True)
class Sizes:
    """Sizes of one step, from the run's specification."""

    prompts: int  # prompts per step
    group: int  # responses per prompt
    demos: int  # expert rows per step for methods with a separate pool of demonstrations
    max_response: int  # tokens: the L_max of Dr.GRPO-type aggregation


@dataclass(frozen=True)
class Step:
    """Where the run stands: optimiser steps done, the share of the budget that is spent, the newest measurements."""

    index: int
    fraction: float = 0.0  # in [0, 1]
    kl: float | None = None  # newest estimate of KL(pi_theta || pi_0), nats per token; None before the first
    validation_nll: float | None = None  # of held-out demonstrations, nats per token; None before the first
    seed: int = 0  # for a strategy's own draws in this step: random.Random(step.seed)


@dataclass(frozen=True)
class SamplingPlan:
    """What the trainer prepares for the coming step."""

    prompts: int = 0  # prompts to sample from; 0 = no rollouts this step
    rollouts: int = 0  # rollouts per prompt
    expert: int = 0  # expert demonstrations of the same prompt (0 or 1)
    teacher: int = 0  # teacher responses of the same prompt
    pool: int = 0  # expert rows drawn from the pool of demonstrations, prompts of their own
    later: int = 0  # rollouts per prompt that `Strategy.more` will ask for, roughly: for estimates only


@dataclass(frozen=True)
class Request:
    """More rollouts in the same step, asked for by `Strategy.more`."""

    rollouts: int
    group: int | None = None  # index of the group they join; None: a new prompt, a group of its own
    prefix: int = 0  # tokens of the expert's demonstration that each response starts with
    hint: int = 0  # tokens of the expert's demonstration that the prompt shows


@dataclass(frozen=True)
class ExtraUpdate:
    """A second optimiser step after the main one, on rows of its own, with optimiser states of its own."""

    rows: tuple[Row, ...]
    grad_clip: float | None = None  # None: the run's
