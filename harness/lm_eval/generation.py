"""Generation until a stop string, with any engine: text is decoded in growing pieces and looked at between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.engines.base import Engine, SamplingParams
from harness.seeds import seed_for

FIRST_PIECE = 64  # tokens; each further piece is as long as all before it

# options of lm-eval tasks that change nothing at these values
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_k": (0, -1, None),
    "repetition_penalty": (1, None),
    "min_p": (0, None),
    "typical_p": (1, None),
    "num_beams": (1, None),
    "num_return_sequences": (1, None),
    "n": (1, None),
    "use_cache": (True, None),
}


@dataclass(frozen=True)
class Settings:
    """How one request is decoded: sampling, and the texts that end a response besides the end of the sequence."""

    params: SamplingParams
    stop: tuple[str, ...]


@dataclass(frozen=True)
class Response:
    """What was generated, before it is cut at a stop string. `finish`: stop (end of sequence or stop string), length"""

    text: str
    n_tokens: int
    finish: str


def settings(options: Mapping[str, Any], most: int) -> Settings:
    """From the `generation_kwargs` of a task; `most`: tokens where it names no limit.

    Without `do_sample`, or with a temperature of 0, decoding is greedy. ValueError for options that our engines do not
    have, such as beam search.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    known = dict(normalize_gen_kwargs(dict(options), most))
    stop = tuple(text for text in known.pop("until") if text)
    sampled, temperature = known.pop("do_sample"), float(known.pop("temperature", 0.0))
    temperature = temperature if sampled else 0.0
    top_p = known.pop("top_p", None)
    limit = int(known.pop("max_gen_toks"))
    odd = [name for name, value in known.items() if value not in _NEUTRAL.get(name, ())]
    if temperature == 0:
        odd = [name for name in odd if name not in ("top_k", "min_p", "typical_p")]  # of sampling alone
    if odd:
        raise ValueError(
            f"the task decodes with {', '.join(f'{name}={known[name]!r}' for name in odd)}, which our engines cannot: "
            "override it in a copy of the task (--lm-eval-include), or run it with lm-eval's own models"
        )
    top_p = 1.0 if top_p is None or temperature == 0 else float(top_p)
    return Settings(SamplingParams(max_tokens=limit, temperature=temperature, top_p=top_p), stop)


def generate(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    how: Settings,
    eos_ids: Sequence[int],
    decode: Callable[[Sequence[int]], str],
) -> list[Response]:
    """One response to each prompt, in order. The first piece is drawn with the seed itself, others with derived ones.

    A response may hold text behind its first stop string: the caller cuts it.
    """
    drawn: list[list[int]] = [[] for _ in prompts]
    found: list[Response | None] = [None] * len(prompts)
    going = list(range(len(prompts)))
    start, limit = 0, how.params.max_tokens
    while going:
        size = min(max(start, FIRST_PIECE), limit - start) if how.stop else limit
        params = SamplingParams(size, how.params.temperature, how.params.top_p)
        keys = [seeds[i] if start == 0 else seed_for("piece", seeds[i], start) for i in going]
        completions = engine.sample([[*prompts[i], *drawn[i]] for i in going], keys, params, eos_ids)
        start += size
        left = []
        for i, completion in zip(going, completions, strict=True):
            drawn[i] += completion.tokens
            text = decode(drawn[i])
            ended = completion.finish == "stop" or any(stop in text for stop in how.stop)
            if ended or start >= limit:
                found[i] = Response(text, len(drawn[i]), "stop" if ended else "length")
            else:
                left.append(i)
        going = left
    return found
