"""The one call for other trainers: against this project's trainer, against closed forms, and without the rest of it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
import torch

from harness.core import Learner
from strategies import registry, standalone
from strategies.base import Role, Sizes, Step
from tests.core.learning import (
    LATE,
    SIZES,
    TEMPERATURE,
    all_log_probs,
    copied,
    distance,
    gradients,
    make_case,
    random_model,
)

EARLY = Step(0, 0.0, seed=3)
NEEDED = {"soft_target": "soft_logp", "ref_logp": "ref_logp", "entropy": "entropy"}  # requirement: argument
SMALL = Sizes(prompts=2, group=4, demos=3, max_response=7)
CASES = [(name, {}) for name in registry.names()] + [
    ("grpo", {"variant": "dapo", "kl_coefficient": 0.1}),
    ("fixed", {"mu": 0.5, "sft_loss": "iw_sft"}),
    ("fixed", {"mu": 0.5, "sft_loss": "asft"}),
    ("hpt", {"definition": "paper"}),
    ("gac", {"ema_beta": 0.1, "clock": "steps"}),
]


def identifier(case):
    return "-".join(map(str, (case[0], *case[1].values())))


@pytest.fixture(params=CASES, ids=identifier)
def case(request):
    return request.param


def tensors(strategy, step, seed=0, dtype=torch.float32):
    """Everything that `loss` takes, at random, for the rows that the strategy plans."""
    plan, noise = strategy.plan(step), torch.Generator().manual_seed(seed)
    rows = []  # role, group, reward, prefix
    for group in range(max(plan.prompts, 1)):
        n = plan.rollouts + plan.later
        rows += [(Role.ROLLOUT, group, float((i + group) % 3 == 0), 2 * (i >= plan.rollouts)) for i in range(n)]
        rows += [(Role.DEMO, group, 1.0, 0)] * plan.expert
        rows += [(Role.TEACHER, group, float(i % 2), 0) for i in range(plan.teacher)]
    rows += [(Role.DEMO, 10 + i, 1.0, 0) for i in range(plan.pool)]
    shape = (len(rows), 9)

    def uniform():
        return torch.rand(shape, generator=noise, dtype=dtype)

    length = 3 + (torch.rand(len(rows), generator=noise) * 5).long()
    mask = (torch.arange(9) < length.unsqueeze(-1)).to(dtype)
    logp = -2.0 * uniform() - 0.05
    prefix = (torch.arange(9) < torch.tensor([row[3] for row in rows]).unsqueeze(-1)).to(dtype)
    return {
        "logp": logp.requires_grad_(),
        "mask": mask,
        "role": torch.tensor([int(row[0]) for row in rows]),
        "group": torch.tensor([row[1] for row in rows]),
        "reward": torch.tensor([row[2] for row in rows], dtype=dtype),
        "old_logp": logp.detach() + 0.8 * (uniform() - 0.5),
        "ref_logp": logp.detach() + uniform() - 0.5,
        "entropy": uniform().requires_grad_(),
        "prefix": prefix if plan.later else None,
        "soft_logp": (-3.0 * uniform()).requires_grad_(),
    }


def call(strategy, step, values, **changes):
    return standalone.loss(strategy, step, **{**values, **changes})


def total(coefficients):
    return torch.stack(list(coefficients.values())).sum(0)


# ---- the trainer's path


@pytest.fixture(scope="module")
def models():
    return random_model(), random_model(seed=1)


@pytest.fixture
def learner(make_spec, models):
    def make(strategy):
        settings = {"grad_clip": 1e9, "learning_rate": 1e-3, "warmup": 0}
        strategy.grad_clip = None  # gradients are compared as they are before clipping
        spec = make_spec(train=settings, rollout={"temperature": TEMPERATURE})
        return Learner(copied(models[0]), strategy, spec, models[1])

    return make


def gathered(case, strategy, model, reference):
    """What `loss` takes, from ALL rows of the step, one forward pass a row; none is left out by `route`."""
    rows = [row for group in case.groups for row in (*group.rollouts, *group.demos)] + list(case.pool)
    width = max(len(row.response) for row in rows)
    found = {name: [] for name in ("logp", "old_logp", "ref_logp", "entropy", "soft_logp")}
    for row in rows:
        target = torch.tensor(row.response).unsqueeze(-1)
        log_probs = all_log_probs(model, row, TEMPERATURE)
        with torch.no_grad():
            start = all_log_probs(reference, row, TEMPERATURE)
        logp = log_probs.gather(-1, target).squeeze(-1)
        old = logp.detach().clone()
        for known, first in ((row.given_logp, 0), (row.logp, row.prefix)):
            if known is not None:
                old[first : first + len(known)] = torch.tensor(known, dtype=old.dtype)
        target_of = strategy.soft_target(start, target[:, 0]) if "soft_target" in strategy.requires else start.exp()
        values = {
            "logp": logp,
            "old_logp": old,
            "ref_logp": start.gather(-1, target).squeeze(-1),
            "entropy": -(log_probs.exp() * log_probs).sum(-1),
            "soft_logp": (target_of * log_probs).sum(-1),
        }
        for name, value in values.items():
            found[name].append(torch.nn.functional.pad(value, (0, width - len(row.response))))
    lengths = torch.tensor([len(row.response) for row in rows])
    given = torch.tensor([row.prefix if row.role == Role.ROLLOUT else 0 for row in rows])
    return {name: torch.stack(values) for name, values in found.items()} | {
        "mask": (torch.arange(width) < lengths.unsqueeze(-1)).double(),
        "role": torch.tensor([int(row.role) for row in rows]),
        "group": torch.tensor([row.group for row in rows]),
        "reward": torch.tensor([row.reward for row in rows], dtype=torch.float64),
        "prefix": (torch.arange(width) < given.unsqueeze(-1)).double() if bool(given.any()) else None,
        "hint": torch.tensor([row.hint for row in rows]),
    }


def flat(state):
    found = {name: value for name, value in state.items() if not isinstance(value, dict)}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
    return found


def test_equals_the_trainer(case, models, learner):
    made = make_case(*case, models[0])
    trained = learner(made.strategy())
    metrics = trained.update(made.rows, made.step)
    model, strategy = copied(models[0]), registry.build(*case, SIZES)
    strategy.plan(made.step)
    loss, _ = standalone.loss(strategy, made.step, **gathered(made, strategy, model, models[1]))
    loss.backward()
    assert distance(gradients(trained.model), gradients(model)) < 1e-11
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-10, abs=1e-12)
    strategy.accept(metrics["grad_norm"])
    assert strategy.metrics() == pytest.approx(trained.strategy.metrics(), rel=1e-10)
    if "second_optimizer" not in strategy.requires:  # whose state holds rows
        found, expected = flat(strategy.state_dict()), flat(trained.strategy.state_dict())
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == (pytest.approx(value, rel=1e-10) if isinstance(value, float) else value)


# ---- every strategy, on random tensors


@pytest.mark.parametrize("step", [EARLY, LATE], ids=["early", "late"])
def test_every_strategy(case, step):
    strategy = registry.build(*case, SMALL)
    values = tensors(strategy, step)
    loss, coefficients = call(strategy, step, values)
    loss.backward()
    assert loss.dim() == 0 and torch.isfinite(loss)
    moved = values["logp"].grad.clone()
    if values["soft_logp"].grad is not None:
        moved += values["soft_logp"].grad
    assert all(value.shape == values["mask"].shape and not value.requires_grad for value in coefficients.values())
    torch.testing.assert_close(moved, -total(coefficients), rtol=1e-6, atol=1e-9)
    assert float(moved.abs().sum()) > 0
    assert not bool(total(coefficients)[values["mask"] == 0].any())
    bonus = strategy.entropy_coefficient
    grad = values["entropy"].grad
    assert (grad is not None and bool(grad.any())) if bonus else grad is None


# random_reward draws a reward for one row after the other
@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "random_reward"], ids=identifier)
def test_row_order_does_not_matter(case):
    values = tensors(registry.build(*case, SMALL), EARLY, dtype=torch.float64)
    order = torch.randperm(len(values["role"]), generator=torch.Generator().manual_seed(1))
    found = []
    for rows in (torch.arange(len(order)), order):
        strategy = registry.build(*case, SMALL)
        strategy.plan(EARLY)
        taken = {name: None if value is None else value[rows] for name, value in values.items()}
        found.append(total(call(strategy, EARLY, taken)[1]))
    torch.testing.assert_close(found[1], found[0][order], rtol=0, atol=1e-12)


def test_the_controller_moves_once(case, monkeypatch):
    strategy, calls = registry.build(*case, SMALL), Counter()
    for hook in ("route", "observe", "advantages"):
        original = getattr(strategy, hook)

        def counted(*arguments, hook=hook, original=original):
            calls[hook] += 1
            return original(*arguments)

        monkeypatch.setattr(strategy, hook, counted)
    for index in range(3):
        step = Step(index, index / 3, seed=index)
        call(strategy, step, tensors(strategy, step, seed=index))
    assert calls == {"route": 3, "observe": 3, "advantages": 3}


def test_a_missing_tensor_is_one_sentence(case):
    strategy = registry.build(*case, SMALL)
    values = tensors(strategy, EARLY)
    expected = call(strategy, EARLY, values)[0]
    for need, name in NEEDED.items():
        strategy = registry.build(*case, SMALL)
        strategy.plan(EARLY)
        if need in strategy.requires:
            with pytest.raises(ValueError, match=rf"^strategy {case[0]} needs {name} with these options: pass it$"):
                call(strategy, EARLY, values, **{name: None})
        else:
            assert torch.equal(call(strategy, EARLY, values, **{name: None})[0], expected)


@pytest.mark.parametrize(
    ("name", "options", "argument"), [("luffy", {}, "entropy"), ("sft", {"sft_loss": "gift"}, "soft_logp")]
)
def test_a_lost_gradient_is_one_sentence(name, options, argument):
    strategy = registry.build(name, options, SMALL)
    values = tensors(strategy, EARLY)
    with pytest.raises(ValueError, match=rf"strategy {name} trains {argument} .*: pass it with its gradient"):
        call(strategy, EARLY, values, **{argument: values[argument].detach()})
    with torch.no_grad():  # an evaluation
        call(strategy, EARLY, {key: None if value is None else value.detach() for key, value in values.items()})


@pytest.mark.parametrize("argument", ["mask", "role", "group", "reward", "old_logp"])
def test_a_wrong_shape_is_one_sentence(argument):
    strategy = registry.build("grpo", {}, SMALL)
    values = tensors(strategy, EARLY)
    with pytest.raises(ValueError, match=rf"^{argument} must have the shape \([\d, ]+\), as logp has, not \("):
        call(strategy, EARLY, values, **{argument: values[argument][:-1]})


def test_a_demonstration_that_would_be_ignored_is_one_sentence():
    strategy = registry.build("hpt", {}, SMALL)
    values = tensors(strategy, EARLY)
    away = values["group"] + 50 * (values["role"] == int(Role.DEMO))
    with pytest.raises(ValueError, match="strategy hpt does not train on demonstrations that are alone in their"):
        call(strategy, EARLY, values, group=away)


def test_rows_reach_the_strategy_as_groups_and_pool(monkeypatch):
    strategy, seen = registry.build("gft", {"own": 2}, SMALL), []
    original = strategy.route
    monkeypatch.setattr(strategy, "route", lambda *given: seen.append(given) or original(*given))
    roles = [Role.DEMO, Role.TEACHER, Role.ROLLOUT, Role.DEMO, Role.ROLLOUT, Role.ROLLOUT]
    length = torch.arange(6) % 3 + 2
    values = {
        "logp": torch.full((6, 5), -1.0).requires_grad_(),
        "mask": torch.arange(5) < length.unsqueeze(-1),
        "role": torch.tensor([int(role) for role in roles]),
        "group": torch.tensor([9, 4, 4, 4, 2, 4]),
        "reward": torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    }
    call(strategy, EARLY, values, prefix=(torch.arange(5) < 1).repeat(6, 1) * (values["role"] == 0).unsqueeze(-1))
    ((groups, pool, _),) = seen
    described = [[(row.role, len(row.response), row.prefix) for row in g.rollouts + g.demos] for g in groups]
    # group 2, then group 4: its rollouts in order, the expert before the teacher
    assert described == [
        [(Role.ROLLOUT, 3, 1)],
        [(Role.ROLLOUT, 4, 1), (Role.ROLLOUT, 4, 1), (Role.DEMO, 2, 0), (Role.TEACHER, 3, 0)],
    ]
    assert [(row.role, row.group, len(row.response)) for row in pool] == [(Role.DEMO, 9, 2)]


# ---- closed forms


def rollouts(rewards, n, lengths=(3, 5, 4, 2), seed=0):
    """Tensors of rollouts alone, `n` a prompt."""
    noise = torch.Generator().manual_seed(seed)
    logp = -2.0 * torch.rand(len(rewards), 5, generator=noise, dtype=torch.float64) - 0.05
    length = torch.tensor([lengths[i % len(lengths)] for i in range(len(rewards))])
    return {
        "logp": logp.requires_grad_(),
        "mask": (torch.arange(5) < length.unsqueeze(-1)).double(),
        "role": torch.zeros(len(rewards), dtype=torch.long),
        "group": torch.arange(len(rewards)) // n,
        "reward": torch.tensor(rewards, dtype=torch.float64),
        "old_logp": logp.detach() + 0.8 * (torch.rand(logp.shape, generator=noise, dtype=torch.float64) - 0.5),
    }


def with_demos(values, groups, seed=1):
    """The same, and a demonstration of five tokens for each number of `groups`."""
    noise = torch.Generator().manual_seed(seed)
    logp = -2.0 * torch.rand(len(groups), 5, generator=noise, dtype=torch.float64) - 0.05
    more = {
        "logp": logp,
        "mask": torch.ones_like(logp),
        "role": torch.ones(len(groups), dtype=torch.long),
        "group": torch.tensor(groups),
        "reward": torch.ones(len(groups), dtype=torch.float64),
        "old_logp": logp,
    }
    both = {name: torch.cat([value.detach(), more[name]]) for name, value in values.items()}
    return {**both, "logp": both["logp"].requires_grad_()}


def gradient(loss, logp):
    return torch.autograd.grad(loss, logp)[0]


def ppo(values, low, high, std=True):
    """[B, T] - min(r A, clip(r) A) as the papers write it."""
    grouped = values["reward"].view(-1, 4)
    centred = grouped - grouped.mean(1, keepdim=True)
    advantage = (centred / (grouped.std(1, keepdim=True) + 1e-6) if std else centred).view(-1, 1)
    ratio = (values["logp"] - values["old_logp"]).exp()
    return -torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage) * values["mask"]


REWARDS = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]
FORMS = {
    "grpo": lambda v, p: (p(v, 0.2, 0.2).sum(1) / v["mask"].sum(1)).mean(),
    "dr_grpo": lambda v, p: p(v, 0.2, 0.2, std=False).sum() / (8 * 7),
    "dapo": lambda v, p: p(v, 0.2, 0.28).sum() / v["mask"].sum(),
}


@pytest.mark.parametrize("name", FORMS)
def test_policy_gradient_in_closed_form(name):
    strategy = registry.build(name, {"overlong_cache": "off"} if name == "dapo" else {}, SMALL)
    values = rollouts(REWARDS, 4)
    loss, _ = call(strategy, EARLY, values)
    expected = gradient(FORMS[name](values, ppo), values["logp"])
    torch.testing.assert_close(gradient(loss, values["logp"]), expected, rtol=1e-12, atol=1e-15)


def test_without_old_log_probs_the_ratio_is_one():
    values = rollouts(REWARDS, 4)
    present = {**values, "old_logp": values["logp"].detach()}
    found = [call(registry.build("grpo", {}, SMALL), EARLY, v)[0] for v in ({**values, "old_logp": None}, present)]
    assert torch.equal(*(gradient(loss, values["logp"]) for loss in found))


@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0])
def test_fixed_mixture_in_closed_form(mu):
    strategy = registry.build("fixed", {"mu": mu}, SMALL)
    values = with_demos(rollouts(REWARDS, 4), [5, 6, 7])
    loss, parts = call(strategy, EARLY, values)
    logp, own = values["logp"], {name: value[:8] for name, value in values.items()}
    expected = (1 - mu) * FORMS["grpo"](own, ppo) - mu * logp[8:].mean()
    torch.testing.assert_close(gradient(loss, logp), gradient(expected, logp), rtol=1e-12, atol=1e-15)
    assert set(parts) == ({"policy"} if mu < 1 else set()) | ({"sft"} if mu > 0 else set())


def test_luffy_in_closed_form():
    strategy = registry.build("luffy", {"entropy_coefficient": 0.0}, SMALL)
    values = with_demos(rollouts([1.0, 0.0, 0.0, 0.0, 0.0, 1.0], 3), [0, 1])
    loss, _ = call(strategy, EARLY, values)
    logp = values["logp"]
    advantage = values["reward"] - torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    ratio = (logp - values["old_logp"]).exp()[:6]
    shaped = logp[6:].exp() / (logp[6:].exp() + 0.1)
    terms = torch.cat([ratio, shaped]) * advantage.unsqueeze(-1) * values["mask"]
    torch.testing.assert_close(gradient(loss, logp), gradient(-terms.sum() / 7, logp), rtol=1e-12, atol=1e-15)


def test_a_gate_takes_rows_out():
    strategy = registry.build("hpt", {"entropy_coefficient": 0.0}, SMALL)
    values = with_demos(rollouts([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0], 4), [0, 1])
    loss, parts = call(strategy, EARLY, values)
    trained = total(parts).abs().sum(1) > 0
    assert trained.tolist() == [False] * 4 + [True] * 4 + [True, False]
    assert not gradient(loss, values["logp"])[~trained].any()
    assert strategy.metrics()["gated"] == 0.5


def test_a_mixture_sees_the_rewards():
    strategy = registry.build("reward_adaptive", {"tau": 0.9}, SMALL)
    call(strategy, EARLY, with_demos(rollouts(REWARDS, 4), [5]))
    assert strategy.metrics()["mu"] == pytest.approx(0.9 - 3 / 8)


def test_a_step_without_trained_rows_is_exactly_zero():
    strategy = registry.build("dapo", {}, SMALL)
    values = rollouts([1.0] * 8, 4)
    loss, parts = call(strategy, EARLY, {**values, "reward": torch.ones(8, dtype=torch.long)})
    assert loss.item() == 0.0 and not gradient(loss, values["logp"]).any()
    assert not total(parts).any()


def test_padding_may_hold_anything():
    values = rollouts(REWARDS, 4)
    expected = call(registry.build("grpo", {}, SMALL), EARLY, values)[1]["policy"]
    spoilt = {"logp": values["logp"].detach(), "old_logp": values["old_logp"]}
    spoilt = {name: value.masked_fill(values["mask"] == 0, float("nan")) for name, value in spoilt.items()}
    spoilt["logp"].requires_grad_()
    loss, parts = call(registry.build("grpo", {}, SMALL), EARLY, {**values, **spoilt})
    assert torch.isfinite(loss) and torch.equal(parts["policy"], expected)
    assert torch.isfinite(gradient(loss, spoilt["logp"])).all()


# ---- without the rest of this project


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("harness", "benchmarks", "transformers"):
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import strategies
from strategies import registry, standalone
from strategies.base import Sizes, Step
assert "torch" not in sys.modules
import torch

logp = torch.full((4, 3), -0.5, requires_grad=True)
labels = {"role": torch.tensor([0, 0, 0, 1]), "group": torch.tensor([0, 0, 0, 0])}
for name in registry.names():
    registry.get(name)
strategy = registry.build("luffy", {"entropy_coefficient": 0.0}, Sizes(1, 4, 1, 3))
loss, parts = standalone.loss(strategy, Step(0), logp=logp, mask=torch.ones(4, 3), reward=torch.tensor([1., 0, 0, 1]),
                              **labels)
loss.backward()
print(len(registry.names()), float(logp.grad.abs().sum()) > 0)
"""


def test_runs_without_the_rest_of_the_project(root):
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(registry.names())), "True"]


def test_the_documented_call_is_the_real_one():
    """Names in the module's example are parameters of `loss`."""
    example = standalone.__doc__.split("standalone.loss(")[1].split(")")[0]
    names = [part.split("=")[0].strip() for part in example.split(",")][2:]
    assert names and set(names) <= set(standalone.loss.__kwdefaults__ or {}) | {*standalone.loss.__annotations__}
