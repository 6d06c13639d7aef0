"""`harness models`"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import registry
from harness import footprint, terminal
from harness.models import ladder, published
from harness.spec import RunSpec

EXAMPLE = """harness models
  harness models Qwen/Qwen2.5-Math-7B ./my-model"""
# what the table's memory is for: the defaults for embedded models, a usual small step for larger ones
EMBEDDED_PROMPT, EMBEDDED_RESPONSE = 16, 32
REAL_ROWS, REAL_PROMPT, REAL_RESPONSE = 4, 256, 768


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("more", nargs="*", metavar="MODEL", help="list these too: Hugging Face ids or directories")


def run(options: argparse.Namespace) -> int:
    suites = list(registry.BUILT_IN)
    device, machine = footprint.device_bytes(), footprint.machine_bytes()
    has = device or machine
    table = [_row(name, suites, has) for name in (*ladder.EMBEDDED, *ladder.REAL, *options.more)]
    spec = RunSpec()
    place = f"GPU with {terminal.size(device)}" if device else f"machine with {terminal.size(machine)} and no GPU"
    notes = [
        f"here: a {place}; memory with float32 weights, without the process itself",
        f"train: weights, gradients, Adam, start policy, and {rows_of(spec)} rows of about {EMBEDDED_PROMPT} + "
        f"{EMBEDDED_RESPONSE} tokens (embedded) or micro-batches of {REAL_ROWS} rows of {REAL_PROMPT} + "
        f"{REAL_RESPONSE} tokens in bfloat16 (others)",
        f"eval: weights and the cache of {footprint.DECODED_ROWS} rows decoded together; `harness run --dry-run` "
        "estimates a run's own settings",
        "accuracy: avg@k in percent of the model as shipped",
    ]
    headers = ("name", "model", "parameters", "context", "train", "eval", "fits here", *suites)
    right = frozenset(range(2, 6)) | frozenset(range(7, 7 + len(suites)))
    terminal.show(terminal.Grid(headers, table, right, notes=notes))
    return 0


def _row(name: str, suites: list[str], has: int) -> list[str]:
    embedded = name in ladder.EMBEDDED
    try:
        ref = ladder.resolve(name)
    except ValueError:
        if not embedded:
            raise
        return [name, "embedded, not installed: `harness pretrain`", *["-"] * (5 + len(suites))]
    config = published.config(ref)
    kind = "embedded" if embedded else ref.location
    if config is None:
        return [name, f"{kind} (configuration not on this machine)", *["-"] * (5 + len(suites))]
    train, evaluation = needs(config, embedded)
    fits = "train + eval" if train < 0.9 * has else "eval" if evaluation < 0.9 * has else "no"
    card = _card(Path(ref.location))
    accuracy = card.get("accuracy", {})
    return [
        name,
        kind,
        terminal.count(card.get("parameters", ladder.parameters(config))),
        f"{config.get('max_position_embeddings', 0):,}",
        terminal.size(train),
        terminal.size(evaluation),
        fits,
        *(terminal.percent(accuracy.get(suite)) for suite in suites),
    ]


def needs(config: dict[str, Any], embedded: bool) -> tuple[int, int]:
    """(training, evaluation) bytes at the sizes that the notes of the table name."""
    spec = RunSpec()
    if embedded:
        prompt, response = EMBEDDED_PROMPT, EMBEDDED_RESPONSE
        rows = rows_of(spec)
        longest = max(spec.rollout.max_tokens, spec.eval.max_tokens)
    else:
        prompt, response, rows, longest = REAL_PROMPT, REAL_RESPONSE, REAL_ROWS, REAL_RESPONSE
    step = footprint.Training(
        rows=rows,
        prompt=prompt,
        response=response,
        bucket=rows * (prompt + response),
        sampled_rows=min(spec.train.prompts * spec.train.group, footprint.DECODED_ROWS),
        max_tokens=longest,
        reference=True,
        bfloat16=not embedded,
    )
    evaluation = footprint.evaluation(config, footprint.DECODED_ROWS, prompt + longest)
    return footprint.training(config, step)["peak"], evaluation


def rows_of(spec: RunSpec) -> int:
    """Rows of a micro-batch, if rollouts and demonstrations are all trained on."""
    return min(spec.train.micro_rows, spec.train.prompts * spec.train.group + spec.train.demos)


def _card(directory: Path) -> dict[str, Any]:
    """What pre-training said of the model; empty for other models."""
    path = directory / "pretraining.json"
    return json.loads(path.read_text()) if path.is_file() else {}
