"""Every registered strategy trains the default embedded model for 30 steps."""

from __future__ import annotations

import dataclasses
import math

import pytest

from harness.run import execute, sizes_of
from harness.spec import RunSpec, build
from harness.store import read_lines
from strategies import registry
from strategies.base import Step

STEPS = 30
SMALL = {
    "experiment": "every",
    "budget": {"limit": STEPS},
    "data": {"suites": ["math"], "levels": [1], "problems": 100},
    "train": {"prompts": 2, "group": 4, "demos": 2},
    "rollout": {"max_tokens": 24},
    "eval": {"fractions": []},
    "probe": {"every": 15, "prompts": 4},
    "runtime": {"threads": 1, "checkpoint_every": STEPS},
}


@pytest.mark.parametrize("name", registry.names())
def test_trains(name, tmp_path):
    spec = build({**SMALL, "strategy": name})
    assert spec.model == RunSpec().model
    directory = execute(spec, tmp_path, quiet=True)
    assert directory.done
    lines = read_lines(directory.metrics)
    # a second update in a step counts as an update
    assert STEPS - sum("second_loss" in line for line in lines) <= len(lines) <= STEPS
    trained = [line for line in lines if line.get("loss") is not None]
    assert len(trained) >= STEPS // 2
    assert all(math.isfinite(line["loss"]) and math.isfinite(line["grad_norm"]) for line in trained)
    strategy = registry.build(name, {}, sizes_of(spec))
    strategy.plan(Step(0))
    for metric in strategy.metrics():
        assert any(line.get(metric) is not None for line in lines), f"{name} never logged {metric}"
    kl = max(line["kl"] for line in lines if line.get("kl") is not None)
    assert kl == 0.0 if all(line["skipped"] for line in lines) else kl > 0.0
    tokens = lines[-1]["trained_tokens_rollout"] + lines[-1]["trained_tokens_demo"]
    assert tokens > 0
    assert lines[-1]["generated_tokens"] > 0 or lines[-1]["trained_tokens_rollout"] == 0


def test_the_small_specification_differs_in_size_only():
    """Methods run with the options they have by default."""
    default, small = RunSpec(), build(SMALL)
    assert small.options == default.options == {}
    assert dataclasses.asdict(small)["train"]["learning_rate"] == default.train.learning_rate
