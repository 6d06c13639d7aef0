"""Trains an embedded model from scratch on the procedural corpus: the command that reproduces the shipped weights."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer


@dataclass(frozen=True)
class Recipe:
    """Architecture and training of one embedded model. `rows` are sequences a step."""

    hidden: int
    layers: int
    heads: int
    steps: int
    rows: int = 64
    learning_rate: float = 2.5e-3
    warmup: int = 300
    weight_decay: float = 0.1
    seed: int = 0

    @property
    def intermediate(self) -> int:
        return 3 * self.hidden


RECIPES = {
    "0.2m": Recipe(hidden=64, layers=4, heads=2, steps=10000, learning_rate=4e-3),
    "1m": Recipe(hidden=128, layers=5, heads=4, steps=8000),
    "4m": Recipe(hidden=256, layers=5, heads=8, steps=3000, learning_rate=1.5e-3),
}


def build_model(recipe: Recipe, vocabulary: int, eos: int, pad: int) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2 of the recipe's size, float32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads // 2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    torch.manual_seed(recipe.seed)
    model = Qwen2ForCausalLM(config).float()
    # on sequences this short the backward of fused attention costs more than the rest of the step
    model.set_attn_implementation("eager")
    # torch's own RMSNorm has the same weight and result, in one kernel
    for layer in model.model.layers:
        for norm in ("input_layernorm", "post_attention_layernorm"):
            setattr(layer, norm, torch.nn.RMSNorm(recipe.hidden, eps=config.rms_norm_eps))
    model.model.norm = torch.nn.RMSNorm(recipe.hidden, eps=config.rms_norm_eps)
    # GPT-2's scaling of residual projections; the architecture's own initialisation is for larger widths
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                deviation = parameter.shape[1] ** -0.5
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    deviation /= math.sqrt(2 * recipe.layers)
                torch.nn.init.normal_(parameter, std=deviation)
            elif "embed" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    return model


def batches(tokenizer: Qwen2Tokenizer, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """(input ids, labels) [rows, T], right-padded, rows of like length; labels are -100 on prompt and padding."""
    import torch

    from benchmarks import corpus
    from harness.models.tokenizer import CHARACTERS

    ids = {character: tokenizer.encode(character)[0] for character in CHARACTERS}
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    source = corpus.stream(recipe.seed)
    rng = random.Random(recipe.seed)
    while True:
        pool = []
        for problem, response, _ in islice(source, 16 * recipe.rows):
            prompt = [ids[c] for c in problem.prompt + "\n"]
            pool.append((prompt, [ids[c] for c in response] + [eos]))
        pool.sort(key=lambda row: len(row[0]) + len(row[1]))
        chunks = [pool[i : i + recipe.rows] for i in range(0, len(pool), recipe.rows)]
        rng.shuffle(chunks)
        for chunk in chunks:
            # few different widths: the allocator keeps a pool for each
            width = -(-max(len(prompt) + len(response) for prompt, response in chunk) // 8) * 8
            rows = [prompt + response + [pad] * (width - len(prompt) - len(response)) for prompt, response in chunk]
            labels = [
                [-100] * len(prompt) + response + [-100] * (width - len(prompt) - len(response))
                for prompt, response in chunk
            ]
            yield torch.tensor(rows), torch.tensor(labels)


def pretrain(
    name: str, out: Path, steps: int | None, threads: int | None, log: Callable[[str], None]
) -> dict[str, Any]:
    """Trains recipe `name` and saves an ordinary Hugging Face directory (bf16 safetensors) at `out`."""
    import torch
    import torch.nn.functional as F

    from harness.models.tokenizer import character_tokenizer

    if name not in RECIPES:
        raise ValueError(f"no recipe for model {name!r}: choose from {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    if threads:
        torch.set_num_threads(threads)
    tokenizer = character_tokenizer()
    model = build_model(recipe, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    total = steps or recipe.steps
    decay = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / recipe.warmup)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / total)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    started, tokens, running = time.monotonic(), 0, 0.0
    for step, (ids, labels) in enumerate(islice(batches(tokenizer, recipe), total), start=1):
        target = labels[:, 1:]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
            logits = model.lm_head(hidden[target != -100])
        loss = F.cross_entropy(logits.float(), target[target != -100])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tokens += ids.numel()
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0 or step == total:
            seconds = time.monotonic() - started
            log(f"step {step}/{total} loss {running:.4f} {tokens / seconds:,.0f} tokens/s {seconds:,.0f} s")
    seconds = time.monotonic() - started
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    card = {
        "name": name,
        "parameters": model.num_parameters(),
        "recipe": asdict(recipe),
        "steps": total,
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "final_loss": round(running, 4),
    }
    (out / "pretraining.json").write_text(json.dumps(card, indent=2) + "\n")
    return card
