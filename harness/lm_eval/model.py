"""A model as lm-eval sees it: answers by a harness engine, log-likelihoods by the transformers model itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.engines.base import Engine
from harness.lm_eval.answers import Answers, Key, keys
from harness.lm_eval.generation import Settings, generate, settings
from harness.seeds import seed_for

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.evaluation_run import Guard, Report

CHUNK = 256  # requests answered and stored together
MAX_TOKENS = 256  # of a response, where a task names no limit; as lm-eval's own models have it

Kind = TypeVar("Kind")  # of requests that are answered together


class HarnessLM(TemplateLM):
    """Tokenisation, truncation and cutting are those of lm-eval's `hf` model, so that scores can be compared.

    `model`: for log-likelihoods; without it they raise ValueError. `eos_ids`: ids that end a response, besides the
    tokenizer's. Every answer is kept in `answers`, and taken from there when asked for again. `guard` surrounds each
    piece of work. A context that is too long loses its beginning.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        model: PreTrainedModel | None = None,
        eos_ids: Sequence[int] = (),
        seed: int = 0,
        answers: Answers | None = None,
        report: Report = lambda done, total, rate, left: None,
        guard: Guard = nullcontext,
    ) -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer names no end-of-sequence token: responses could never end")
        self.engine = engine
        self.tokenizer = tokenizer
        self.max_length = context
        self.model = model
        self.eos_ids = tuple(dict.fromkeys((int(tokenizer.eos_token_id), *eos_ids)))
        self.seed = seed
        self.answers = Answers() if answers is None else answers
        self.report = report
        self.guard = guard
        self.meter = Meter(report, 0, 0)

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands for an empty context: BOS, or EOS where there is none."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids, with the special tokens of the tokenizer unless the text begins with one already."""
        if add_special_tokens is None:
            add_special_tokens = not has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id))
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages as the text that the model reads; without a generation prompt the last one stays open."""
        if not self.tokenizer.chat_template:
            raise ValueError("the model has no chat template: use --style plain")
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text of each response before its first stop string."""
        decoding = [settings(request.args[1], MAX_TOKENS) for request in requests]
        for how in decoding:
            if how.params.max_tokens >= self.max_length:
                raise ValueError(
                    f"the task generates up to {how.params.max_tokens} tokens, which leaves no room for a prompt in "
                    f"the model's context of {self.max_length}: set a smaller --max-tokens"
                )
        return [row["text"] for row in self._answered(requests, decoding, self._generate)]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-prob of the continuation after its context, whether greedy decoding gives it) for each request."""

        def score(_: None, asked: list[Instance], keys: list[Key]) -> list[dict[str, Any]]:
            found = super(HarnessLM, self).loglikelihood(asked, disable_tqdm=True)
            return [{"logprob": logprob, "greedy": greedy} for logprob, greedy in found]

        rows = self._answered(requests, [None] * len(requests), score)
        return [(row["logprob"], row["greedy"]) for row in rows]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-prob of each whole text, in windows of the context's length: every token is predicted once."""

        def score(_: None, asked: list[Instance], keys: list[Key]) -> list[dict[str, Any]]:
            windows = []
            for n, request in enumerate(asked):
                ids = self.tok_encode(request.args[0])
                for window in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1):
                    windows.append((n, *make_disjoint_window(window)))
            totals = [0.0] * len(asked)
            for (n, *_), (logprob, _) in zip(windows, self._loglikelihood_tokens(windows), strict=True):
                totals[n] += logprob
            return [{"logprob": total} for total in totals]

        return [row["logprob"] for row in self._answered(requests, [None] * len(requests), score)]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        from harness.lm_eval.scoring import log_likelihoods

        if self.model is None:
            raise ValueError(
                "the task needs log-likelihoods, which this engine does not give: use the engine transformers"
            )
        pairs = [(context, continuation) for _, context, continuation in requests]
        return log_likelihoods(self.model, pairs, self.max_length, self.meter.count)

    def _generate(self, how: Settings, asked: list[Instance], keys: list[Key]) -> list[dict[str, Any]]:
        room = self.max_length - how.params.max_tokens
        # here only BOS counts as a beginning, other than in `tok_encode`: lm-eval's `hf` model has it so
        bos = self.tokenizer.bos_token
        texts = [request.args[0] for request in asked]
        prompts = [self.tokenizer.encode(t, add_special_tokens=not has_bos_prefix(t, bos)) for t in texts]
        seeds = [seed_for("lm-eval", self.seed, key.task, key.problem, key.choice, key.sample) for key in keys]
        responses = generate(self.engine, [ids[-room:] for ids in prompts], seeds, how, self.eos_ids, self._decode)
        self.meter.count(sum(response.n_tokens for response in responses))
        stop = [*how.stop, self.tokenizer.decode(self.eot_token_id)]
        return [
            {
                "text": postprocess_generated_text(response.text, stop, None),
                "n_tokens": response.n_tokens,
                "finish": response.finish,
                "seed": seed,
                "cut_tokens": max(len(ids) - room, 0),
            }
            for response, seed, ids in zip(responses, seeds, prompts, strict=True)
        ]

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def _answered(
        self, requests: list[Instance], kinds: Sequence[Kind], compute: Callable[[Kind, list[Instance], list[Key]], Any]
    ) -> list[dict[str, Any]]:
        """The answer to every request. `compute` gives those that are not stored, for some requests of one kind."""
        asked = keys(requests)
        missing: dict[Kind, list[int]] = {}
        for i, key in enumerate(asked):
            if self.answers.get(key) is None:
                missing.setdefault(kinds[i], []).append(i)
        self.meter = Meter(self.report, len(requests), sum(map(len, missing.values())))
        for kind, left in missing.items():
            for first in range(0, len(left), CHUNK):
                chunk = left[first : first + CHUNK]
                chosen = [asked[i] for i in chunk]
                with self.guard():
                    found = compute(kind, [requests[i] for i in chunk], chosen)
                self.answers.add(chosen, found)
                self.meter.done(len(chunk))
        return [self.answers.get(key) for key in asked]


class Meter:
    """Tokens a second and the time that is left, as far as requests are alike."""

    def __init__(self, report: Report, total: int, left: int) -> None:
        self.report = report
        self.total, self.left, self.answered, self.tokens = total, left, 0, 0
        self.started = time.perf_counter()

    def count(self, tokens: int) -> None:
        self.tokens += tokens

    def done(self, requests: int) -> None:
        self.answered += requests
        seconds = time.perf_counter() - self.started
        rest = self.left - self.answered
        self.report(self.total - rest, self.total, self.tokens / seconds, rest * seconds / self.answered)
