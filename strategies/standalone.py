"""One call for a trainer of your own: plain tensors of an optimiser step in, loss and coefficients out.

    from strategies import registry, standalone
    from strategies.base import Sizes, Step

    strategy = registry.build("luffy", {}, Sizes(prompts=8, group=8, demos=16, max_response=1024))
    plan = strategy.plan(step := Step(index, fraction))  # how many rollouts and demonstrations to get
    loss, coefficients = standalone.loss(strategy, step, logp=logp, mask=mask, role=role, group=group,
                                         reward=reward, old_logp=old_logp, entropy=entropy)
    loss.backward()

It makes rows of the tensors and passes the hooks of one step in the order that `strategies.base.Strategy` gives: route,
advantages, signals, observe, components. What is left to the trainer, because it takes tokens or the optimiser: the
sampling that `plan` and `more` ask for, `accept` with the gradient norm before the optimiser's step, `extra_update`,
and `state_dict` in its checkpoints. For a step in several micro-batches, or on several processes, call the parts that
this is made of: `Strategy.route`, `advantages` and `Counts.of` on the whole step, `signals` a micro-batch, `observe` on
those of all rows, then `estimator.surrogate` a micro-batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strategies.base import Batch, Group, Role, Row, Step, Strategy
from strategies.estimator import surrogate

if TYPE_CHECKING:
    from torch import Tensor


def loss(
    strategy: Strategy,
    step: Step,
    *,
    logp: Tensor,
    mask: Tensor,
    role: Tensor,
    group: Tensor,
    reward: Tensor,
    old_logp: Tensor | None = None,
    ref_logp: Tensor | None = None,
    entropy: Tensor | None = None,
    prefix: Tensor | None = None,
    hint: Tensor | None = None,
    soft_logp: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(scalar loss, coefficients [B, T] on grad log pi by component) of ALL rows of ONE optimiser step.

    logp [B, T]: log pi_theta of the response tokens, with gradient. mask [B, T]: 1 on response tokens. role [B]: values
    of `Role`. group [B]: rows of one prompt share a number; demonstrations alone in a group are rows of the pool.
    reward [B]. old_logp [B, T]: of the policy that sampled the rollouts, and of the one before the step for given
    tokens if "given_logp" is required; None: the present one, for a strictly on-policy step. prefix [B, T]: 1 on the
    given tokens that rollouts start with. hint [B]: tokens of the demonstration that the prompt shows. The others as in
    `Batch`; `strategy.requires` says which are needed.

    Rows that the strategy does not train have coefficients 0. Moves its controller: call it once an optimiser step.
    ValueError if a needed tensor is missing, has another shape or no gradient, or a demonstration cannot be used.
    """
    batch = Batch(
        logp=logp,
        mask=mask,
        role=role,
        group=group,
        reward=reward if reward.is_floating_point() else reward.float(),
        old_logp=logp.detach() if old_logp is None else old_logp,
        ref_logp=ref_logp,
        entropy=entropy,
        prefix=prefix,
        soft_logp=soft_logp,
    )
    _check(strategy, batch)
    index, rewards = _routed(strategy, step, batch, [0] * len(role) if hint is None else hint.tolist())
    rows = role.new_tensor(index).long()
    batch = replace(batch.take(rows), reward=rewards, row=rows.new_ones(len(index)).cumsum(0) - 1)
    batch = replace(batch, advantage=strategy.advantages(batch))
    signals = strategy.signals(batch.detached()) if index and strategy.wants_signals(step) else {}
    strategy.observe(signals, step)
    value, parts = surrogate(strategy, batch, step)
    return value, {name: logp.new_zeros(logp.shape).index_copy(0, rows, part) for name, part in parts.items()}


def _check(strategy: Strategy, batch: Batch) -> None:
    shapes = {"mask": 2, "old_logp": 2, "ref_logp": 2, "entropy": 2, "prefix": 2, "soft_logp": 2}
    for name, dimensions in {**shapes, "role": 1, "group": 1, "reward": 1}.items():
        value, shape = getattr(batch, name), tuple(batch.logp.shape[:dimensions])
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{name} must have the shape {shape}, as logp has, not {tuple(value.shape)}")
    carries = {"soft_target": "soft_logp", "ref_logp": "ref_logp", "entropy": "entropy"}
    for need in sorted(strategy.requires & carries.keys()):
        if getattr(batch, carries[need]) is None:
            raise ValueError(f"strategy {strategy.name} needs {carries[need]} with these options: pass it")
    trained = {"entropy": bool(strategy.entropy_coefficient), "soft_logp": "soft_target" in strategy.requires}
    for name in (name for name, is_trained in trained.items() if is_trained and batch.logp.requires_grad):
        if not getattr(batch, name).requires_grad:
            raise ValueError(f"strategy {strategy.name} trains {name} with these options: pass it with its gradient")


def _routed(strategy: Strategy, step: Step, batch: Batch, hints: list[int]) -> tuple[list[int], Tensor]:
    """The rows to train, and their rewards as the strategy has them."""
    lengths = batch.part("all").sum(-1).long().tolist()
    given = [0] * len(lengths) if batch.prefix is None else batch.part("prefix").sum(-1).long().tolist()
    labels = zip(batch.role.tolist(), batch.group.tolist(), batch.reward.tolist(), strict=True)
    rows = [
        # the name brings a row back to its index; a strategy sees how long a response is, not its tokens
        Row(str(i), "", number, Role(role), (), (0,) * lengths[i], reward, prefix=given[i], hint=int(hints[i]))
        for i, (role, number, reward) in enumerate(labels)
    ]
    numbers = {row.group for row in rows if row.role != Role.DEMO}
    groups = [_group([row for row in rows if row.group == number]) for number in sorted(numbers)]
    pool = [row for row in rows if row.group not in numbers]
    routed = strategy.route(groups, pool, step)
    if pool and numbers.issuperset(row.group for row in routed):
        raise ValueError(
            f"strategy {strategy.name} does not train on demonstrations that are alone in their group: "
            "give each the group number of its prompt's rollouts, or leave it out"
        )
    return [int(row.problem) for row in routed], batch.reward.new_tensor([row.reward for row in routed])


def _group(rows: list[Row]) -> Group:
    """Rows of one prompt; the expert's demonstrations come before the teachers'."""
    given = sorted((row for row in rows if row.role != Role.ROLLOUT), key=lambda row: row.role)
    return Group(tuple(row for row in rows if row.role == Role.ROLLOUT), tuple(given))
