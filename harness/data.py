"""From problems to token ids: one rendering for SFT, RL and evaluation, and the order in which a run sees its data."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import registry
from benchmarks.base import Problem, Suite
from benchmarks.records import RecordSuite
from harness.seeds import chance, permutation, seed_for
from harness.spec import Data, Evaluation, RunSpec
from strategies.base import Role, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# a hint is the beginning of a solution; the wording is ours, methods that give hints leave it open
HINT = "\nA solution begins like this:\n"
VALIDATION = 64  # demonstrations held out where a strategy asks for their likelihood; at most a tenth of the problems
STEP_END = re.compile(r"\n+|(?<=[.!?])\s+")
INSTRUCTION = "\n\nSolve step by step. End with '#' followed by the final answer alone."


class Renderer:
    """Prompts and responses as token ids, the same for training and evaluation.

    ends: ids besides the tokenizer's EOS at which a sampled response ends; demonstrations end with EOS.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, style: str, embedded: bool, context: int, ends: Sequence[int] = ()
    ) -> None:
        if style == "auto":
            style = "plain" if embedded or not tokenizer.chat_template else "chat"
        if style == "chat" and not tokenizer.chat_template:
            raise ValueError("data.style is chat, but the model has no chat template: use data.style=plain")
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer names no end-of-sequence token: responses could never end")
        self.tokenizer = tokenizer
        self.style = style
        self.context = context
        self.eos = int(tokenizer.eos_token_id)
        self.ends = tuple(dict.fromkeys((self.eos, *ends)))

    def prompt(self, problem: Problem, hint: str = "") -> tuple[int, ...]:
        """Token ids of the prompt, with at most one BOS. `hint`: the beginning of a solution that it shows.

        A problem that says how to answer is followed by that in every style, any other by `INSTRUCTION` in chats.
        Prompts beyond the context are made without a warning: callers look at the length.
        """
        if self.style == "plain":
            asked = problem.prompt + (problem.instruction or "")
            # there is no user's turn: the solution begins at the end of the prompt
            ids = self.tokenizer.encode(f"{asked}\n{hint}", add_special_tokens=True, verbose=False)
        else:
            asked = problem.prompt + (f"{HINT}{hint}" if hint else "")
            instruction = INSTRUCTION if problem.instruction is None else problem.instruction
            message = [{"role": "user", "content": asked + instruction}]
            text = self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
            # the template has written the special tokens
            ids = self.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            raise ValueError(
                f"the prompt of {problem.id} starts with two BOS tokens: "
                "the chat template and the tokenizer both add one"
            )
        return tuple(ids)

    def response(self, text: str) -> tuple[int, ...]:
        """Token ids of a demonstration, EOS included."""
        return (*self.tokenizer.encode(text, add_special_tokens=False), self.eos)

    def steps(self, text: str) -> tuple[int, ...]:
        """How many tokens of `response(text)` end with each line or sentence of it but the last."""
        ends = [match.end() for match in STEP_END.finditer(text) if match.end() < len(text)]
        if not ends:
            return ()
        if self.tokenizer.is_fast:
            offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            last = [end for _, end in offsets]
        else:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            last = [len(self.tokenizer.decode(ids[: n + 1])) for n in range(len(ids))]
        return tuple(sorted({n for end in ends if (n := bisect_right(last, end))}))

    def text(self, tokens: Sequence[int]) -> str:
        """A response as text, special tokens left out."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)


def training_suites(data: Data) -> list[Suite]:
    """The suites that a run trains on."""
    if data.source is not None:
        return [RecordSuite(data.source, data.eval_source)]
    return [registry.get(name) for name in data.suites]


def evaluation_suites(data: Data, evaluation: Evaluation) -> list[Suite]:
    """The suites that a run is evaluated on: those trained on unless others are named."""
    if evaluation.suites is None:
        return training_suites(data)
    return [registry.get(name) for name in evaluation.suites]


@dataclass
class Feed:
    """Endless passes over a list, each in a fresh order that depends on the seed and the pass alone."""

    items: list[Problem]
    seed: int
    name: str
    position: int = 0

    def take(self, n: int) -> list[Problem]:
        taken = []
        order: list[int] = []
        at = -1
        for _ in range(n):
            lap, offset = divmod(self.position, len(self.items))
            if lap != at:
                order, at = permutation(len(self.items), self.seed, self.name, lap), lap
            taken.append(self.items[order[offset]])
            self.position += 1
        return taken


class TrainingData:
    """The problems of a run, its demonstrations with their noise, and its rewards with theirs."""

    def __init__(self, spec: RunSpec, renderer: Renderer, validation: bool = False) -> None:
        """`validation`: hold demonstrations out, as `self.validation`."""
        self.spec = spec
        self.renderer = renderer
        self.suites = {suite.name: suite for suite in training_suites(spec.data)}
        per_suite = [
            suite.problems("train", spec.data.problems, spec.data.seed, spec.data.levels)
            for suite in self.suites.values()
        ]
        problems = [problem for group in per_suite for problem in group]
        fitting = [p for p in problems if len(renderer.prompt(p)) + spec.rollout.max_tokens <= renderer.context]
        if not fitting:
            raise ValueError(
                f"no training prompt fits the model's context of {renderer.context} tokens together with "
                f"rollout.max_tokens={spec.rollout.max_tokens}: lower max_tokens"
            )
        self.too_long = len(problems) - len(fitting)
        self.validation: list[Row] = []
        if validation:
            fitting = self._hold_out(fitting)
        self.prompts = Feed(fitting, spec.seed, "prompts")
        demonstrated = [p for p in fitting if self.expert_row(p, 0) is not None]
        self.demos_too_long = len(fitting) - len(demonstrated)
        self.demos = Feed(demonstrated, spec.seed, "demonstrations")

    def _hold_out(self, problems: list[Problem]) -> list[Problem]:
        """Takes problems for `self.validation`, a tenth at most, evenly over the list, and returns the others."""
        n = min(VALIDATION, len(problems) // 10)
        chosen = {i * len(problems) // n for i in range(n)} if n else set()
        rows = [self.expert_row(problems[i], 0) for i in sorted(chosen)]
        self.validation = [row for row in rows if row is not None]
        if not self.validation:
            raise ValueError(
                "the strategy watches the likelihood of held-out demonstrations, but there are none to hold out: "
                "give at least ten training problems with demonstrations"
            )
        return [problem for i, problem in enumerate(problems) if i not in chosen]

    def expert_row(self, problem: Problem, group: int) -> Row | None:
        """The expert's demonstration, wrong for a `demo_noise` share of problems. Its reward is the verifier's.

        None where there is none, or none that fits the context.
        """
        data = self.spec.data
        return self._given(problem, group, Role.DEMO, 0, data.demo_noise, ("demo", data.seed))

    def teacher_rows(self, problem: Problem, group: int, n: int) -> list[Row]:
        """Teacher responses: other ways of writing the solution where there are, wrong for `teacher_error` of them."""
        data = self.spec.data
        rows = [
            self._given(problem, group, Role.TEACHER, 1 + i, data.teacher_error, ("teacher", data.seed, i))
            for i in range(n)
        ]
        return [row for row in rows if row is not None]

    def _given(
        self, problem: Problem, group: int, role: Role, variant: int, noise: float, key: tuple[object, ...]
    ) -> Row | None:
        wrong = chance(noise, *key, problem.id)
        try:
            text = self.suites[problem.suite].demonstration(problem, variant, wrong)
        except ValueError:
            return None  # a record without a worked solution: usable for RL only
        prompt, response = self.renderer.prompt(problem), self.renderer.response(text)
        if len(prompt) + len(response) > self.renderer.context:
            return None
        # demonstrations are right or wrong by construction; noise aside, the verifier would say the same
        steps = self.renderer.steps(text)
        return Row(problem.id, problem.suite, group, role, prompt, response, float(not wrong), steps=steps)

    def pool_rows(self, n: int, first_group: int) -> list[Row]:
        """`n` expert rows from the pool of demonstrations, each a group of its own."""
        if n and not self.demos.items:
            raise ValueError("the strategy needs demonstrations, but no training problem has one that fits the context")
        rows = [self.expert_row(problem, first_group + i) for i, problem in enumerate(self.demos.take(n))]
        return [row for row in rows if row is not None]

    def noisy_reward(self, score: float, step: int, problem: Problem, sample: int) -> float:
        """The verifier's reward, flipped for a `reward_noise` share of the rollouts."""
        flip = chance(self.spec.data.reward_noise, "reward", self.spec.seed, step, problem.id, sample)
        return 1.0 - score if flip else score

    def state_dict(self) -> dict[str, int]:
        return {"prompts": self.prompts.position, "demos": self.demos.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.prompts.position, self.demos.position = state["prompts"], state["demos"]


def sample_seed(spec: RunSpec, step: int, problem: Problem, sample: int) -> int:
    """The seed of one rollout."""
    return seed_for("rollout", spec.seed, step, problem.id, sample)
