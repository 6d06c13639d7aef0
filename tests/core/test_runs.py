"""Whole small runs: when they stop, what they refuse, and the corners of the strategies' plans."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from harness.data import TrainingData
from tests.store.runs import lines

NO_EVALUATION = {"fractions": []}
SHORT = {"eval": NO_EVALUATION, "probe": {"every": 0}, "data": {"suites": ["math"]}}


@pytest.mark.parametrize(
    ("kind", "limit", "column"),
    [("updates", 3, "updates"), ("generated_tokens", 300, "generated_tokens"), ("flops", 3e7, "flops")],
)
def test_a_run_stops_at_the_first_step_that_reaches_the_budget(kind, limit, column, execute):
    rows = lines(execute(**SHORT, budget={"kind": kind, "limit": limit}).metrics)
    assert rows[-1][column] >= limit > rows[-2][column]
    assert [row["fraction"] for row in rows] == [min(1.0, row[column] / limit) for row in rows]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))


def test_a_budget_of_seconds(execute):
    run = execute(**SHORT, budget={"kind": "seconds", "limit": 0.5})
    timing = lines(run.timing)
    assert timing[-1]["cumulative_seconds"] >= 0.5
    assert len(timing) == 1 or timing[-2]["cumulative_seconds"] < 0.5
    assert all(row["fraction"] is None for row in lines(run.metrics))


@pytest.mark.parametrize("changes", [{"strategy": "sft"}, {"strategy": "sft_then_rl"}])
def test_a_budget_that_is_never_spent_is_refused(changes, execute):
    with pytest.raises(ValueError, match="never reached"):
        execute(**SHORT, **changes, budget={"kind": "generated_tokens", "limit": 100})


def test_a_budget_of_tokens_may_wait_for_its_stage(execute):
    run = execute(
        **SHORT, strategy="sft_then_rl", options={"switch_step": 2}, budget={"kind": "generated_tokens", "limit": 100}
    )
    tokens = [row["generated_tokens"] for row in lines(run.metrics)]
    assert tokens[:2] == [0, 0] and tokens[-1] >= 100


def test_two_optimiser_steps_a_batch(execute):
    rows = lines(execute(**SHORT, budget={"limit": 5}, train={"minibatches": 2, "prompts": 4, "warmup": 0}).metrics)
    assert [row["updates"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["prompts"] for row in rows] == [4, 4, 8, 8, 12]
    # the ratio pi / pi_old is 1 before the first step on a batch and not after it
    assert all(row["mismatch"] < 1e-5 for row in rows[::2])
    assert all(row["mismatch"] > 1e-3 for row in rows[1::2])
    tokens = [row["trained_tokens_rollout"] for row in rows]
    assert tokens == sorted(set(tokens))
    assert tokens[3] == rows[3]["generated_tokens"]  # each row was in one of the two


def test_a_step_without_rows_is_paid_for_and_skipped(execute, tiny):
    """An untrained model solves nothing: every group has one reward, and DAPO leaves all of them out."""
    run = execute(
        strategy="grpo", options={"variant": "dapo"}, budget={"limit": 3}, eval=NO_EVALUATION,
        data={"suites": ["math"], "reward_noise": 0.0},
    )  # fmt: skip
    rows = lines(run.metrics)
    assert [row["skipped"] for row in rows] == [1.0] * 3
    assert [row["dropped"] for row in rows] == [1.0] * 3
    assert rows[-1]["rollouts"] == rows[-1]["discarded_rollouts"] == 36
    assert rows[-1]["flops_generate"] > 0 and rows[-1]["flops_train"] == 0
    start, end = load_file(tiny / "model.safetensors"), load_file(run.checkpoints / "step_000003/model.safetensors")
    assert all((start[name] == value).all() for name, value in end.items())


def test_a_run_outlives_gradients_that_are_not_finite(execute, tiny, monkeypatch):
    monkeypatch.setattr(TrainingData, "noisy_reward", lambda *_: float("nan"))
    run = execute(**SHORT, strategy="hpt", options={"gate": -1}, budget={"limit": 2})
    rows = lines(run.metrics)
    assert [(row["skipped"], row["loss"], row["grad_norm"]) for row in rows] == [(1.0, None, None)] * 2
    start, end = load_file(tiny / "model.safetensors"), load_file(run.checkpoints / "step_000002/model.safetensors")
    assert all((start[name] == value).all() for name, value in end.items())


@pytest.mark.parametrize(("strategy", "options"), [("hpt", {"gate": 4}), ("gft", {"teacher": 1}), ("gac", {})])
def test_records_some_of_which_have_no_worked_solution(strategy, options, execute, tmp_path):
    rows = [{"prompt": f"{i}+{i}", "answer": 2 * i} | ({"solution": f"{i}+{i}={2 * i}"} if i % 3 else {})
            for i in range(40)]  # fmt: skip
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = execute(
        **{**SHORT, "data": {"source": str(tmp_path / "sums.jsonl")}}, strategy=strategy, options=options,
        budget={"limit": 6},
    )  # fmt: skip
    found = lines(run.metrics)
    assert len(found) == 6 and found[-1]["trained_tokens_demo"] > 0
    if strategy == "hpt":  # all questions but those without a demonstration go to SFT
        assert {row["rows_demo"] + row["rows_rollout"] // 4 for row in found} == {3}
        assert sum(row["rows_rollout"] for row in found) > 0


def test_groups_of_given_responses_only(execute):
    noise = {"suites": ["math"], "teacher_error": 0.5}
    rows = lines(execute(**{**SHORT, "data": noise}, strategy="gft", options={"own": 0}, budget={"limit": 2}).metrics)
    assert [row["generated_tokens"] for row in rows] == [0, 0]
    assert [row["effective_mix"] for row in rows] == [1.0, 1.0]
    assert [(row["rows_rollout"], row["rows_demo"], row["reward"]) for row in rows] == [(0, 12, None)] * 2
    assert rows[-1]["trained_tokens_demo"] > 0


def test_a_penalty_on_the_distance_to_the_start(execute):
    free, pulled = (
        lines(
            execute(
                strategy="grpo", options={"kl_coefficient": coefficient}, budget={"limit": 6}, eval=NO_EVALUATION,
                probe={"every": 6, "prompts": 16}, train={"learning_rate": 2e-3},
            ).metrics
        )
        for coefficient in (0.0, 20.0)
    )  # fmt: skip
    assert free[0]["flops_reference"] == 0 and pulled[-1]["flops_reference"] == pulled[-1]["flops_train"] // 3
    assert 0 < pulled[-1]["kl"] < free[-1]["kl"]


def test_a_sampler_that_is_not_the_trained_policy_ends_the_run(execute):
    with pytest.raises(RuntimeError, match="sampler and trainer disagree"):
        execute(**SHORT, rollout={"max_mismatch": 1e-12})


def test_noise_is_for_training_only(execute, tmp_path):
    runs = [
        execute(tmp_path / str(noise), data={"demo_noise": noise, "reward_noise": noise}, budget={"limit": 1},
                eval={"fractions": [0.0]})
        for noise in (0.0, 0.9)
    ]  # fmt: skip
    assert lines(runs[0].metrics) != lines(runs[1].metrics)
    for folder in ("generations", "verdicts"):
        files = [{file.name: file.read_bytes() for file in (run.path / folder).iterdir()} for run in runs]
        assert len(files[0]) == 2 and files[0] == files[1]


def test_kl_of_the_start_policy_to_itself_is_zero(execute):
    rows = lines(execute(**{**SHORT, "probe": {"every": 1}}, budget={"limit": 2}, train={"learning_rate": 0.0}).metrics)
    assert [row["kl"] for row in rows] == pytest.approx([0.0, 0.0], abs=1e-6)
    moved = lines(execute(**{**SHORT, "probe": {"every": 1}}, budget={"limit": 2}).metrics)
    assert moved[1]["kl"] > moved[0]["kl"] > 0
    assert moved[1]["kl_drift_area"] == pytest.approx(0.5 * moved[0]["kl"] + 0.5 * (moved[0]["kl"] + moved[1]["kl"]))
