"""GAC: its statistics from tokens, its update against a second implementation, and its known behaviour."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from strategies import estimator, registry
from strategies.base import Role, Sizes, Step
from strategies.gac_control import Controller
from strategies.gac_options import GacOptions
from strategies.gac_statistics import NAMES, closed_form, trimmed_variance

SIZES = Sizes(prompts=2, group=4, demos=6, max_response=7)


def build(**options):
    return registry.build("gac", options, SIZES)


def named(sigma_r2, sigma_s2, delta_g2):
    return {"sigma_r2": sigma_r2, "sigma_s2": sigma_s2, "delta_g2": delta_g2}


def statistics(strategy, batch):
    return strategy.statistics(strategy.signals(batch))


def prepared(strategy, batch):
    batch = batch.take(batch.role != int(Role.TEACHER))
    return replace(batch, advantage=strategy.advantages(batch))


def from_tokens(batch, phi=True, z_score=False, trim=0.1):
    """The three proxies by their definition, token by token."""
    mask = batch.mask.numpy().astype(bool)
    logp, advantage = batch.logp.numpy(), batch.advantage.numpy()
    rollout, demo = batch.role.numpy() == 0, batch.role.numpy() == 1
    p = np.exp(logp)
    c_s = -p * (1 - p) if phi else -np.ones_like(p)
    c_r = np.where(rollout[:, None], -advantage[:, None], 0.0) * np.ones_like(p)
    if z_score:
        c_s, c_r = ((c - c[mask].mean()) / (c[mask].std() or 1.0) for c in (c_s, c_r))
    nll = sorted(-logp[i][mask[i]].mean() for i in np.flatnonzero(demo))
    cut = math.floor(trim * len(nll)) if len(nll) >= 4 else 0
    per_row = [((c_s - c_r) ** 2)[i][mask[i]].mean() for i in range(len(mask))]
    return np.var(advantage[rollout]), np.var(nll[cut : len(nll) - cut]), np.mean(per_row)


@pytest.mark.parametrize("options", [{}, {"sft_loss": "plain"}, {"z_score": True}, {"trim": 0.3}])
def test_statistics_equal_their_definition(options, random_batch):
    strategy = build(**options)
    batch = prepared(strategy, random_batch())
    uneven = batch.advantage + 0.3 * torch.arange(len(batch.role))  # not centred, so that no moment drops out
    batch = replace(batch, advantage=uneven)
    found = statistics(strategy, batch)
    expected = from_tokens(batch, "sft_loss" not in options, options.get("z_score", False), options.get("trim", 0.1))
    assert tuple(found[name] for name in NAMES) == pytest.approx(expected, rel=1e-12)


def test_z_scored_constant_coefficient_counts_nothing(random_batch):
    strategy = build(z_score=True, sft_loss="plain")
    batch = prepared(strategy, random_batch())
    expected = from_tokens(batch, phi=False, z_score=True)[2]
    assert statistics(strategy, batch)["delta_g2"] == pytest.approx(expected, rel=1e-12)


def test_trimming():
    values = [100.0, *range(1, 10), -100.0]  # 11 values: one is cut at each end
    assert trimmed_variance(values, 0.10) == pytest.approx(np.var(range(1, 10)))
    assert trimmed_variance(values[:9], 0.10) == pytest.approx(np.var(values[:9]))  # floor(0.9) = 0
    assert trimmed_variance([0.0, 5.0, 100.0], 0.4) == pytest.approx(np.var([0.0, 5.0, 100.0]))  # fewer than 4
    assert trimmed_variance([3.0] * 5, 0.1) == 1e-8


def test_signals_do_not_depend_on_the_split_or_the_order(random_batch):
    strategy = build(z_score=True)
    batch = prepared(strategy, random_batch())
    expected = statistics(strategy, batch)
    order = torch.randperm(len(batch.role), generator=torch.Generator().manual_seed(3))
    parts = [strategy.signals(batch.take(rows)) for rows in order.split(4)]
    signals = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    assert strategy.statistics(signals) == expected


def test_signals_are_per_row_and_detached(random_batch):
    strategy = build()
    batch = prepared(strategy, random_batch())
    signals = strategy.signals(replace(batch, logp=batch.logp.clone().requires_grad_()))
    assert all(value.shape == batch.role.shape and not value.requires_grad for value in signals.values())


def test_statistics_without_rows_are_skipped(random_batch):
    strategy = build()
    batch = prepared(strategy, random_batch())
    assert statistics(strategy, batch.take(batch.role == 0)).keys() == {"sigma_r2"}
    assert statistics(strategy, batch.take(batch.role == 1)).keys() == {"sigma_s2"}
    assert statistics(strategy, replace(batch, mask=batch.mask * 0)) == {}
    strategy.observe({}, Step(0, 0.0))
    assert strategy.controller.last_refresh is None

    controller = Controller(strategy.config)
    controller.advance(named(2.0, 3.0, 4.0), Step(0, 0.0))
    controller.advance({"sigma_r2": 1.0, "reward": 0.3}, Step(10, 0.01))
    assert controller.sigma_r2 == pytest.approx(0.99 * 2.0 + 0.01 * 1.0)
    assert (controller.sigma_s2, controller.delta_g2) == (3.0, 4.0)
    assert controller.newest == named(1.0, 3.0, 4.0)


def test_steps_without_statistics_do_not_postpone_the_refresh():
    controller = Controller(GacOptions())
    controller.advance({}, Step(0, 0.0))
    assert controller.refresh_due(Step(1, 0.001))
    controller.advance(named(1.0, 1.0, 1.0), Step(1, 0.001))
    assert [controller.refresh_due(Step(i, i / 1000)) for i in (1, 2, 10, 11)] == [False, False, False, True]


class Reference:
    """The published update once more, straight from its description and one call a step."""

    def __init__(self, blend=0.5, estimate=False, prior=True, alpha_rate=0.0):
        self.mu = self.own = 0.5
        self.ema, self.last, self.alpha = None, None, 0.5
        self.blend, self.estimate, self.prior, self.alpha_rate = blend, estimate, prior, alpha_rate

    def step(self, t, r, s, d, kl):
        if self.last is None or t - self.last >= 10:
            new = np.array([r, s, d])
            self.ema = new if self.ema is None else 0.99 * self.ema + 0.01 * new
            self.last = t
            if self.alpha_rate:
                self.alpha = min(max(self.alpha + self.alpha_rate * (kl / 0.02 - 1), 0.1), 0.95)
        r, s, d = self.ema
        raw = (self.alpha * d + r) / (d + s + r + 1e-8)
        base = self.own if self.estimate else self.mu
        ada = min(max(0.99 * base + 0.01 * raw, 0.05), 0.9)
        self.own = ada
        falling = 0.15 + 0.70 * (1 + math.cos(math.pi * min(t - 200, 800) / 800)) / 2
        prior = 0.85 * t / 200 if t < 200 else falling
        target = (1 - self.blend) * prior + self.blend * ada if self.prior else ada
        self.mu = min(max(self.mu + max(-0.01, min(0.01, target - self.mu)), 0.05), 0.9)
        return self.mu


def noise(t):
    return 1 + 0.5 * math.sin(t), 0.3 + 0.2 * math.cos(3 * t), 0.8 + 0.7 * math.sin(7 * t), 0.02 + 0.01 * math.sin(t)


def trace(options, total, steps=None):
    """mu after each of `steps` of a run of `total` steps, with statistics that change every step."""
    controller = Controller(GacOptions(**options))
    mus = []
    for index in range(steps or total):
        *values, kl = noise(index)
        step = Step(index, index / total, kl=kl)
        controller.advance(named(*values) if controller.refresh_due(step) else {}, step)
        mus.append(controller.mu)
    return mus


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, {}),
        ({"ema_state": "estimate"}, {"estimate": True}),
        ({"blend_weight": 0.0}, {"blend": 0.0}),
        ({"prior": "off"}, {"prior": False}),
        ({"alpha_mode": "kl", "ema_state": "estimate"}, {"estimate": True, "alpha_rate": 0.01}),
    ],
)
@pytest.mark.parametrize("clock", ["steps", "scaled"])
def test_trace_equals_second_implementation(options, reference, clock):
    expected = Reference(**reference)
    expected = [expected.step(t, *noise(t)) for t in range(1100 if clock == "steps" else 1000)]
    assert trace({**options, "clock": clock}, 1000, len(expected)) == pytest.approx(expected, rel=0, abs=1e-9)


def test_clocks_agree_exactly_on_a_run_of_the_horizon():
    assert trace({"clock": "scaled"}, 1000) == trace({"clock": "steps"}, 1000)
    assert trace({"clock": "scaled", "horizon": 70}, 70) == trace({"clock": "steps"}, 70)


@pytest.mark.parametrize("total", [20, 100, 250, 1000, 4000])
def test_scaled_clock_passes_the_same_states_in_runs_of_any_length(total):
    """With constant statistics, mu at a share of the budget does not depend on the number of steps."""
    controller, reference = Controller(GacOptions()), Controller(GacOptions(clock="steps"))
    statistics, seen, expected = named(0.9, 0.2, 0.7), {}, {}
    for index in range(total):
        controller.advance(statistics, Step(index, index / total))
        seen[index / total] = controller.mu
    for index in range(1000):
        reference.advance(statistics, Step(index, 0.0))
        expected[index / 1000] = reference.mu
    assert [seen[share] for share in (0.0, 0.1, 0.5, 0.9)] == [expected[share] for share in (0.0, 0.1, 0.5, 0.9)]


def test_position_that_does_not_move_leaves_mu_alone():
    controller = Controller(GacOptions())
    statistics = named(1.0, 1.0, 1.0)
    controller.advance(statistics, Step(0, 0.5))
    mu, state = controller.mu, controller.state_dict()
    for step in (Step(1, 0.5), Step(2, 0.4)):
        assert not controller.refresh_due(step)
        controller.advance(statistics, step)
        assert controller.mu == mu and controller.state_dict() == state
        assert controller.metrics()["d_mu"] == 0.0


def test_a_second_call_in_a_step_moves_nothing():
    once, twice = Controller(GacOptions(clock="steps")), Controller(GacOptions(clock="steps"))
    for index in range(30):
        once.advance(named(1.0, 0.5, 0.2), Step(index))
        for _ in range(2):
            twice.advance(named(1.0, 0.5, 0.2), Step(index))
    assert once.state_dict() == twice.state_dict()


def settled(raw, **options):
    """mu after a long run at a constant prior of 0.4 and a constant mu_raw."""
    controller = Controller(GacOptions(prior_warmup=0.0, prior_peak=0.4, prior_valley=0.4, clock="steps", **options))
    for index in range(4000):
        controller.advance(named(raw, 1.0 - raw, 0.0), Step(index))
    assert controller.mu_raw() == pytest.approx(raw, abs=1e-7)
    return controller.mu


def test_released_update_settles_on_its_prior():
    for raw in (0.1, 0.5, 0.9):
        assert settled(raw) == pytest.approx(0.990099 * 0.4 + 0.00990099 * raw, abs=1e-6)
    assert settled(0.9) - settled(0.1) == pytest.approx(0.00792, abs=1e-5)


@pytest.mark.parametrize("blend", [0.25, 0.5, 0.8])
def test_estimate_has_the_blend_weight(blend):
    difference = settled(0.7, ema_state="estimate", blend_weight=blend) - settled(
        0.3, ema_state="estimate", blend_weight=blend
    )
    assert difference == pytest.approx(0.4 * blend, abs=1e-6)


def test_prior_alone_ignores_the_statistics():
    assert settled(0.1, blend_weight=0.0) == settled(0.9, blend_weight=0.0) == 0.4


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.5])
@pytest.mark.parametrize(("alpha", "delta", "sft", "rl"), [(0.5, 1.0, 0.3, 0.7), (0.9, 0.05, 2.0, 0.4), (0.2, 4, 1, 1)])
def test_closed_form_minimises_the_error(alpha, delta, sft, rl, correlation):
    """E|g(mu) - g*|^2 by brute force over mu, with noise of the given covariance."""
    mu = np.linspace(-0.5, 1.5, 2_000_001)
    covariance = correlation * math.sqrt(sft * rl)
    error = (mu - alpha) ** 2 * delta + mu**2 * sft + (1 - mu) ** 2 * rl + 2 * mu * (1 - mu) * covariance
    assert closed_form(alpha, delta, sft, rl, correlation) == pytest.approx(mu[error.argmin()], abs=2e-6)


def test_closed_form_limits():
    assert closed_form(0.3, 0.0, 0.2, 0.6) == pytest.approx(0.75)  # inverse variances
    assert closed_form(0.3, 1e12, 0.2, 0.6) == pytest.approx(0.3)


def test_delta_cap():
    controller = Controller(GacOptions(delta_cap_ratio=0.5, alpha=0.9))
    controller.advance(named(0.4, 0.6, 100.0), Step(0))
    assert controller.mu_raw() == pytest.approx((0.9 * 0.5 + 0.4) / (0.5 + 1.0), abs=1e-7)
    assert controller.metrics()["delta_g2"] == 100.0


def test_alpha_follows_the_kl_within_its_range():
    def after(kl, steps=100):
        controller = Controller(GacOptions(alpha_mode="kl", clock="steps"))
        for index in range(steps):
            controller.advance(named(1.0, 1.0, 1.0), Step(index, kl=kl))
        return controller.alpha

    assert after(0.02) == 0.5
    assert after(0.04, 1) == pytest.approx(0.51)
    assert after(0.04, 10) == pytest.approx(0.51)  # moves only on refreshes
    assert after(0.04, 11) == pytest.approx(0.52)
    assert after(1.0) == 0.95
    assert after(0.0, 1000) == 0.10
    assert after(None) == 0.5


def test_guards():
    controller = Controller(GacOptions(clock="steps"))
    previous = 0.5
    for index in range(400):
        controller.advance(named(*noise(index)[:3]), Step(index))
        assert 0.05 <= controller.mu <= 0.90
        assert abs(controller.mu - previous) <= 0.01 + 1e-15
        assert controller.metrics()["d_mu"] == controller.mu - previous
        previous = controller.mu


def test_estimator_share_compares_both_pulls():
    controller = Controller(GacOptions(prior_warmup=0.0, prior_peak=0.5, prior_valley=0.5, clock="steps"))
    controller.advance(named(1.0, 0.0, 0.0), Step(0))  # mu is at its prior: only the estimate pulls
    assert controller.metrics()["estimator_share"] == 1.0
    low = Controller(GacOptions(clock="steps"))
    low.advance({}, Step(0))  # prior 0 pulls 0.25, an estimate of 0.5 nothing
    assert low.metrics()["estimator_share"] == 0.0


def test_loss_is_the_mixture_at_mu(random_batch):
    batch = random_batch()
    step = Step(0, 0.0)
    for loss in ("phi", "plain", "dft"):
        strategy = build(sft_loss=loss)
        strategy.load_state_dict({**strategy.state_dict(), "mu": 0.3})
        fixed = registry.build("fixed", {"mu": 0.3, "sft_loss": loss}, SIZES)
        found, expected = (estimator.coefficients(one, batch, step) for one in (strategy, fixed))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_metrics_and_state_of_a_run(run_steps):
    strategy = build()
    records = run_steps(strategy, 0, 25, 1000)
    assert [index for index, record in enumerate(records) if record["wanted"]] == [0, 10, 20]
    names = {"mu", "mu_raw", "mu_sensitivity", "prior", "alpha", "d_mu", "estimator_share"}
    assert set(records[-1]["metrics"]) == {*names, *NAMES, *(f"{name}_raw" for name in NAMES)}
    state = json.loads(json.dumps(strategy.state_dict()))
    assert state["ticks"] == 25 and state["last_refresh"] == 20 and state["mu"] == records[-1]["metrics"]["mu"]
    plan = strategy.plan(Step(25, 0.025))
    assert (plan.prompts, plan.rollouts, plan.pool) == (2, 4, 6)
