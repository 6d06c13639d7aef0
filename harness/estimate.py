"""What a run will do and need, told before it starts: specification, plan, compute, memory, time. Writes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import registry as suites_by_name
from benchmarks.base import Suite
from harness import footprint, settings, terminal
from harness.data import training_suites
from harness.evaluation_plan import plan_for
from harness.ledger import Cost
from harness.models import ladder, published
from harness.run import choose_device, sizes_of
from harness.spec import Evaluation, RunSpec
from harness.store import RunDir
from harness.trial import TRIAL_WEIGHTS, Rates, roofline, try_out
from strategies import registry
from strategies.base import START_POLICY, SamplingPlan, Step

MOST_STEPS = 100_000
CHARACTERS = 3.0  # per token, assumed for tokenizers of large models on short technical text


def describe(spec: RunSpec, ref: ladder.ModelRef, directory: RunDir) -> str:
    """The resolved specification, the plan of the strategy, and estimates of compute, memory and time.

    Memory is `footprint.training`. Compute is `ledger.Cost` at mean lengths. Time is decoding (steps and tokens of the
    sampled batches), grading, updates (FLOPs at a measured rate), probes and evaluations; see `trial` for what is
    measured. Without the model's configuration there are no estimates. ValueError for a budget that is never spent.
    """
    parts = [settings.text(spec), _plan(spec, directory)]
    config = published.config(ref)
    if config is None:
        parts.append(
            f"estimates: none, because the configuration of {ref.location} is not on this machine "
            "(download the model, or name a local directory)"
        )
        return "\n\n".join(parts)
    if ref.kind != "hub" and ladder.parameters(config) <= TRIAL_WEIGHTS:
        rates = try_out(spec, ref)
    else:
        rates = roofline(spec, config, *_assumed_lengths(spec))
    course = simulate(spec, Cost.of(config), rates)
    parts += [_course(spec, course), _estimates(spec, config, rates, course)]
    return "\n\n".join(parts)


def _plan(spec: RunSpec, directory: RunDir) -> str:
    plan = spec.eval
    evaluated = ", ".join(
        f"{one.problems:,} problems of {suite.name if suite else spec.data.source} x {one.k}"
        for suite, one in _evaluated(spec)
    )
    if plan.ood_problems:
        evaluated += f", {plan.ood_problems} harder ones at the first and last"
    samples = [evaluation_samples(spec, fraction) for fraction in sorted(set(plan.fractions))]
    points = ", ".join(f"{100 * fraction:.0f}%" for fraction in sorted(set(plan.fractions)))
    probe = spec.probe
    if directory.done:
        state = "done already"
    elif (directory.path / "manifest.json").exists():
        state = "unfinished: continue with --resume"
    else:
        state = "new"
    lines = [
        "plan",
        f"  directory    {directory.path} ({state})",
        f"  budget       {spec.budget.limit:,g} {spec.budget.kind.replace('_', ' ')}",
        f"  evaluation   at {points}: {evaluated}; {', '.join(f'{n:,}' for n in samples)} samples",
        f"  probe        {f'{probe.prompts} samples every {probe.every} steps' if probe.every else 'off'}",
    ]
    return "\n".join(lines)


def evaluation_samples(spec: RunSpec, fraction: float) -> int:
    """Samples that the evaluation at `fraction` draws, harder problems included."""
    outer = fraction in (min(spec.eval.fractions), max(spec.eval.fractions))
    total = 0
    for suite, plan in _evaluated(spec):
        most = getattr(suite, "size", None) or plan.problems
        harder = plan.ood_problems if outer and not (suite and suite.presets) else 0
        total += (min(plan.problems, most) + harder) * plan.k
    return total


def _evaluated(spec: RunSpec) -> list[tuple[Suite | None, Evaluation]]:
    """Suites with their settings; None for a file of records, which is not read for an estimate."""
    if spec.data.source is not None and not spec.eval.suites:
        return [(None, spec.eval)]
    suites = [suites_by_name.get(name) for name in spec.eval.suites or spec.data.suites]
    return [(suite, plan_for(spec.eval, suite)) for suite in suites]


def longest_answer(spec: RunSpec) -> int:
    return max(plan.max_tokens for _, plan in _evaluated(spec))


@dataclass
class Course:
    """A run as planned: stretches of batches with the same sampling plan, and what they add up to."""

    stretches: list[tuple[int, int, SamplingPlan]] = field(default_factory=list)  # first step, last step, plan
    steps: int = 0
    flops_generate: int = 0
    flops_train: int = 0
    flops_reference: int = 0
    tokens: float = 0.0
    rollout_seconds: float = 0.0
    update_seconds: float = 0.0
    cut: bool = False

    @property
    def flops(self) -> int:
        return self.flops_generate + self.flops_train + self.flops_reference

    @property
    def seconds(self) -> float:
        return self.rollout_seconds + self.update_seconds


def simulate(spec: RunSpec, cost: Cost, rates: Rates) -> Course:
    """Runs the ledger at mean lengths until the budget is spent. Counts every row that the plan allows as trained.

    ValueError if the strategy spends nothing of the budget's kind.
    """
    strategy = registry.build(spec.strategy, spec.options, sizes_of(spec))
    course = Course()
    prompt, demo, response = round(rates.prompt), round(rates.demonstration), round(rates.response)
    reference = len(START_POLICY & strategy.requires)
    spent: dict[str, Callable[[], float]] = {
        "updates": lambda: course.steps,
        "generated_tokens": lambda: course.tokens,
        "flops": lambda: course.flops,
        "seconds": lambda: course.seconds,
    }
    idle = 0
    while (done := spent[spec.budget.kind]()) < spec.budget.limit:
        plan = strategy.plan(Step(course.steps, done / spec.budget.limit))
        first = course.steps + 1
        course.steps += spec.train.minibatches
        rollouts = plan.prompts * (plan.rollouts + plan.later)
        given = plan.prompts * (plan.expert + plan.teacher) + plan.pool
        train = rollouts * cost.train(prompt, response) + given * cost.train(prompt, demo)
        course.flops_train += train
        course.flops_reference += reference * (train // 3)
        course.tokens += rollouts * response
        if rollouts:
            course.flops_generate += rollouts * cost.generate(prompt, response, plan.rollouts + plan.later)
            course.rollout_seconds += sampling_seconds(rates, rollouts, rates.longest)
        course.update_seconds += (train + reference * (train // 3)) * rates.flop
        if course.stretches and course.stretches[-1][2] == plan:
            course.stretches[-1] = (course.stretches[-1][0], course.steps, plan)
        else:
            course.stretches.append((first, course.steps, plan))
        idle = idle + 1 if spent[spec.budget.kind]() == done else 0
        if idle > 1000:
            kind = spec.budget.kind.replace("_", " ")
            raise ValueError(
                f"strategy {spec.strategy} spends no {kind}, so that this budget is never reached: "
                "choose updates, flops or seconds"
            )
        if course.steps >= MOST_STEPS:
            course.cut = True
            break
    return course


def sampling_seconds(rates: Rates, rows: int, longest: float) -> float:
    """Sampling and grading `rows` responses, the longest of a batch having `longest` tokens."""
    batches = math.ceil(rows / footprint.DECODED_ROWS)
    return batches * longest * rates.step + rows * (rates.response * rates.token + rates.grade)


def _course(spec: RunSpec, course: Course) -> str:
    lines = [f"steps ({spec.strategy}, {course.steps:,} updates{', and more' if course.cut else ''})"]
    for first, last, plan in course.stretches:
        what = []
        if plan.prompts and plan.rollouts + plan.later:
            later = f" (about {plan.later} of them in later rounds)" if plan.later else ""
            what.append(f"{plan.prompts} prompts x {plan.rollouts + plan.later} rollouts{later}")
        if plan.expert or plan.teacher:
            what.append(f"{plan.prompts} x {plan.expert} expert and {plan.teacher} teacher responses beside them")
        if plan.pool:
            what.append(f"{plan.pool} demonstrations from the pool")
        rows = plan.prompts * (plan.rollouts + plan.later + plan.expert + plan.teacher) + plan.pool
        each = "" if spec.train.minibatches == 1 else f", {spec.train.minibatches} updates a batch"
        lines.append(f"  {f'{first}-{last}':12s} {' + '.join(what) or 'nothing'}: at most {rows} rows trained{each}")
    return "\n".join(lines)


def _estimates(spec: RunSpec, config: dict[str, Any], rates: Rates, course: Course) -> str:
    memory = memory_of(spec, config, rates, course)
    parts = ", ".join(f"{name} {terminal.size(value)}" for name, value in memory.items() if name != "peak" and value)
    device = _device(spec)
    peak = memory["peak"] + (footprint.PROCESS if device == "cpu" else 0)
    has = footprint.machine_bytes() if device == "cpu" else footprint.device_bytes()
    fits = "" if has is None else f"; {'fits' if peak < 0.9 * has else 'DOES NOT FIT'} in {terminal.size(has)}"
    process = f", process {terminal.size(footprint.PROCESS)}" if device == "cpu" else ""

    # where rollouts run into their limit, evaluation runs into its own
    longest = longest_answer(spec) if rates.longest >= spec.rollout.max_tokens else rates.longest
    evaluated = sum(sampling_seconds(rates, evaluation_samples(spec, f), longest) for f in set(spec.eval.fractions))
    probes = course.steps // spec.probe.every if spec.probe.every else 0
    cost = Cost.of(config)
    forward = cost.train(round(rates.prompt), round(rates.response)) * rates.flop / 3
    probed = probes * (sampling_seconds(rates, spec.probe.prompts, rates.longest) + 2 * spec.probe.prompts * forward)
    total = course.seconds + evaluated + probed
    time = ", ".join(
        f"{name} {terminal.duration(value)}"
        for name, value in (
            ("rollouts", course.rollout_seconds),
            ("updates", course.update_seconds),
            ("probes", probed),
            ("evaluations", evaluated),
        )
        if value
    )
    lines = [
        "estimates",
        f"  lengths      prompt {rates.prompt:.0f}, demonstration {rates.demonstration:.0f}, "
        f"response {rates.response:.0f} tokens",
        f"  compute      {course.flops:.2e} FLOPs: generation {course.flops_generate:.2e}, training "
        f"{course.flops_train:.2e}, reference {course.flops_reference:.2e}; "
        f"{terminal.count(course.tokens)} tokens generated",
        f"  memory       {terminal.size(peak)} on {device}{fits}: {parts}{process}",
        f"  time         {terminal.duration(total)}: {time}",
        f"  basis        {rates.basis}",
    ]
    return "\n".join(lines)


def memory_of(spec: RunSpec, config: dict[str, Any], rates: Rates, course: Course) -> dict[str, int]:
    """`footprint.training` of the largest stretch of the run."""
    from harness.tensors import BUCKET_TOKENS

    strategy = registry.build(spec.strategy, spec.options, sizes_of(spec))
    # the peak is reached where responses are longest
    longest = max(rates.response, min(rates.demonstration, spec.rollout.max_tokens))
    found: dict[str, int] = {"peak": 0}
    for _, _, plan in course.stretches:
        rollouts = plan.prompts * (plan.rollouts + plan.later)
        given = plan.prompts * (plan.expert + plan.teacher) + plan.pool
        rows = rollouts + given
        if not rows:
            continue
        sampled = max(rollouts, spec.probe.prompts if spec.probe.every else 0, evaluation_samples(spec, 0.0))
        step = footprint.Training(
            rows=min(rows, spec.train.micro_rows),
            prompt=rates.prompt,
            response=(rollouts * longest + given * rates.demonstration) / rows,
            bucket=BUCKET_TOKENS[_device(spec)],
            sampled_rows=min(sampled, footprint.DECODED_ROWS),
            max_tokens=max(spec.rollout.max_tokens, longest_answer(spec)),
            reference=spec.probe.every > 0 or bool(START_POLICY & strategy.requires),
            optimizers=1 + ("second_optimizer" in strategy.requires),
            bfloat16=spec.train.dtype == "bfloat16",
        )
        memory = footprint.training(config, step)
        found = max(found, memory, key=lambda parts: parts["peak"])
    return found


def _device(spec: RunSpec) -> str:
    return choose_device(spec.runtime.device).partition(":")[0]


def _assumed_lengths(spec: RunSpec) -> tuple[float, float]:
    """Mean tokens of prompts and demonstrations, from characters. A source on the hub is not read: 200 and 200."""
    if spec.data.source is not None and not Path(spec.data.source).exists():
        return 200.0, 200.0
    prompts, demonstrations = [], []
    for suite in training_suites(spec.data):
        for problem in suite.problems("train", min(32, spec.data.problems), spec.data.seed, spec.data.levels):
            prompts.append(len(problem.prompt))
            if spec.data.source is None or problem.demonstrations:
                demonstrations.append(len(suite.demonstration(problem)))
    # a chat template and the instruction take some thirty tokens
    demonstration = sum(demonstrations) / len(demonstrations) / CHARACTERS if demonstrations else 0.0
    return sum(prompts) / len(prompts) / CHARACTERS + 30, demonstration
