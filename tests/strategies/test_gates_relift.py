"""ReLIFT: which questions enter the buffer, and the second update."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from strategies import registry
from strategies.base import Role, Row
from strategies.demo_buffer import DemoBuffer
from tests.strategies.gate_rows import RELEASED, SIZES, STEP, as_batch, question, solved, total


def demo_rows(*names):
    return [Row(name, "suite", 5, Role.DEMO, (1, 2), (3, 4, 5), 1.0, steps=(1, 3), given_logp=(0.0,)) for name in names]


def test_buffer_is_newest_first_and_bounded():
    buffer = DemoBuffer(4)
    buffer.push(demo_rows("a", "b", "c"))
    buffer.push(demo_rows("d", "e"))
    assert [row.problem for row in buffer.rows] == ["d", "e", "a", "b"]
    assert buffer.take(5) == () and len(buffer) == 4
    taken = buffer.take(3)
    assert [(row.problem, row.group, row.given_logp) for row in taken] == [
        ("d", 0, None),
        ("e", 1, None),
        ("a", 2, None),
    ]
    assert [row.problem for row in buffer.rows] == ["b"]
    buffer.push([])
    assert len(buffer) == 1


def test_buffer_survives_json():
    buffer, other = DemoBuffer(9), DemoBuffer(9)
    buffer.push(demo_rows("a", "b"))
    other.load(json.loads(json.dumps(buffer.state())))
    assert other.rows == buffer.rows and isinstance(other.rows[0].prompt, tuple)
    assert other.state() == buffer.state()


def relift(**options):
    return registry.build("relift", {"sft_size": 2, **options}, SIZES)


def test_relift_trains_every_question_and_buffers_failed_ones(row):
    strategy = relift()
    groups = [solved(row, n, number=i) for i, n in enumerate([0, 1, 8, 0])] + [solved(row, 0, number=4, demo=False)]
    rows = strategy.route(groups, [], STEP)
    assert [r.role for r in rows] == [Role.ROLLOUT] * 40
    assert strategy.metrics() == {"buffer": 2.0, "ft_updates": 0.0, "buffered": 0.4}
    extra = strategy.extra_update(STEP)
    assert [r.problem for r in extra.rows] == ["p0", "p3"] and extra.grad_clip == 1.0
    assert strategy.metrics() == {"buffer": 0.0, "ft_updates": 1.0, "buffered": 0.4}
    assert strategy.extra_update(STEP) is None
    assert strategy.grad_clip == 0.7 and strategy.entropy_coefficient == 0.001
    assert strategy.requires == {"old_logp", "entropy", "second_optimizer"}


def test_relift_makes_one_update_a_step_with_the_newest(row):
    strategy = relift(buffer=5)
    strategy.route([solved(row, 0, number=i) for i in range(4)], [], STEP)
    first = strategy.extra_update(STEP)
    assert [r.problem for r in first.rows] == ["p0", "p1"]
    strategy.route([solved(row, 0, number=7), solved(row, 2, number=8)], [], STEP)
    assert strategy.metrics()["buffer"] == 3.0
    assert [r.problem for r in strategy.extra_update(STEP).rows] == ["p7", "p2"]
    strategy.route([solved(row, 0, number=10 + i) for i in range(9)], [], STEP)
    assert strategy.metrics()["buffer"] == 5.0  # bounded: p3 and the last of the new ones left


def test_relift_fail_value(row):
    strategy = relift(fail_value=-0.5)
    strategy.route([question(row, [-0.5] * 8, 0), question(row, [0.0] * 8, 1), question(row, [-0.5, 0.0], 2)], [], STEP)
    assert [r.problem for r in strategy.buffer.rows] == ["p0"]


def test_relift_resumes_its_buffer(row):
    strategy = relift()
    strategy.route([solved(row, 0, number=i) for i in range(3)], [], STEP)
    strategy.extra_update(STEP)
    other = relift()
    other.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    for one in (strategy, other):
        one.route([solved(row, 0, number=6)], [], STEP)
    assert other.extra_update(STEP) == strategy.extra_update(STEP)
    assert other.metrics() == strategy.metrics()
    for broken in ({}, {"updates": 1}, {"updates": 1, "buffer": [], "more": 2}):
        with pytest.raises(ValueError, match="relift must be updates and buffer"):
            other.load_state_dict(broken)


def test_relift_size_of_an_update_is_the_runs_demos():
    assert registry.build("relift", {}, SIZES).sft_size == 3
    assert registry.build("relift", {}, SIZES).buffer.bound == 12
    assert registry.build("relift", {"sft_size": 128}, replace(SIZES, demos=0)).sft_size == 128


def test_relift_updates_have_one_term_each(row):
    strategy = relift()
    strategy.route([solved(row, 0, number=i) for i in range(2)], [], STEP)
    rows = strategy.route([solved(row, 3)], [], STEP)
    main, second = as_batch(rows), as_batch(strategy.extra_update(STEP).rows)
    assert torch.equal(total(strategy, second), total(registry.build("sft", {}, SIZES), second))
    rl = registry.build("grpo", RELEASED, SIZES)
    assert torch.equal(total(strategy, main), total(rl, main))
    assert total(strategy, main).any()
