"""The data of one step: prompts, rollouts, rewards, demonstrations, and the rows that the strategy makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.base import Problem, Verdict
from harness.data import TrainingData, sample_seed
from harness.engines.base import Completion, Engine, SamplingParams
from harness.ledger import Cost, Ledger
from harness.spec import RunSpec
from strategies.base import Group, Role, Row, SamplingPlan, Step, Strategy


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
        problems = self.data.prompts.take(plan.prompts)
        completions, verdicts = self._rollouts(problems, plan, batch)
        groups = []
        for g, problem in enumerate(problems):
            rollouts = []
            for j in range(plan.rollouts):
                completion, verdict = completions[g * plan.rollouts + j], verdicts[g * plan.rollouts + j]
                if verdict.score is None:
                    continue  # the sandbox failed, not the program: no reward can be given
                reward = self.data.noisy_reward(verdict.score, step.index, problem, j)
                rollouts.append(self.rollout_row(problem, g, completion, reward))
            expert = self.data.expert_row(problem, g) if plan.expert else None
            demos = [] if expert is None else [expert]
            demos += self.data.teacher_rows(problem, g, plan.teacher)
            groups.append(Group(tuple(rollouts), tuple(demos)))
        pool = self.data.pool_rows(plan.pool, first_group=len(problems))
        rows = self.strategy.route(groups, pool, step)
        kept = sum(row.role == Role.ROLLOUT for row in rows)
        self.ledger.add(prompts=len(problems), rollouts=len(completions), discarded_rollouts=len(completions) - kept)
        return rows, self._seen(groups, completions, verdicts, rows)

    def _rollouts(
        self, problems: Sequence[Problem], plan: SamplingPlan, batch: int
    ) -> tuple[list[Completion], list[Verdict]]:
        pairs = [(problem, j) for problem in problems for j in range(plan.rollouts)]
        if not pairs:
            return [], []
        rollout = self.spec.rollout
        prompts = [self.renderer.prompt(problem) for problem, _ in pairs]
        completions = self.engine.sample(
            prompts,
            [sample_seed(self.spec, batch, problem, j) for problem, j in pairs],
            SamplingParams(max_tokens=rollout.max_tokens, temperature=rollout.temperature),
            (self.renderer.eos,),
        )
        for prompt, completion in zip(prompts, completions, strict=True):
            self.ledger.add(
                generated_tokens=len(completion.tokens),
                flops_generate=self.cost.generate(len(prompt), len(completion.tokens), plan.rollouts),
            )
        return completions, self.grade([problem for problem, _ in pairs], completions)

    def grade(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> list[Verdict]:
        """Verdicts in order; problems are handed to their suites together."""
        verdicts: list[Verdict | None] = [None] * len(problems)
        for name, suite in self.data.suites.items():
            mine = [i for i, problem in enumerate(problems) if problem.suite == name]
            texts = [self.renderer.text(completions[i].tokens) for i in mine]
            for i, verdict in zip(mine, suite.grade([problems[i] for i in mine], texts), strict=True):
                verdicts[i] = verdict
        assert all(verdict is not None for verdict in verdicts)
        return [verdict for verdict in verdicts if verdict is not None]

    def rollout_row(self, problem: Problem, group: int, completion: Completion, reward: float) -> Row:
        """A sampled response as a row."""
        return Row(
            problem=problem.id,
            suite=problem.suite,
            group=group,
            role=Role.ROLLOUT,
            prompt=self.renderer.prompt(problem),
            response=completion.tokens,
            reward=reward,
            logp=completion.logp,
            truncated=completion.finish == "length",
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
        return seen


def mean_score(verdicts: Sequence[Verdict]) -> float | None:
    """Of the verdicts that have a score: a failure of the sandbox is no failure of the policy."""
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return sum(scores) / len(scores) if scores else None
