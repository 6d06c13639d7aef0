"""The rollout engine on vLLM: continuous batching, shared prompts, in this process, with weights of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.engines import vllm_setup
from harness.engines.base import Completion, SamplingParams, check_request
from harness.engines.vllm_setup import Settings

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput

_PIECE_SECONDS = 0.25  # between two lists of a stream: what a killed process can lose of finished samples
_COLDEST = 0.01  # temperatures below, except 0, are raised to this by vLLM


class VllmEngine:
    """Samples from a copy of a Hugging Face model, `model` being its directory or id and `config` its config.json.

    Every sample is a request with its own seed; equal prompts share their keys and values. Weights are float32 or
    bfloat16 (`settings.dtype`), whatever they are handed over in. ValueError where vLLM is missing or built for
    another device. One process, one device.
    """

    own_weights = True

    def __init__(self, model: str, config: Mapping[str, Any], settings: Settings) -> None:
        self.settings = settings
        self.llm = vllm_setup.make(model, config, settings)
        self.vocabulary = self.llm.llm_engine.model_config.get_vocab_size()
        self.requests = 0  # made so far
        self.asleep = False

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], params: SamplingParams, eos_ids: Sequence[int]
    ) -> list[Completion]:
        """One completion per prompt, in order; see `Engine.sample` and `Completion`.

        Completion i depends on (prompts[i], seeds[i], params, eos_ids) and the weights, not on the rest of the batch,
        up to the rounding of batched products; its random numbers are not those of other engines. ValueError as in
        `check_request`, for a temperature above 0 and below 0.01, and for `top_p` below 1: the log-probs that vLLM
        gives are those after truncation.
        """
        if params.top_p < 1 and params.temperature > 0:
            raise ValueError("vLLM gives no log-probs before top-p truncation; sample with top_p 1, or use stream.")
        done: list[Completion | None] = [None] * len(prompts)
        for piece in self._run(prompts, seeds, params, eos_ids, True, None):
            for i, completion in piece:
                done[i] = completion
        return [completion for completion in done if completion is not None]

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
        eos_ids: Sequence[int],
        ended: Callable[[Sequence[int]], bool] | None = None,
    ) -> Iterator[list[tuple[int, Completion]]]:
        """See `Streaming.stream`. What is unfinished when the iterator is closed is dropped."""
        return self._run(prompts, seeds, params, eos_ids, False, ended)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy the tensors into the model's parameters of these names, in place, and forget cached prompts.

        The names are those of the Hugging Face model; of tied weights one name is enough. ValueError for a name that
        the model does not have or a shape that differs.
        """
        assert not self.asleep
        detached = ((name, value.detach()) for name, value in weights)
        try:
            with torch.no_grad():
                self.llm.apply_model(lambda model: model.load_weights(detached))
        except (KeyError, ValueError, AssertionError) as problem:
            first = str(problem).partition(". ")[0]
            raise ValueError(f"The weights are not those of the model that vLLM loaded: {first}.") from problem
        forgotten = self.llm.reset_prefix_cache()
        assert forgotten, "keys and values of the old weights are still in use"

    def sleep(self) -> None:
        """Give the device memory of weights, keys and values back, and forget them; nothing happens on a CPU.

        A CPU build of vLLM cannot let go of them, and only a device's memory is scarce beside a trainer.
        """
        if self.settings.sleeps and not self.asleep:
            self.llm.sleep(level=2)
            self.asleep = True

    def wake(self) -> None:
        """Take the memory again. The weights are undefined until they are loaded."""
        if self.asleep:
            self.llm.wake_up()
            self.asleep = False

    def close(self) -> None:
        """Release weights, caches and the process group that vLLM opened."""
        vllm_setup.release(self.llm)
        del self.llm

    def _run(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        params: SamplingParams,
        eos_ids: Sequence[int],
        logprobs: bool,
        ended: Callable[[Sequence[int]], bool] | None,
    ) -> Iterator[list[tuple[int, Completion]]]:
        if 0 < params.temperature < _COLDEST:
            raise ValueError(f"temperature is {params.temperature}; vLLM takes 0 or at least {_COLDEST}.")
        check_request(prompts, seeds, params, eos_ids, self.vocabulary, self.settings.context)
        requests = [
            (prompt, _translate(params, seed, eos_ids, logprobs)) for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        return self._steps(requests, ended)

    def _steps(
        self, requests: Sequence[tuple[Sequence[int], Any]], ended: Callable[[Sequence[int]], bool] | None
    ) -> Iterator[list[tuple[int, Completion]]]:
        assert not self.asleep
        engine = self.llm.llm_engine
        waiting: dict[str, int] = {}
        piece: list[tuple[int, Completion]] = []
        shown = time.monotonic()
        try:
            for i, (prompt, request) in enumerate(requests):
                name = str(self.requests)
                self.requests += 1
                waiting[name] = i
                engine.add_request(name, {"prompt_token_ids": list(prompt)}, request)
            while waiting:
                outputs = engine.step()
                for output in outputs:
                    (found,) = output.outputs
                    if output.finished:
                        piece.append((waiting.pop(output.request_id), _completion(found)))
                    elif ended is not None and ended(found.token_ids):
                        engine.abort_request([output.request_id])
                        piece.append((waiting.pop(output.request_id), Completion(tuple(found.token_ids), (), "stop")))
                # a step without output is no sign of life
                if outputs and (not waiting or time.monotonic() - shown >= _PIECE_SECONDS):
                    yield piece
                    piece, shown = [], time.monotonic()
        finally:
            if waiting:
                engine.abort_request(list(waiting))


def _translate(params: SamplingParams, seed: int, eos_ids: Sequence[int], logprobs: bool) -> Any:
    from vllm import SamplingParams as Request
    from vllm.sampling_params import RequestOutputKind

    greedy = params.temperature == 0
    return Request(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=1.0 if greedy else params.top_p,
        seed=None if greedy else seed,
        ignore_eos=True,
        stop_token_ids=list(eos_ids),
        detokenize=False,
        logprobs=0 if logprobs else None,
        flat_logprobs=logprobs,
        output_kind=RequestOutputKind.CUMULATIVE,
        skip_clone=True,
    )


def _completion(found: CompletionOutput) -> Completion:
    if found.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM gave a sample up ({found.finish_reason}): {found.stop_reason}")
    tokens = tuple(found.token_ids)
    logp = tuple(found.logprobs.logprobs) if found.logprobs is not None else ()
    assert len(logp) in (0, len(tokens))
    return Completion(tokens, logp, found.finish_reason)
