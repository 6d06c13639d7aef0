"""Two processes take the same optimiser step as one, for every strategy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from harness.core import Learner
from strategies import registry
from tests.core.learning import TEMPERATURE, copied, distance, make_case, random_model, values_close

CASES = [(name, {}) for name in registry.names()] + [
    ("grpo", {"kl_coefficient": 0.1, "aggregation": "token"}),
    ("fixed", {"mu": 0.4, "sft_loss": "asft"}),
]
WORLD = 2


def step_of(case, spec, model, reference):
    """(parameters after one step, metrics, controller state) of this process."""
    made = make_case(*case, model)
    learner = Learner(copied(model), made.strategy(), spec, reference)
    metrics = learner.update(made.rows, made.step)
    if made.second:
        learner.update(made.second, made.step, optimizer="second")
    metrics = {name: value for name, value in metrics.items() if not name.startswith("seconds")}
    parameters = {name: value.detach() for name, value in learner.model.named_parameters()}
    return parameters, metrics | learner.strategy.metrics(), learner.strategy.state_dict()


def alike(a, b):
    """Whether two states are the same up to rounding."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == pytest.approx(b, rel=1e-10) if isinstance(a, float) else a == b


def worker(rank, folder, spec):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    model, reference = random_model(), random_model(seed=1)
    results = [step_of(case, spec, model, reference) for case in CASES]
    torch.save(results, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def spec(make_spec):
    return make_spec(
        # micro-batches of three rows: the processes have different numbers of them
        train={"grad_clip": 1.0, "learning_rate": 1e-3, "warmup": 0, "weight_decay": 0.01, "micro_rows": 3},
        rollout={"temperature": TEMPERATURE},
    )


@pytest.fixture(scope="module")
def two(spec, tmp_path_factory):
    """Results of every case by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, args=(str(folder), spec), nprocs=WORLD)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def models():
    return random_model(), random_model(seed=1)


@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join([n, *map(str, o.values())]) for n, o in CASES])
def test_two_processes_equal_one(number, spec, two, models):
    parameters, metrics, state = step_of(CASES[number], spec, *models)
    for rank in range(WORLD):
        found = two[rank][number]
        # Adam divides by the size of the gradient, which magnifies rounding where a gradient is nearly zero
        assert distance(parameters, found[0]) < 1e-9
        assert values_close(metrics, found[1])
        assert alike(found[2], state)
    assert all(torch.equal(two[0][number][0][name], two[1][number][0][name]) for name in parameters)
