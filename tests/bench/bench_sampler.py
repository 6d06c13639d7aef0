"""Tokens per second of `HFEngine.sample` against `model.generate` of the same transformers version.

    python tests/bench/bench_sampler.py --model 1m --prompts 128 --max-tokens 64 --threads 2

Both samplers take the same batch of prompts at temperature 1 without truncation, in alternation, and only tokens of
real completions count (up to and including the end-of-sequence id), never padding. `natural` lets samples end by
themselves, `forced` runs every sample to --max-tokens. Prints one JSON object; rates are medians over the
rounds, and so is the ratio of the two runs of a round, which a machine's changing load spoils least.
Without --model a random Qwen2 of the embedded models' shape is used, its end-of-sequence logit raised so that a
natural sample has about 25 tokens, and prompts are random ids. With --model the prompts are the suites' evaluation
problems, or those of --prompt-file (one prompt a line).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import transformers
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import registry
from harness.engines.base import SamplingParams
from harness.engines.hf import HFEngine
from harness.models.ladder import load, resolve

PAD, EOS = 0, 1  # of the random model


def random_model() -> Qwen2ForCausalLM:
    """Qwen2 with 1M parameters; the chance of ending is about 0.035 a token: 25.6 tokens on average, 64 at most."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=100,
        hidden_size=128,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    model = Qwen2ForCausalLM(config)
    head = nn.Linear(config.hidden_size, config.vocab_size)
    head.weight = model.lm_head.weight
    head.bias.data.zero_()[EOS] = 1.27
    model.lm_head = head
    return model


def random_prompts(count: int) -> list[list[int]]:
    """`count` prompts of 30 to 70 random ids that are neither padding nor end."""
    rng = random.Random(0)
    return [[rng.randrange(2, 100) for _ in range(rng.randint(30, 70))] for _ in range(count)]


def generate(model: nn.Module, prompts: list[list[int]], max_tokens: int, eos: int | None, pad: int, seed: int) -> int:
    """Sample with `model.generate`; the number of generated tokens."""
    torch.manual_seed(seed)
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
    lengths = torch.tensor([len(p) for p in prompts], device=model.device)
    mask = (torch.arange(width, device=model.device) >= width - lengths[:, None]).long()
    # The model's own settings would fill whatever is left open here, the end-of-sequence id included.
    model.generation_config = transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=max_tokens,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    new = model.generate(ids, attention_mask=mask)[:, width:]
    if eos is None:
        return new.numel()
    before = (new == eos).int().cumsum(1) - (new == eos).int()
    return int((before == 0).sum())


def ours(engine: HFEngine, prompts: list[list[int]], max_tokens: int, eos: int | None, seed: int) -> int:
    """Sample with `HFEngine`; the number of generated tokens."""
    seeds = [seed * 2**32 + i for i in range(len(prompts))]
    rows = engine.sample(prompts, seeds, SamplingParams(max_tokens), [] if eos is None else [eos])
    return sum(len(row.tokens) for row in rows)


def rate(run: Callable[[], int]) -> tuple[float, int]:
    """Tokens per second and tokens of one run."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    tokens = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens / (time.perf_counter() - start), tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="name or directory of a causal LM")
    parser.add_argument("--prompt-file", type=Path, help="text file with one prompt a line, for --model")
    parser.add_argument("--prompts", type=int, default=128, help="rows sampled")
    parser.add_argument("--group", type=int, default=1, help="rows that share a prompt")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    args = parser.parse_args()
    if args.prompt_file and not args.model:
        parser.error("--prompt-file needs --model, whose tokenizer it is read with")
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()

    distinct = -(-args.prompts // args.group)
    pad, eos = PAD, EOS
    pool = random_prompts(distinct)
    if args.model:
        model, tokenizer = load(resolve(args.model), args.device)
        pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
        suites = [registry.get(name) for name in registry.BUILT_IN]
        problems = [suite.problems("eval", -(-distinct // len(suites)), 0) for suite in suites]
        pool = [tokenizer.encode(problem.prompt + "\n") for group in zip(*problems, strict=True) for problem in group]
    else:
        model = random_model()
    if args.prompt_file:
        pool = [tokenizer.encode(line) for line in args.prompt_file.read_text().splitlines() if line]
    if len(pool) < distinct:
        parser.error(f"{args.prompt_file} has {len(pool)} prompts, {distinct} are needed")
    prompts = [prompt for prompt in pool[:distinct] for _ in range(args.group)][: args.prompts]
    model = model.to(args.device, getattr(torch, args.dtype)).eval()
    engine = HFEngine(model, batch_size=args.prompts)

    report: dict[str, object] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": args.device,
        "dtype": args.dtype,
        "threads": args.threads,
        "prompts": args.prompts,
        "group": args.group,
        "max_tokens": args.max_tokens,
        "rounds": args.rounds,
        "prompt_tokens_mean": sum(map(len, prompts)) / len(prompts),
    }
    for ending, end in (("natural", eos), ("forced", None)):
        rates: dict[str, list[float]] = {"engine": [], "generate": []}
        tokens: dict[str, list[int]] = {"engine": [], "generate": []}
        for round_ in range(args.rounds + 1):
            for name, run in (
                ("engine", lambda seed=round_, end=end: ours(engine, prompts, args.max_tokens, end, seed)),
                ("generate", lambda seed=round_, end=end: generate(model, prompts, args.max_tokens, end, pad, seed)),
            ):
                speed, count = rate(run)
                if round_:  # the first round warms up
                    rates[name].append(speed)
                    tokens[name].append(count)
        report[ending] = {
            "engine_tokens_per_s": round(median(rates["engine"]), 1),
            "generate_tokens_per_s": round(median(rates["generate"]), 1),
            "ratio": round(median(a / b for a, b in zip(rates["engine"], rates["generate"], strict=True)), 3),
            "engine_tokens_mean": round(sum(tokens["engine"]) / args.rounds / len(prompts), 2),
            "generate_tokens_mean": round(sum(tokens["generate"]) / args.rounds / len(prompts), 2),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
