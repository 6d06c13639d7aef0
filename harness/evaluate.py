"""Evaluation: sample, store every generation, grade, summarise. Restarts where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from benchmarks.base import Problem, Suite
from harness.data import Renderer, evaluation_suites
from harness.engines.base import Engine, SamplingParams
from harness.seeds import seed_for
from harness.spec import Evaluation, RunSpec
from harness.stats import avg_at_k, clustered_standard_error, pass_at_k
from harness.store import RunDir, append_lines, keep_lines, read_lines

CHUNK = 256  # samples decoded and stored together


def data_hash(problems: Sequence[Problem]) -> str:
    """16 hex digits over prompts and gold answers."""
    content = [[p.id, p.prompt, p.answer, repr(p.tests)] for p in problems]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class Evaluator:
    """Evaluates a model on the suites of a specification; `guard`, a watchdog phase, surrounds each piece of work."""

    def __init__(
        self,
        spec: RunSpec,
        renderer: Renderer,
        engine: Engine,
        notify: Callable[[str], None],
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.spec = spec
        self.renderer = renderer
        self.engine = engine
        self.notify = notify
        self.guard = guard
        self.suites = evaluation_suites(spec.data, spec.eval)

    def problems(self, suite: Suite, split: str) -> list[Problem]:
        """The problems of a split that fit the context together with their answers."""
        plan = self.spec.eval
        n = plan.problems if split == "eval" else plan.ood_problems
        found = suite.problems(split, n, plan.seed) if n else []
        if split == "eval" and not found:
            raise ValueError(f"suite {suite.name} has no evaluation problems: name a file with data.eval_source")
        fitting = [p for p in found if len(self.renderer.prompt(p)) + plan.max_tokens <= self.renderer.context]
        if len(fitting) < len(found):
            self.notify(
                f"{suite.name}: {len(found) - len(fitting)} of {len(found)} {split} prompts "
                "do not fit the context and are left out"
            )
        if found and not fitting:
            raise ValueError(
                f"no {split} prompt of {suite.name} fits the context of {self.renderer.context} tokens together with "
                f"eval.max_tokens={plan.max_tokens}: lower it"
            )
        return fitting

    def run(self, directory: RunDir, fraction: float, ood: bool, own: bool = True) -> dict[str, Any]:
        """Evaluates every suite and returns its summaries by suite name; harder problems too if `ood`.

        Without `own`, harder problems alone: a summary then holds the entry "ood" only, and suites that have none are
        left out.
        """
        summaries: dict[str, Any] = {}
        for suite in self.suites:
            problems = self.problems(suite, "eval") if own else []
            harder = self.problems(suite, "ood") if ood else []
            if not problems and not harder:
                continue
            verdicts = self._suite(directory, suite, problems + harder, fraction)
            summary: dict[str, Any] = {}
            for split, chosen in (("eval", problems), ("ood", harder)):
                if chosen:
                    found = {**summarise(verdicts, split, self.spec.eval), "data_hash": data_hash(chosen)}
                    summary.update(found if split == "eval" else {"ood": found})
                    label = suite.name if split == "eval" else f"{suite.name} {split}"
                    self.notify(f"  {label:10s} {100 * (found['avg_at_k'] or 0):5.1f}%")
            summaries[suite.name] = summary
        return summaries

    def _suite(self, directory: RunDir, suite: Suite, problems: list[Problem], fraction: float) -> list[dict[str, Any]]:
        plan = self.spec.eval
        wanted = [(problem, sample) for problem in problems for sample in range(plan.k)]
        path = directory.generations(suite.name, fraction)
        # whole chunks only: a chunk is decoded as one batch, so that a resumed run decodes what a whole one would
        stored = read_lines(path)
        stored = stored[: len(stored) // CHUNK * CHUNK] if len(stored) < len(wanted) else stored
        keep_lines(path, stored)
        params = SamplingParams(max_tokens=plan.max_tokens, temperature=plan.temperature, top_p=plan.top_p)
        for start in range(len(stored), len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            seeds = [seed_for("evaluation", plan.seed, self.spec.seed, problem.id, sample) for problem, sample in chunk]
            prompts = [self.renderer.prompt(problem) for problem, _ in chunk]
            with self.guard():
                completions = self.engine.sample(prompts, seeds, params, (self.renderer.eos,))
            records = [
                {
                    "problem": problem.id,
                    "sample": sample,
                    "seed": seed,
                    "text": self.renderer.text(completion.tokens),
                    "n_tokens": len(completion.tokens),
                    "finish": completion.finish,
                }
                for (problem, sample), seed, completion in zip(chunk, seeds, completions, strict=True)
            ]
            append_lines(path, records)
            stored += records
        return self._grade(directory, suite, problems, stored, fraction)

    def _grade(
        self, directory: RunDir, suite: Suite, problems: list[Problem], stored: list[dict[str, Any]], fraction: float
    ) -> list[dict[str, Any]]:
        path = directory.verdicts(suite.name, fraction)
        graded = read_lines(path)
        keep_lines(path, graded)
        by_id = {problem.id: problem for problem in problems}
        todo = stored[len(graded) :]
        with self.guard():
            verdicts = suite.grade([by_id[row["problem"]] for row in todo], [row["text"] for row in todo])
        records = []
        for row, verdict in zip(todo, verdicts, strict=True):
            problem = by_id[row["problem"]]
            details = asdict(verdict)
            records.append(
                {
                    "problem": row["problem"],
                    "sample": row["sample"],
                    "status": details.pop("status"),
                    "score": details.pop("score"),
                    "family": problem.family,
                    "level": problem.level,
                    "split": problem.split or "eval",
                    "truncated": row["finish"] == "length",
                    **details,
                }
            )
        if records:
            append_lines(path, records)
        return graded + records


def summarise(verdicts: list[dict[str, Any]], split: str, plan: Evaluation) -> dict[str, Any]:
    """n, avg@k, pass@k, the standard error clustered by problem, and the rates of what went wrong."""
    rows = [row for row in verdicts if row["split"] == split]
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["problem"], [])
        if row["score"] is not None:
            scores[row["problem"]].append(row["score"])
    scored = {problem: values for problem, values in scores.items() if values}
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= plan.k]

    def share(status: str) -> float:
        return sum(row["status"] == status for row in rows) / len(rows)

    def clean(value: float) -> float | None:
        return None if value != value else value

    passes = {
        str(k): clean(_mean([pass_at_k(len(v), sum(s > 0.5 for s in v), k) for v in scored.values()])) for k in ks
    }
    return {
        "n": len(scores),
        "k": plan.k,
        "avg_at_k": clean(avg_at_k(list(scored.values()))),
        "pass_at_k": passes,
        "se": clean(clustered_standard_error(list(scored.values()))),
        "truncated": sum(row["truncated"] for row in rows) / len(rows),
        "no_answer": share("no_answer"),
        "infra": share("infra"),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
