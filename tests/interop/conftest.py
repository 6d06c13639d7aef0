"""One embedded model twice: as lm-eval's own `hf` model and behind our adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def loaded() -> tuple[Any, Any]:
    """(model, tokenizer) of 1m."""
    import torch

    from harness.models import ladder

    torch.set_num_threads(1)
    return ladder.load(ladder.resolve("1m"), "cpu")


@pytest.fixture(scope="session")
def pair(loaded: tuple[Any, Any]) -> Callable[..., tuple[Any, Any]]:
    """(context) -> (our LM, lm-eval's LM) of the same weights."""
    from lm_eval.models.huggingface import HFLM

    from harness.engines.hf import HFEngine
    from harness.lm_eval.model import HarnessLM

    model, tokenizer = loaded

    def build(context: int = 1024) -> tuple[Any, Any]:
        ours = HarnessLM(HFEngine(model), tokenizer, context, model)
        return ours, HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, max_length=context)

    return build


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """(name, rows, lines of the YAML) -> the folder with this task."""

    def write(name: str, rows: list[dict[str, Any]], *lines: str) -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        head = (
            f"task: {name}",
            "dataset_path: json",
            f"dataset_kwargs: {{data_files: {{test: {data}}}}}",
            "test_split: test",
            "metadata: {version: 3}",
        )
        (folder / f"{name}.yaml").write_text("\n".join((*head, *lines)) + "\n")
        return folder

    return write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of test data go to no cache that outlives the test; lm-eval does not look around the machine."""
    import datasets
    import torch.utils.collect_env

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(torch.utils.collect_env, "get_pretty_env_info", lambda: "")
