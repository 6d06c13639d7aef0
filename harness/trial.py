"""Short measurements on this machine that time estimates rest on. Writes nothing."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.ledger import Cost
from harness.models import ladder
from harness.run import assemble, choose_device, set_threads
from harness.spec import RunSpec
from harness.store import RunDir
from harness.watchdog import Watchdog
from strategies.base import Group, Row, Step

TRIAL_WEIGHTS = 2e7  # models up to this size are tried out; larger ones take too long to load and to run
TRIAL_PROMPTS, TRIAL_GROUP = 32, 2
TRIAL_LENGTHS = 256  # prompts and demonstrations whose lengths are taken
GROWN = 2 / 3  # of the way from the start policy's mean length to the demonstrations', as a mean over a run
REACHED = 0.5  # share of the rate of a plain matrix product that training reaches, assumed for larger models


@dataclass(frozen=True)
class Rates:
    """Lengths are mean tokens; the rest is seconds. A batch that decodes n tokens in s steps takes s step + n token."""

    prompt: float
    demonstration: float
    response: float
    longest: float
    step: float  # one decoding step, however many rows
    token: float  # one sampled token, prefill included
    grade: float  # one response
    flop: float  # one FLOP of an update
    basis: str  # what was measured


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _best(call: Callable[[], Any]) -> tuple[float, Any]:
    """The shorter of two times, and the second result: the first call may set something up."""
    first, _ = _seconds(call)
    second, result = _seconds(call)
    return min(first, second), result


def try_out(spec: RunSpec, ref: ladder.ModelRef) -> Rates:
    """Loads the model, draws and grades a few responses, and does updates on them, with the run's own settings."""
    from harness.engines.base import SamplingParams

    small = replace(
        spec,
        data=replace(spec.data, problems=min(64, spec.data.problems)),
        train=replace(spec.train, prompts=min(TRIAL_PROMPTS, spec.train.prompts)),
        probe=replace(spec.probe, every=0),
    )
    # a trainer writes only when it runs; below a path that is no directory even that would fail
    nowhere, silent = RunDir(Path(os.devnull)), SimpleNamespace(say=lambda text: None)
    trainer = assemble(small, ref, nowhere, silent, Watchdog(spec.runtime.deadline, sys.stderr))
    data, renderer, engine, collector = trainer.data, trainer.renderer, trainer.engine, trainer.collector
    problems = data.prompts.take(TRIAL_PROMPTS)
    group = min(TRIAL_GROUP, spec.train.group)

    def sample(n: int, longest: int) -> Any:
        chosen = [problem for problem in problems[:n] for _ in range(group)]
        params = SamplingParams(max_tokens=longest, temperature=spec.rollout.temperature)
        prompts = [renderer.prompt(problem) for problem in chosen]
        return chosen, engine.sample(prompts, list(range(len(chosen))), params, renderer.ends)

    sample(TRIAL_PROMPTS, 4)  # the first calls set libraries up
    few_seconds, (_, few) = _best(lambda: sample(TRIAL_PROMPTS // 8, spec.rollout.max_tokens))
    many_seconds, (chosen, many) = _best(lambda: sample(TRIAL_PROMPTS, spec.rollout.max_tokens))
    step, token = _two_terms(few_seconds, few, many_seconds, many)
    grade_seconds, _ = _best(lambda: collector.grade(chosen, many))

    rows = _rows(trainer, problems, many, group)
    cost = Cost.of(trainer.model.config.to_dict())
    flops = sum(cost.train(len(row.prompt), len(row.response)) for row in rows)
    update_seconds, _ = _best(lambda: trainer.learner.update(rows, Step(0)))
    trainer.close()

    demonstrated = data.demos.take(TRIAL_LENGTHS) if data.demos.items else []
    given = [len(row.response) for problem in demonstrated if (row := data.expert_row(problem, 0)) is not None]
    asked = data.prompts.take(TRIAL_LENGTHS)
    start = _mean([len(completion.tokens) for completion in many])
    answered = _mean(given) if given else start
    return Rates(
        prompt=_mean([len(renderer.prompt(problem)) for problem in asked]),
        demonstration=answered,
        response=start + GROWN * (min(answered, spec.rollout.max_tokens) - start),
        longest=max(len(completion.tokens) for completion in many),
        step=step,
        token=token,
        grade=grade_seconds / len(many),
        flop=update_seconds / flops,
        basis=f"tried out on {trainer.model.device.type}: {len(many)} responses (mean {start:.0f} tokens), "
        f"an update on {len(rows)} rows; responses are taken to grow towards the demonstrations' length",
    )


def _rows(trainer: Any, problems: Sequence[Any], completions: Sequence[Any], group: int) -> list[Row]:
    """Rows for one update: what the strategy plans for these problems, with the completions as its rollouts."""
    data, collector, plan = trainer.data, trainer.collector, trainer.strategy.plan(Step(0))
    groups = []
    for g, problem in enumerate(problems[: plan.prompts]):
        own = completions[g * group : g * group + min(plan.rollouts + plan.later, group)]
        # rewards alternate, so that every group has a signal
        rollouts = [collector.rollout_row(problem, g, completion, float(j % 2)) for j, completion in enumerate(own)]
        expert = data.expert_row(problem, g) if plan.expert else None
        demos = [*([expert] if expert else []), *data.teacher_rows(problem, g, plan.teacher)]
        groups.append(Group(tuple(rollouts), tuple(demos)))
    share = len(groups) / plan.prompts if plan.prompts else 1.0
    pool = data.pool_rows(math.ceil(share * plan.pool), first_group=len(groups))
    rows = trainer.strategy.route(groups, pool, Step(0))
    # a strategy may drop every group
    return rows or [row for group in groups for row in (*group.rollouts, *group.demos)] + pool


def _two_terms(few_seconds: float, few: Sequence[Any], many_seconds: float, many: Sequence[Any]) -> tuple[float, float]:
    """(seconds a step, seconds a token) from two batches: seconds = steps x + tokens y, both at least 0."""
    s1, n1 = max(len(c.tokens) for c in few), sum(len(c.tokens) for c in few)
    s2, n2 = max(len(c.tokens) for c in many), sum(len(c.tokens) for c in many)
    determinant = s1 * n2 - s2 * n1
    step = (few_seconds * n2 - many_seconds * n1) / determinant if determinant else 0.0
    step = min(max(step, 0.0), many_seconds / s2)
    return step, max(0.0, (many_seconds - s2 * step) / n2)


def roofline(spec: RunSpec, config: dict[str, Any], prompt: float, demonstration: float) -> Rates:
    """Rates of a model that is not tried out: a plain matrix product and a plain copy, measured here."""
    import torch

    set_threads(spec.runtime.threads)
    device = torch.device(choose_device(spec.runtime.device))
    dtype = torch.bfloat16 if spec.train.dtype == "bfloat16" else torch.float32
    n = 1024 if device.type == "cpu" else 8192
    matrix = torch.randn(n, n, device=device, dtype=dtype)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def product() -> None:
        matrix @ matrix
        wait()

    def copy() -> None:
        matrix.clone()
        wait()

    rate, bandwidth = (work / min(_best(call)[0] for _ in range(2)) for work, call in
                       ((2 * n**3, product), (2 * matrix.nbytes, copy)))  # fmt: skip
    cost = Cost.of(config)
    longest = float(spec.rollout.max_tokens)
    return Rates(
        prompt=prompt,
        demonstration=demonstration,
        response=longest,
        longest=longest,
        step=4 * ladder.parameters(config) / bandwidth,
        token=cost.generate(round(prompt), round(longest)) / longest / (REACHED * rate),
        grade=0.0,
        flop=1 / (REACHED * rate),
        basis=f"not tried out; assumed: responses of rollout.max_tokens, {100 * REACHED:.0f}% of the measured "
        f"{rate / 1e9:,.3g} GFLOP/s of a {n} x {n} product on {device.type}, weights read once a decoding step at "
        f"{bandwidth / 1e9:,.3g} GB/s",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
