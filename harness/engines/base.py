"""What every rollout engine takes and gives. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy decoding; `top_p` 1 keeps the whole vocabulary.

    Raises ValueError for `max_tokens` < 1, `temperature` < 0 or `top_p` outside (0, 1].
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; give at least 1.")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; give a finite number >= 0 (0 is greedy).")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; give a number in (0, 1].")


@dataclass(frozen=True)
class Completion:
    """One sampled continuation of a prompt.

    `tokens` are the generated ids, the end-of-sequence id included where one was produced. `logp[t]` is the natural
    log-prob of `tokens[t]` under softmax(logits / temperature) BEFORE top-p truncation (under softmax(logits) for
    greedy decoding), so it is comparable with a teacher-forced forward at the same temperature. `finish` is "stop"
    after an end-of-sequence id and "length" after `max_tokens` ids without one.
    """

    tokens: tuple[int, ...]
    logp: tuple[float, ...]
    finish: Literal["stop", "length"]


class Engine(Protocol):
    """A sampler of completions from a causal language model."""

    own_weights: bool  # whether it holds a copy of the weights, which `load_weights` brings up to date

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
        eos_ids: Sequence[int],
    ) -> list[Completion]:
        """One completion per prompt, in order. Completion i is random through `seeds[i]` (0 <= seed < 2**63) only."""
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take new values for the named parameters; the names are those of the Hugging Face model."""
        ...

    def sleep(self) -> None:
        """Give device memory back while nothing is sampled."""
        ...

    def wake(self) -> None:
        """Undo `sleep`."""
        ...

    def close(self) -> None:
        """Release everything; the engine is not used afterwards."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """An engine that hands completions out one by one, as it finishes them, because it batches continuously."""

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
        eos_ids: Sequence[int],
        ended: Callable[[Sequence[int]], bool] | None = None,
    ) -> Iterator[list[tuple[int, Completion]]]:
        """`sample` as lists of (index of the prompt, its completion without log-probs), in the order of finishing.

        A list comes some times a second, as long as tokens are made; it may be empty. `ended` is asked now and then
        about the tokens of an unfinished sample; it is given up, as finished by "stop", once the answer is yes.
        """
        ...


def check_request(
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    params: SamplingParams,
    eos_ids: Sequence[int],
    vocabulary: int,
    positions: int | None,
) -> None:
    """ValueError for what no engine can sample; `positions` is the model's context, None where it has no bound."""
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; give one seed per prompt.")
    if any(not 0 <= seed < 2**63 for seed in seeds):
        raise ValueError("A seed is outside [0, 2**63); give non-negative 63-bit integers.")
    if any(not 0 <= token < vocabulary for token in eos_ids):
        raise ValueError(f"An end-of-sequence id is outside the vocabulary of {vocabulary}; check eos_ids.")
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"Prompt {i} is empty; give at least one token, for instance the model's BOS.")
        if min(prompt) < 0 or max(prompt) >= vocabulary:
            raise ValueError(f"Prompt {i} has an id outside the vocabulary of {vocabulary}; check the tokenizer.")
        if positions is not None and len(prompt) + params.max_tokens > positions:
            raise ValueError(
                f"Prompt {i} has {len(prompt)} tokens, which with max_tokens {params.max_tokens} is more than the "
                f"model's {positions} positions; shorten the prompt or lower max_tokens."
            )
