"""Tokens per second of an evaluation through the harness against bare `LLM.generate` on the same prompts.

    python tests/bench/bench_vllm.py --model 1m --suite math --problems 500 --k 4 --threads 1

Both use one vLLM engine in this process, in alternation, with the same seeds, so that they make the same tokens; the
bare call neither stores samples nor makes text of them. Prints one JSON object; rates are medians over the rounds, and
so are the ratios of the two runs of a round, of time on the clock and of this process's processor time, which other
processes disturb less. `sampling` is drawing and storing samples, `whole` the evaluation with grading; `unseeded` is
the bare call without seeds of its own for each sample.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from harness.data import Renderer
from harness.engines import factory
from harness.evaluate import Evaluator
from harness.models import ladder
from harness.run import set_threads
from harness.seeds import seed_for
from harness.spec import Evaluation, RunSpec
from harness.store import RunDir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="1m")
    parser.add_argument("--suite", action="append")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    plan = Evaluation(
        engine="vllm",
        suites=tuple(options.suite or ("math",)),
        problems=options.problems,
        ood_problems=0,
        k=options.k,
        max_tokens=options.max_tokens,
    )
    ref = ladder.resolve(options.model)
    spec = replace(RunSpec(model=options.model), eval=plan)
    config, tokenizer = ladder.load_tokenizer(ref)
    renderer = Renderer(tokenizer, spec.data.style, ref.kind == "embedded", int(config["max_position_embeddings"]))
    engine = factory.alone(spec, ref, config, "cuda" if torch.cuda.is_available() else "cpu")
    samples = [
        (renderer.prompt(problem), seed_for("evaluation", plan.seed, spec.seed, problem.id, sample))
        for suite in Evaluator(spec, renderer, engine, lambda text: None).suites
        for problem in suite.problems("eval", plan.problems, plan.seed)
        for sample in range(plan.k)
    ]

    def bare(seeded: bool) -> tuple[int, Spent]:
        tokens, spent = measured(lambda: generate(engine.llm, samples, renderer.eos, plan, seeded))
        return tokens, spent.of(tokens)

    through_the_harness(spec, renderer, engine)
    rounds = []
    for _ in range(options.rounds):
        tokens, seeded = bare(True)
        own_tokens, own = through_the_harness(spec, renderer, engine)
        assert abs(own_tokens - tokens) < 0.01 * tokens, "the same seeds made other tokens"
        rounds.append({**own, "bare": seeded, "unseeded": bare(False)[1]})
    rates = {name: round(median(r[name].clock for r in rounds)) for name in rounds[0]}
    pairs = (("sampling", "bare"), ("whole", "bare"), ("sampling", "unseeded"))
    ratios = {
        kind: {
            f"{a}/{b}": round(median(getattr(r[a], kind) / getattr(r[b], kind) for r in rounds), 3) for a, b in pairs
        }
        for kind in ("clock", "processor")
    }
    about = {"samples": len(samples), "tokens": tokens}
    print(json.dumps({**vars(options), **about, "tokens_per_second": rates, "ratio": ratios}, indent=1))
    engine.close()


@dataclass(frozen=True)
class Spent:
    """Seconds, or tokens a second."""

    clock: float
    processor: float

    def of(self, tokens: int) -> Spent:
        return Spent(tokens / self.clock, tokens / self.processor)

    def without(self, other: Spent) -> Spent:
        return Spent(self.clock - other.clock, self.processor - other.processor)


def measured(call: Callable[[], Any]) -> tuple[Any, Spent]:
    clock, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, Spent(time.perf_counter() - clock, time.process_time() - processor)


def through_the_harness(spec: RunSpec, renderer: Renderer, engine: Any) -> tuple[int, dict[str, Spent]]:
    """Tokens, and tokens a second of a whole evaluation and of its sampling, from first request to last write."""
    tokens = 0
    grading = Spent(0.0, 0.0)

    def drawn(completions: list[Any], seconds: float) -> None:
        nonlocal tokens
        tokens += sum(len(completion.tokens) for completion in completions)

    with tempfile.TemporaryDirectory() as scratch:
        evaluator = Evaluator(spec, renderer, engine, lambda text: None, drawn=drawn)
        original = evaluator._grade

        def graded(*arguments: Any) -> Any:
            nonlocal grading
            result, spent = measured(lambda: original(*arguments))
            grading = Spent(grading.clock + spent.clock, grading.processor + spent.processor)
            return result

        evaluator._grade = graded  # type: ignore[method-assign]
        _, whole = measured(lambda: evaluator.run(RunDir(Path(scratch)), 0.0, False))
    return tokens, {"sampling": whole.without(grading).of(tokens), "whole": whole.of(tokens)}


def generate(llm: Any, samples: list[tuple[tuple[int, ...], int]], eos: int, plan: Evaluation, seeded: bool) -> int:
    """`LLM.generate` as its documentation has it; the number of generated tokens."""
    from vllm import SamplingParams

    params = [
        SamplingParams(
            temperature=plan.temperature,
            max_tokens=plan.max_tokens,
            seed=seed if seeded else None,
            stop_token_ids=[eos],
            ignore_eos=True,
            detokenize=False,
        )
        for _, seed in samples
    ]
    outputs = llm.generate([{"prompt_token_ids": list(prompt)} for prompt, _ in samples], params, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs)


if __name__ == "__main__":
    main()
