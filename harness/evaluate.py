"""Evaluation: sample, store every generation, grade, summarise. Restarts where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from benchmarks.base import Problem, Suite
from harness import score_file
from harness.data import Renderer, evaluation_suites
from harness.engines.base import Completion, Engine, SamplingParams, Streaming
from harness.evaluation_plan import plan_for
from harness.scores import by_family, repetition, summarise, verdict_row
from harness.seeds import seed_for
from harness.spec import RunSpec
from harness.store import RunDir, append_lines, keep_lines, read_lines

CHUNK = 256  # samples decoded and stored together by an engine that does not batch continuously

Piece = list[tuple[int, Completion]]  # finished samples, each with its place among those asked for


def data_hash(problems: Sequence[Problem]) -> str:
    """16 hex digits over prompts, with their instructions where they have some, and gold answers."""
    content = [[p.id, p.prompt + (p.instruction or ""), p.answer, repr(p.tests)] for p in problems]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class Evaluator:
    """Evaluates a model on the suites of a specification; `guard`, a watchdog phase, surrounds each piece of work.

    `drawn` is told of every piece of finished samples, which may be empty, and the seconds since the one before.
    """

    def __init__(
        self,
        spec: RunSpec,
        renderer: Renderer,
        engine: Engine,
        notify: Callable[[str], None],
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
        drawn: Callable[[list[Completion], float], None] = lambda completions, seconds: None,
    ) -> None:
        self.spec = spec
        self.renderer = renderer
        self.engine = engine
        self.notify = notify
        self.guard = guard
        self.drawn = drawn
        self.suites = evaluation_suites(spec.data, spec.eval)
        for suite in self.suites:
            if suite.presets:
                self.problems(suite, "eval")  # prompts that do not fit are found before anything is trained or sampled

    def problems(self, suite: Suite, split: str) -> list[Problem]:
        """The problems of a split that fit the context together with their answers.

        ValueError if one of a published suite does not: a score on part of it would be another score.
        """
        plan = plan_for(self.spec.eval, suite)
        n = plan.problems if split == "eval" else plan.ood_problems
        found = suite.problems(split, n, plan.seed) if n else []
        if split == "eval" and not found:
            raise ValueError(f"suite {suite.name} has no evaluation problems: name a file with data.eval_source")
        lengths = [len(self.renderer.prompt(problem)) for problem in found]
        fitting = [p for p, n in zip(found, lengths, strict=True) if n + plan.max_tokens <= self.renderer.context]
        if len(fitting) < len(found) and suite.presets:
            room = self.renderer.context - max(lengths)
            smaller = f"max_tokens of at most {room}, or " if room > 0 else ""
            raise ValueError(
                f"the longest prompt of {suite.name} has {max(lengths)} tokens, which with max_tokens "
                f"{plan.max_tokens} is more than the model's context of {self.renderer.context}: choose {smaller}a "
                "model with a longer context"
            )
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
        # every suite is looked at before the first one is sampled
        chosen_of = [
            (suite, self.problems(suite, "eval") if own else [], self.problems(suite, "ood") if ood else [])
            for suite in self.suites
        ]
        summaries: dict[str, Any] = {}
        for suite, problems, harder in chosen_of:
            if not problems and not harder:
                continue
            verdicts = self._suite(directory, suite, problems + harder, fraction)
            generations = read_lines(directory.generations(suite.name, fraction))
            summary: dict[str, Any] = {}
            for split, chosen in (("eval", problems), ("ood", harder)):
                if chosen:
                    plan = plan_for(self.spec.eval, suite)
                    found = {**summarise(verdicts, split, plan.k), "data_hash": data_hash(chosen)}
                    label = suite.name if split == "eval" else f"{suite.name} {split}"
                    found["repeated"] = self._repeated(label, generations, chosen) if plan.temperature > 0 else None
                    if suite.presets:
                        found |= by_family(verdicts, split, suite.macro)
                    summary.update(found if split == "eval" else {"ood": found})
                    self.notify(f"  {label:10s} {100 * (found['avg_at_k'] or 0):5.1f}%")
            summaries[suite.name] = summary
        score_file.write(directory)
        return summaries

    def _repeated(self, label: str, generations: list[dict[str, Any]], problems: list[Problem]) -> float | None:
        """Share of problems with several samples whose samples repeat each other; warns of what looks like a fault."""
        ids = {problem.id for problem in problems}
        found = repetition([row for row in generations if row["problem"] in ids])
        if found.suspicious:
            what = f"two samples of one seed in {found.seeds}" if found.seeds else f"one text only in {found.texts}"
            self.notify(
                f"warning: {label}: {what} of {found.problems} problems with several samples: they are no independent "
                "draws, check the engine's seeds and temperature"
            )
        return found.share

    def _suite(self, directory: RunDir, suite: Suite, problems: list[Problem], fraction: float) -> list[dict[str, Any]]:
        plan = plan_for(self.spec.eval, suite)
        wanted = [(problem, sample) for problem in problems for sample in range(plan.k)]
        path = directory.generations(suite.name, fraction)
        stored = self.kept(read_lines(path), len(wanted))
        known = {(problem.id, sample) for problem, sample in wanted}
        if any((row["problem"], row["sample"]) not in known for row in stored):
            raise ValueError(
                f"{path} holds samples of other problems than suite {suite.name} has now: the data have changed, so "
                f"delete {directory.path} or name another --results"
            )
        keep_lines(path, stored)
        present = {(row["problem"], row["sample"]) for row in stored}
        missing = [(problem, sample) for problem, sample in wanted if (problem.id, sample) not in present]
        seeds = [seed_for("evaluation", plan.seed, self.spec.seed, problem.id, sample) for problem, sample in missing]
        prompt_of = {problem.id: self.renderer.prompt(problem) for problem in problems}
        prompts = [prompt_of[problem.id] for problem, _ in missing]
        params = SamplingParams(max_tokens=plan.max_tokens, temperature=plan.temperature, top_p=plan.top_p)
        for piece in self._pieces(prompts, seeds, params, plan.stop):
            records = []
            for i, completion in piece:
                text, stopped = cut(self.renderer.text(completion.tokens), plan.stop)
                records.append(
                    {
                        "problem": missing[i][0].id,
                        "sample": missing[i][1],
                        "seed": seeds[i],
                        "text": text,
                        "n_tokens": len(completion.tokens),
                        "finish": "stop" if stopped else completion.finish,
                    }
                )
            append_lines(path, records)
            stored += records
        place = {(problem.id, sample): i for i, (problem, sample) in enumerate(wanted)}
        ordered = sorted(stored, key=lambda row: place[row["problem"], row["sample"]])
        if ordered != stored:  # they were stored as they finished
            keep_lines(path, ordered)
        return self._grade(directory, suite, problems, ordered, fraction)

    def kept(self, stored: list[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
        """Those of the stored samples that an evaluation of `wanted` samples goes on from.

        An engine that decodes chunks redoes a torn one, so that a resumed run decodes what a whole one would.
        """
        if isinstance(self.engine, Streaming) or len(stored) >= wanted:
            return stored
        return stored[: len(stored) // CHUNK * CHUNK]

    def _pieces(
        self, prompts: list[tuple[int, ...]], seeds: list[int], params: SamplingParams, stops: Sequence[str]
    ) -> Iterator[Piece]:
        """The samples as they are finished, in pieces that are not empty."""
        eos = self.renderer.ends
        if isinstance(self.engine, Streaming):
            pieces = self.engine.stream(prompts, seeds, params, eos, self._ended(stops))
        else:
            pieces = (
                list(enumerate(self.engine.sample(prompts[i : i + CHUNK], seeds[i : i + CHUNK], params, eos), i))
                for i in range(0, len(prompts), CHUNK)
            )
        while True:
            started = time.perf_counter()
            with self.guard():
                piece = next(pieces, None)
            if piece is None:
                return
            seconds = time.perf_counter() - started
            if piece:
                yield piece
            # by now they are stored
            self.drawn([completion for _, completion in piece], seconds)

    def _ended(self, stops: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
        """Whether the text of some tokens holds one of `stops`."""
        return (lambda tokens: cut(self.renderer.text(tokens), stops)[1]) if stops else None

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
        records = [
            verdict_row(by_id[row["problem"]], row, verdict) for row, verdict in zip(todo, verdicts, strict=True)
        ]
        if records:
            append_lines(path, records)
        return graded + records


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """(`text` before the first place where one of `stops` begins, whether there is one)."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)
