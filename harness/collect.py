"""The data of one step: prompts, rollouts, rewards, demonstrations, and the rows that the strategy makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.base import Problem, Verdict
from harness.data import TrainingData, sample_seed
from harness.engines.base import Completion, Engine, SamplingParams
from harness.ledger import Cost, Ledger
from harness.spec import RunSpec
from strategies.base import Group, Request, Role, Row, SamplingPlan, Step, Strategy

MOST_ROUNDS = 64  # of sampling in one step; a strategy that asks for more has no end


@dataclass
class _Open:
    """A prompt of the step while it is being sampled."""

    problem: Problem
    demos: tuple[Row, ...]
    rollouts: list[Row] = field(default_factory=list)
    drawn: int = 0  # samples so far, those without a reward included

    def group(self) -> Group:
        return Group(tuple(self.rollouts), self.demos)


@dataclass(frozen=True)
class _Sample:
    """One response to sample: of which prompt, the how-manieth of it, and what it is given."""

    group: int
    number: int
    prefix: int
    hint: int


class Collector:
    """Samples and grades what a strategy plans; charges the ledger for it, discarded rollouts included."""

    def __init__(
        self, spec: RunSpec, data: TrainingData, strategy: Strategy, engine: Engine, cost: Cost, ledger: Ledger
    ) -> None:
        self.spec = spec
        self.data = data
        self.renderer = data.renderer
        self.strategy = strategy
        self.engine = engine
        self.cost = cost
        self.ledger = ledger

    def collect(self, step: Step, batch: int) -> tuple[list[Row], dict[str, Any]]:
        """The rows to train on in this step, and the metrics of what was sampled. `batch` seeds the samples."""
        plan = self.strategy.plan(step)
        opened: list[_Open] = []
        completions: list[Completion] = []
        verdicts: list[Verdict] = []
        requests: Sequence[Request] = [Request(plan.rollouts)] * plan.prompts
        rounds = 0
        while requests:
            samples = self._open(requests, plan, opened)
            if samples:
                found, graded = self._sample(samples, opened, step, batch)
                completions += found
                verdicts += graded
            rounds += 1
            if rounds > MOST_ROUNDS:
                raise RuntimeError(
                    f"strategy {self.spec.strategy} still asks for rollouts after {MOST_ROUNDS} rounds of one step"
                )
            requests = self.strategy.more([one.group() for one in opened], step)
        groups = [one.group() for one in opened]
        pool = self.data.pool_rows(plan.pool, first_group=len(groups))
        rows = self.strategy.route(groups, pool, step)
        kept = sum(row.role == Role.ROLLOUT for row in rows)
        self.ledger.add(prompts=len(groups), rollouts=len(completions), discarded_rollouts=len(completions) - kept)
        seen = self._seen(groups, completions, verdicts, rows)
        return rows, seen if rounds <= 1 else {**seen, "sampling_rounds": rounds}

    def _open(self, requests: Sequence[Request], plan: SamplingPlan, opened: list[_Open]) -> list[_Sample]:
        """Opens groups for requests of new prompts; the samples of all requests."""
        samples = []
        fresh = iter(self.data.prompts.take(sum(request.group is None for request in requests)))
        for request in requests:
            g = len(opened) if request.group is None else request.group
            if request.group is None:
                problem = next(fresh)
                expert = self.data.expert_row(problem, g) if plan.expert else None
                demos = [] if expert is None else [expert]
                opened.append(_Open(problem, (*demos, *self.data.teacher_rows(problem, g, plan.teacher))))
            one = opened[g]
            given = max(request.prefix, request.hint)
            assert not given or (one.demos and given < len(one.demos[0].response))
            for _ in range(request.rollouts):
                samples.append(_Sample(g, one.drawn, request.prefix, request.hint))
                one.drawn += 1
        return samples

    def _sample(
        self, samples: Sequence[_Sample], opened: Sequence[_Open], step: Step, batch: int
    ) -> tuple[list[Completion], list[Verdict]]:
        """Samples and grades, and adds the rows to their groups."""
        problems = [opened[sample.group].problem for sample in samples]
        prompts = [self._prompt(sample, opened[sample.group]) for sample in samples]
        prefixes = [opened[s.group].demos[0].response[: s.prefix] if s.prefix else () for s in samples]
        seeds = [sample_seed(self.spec, batch, p, s.number) for p, s in zip(problems, samples, strict=True)]
        contexts = [prompt + prefix for prompt, prefix in zip(prompts, prefixes, strict=True)]
        completions = self._complete(contexts, seeds)
        shared: dict[tuple[int, int, int], int] = {}
        for sample in samples:
            key = (sample.group, sample.prefix, sample.hint)
            shared[key] = shared.get(key, 0) + 1
        for sample, context, completion in zip(samples, contexts, completions, strict=True):
            n = shared[sample.group, sample.prefix, sample.hint]
            flops = self.cost.generate(len(context), len(completion.tokens), n)
            self.ledger.add(generated_tokens=len(completion.tokens), flops_generate=flops)
        verdicts = self.grade(problems, completions, prefixes)
        for sample, prompt, prefix, completion, verdict in zip(
            samples, prompts, prefixes, completions, verdicts, strict=True
        ):
            if verdict.score is None:
                continue  # the sandbox failed, not the program: no reward can be given
            one = opened[sample.group]
            reward = self.data.noisy_reward(verdict.score, step.index, one.problem, sample.number)
            one.rollouts.append(
                self.rollout_row(one.problem, sample.group, completion, reward, prompt, prefix, sample.hint)
            )
        return completions, verdicts

    def _prompt(self, sample: _Sample, one: _Open) -> tuple[int, ...]:
        if not sample.hint:
            return self.renderer.prompt(one.problem)
        hint = self.renderer.text(one.demos[0].response[: sample.hint])
        prompt = self.renderer.prompt(one.problem, hint)
        # a hint that leaves no room for a response is not given
        return prompt if len(prompt) < self.renderer.context else self.renderer.prompt(one.problem)

    def _complete(self, contexts: Sequence[tuple[int, ...]], seeds: Sequence[int]) -> list[Completion]:
        """Samples of `rollout.max_tokens` at most, and never beyond the model's context."""
        rollout = self.spec.rollout
        room = [min(rollout.max_tokens, self.renderer.context - len(context)) for context in contexts]
        found: dict[int, Completion] = {}
        for limit in sorted(set(room), reverse=True):
            mine = [i for i, tokens in enumerate(room) if tokens == limit]
            params = SamplingParams(max_tokens=limit, temperature=rollout.temperature)
            sampled = self.engine.sample(
                [contexts[i] for i in mine], [seeds[i] for i in mine], params, self.renderer.ends
            )
            found.update(zip(mine, sampled, strict=True))
        return [found[i] for i in range(len(contexts))]

    def grade(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        prefixes: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Verdict]:
        """Verdicts in order, each on prefix and completion; problems are handed to their suites together."""
        verdicts: list[Verdict | None] = [None] * len(problems)
        given = prefixes or [()] * len(problems)
        for name, suite in self.data.suites.items():
            mine = [i for i, problem in enumerate(problems) if problem.suite == name]
            texts = [self.renderer.text(given[i] + completions[i].tokens) for i in mine]
            for i, verdict in zip(mine, suite.grade([problems[i] for i in mine], texts), strict=True):
                verdicts[i] = verdict
        assert all(verdict is not None for verdict in verdicts)
        return [verdict for verdict in verdicts if verdict is not None]

    def rollout_row(
        self,
        problem: Problem,
        group: int,
        completion: Completion,
        reward: float,
        prompt: tuple[int, ...] | None = None,
        prefix: tuple[int, ...] = (),
        hint: int = 0,
    ) -> Row:
        """A sampled response as a row; `prompt` None: the plain one."""
        return Row(
            problem=problem.id,
            suite=problem.suite,
            group=group,
            role=Role.ROLLOUT,
            prompt=self.renderer.prompt(problem) if prompt is None else prompt,
            response=prefix + completion.tokens,
            reward=reward,
            logp=completion.logp,
            truncated=completion.finish == "length",
            prefix=len(prefix),
            hint=hint,
        )

    @staticmethod
    def _seen(
        groups: Sequence[Group], completions: Sequence[Completion], verdicts: Sequence[Verdict], rows: Sequence[Row]
    ) -> dict[str, Any]:
        """Metrics of the sampled batch. `reward` is the verifier's, before reward noise."""
        demos = [row for row in rows if row.role != Role.ROLLOUT]
        seen: dict[str, Any] = {"rows_rollout": len(rows) - len(demos), "rows_demo": len(demos)}
        if not completions:
            return {**seen, "reward": None, "response_length": None, "truncated": None}
        n = len(completions)
        seen["reward"] = mean_score(verdicts)
        seen["response_length"] = sum(len(completion.tokens) for completion in completions) / n
        seen["truncated"] = sum(completion.finish == "length" for completion in completions) / n
        seen["no_answer"] = sum(verdict.status == "no_answer" for verdict in verdicts) / n
        solved = [group.n_correct for group in groups if group.rollouts]
        seen["groups_none_correct"] = sum(c == 0 for c in solved) / len(solved) if solved else None
        seen["groups_all_correct"] = (
            sum(g.n_correct == len(g.rollouts) for g in groups if g.rollouts) / len(solved) if solved else None
        )
        helped = [row for group in groups for row in group.rollouts if row.prefix or row.hint]
        if helped:
            seen["rows_helped"] = len(helped)  # rollouts that were given a prefix or a hint
            seen["reward_helped"] = sum(row.reward for row in helped) / len(helped)
        return seen


def mean_score(verdicts: Sequence[Verdict]) -> float | None:
    """Of the verdicts that have a score: a failure of the sandbox is no failure of the policy."""
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return sum(scores) / len(scores) if scores else None
