"""Sampling in rounds, prefixes, hints, held-out demonstrations and second updates, in the program itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from harness import collect
from harness.collect import Collector
from harness.data import Renderer, TrainingData
from harness.engines.hf import HFEngine
from harness.ledger import Cost, Ledger
from harness.models import ladder
from harness.run import execute as execute_spec
from harness.store import read_lines
from strategies.base import Request, Role, SamplingPlan, Sizes, Step, Strategy
from strategies.registry import build
from tests.core.learning import TEMPERATURE, unpadded


class Scripted(Strategy):
    """Asks for the given requests, round by round."""

    name = "scripted"

    def __init__(self, plan, rounds):
        super().__init__(None, Sizes(2, 2, 2, 10))
        self.planned, self.rounds, self.seen = plan, list(rounds), []

    def plan(self, step):
        return self.planned

    def more(self, groups, step):
        self.seen.append([len(group.rollouts) for group in groups])
        return self.rounds.pop(0)(groups) if self.rounds else ()


@pytest.fixture
def collector(tiny, make_spec):
    """(plan, rounds, changes) -> a Collector on the untrained model, and its ledger."""

    def make(plan, rounds, **changes):
        spec = make_spec(**{"data": {"reward_noise": 0.0, "demo_noise": 0.0}, **changes})
        torch.manual_seed(0)
        model, tokenizer = ladder.load(ladder.resolve(str(tiny)), "cpu")
        renderer = Renderer(tokenizer, "plain", True, int(model.config.max_position_embeddings))
        ledger = Ledger(spec.budget)
        strategy = Scripted(plan, rounds)
        cost = Cost.of(model.config.to_dict())
        made = Collector(spec, TrainingData(spec, renderer), strategy, HFEngine(model), cost, ledger)
        return SimpleNamespace(collector=made, strategy=strategy, ledger=ledger, model=model, renderer=renderer)

    return make


def prefixed(n):
    return lambda groups: [Request(1, g, prefix=n) for g in range(len(groups))]


def test_rounds_add_rollouts_and_prompts(collector):
    made = collector(
        SamplingPlan(2, 3, expert=1), [lambda groups: [Request(2, 1)], lambda groups: [Request(3), Request(1)]]
    )
    rows, seen = made.collector.collect(Step(0), 0)
    assert made.strategy.seen == [[3, 3], [3, 5], [3, 5, 3, 1]]
    rollouts = [row for row in rows if row.role == Role.ROLLOUT]
    assert [row.group for row in rollouts] == [0] * 3 + [1] * 5 + [2] * 3 + [3]
    assert len({row.problem for row in rollouts}) == 4
    assert seen["sampling_rounds"] == 3
    counts = made.ledger.counts
    assert (counts["prompts"], counts["rollouts"], counts["discarded_rollouts"]) == (4, 12, 0)
    assert counts["generated_tokens"] == sum(len(row.response) for row in rollouts)
    # samples of one prompt have seeds of their own, across rounds
    assert len({row.response for row in rollouts if row.group == 1}) == 5


def test_a_rollout_continues_the_prefix_of_the_demonstration(collector):
    made = collector(SamplingPlan(2, 0, expert=1), [prefixed(4)], rollout={"temperature": TEMPERATURE})
    rows, seen = made.collector.collect(Step(0), 0)
    demos = {row.group: row for row in rows if row.role == Role.DEMO}
    for row in (row for row in rows if row.role == Role.ROLLOUT):
        assert row.prefix == 4 and row.response[:4] == demos[row.group].response[:4]
        assert len(row.logp) == len(row.response) - 4
        with torch.no_grad():
            logp, _ = unpadded(made.model.float(), row, TEMPERATURE)
        assert row.logp == pytest.approx(logp[4:].tolist(), abs=1e-4)
    assert made.ledger.counts["generated_tokens"] == sum(
        len(row.response) - 4 for row in rows if row.role == Role.ROLLOUT
    )
    assert seen["rows_helped"] == 2


def test_a_hint_is_in_the_prompt_and_not_in_the_response(collector):
    made = collector(SamplingPlan(1, 0, expert=1), [lambda groups: [Request(2, 0, hint=5)]])
    rows, _ = made.collector.collect(Step(0), 0)
    (demo,), helped = ([r for r in rows if r.role == role] for role in (Role.DEMO, Role.ROLLOUT))
    hint = made.renderer.text(demo.response[:5])
    for row in helped:
        assert row.hint == 5 and row.prefix == 0
        assert made.renderer.text(row.prompt) == made.renderer.text(demo.prompt) + hint


def test_nothing_is_sampled_beyond_the_context(collector):
    def nearly_whole(groups):
        return [Request(2, g, prefix=len(group.demos[0].response) - 2) for g, group in enumerate(groups)]

    made = collector(SamplingPlan(6, 0, expert=1), [nearly_whole])
    demos = [made.collector.data.expert_row(problem, 0) for problem in made.collector.data.prompts.items]
    made.renderer.context = max(len(row.prompt) + len(row.response) for row in demos)
    rows, _ = made.collector.collect(Step(0), 0)
    lengths = {len(row.prompt) + len(row.response) for row in rows if row.role == Role.ROLLOUT}
    assert max(lengths) <= made.renderer.context
    assert len([row for row in rows if row.role == Role.ROLLOUT]) == 12


def test_a_strategy_without_an_end_is_stopped(collector, monkeypatch):
    monkeypatch.setattr(collect, "MOST_ROUNDS", 5)
    made = collector(SamplingPlan(1, 1), [lambda groups: [Request(1, 0)]] * 100)
    with pytest.raises(RuntimeError, match="after 5 rounds"):
        made.collector.collect(Step(0), 0)


def test_steps_of_a_solution(collector):
    renderer = collector(SamplingPlan(), []).renderer
    text = "3.5+1=4.5\nThen it is so. Or not? Yes\n\n#4.5"
    response = renderer.response(text)
    parts = [renderer.text(response[:n]) for n in renderer.steps(text)]
    assert parts == [
        "3.5+1=4.5\n", "3.5+1=4.5\nThen it is so. ", "3.5+1=4.5\nThen it is so. Or not? ",
        "3.5+1=4.5\nThen it is so. Or not? Yes\n\n",
    ]  # fmt: skip
    assert renderer.steps("one line") == ()


def test_held_out_demonstrations_are_never_trained_on(make_spec, collector):
    made = collector(SamplingPlan(), [])
    spec = made.collector.spec
    plain, watched = TrainingData(spec, made.renderer), TrainingData(spec, made.renderer, validation=True)
    held = {row.problem for row in watched.validation}
    assert len(held) == len(plain.prompts.items) // 10
    for feed in (watched.prompts, watched.demos):
        assert not held & {problem.id for problem in feed.items}
    assert held | {problem.id for problem in watched.prompts.items} == {problem.id for problem in plain.prompts.items}


def test_likelihood_of_held_out_demonstrations_is_measured(execute):
    directory = execute(
        strategy="sft_then_rl",
        options={"switch_on": "validation_loss"},
        probe={"every": 2, "prompts": 4},
        eval={"fractions": []},
    )
    measured = [line["validation_nll"] for line in read_lines(directory.metrics) if line.get("validation_nll")]
    assert len(measured) == 4 and measured[-1] < measured[0]


@pytest.mark.parametrize("options", [{"alpha_mode": "kl"}])
def test_a_strategy_that_follows_the_probe_needs_it(options, make_spec, tmp_path):
    spec = make_spec(strategy="gac", options=options, probe={"every": 0})
    with pytest.raises(ValueError, match=r"probe\.every is 0"):
        execute_spec(spec, tmp_path, quiet=True)


def test_a_second_update_has_its_own_states_and_is_resumed(execute, tmp_path, monkeypatch):
    """ReLIFT's fine-tuning updates survive an interruption between any two checkpoints, buffer and states included."""
    changes = {"strategy": "relift", "options": {"sft_size": 2}, "budget": {"limit": 12}, "eval": {"fractions": []}}
    whole = execute(results=tmp_path / "whole", **changes)
    lines = read_lines(whole.metrics)
    assert sum("second_loss" in line for line in lines) >= 3
    assert lines[-1]["updates"] == len(lines) + sum("second_loss" in line for line in lines)
    assert list((whole.checkpoints).glob("*/optimizer_second.safetensors"))

    from harness.trainer import Trainer

    record = Trainer._record

    def stopped(self, metrics, timing):
        record(self, metrics, timing)
        if self.index == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_record", stopped)
    with pytest.raises(KeyboardInterrupt):
        execute(results=tmp_path / "cut", **changes)
    monkeypatch.setattr(Trainer, "_record", record)
    cut = execute(results=tmp_path / "cut", **changes)
    assert cut.metrics.read_bytes() == whole.metrics.read_bytes()


@pytest.mark.parametrize("name", ["rl_plus", "prefix_rft"])
def test_given_log_probs_are_those_before_the_first_update(name, execute, monkeypatch):
    """With two updates a batch, the second sees the policy of the first as pi_old on demonstrations and prefixes."""
    from harness.core import Learner

    micro, found = Learner.micro, []

    def watched(self, whole, index, tokens, gradient):
        batch, entropy = micro(self, whole, index, tokens, gradient)
        given = (batch.role != int(Role.ROLLOUT)).unsqueeze(-1) * batch.mask
        given = given if batch.prefix is None else given + batch.part("prefix")
        gap = ((batch.logp.detach() - batch.old_logp).abs() * given).sum() / given.sum().clamp(min=1)
        found.append(float(gap))
        return batch, entropy

    monkeypatch.setattr(Learner, "micro", watched)
    execute(
        strategy=name,
        train={"minibatches": 2, "prompts": 4, "learning_rate": 1e-2, "warmup": 0},
        budget={"limit": 6},
        eval={"fractions": []},
        probe={"every": 0},
    )
    assert max(found[0::2]) < 1e-5  # first updates
    assert min(found[1::2]) > 1e-4  # second ones


def test_every_name_that_is_needed_is_known():
    assert build("relift", {}, Sizes(2, 4, 2, 8)).requires >= {"second_optimizer"}
