"""Which engine a run has: names of runs, missing packages, and what is done to an engine with weights of its own."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from harness.engines import factory, vllm_setup
from harness.engines.policy import sampling
from harness.spec import RunSpec, build, override


def test_runs_have_the_names_that_they_had_before_there_was_a_choice():
    content = RunSpec().as_dict()
    for section in ("rollout", "eval"):
        del content[section]["engine"]
    for name in ("runtime", "experiment"):
        del content[name]
    for name in ("stop", "preset", "settings"):  # of published suites, likewise left out where unused
        content["eval"].pop(name, None)
    usual = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def named(*assignments: str) -> str:
        return build(override({}, assignments)).hash()

    assert named() == named("eval.engine=transformers") == named("runtime.engine_memory=0.3") == usual
    both = named("rollout.engine=vllm")
    assert both == named("rollout.engine=vllm", "eval.engine=vllm")
    assert len({usual, both, named("eval.engine=vllm"), named("rollout.engine=vllm", "eval.engine=transformers")}) == 4


def test_unknown_engines_and_shares_are_refused():
    with pytest.raises(ValueError, match=r"rollout\.engine.*'transformers' or 'vllm'"):
        build({"rollout": {"engine": "vlm"}})
    with pytest.raises(ValueError, match="engine_memory"):
        build({"runtime": {"engine_memory": 1.5}})


@pytest.mark.parametrize("section", ["rollout", "eval"])
def test_a_missing_vllm_is_found_before_anything_is_loaded(make_spec, monkeypatch, tmp_path, section):
    from harness.run import execute

    monkeypatch.setattr(vllm_setup, "find_spec", lambda name: None)
    factory.check(make_spec())
    with pytest.raises(ValueError, match="pip install"):
        execute(make_spec(**{section: {"engine": "vllm"}}), tmp_path)
    assert not list(tmp_path.iterdir())


class Recorder:
    def __init__(self, own_weights: bool) -> None:
        self.own_weights = own_weights
        self.calls: list[object] = []

    def wake(self) -> None:
        self.calls.append("wake")

    def load_weights(self, weights) -> None:
        self.calls.append({name: value.tolist() for name, value in weights})

    def sleep(self) -> None:
        self.calls.append("sleep")


def test_an_engine_with_weights_of_its_own_is_awake_and_up_to_date_while_it_samples():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    engine = Recorder(own_weights=True)
    with sampling(engine, model):
        engine.calls.append("sample")
    torch.nn.init.constant_(model.weight, 3.0)
    with sampling(engine, model):
        pass
    weights = [{"weight": [[2.0]]}, {"weight": [[3.0]]}]
    assert engine.calls == ["wake", weights[0], "sample", "sleep", "wake", weights[1], "sleep"]
    shared = Recorder(own_weights=False)
    with sampling(shared, model):
        pass
    assert shared.calls == []
