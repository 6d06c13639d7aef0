"""A tiny untrained model and small specifications that the tests of the program share."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.graders import programs
from benchmarks.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[1]

# a background job of a shell inherits an ignored SIGINT and hands it on: the tests of Ctrl-C need the usual one
signal.signal(signal.SIGINT, signal.default_int_handler)

# every phase of a run in a few seconds: two suites, one of them with programs, noise, probes, three evaluations
VALUES: dict[str, Any] = {
    "strategy": "gac",
    "budget": {"kind": "updates", "limit": 8},
    "data": {
        "suites": ["math", "code"], "levels": [1], "problems": 30, "style": "plain", "demo_noise": 0.2,
        "reward_noise": 0.2,
    },
    "train": {"prompts": 3, "group": 4, "demos": 4, "warmup": 2, "learning_rate": 1e-2},
    "rollout": {"max_tokens": 10},
    "eval": {"fractions": [0.0, 0.5, 1.0], "problems": 10, "ood_problems": 4, "k": 2, "max_tokens": 10},
    "probe": {"every": 3, "prompts": 4},
    "runtime": {"device": "cpu", "threads": 1, "checkpoint_every": 2},
}  # fmt: skip


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with nested `changes`."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict) and key != "options":
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


@pytest.fixture(autouse=True, scope="session")
def patient_sandbox() -> Iterator[None]:
    """Programs get a minute of wall time, so that they do not time out on a busy machine; CPU time is as ever."""
    original = programs.sandbox
    programs.sandbox = cache(lambda: Sandbox(wall_seconds=60.0))
    yield
    programs.sandbox = original


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that are beside the repository on some machines. Without them a test is skipped, but fails in CI."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the directory {path.name} beside the repository is missing")
        pytest.skip(f"the directory {path.name} beside the repository is not on this machine")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Qwen2 of 2 layers and width 16 with the character tokenizer, as a Hugging Face directory."""
    import torch

    from harness.models.pretrain import Recipe, build_model
    from harness.models.tokenizer import character_tokenizer

    torch.set_num_threads(1)
    tokenizer = character_tokenizer()
    recipe = Recipe(hidden=16, layers=2, heads=2, steps=1)
    model = build_model(recipe, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(5)  # far enough from uniform for probabilities to matter
    path = tmp_path_factory.mktemp("model") / "tiny"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def values(tiny: Path) -> Callable[..., dict[str, Any]]:
    """(nested changes) -> the plain values of a small specification."""
    return lambda **changes: merged({**VALUES, "model": str(tiny)}, changes)


@pytest.fixture(scope="session")
def make_spec(values: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """(nested changes) -> a small RunSpec."""
    from harness.spec import build

    return lambda **changes: build(values(**changes))


@pytest.fixture
def execute(make_spec: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """(nested changes) -> the finished directory of a small run, resumed where one had begun."""
    from harness.run import execute

    def run(results: Path | None = None, **changes: Any) -> Any:
        return execute(make_spec(**changes), results or tmp_path / "results", resume=True, quiet=True)

    return run
