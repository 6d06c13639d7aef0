"""Counted FLOPs against PyTorch's counter, and the ledger of a run against what was sampled and trained."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.core import Learner
from harness.ledger import Cost, Ledger
from harness.models.pretrain import Recipe, build_model
from harness.spec import Budget
from strategies import registry
from strategies.base import Role, Row, Sizes

# hidden, layers, heads: head_dim 8 and 16
SHAPES = [(32, 2, 4), (64, 3, 4)]


@pytest.fixture(params=SHAPES, ids=str)
def model(request):
    hidden, layers, heads = request.param
    made = build_model(Recipe(hidden=hidden, layers=layers, heads=heads, steps=1), 50, eos=0, pad=1)
    made.set_attn_implementation("eager")
    return made


@pytest.mark.parametrize("length", [8, 40])
def test_forward_and_backward_against_the_counter_of_torch(model, length, make_spec):
    """Eager attention executes all n^2 pairs of positions; `Cost` counts the n (n + 1) / 2 that causality needs."""
    cost = Cost.of(model.config.to_dict())
    response = length // 2
    row = Row("p", "s", 0, Role.DEMO, (2,) * (length - response), (3,) * response, 1.0)
    strategy = registry.build("sft", {}, Sizes(1, 2, 1, 8))
    learner = Learner(model, strategy, make_spec(), None)
    tokens = learner.tokens([row, row])
    assert {bucket.ids.shape for bucket in tokens.buckets} == {(2, length)}  # no padding in the way

    with FlopCounterMode(display=False) as forward, torch.no_grad():
        learner.forward(model, tokens)
    with FlopCounterMode(display=False) as both:
        learner.forward(model, tokens).logp.sum().backward()

    unneeded = cost.attention * (length**2 - length * (length + 1) // 2)
    assert forward.get_total_flops() / 2 - unneeded == pytest.approx(cost.forward(length, response), rel=0.02)
    assert both.get_total_flops() / 2 - 3 * unneeded == pytest.approx(cost.train(length - response, response), rel=0.02)
    # the weights alone
    pairs = cost.attention * length**2
    weights = cost.forward(length, response) - cost.attention * length * (length + 1) // 2
    assert forward.get_total_flops() / 2 - pairs == pytest.approx(weights, rel=0.02)


def test_generation_is_prefill_once_and_a_token_at_a_time():
    cost = Cost(layer_weights=1000, head_weights=77, attention=13)
    prompt, response, shared = 9, 6, 4

    def token(position):
        """One token through the layers, attending to itself and all before it."""
        return 2 * cost.layer_weights + cost.attention * (position + 1)

    prefill = sum(token(i) for i in range(prompt))
    # the last sampled token is not fed back
    steps = sum(token(i) for i in range(prompt, prompt + response - 1)) + response * 2 * cost.head_weights
    assert cost.generate(prompt, response) == prefill + steps
    assert shared * cost.generate(prompt, response, shared) == pytest.approx(prefill + shared * steps, abs=shared)
    assert cost.train(prompt, response) == 3 * (
        sum(token(i) for i in range(prompt + response)) + response * 2 * cost.head_weights
    )


def test_weights_are_those_of_the_model(model):
    cost = Cost.of(model.config.to_dict())
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    assert cost.layer_weights == sum(p.numel() for p in matrices)
    assert cost.head_weights == model.get_output_embeddings().weight.numel()


@pytest.mark.parametrize("kind", ["updates", "generated_tokens", "flops", "seconds"])
def test_budgets(kind):
    ledger = Ledger(Budget(kind=kind, limit=100))
    assert ledger.fraction == 0
    ledger.add(updates=25, generated_tokens=25, flops_generate=5, flops_train=15, flops_reference=5)
    ledger.seconds = {"rollout": 20.0, "update": 5.0}
    assert ledger.spent == 25 and ledger.fraction == 0.25
    ledger.add(updates=100, generated_tokens=100, flops_train=100)
    ledger.seconds["update"] += 100
    assert ledger.spent == 125 and ledger.fraction == 1.0
    restored = Ledger(Budget(kind=kind, limit=100))
    restored.load_state_dict(ledger.state_dict())
    assert restored.snapshot() == ledger.snapshot() and restored.spent == 125


def test_the_clock_charges_its_phase_even_when_it_fails():
    ledger = Ledger(Budget())
    with pytest.raises(KeyError), ledger.clock("rollout"):
        raise KeyError
    with ledger.clock("update"):
        pass
    assert set(ledger.seconds) == {"rollout", "update"} and min(ledger.seconds.values()) > 0


@pytest.mark.parametrize(
    ("strategy", "options"), [("gac", {}), ("hpt", {}), ("gft", {"teacher": 1}), ("grpo", {"kl_coefficient": 0.1})]
)
def test_counters_add_up_to_what_was_sampled_and_trained(strategy, options, make_spec, tmp_path):
    from harness.models import ladder
    from harness.progress import Progress
    from harness.run import assemble
    from harness.store import RunDir
    from harness.watchdog import Watchdog

    spec = make_spec(
        strategy=strategy, options=options, data={"suites": ["math"]}, budget={"limit": 3}, eval={"fractions": []},
        probe={"every": 0}, train={"prompts": 2}, rollout={"max_tokens": 6},
    )  # fmt: skip
    progress = Progress(tmp_path / "log", "updates", 3, quiet=True)
    watchdog = Watchdog(600, progress.log)
    trainer = assemble(spec, ladder.resolve(spec.model), RunDir(tmp_path / "run"), progress, watchdog)
    sampled, trained = [], []
    sample, update = trainer.engine.sample, trainer.learner.update

    def recorded_sample(prompts, *arguments):
        completions = sample(prompts, *arguments)
        sampled.append(list(zip(map(tuple, prompts), completions, strict=True)))
        return completions

    def recorded_update(rows, step, **options):
        trained.append(list(rows))
        return update(rows, step, **options)

    trainer.engine.sample, trainer.learner.update = recorded_sample, recorded_update
    trainer.run()
    progress.close()

    counts = trainer.ledger.counts
    pairs = [pair for batch in sampled for pair in batch]
    rows = [row for batch in trained for row in batch]
    own = [row for row in rows if row.role == Role.ROLLOUT]
    given = [row for row in rows if row.role != Role.ROLLOUT]
    assert counts["updates"] == len(trained) == 3
    assert counts["rollouts"] == len(pairs) > 0
    assert counts["prompts"] == sum(len({prompt for prompt, _ in batch}) for batch in sampled) == 6
    assert counts["generated_tokens"] == sum(len(completion.tokens) for _, completion in pairs)
    assert counts["trained_tokens_rollout"] == sum(len(row.response) for row in own)
    assert counts["trained_tokens_demo"] == sum(len(row.response) for row in given)
    assert counts["discarded_rollouts"] == len(pairs) - len(own)
    drawn = {(prompt, completion.tokens) for prompt, completion in pairs}
    assert all((row.prompt, row.response) in drawn for row in own)

    cost = trainer.cost
    group = len(pairs) // counts["prompts"]
    assert counts["flops_train"] == sum(3 * cost.forward(len(r.prompt + r.response), len(r.response)) for r in rows)
    generated = sum(
        cost.forward(len(p) + len(c.tokens) - 1, len(c.tokens)) - cost.forward(len(p), 0) * (group - 1) / group
        for p, c in pairs
    )
    assert counts["flops_generate"] == pytest.approx(generated, abs=len(pairs))
    uses_reference = "ref_logp" in trainer.strategy.requires
    assert counts["flops_reference"] == (counts["flops_train"] // 3 if uses_reference else 0)
    assert uses_reference == ("kl_coefficient" in options)
