"""The ablation arms of GAC: each option against a second implementation, its signals, its sensitivity, its controls."""

from __future__ import annotations

import json
import math
import random
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strategies import registry
from strategies.base import Role, Sizes, Step
from strategies.gac_control import Controller
from strategies.gac_options import GacOptions
from strategies.gac_statistics import NAMES

SIZES = Sizes(prompts=2, group=4, demos=6, max_response=7)
MATRIX = Path(__file__).resolve().parents[2] / "reports" / "matrices" / "gac-ablations.toml"


def build(name="gac", **options):
    return registry.build(name, options, SIZES)


def noise(t):
    """(statistics, KL) of step t."""
    values = (1 + 0.5 * math.sin(t), 0.3 + 0.2 * math.cos(3 * t), 0.8 + 0.7 * math.sin(7 * t))
    return dict(zip(NAMES, values, strict=True)), 0.02 + 0.03 * math.sin(t / 9)


# ---- the update


def reference(options, steps):
    """mu after each of `steps` steps at clock "steps", from the formulas, by arrays over time."""
    o = {**{f: getattr(GacOptions(), f) for f in GacOptions.__dataclass_fields__}, **options}
    beta, refreshes = o["ema_beta"], range(0, steps, o["f_mu"])
    smooth, alphas, alpha, ema = {}, {}, o["alpha"], None
    for t in refreshes:
        values, kl = noise(t)
        now = np.array([values[name] for name in NAMES])
        ema = now if ema is None else beta * ema + (1 - beta) * now
        if o["alpha_mode"] == "kl":
            alpha = float(np.clip(alpha + o["alpha_rate"] * (kl / o["kl_target"] - 1), o["alpha_min"], o["alpha_max"]))
        smooth[t], alphas[t] = ema, alpha
    kept = [float(o["drop"] != name) for name in NAMES]
    mu = own = o["mu_init"]
    mus = []
    for t in range(steps):
        last = t - t % o["f_mu"]
        r, s, d = smooth[last] * kept
        if o["delta_cap_ratio"]:
            d = min(d, o["delta_cap_ratio"] * (r + s + 1e-8))
        c = o["noise_correlation"] * (r * s) ** 0.5
        r, s = r + o["bias_r2"], s + o["bias_s2"]
        raw = (alphas[last] * d + r - c) / (d + r + s - 2 * c + 1e-8) if o["drop"] != "noise" else alphas[last]
        own = np.clip(beta * (mu if o["ema_state"] == "applied" else own) + (1 - beta) * raw, o["mu_min"], o["mu_max"])
        target = own
        if o["prior"] == "cosine":
            warm, decay = o["prior_warmup"], o["prior_decay"]
            fall = (1 + math.cos(math.pi * min((t - warm) / decay, 1))) / 2
            prior = o["prior_valley"] + (o["prior_peak"] - o["prior_valley"]) * fall
            prior = o["prior_peak"] * t / warm if t < warm else prior
            target = o["blend_weight"] * own + (1 - o["blend_weight"]) * prior
        mu = np.clip(mu + np.clip(target - mu, -o["change_cap"], o["change_cap"]), o["mu_min"], o["mu_max"])
        mus.append(float(mu))
    return mus


ARMS = [
    {"blend_weight": 0.0},
    {"drop": "noise", "alpha_mode": "kl", "prior": "off", "change_cap": 1.0},
    {"drop": "noise", "alpha_mode": "kl", "prior": "off", "change_cap": 1.0, "ema_beta": 0.0},
    {"prior": "off", "change_cap": 1.0, "ema_beta": 0.0},
    {"prior": "off"},
    {"change_cap": 1.0},
    {"ema_beta": 0.0},
    {"drop": "sigma_r2"},
    {"drop": "sigma_s2", "delta_cap_ratio": 0.7},
    {"drop": "delta_g2"},
    {"drop": "sigma_s2", "noise_correlation": 0.8},  # no variance, no covariance
    {"noise_correlation": -0.5, "alpha": 0.7},
    {"bias_s2": 0.6, "bias_r2": 0.2},
    {"bias_s2": 0.6, "noise_correlation": 0.4, "f_mu": 3},
    {"alpha_mode": "kl", "alpha_rate": 0.2},
    {"delta_cap_ratio": 0.3},
    {"mu_init": 0.85, "prior_warmup": 0.0, "prior_decay": 100.0},
]


def drive(strategy, first, last, total=None):
    """mu and metrics after each step, through the seam that needs no language model."""
    seen = []
    for index in range(first, last):
        statistics, kl = noise(index)
        step = Step(index, index / (total or last), kl=kl)
        strategy.adapt({**statistics, "reward": 0.5} if strategy.wants_signals(step) else {"reward": 0.5}, step)
        seen.append((strategy.mu, strategy.metrics()))
    return seen


@pytest.mark.parametrize("ema_state", ["applied", "estimate"])
@pytest.mark.parametrize("options", ARMS, ids=str)
def test_every_arm_equals_a_second_implementation(options, ema_state):
    options = {**options, "ema_state": ema_state}
    found = [mu for mu, _ in drive(build(clock="steps", **options), 0, 400)]
    assert found == pytest.approx(reference(options, 400), rel=0, abs=1e-9)


@pytest.mark.parametrize("options", [*ARMS, {"clock": "steps"}, {"ema_state": "estimate"}], ids=str)
def test_an_interrupted_arm_goes_on_as_if_nothing_had_happened(options):
    expected = drive(build(**options), 0, 90)
    first, second = build(**options), build(**options)
    drive(first, 0, 41, total=90)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.mu == first.mu
    assert drive(second, 41, 90) == expected[41:]


@pytest.mark.parametrize(
    ("options", "raw"),
    [
        ({}, 2 / 3.5),
        ({"alpha": 0.2}, 1.4 / 3.5),
        ({"drop": "sigma_r2"}, 1 / 2.5),
        ({"drop": "sigma_s2"}, 2 / 3),
        ({"drop": "delta_g2"}, 1 / 1.5),
        ({"drop": "noise"}, 0.5),
        ({"bias_s2": 0.5, "bias_r2": 0.25}, 2.25 / 4.25),
        ({"noise_correlation": 0.5}, (2 - 0.5 * 0.5**0.5) / (3.5 - 0.5**0.5)),
        ({"delta_cap_ratio": 1.0}, (0.75 + 1) / 3),
    ],
)
def test_first_step_by_hand(options, raw):
    """R = 1, S = 1/2, D = 2, alpha = 1/2; mu moves from 1/2 towards a prior of 0 by the cap."""
    strategy = build(**options)
    strategy.adapt({"sigma_r2": 1.0, "sigma_s2": 0.5, "delta_g2": 2.0}, Step(0))
    metrics = strategy.metrics()
    assert metrics["mu_raw"] == pytest.approx(raw, abs=1e-7)
    assert metrics["mu"] == strategy.mu == pytest.approx(0.49) and metrics["prior"] == 0.0
    free = build(**options, change_cap=1.0, ema_beta=0.8)
    free.adapt({"sigma_r2": 1.0, "sigma_s2": 0.5, "delta_g2": 2.0}, Step(0))
    assert free.mu == pytest.approx(0.5 * (0.8 * 0.5 + 0.2 * raw), abs=1e-7)


@pytest.mark.parametrize(("drop", "raw"), [("none", 0.5), ("sigma_r2", 0.0), ("sigma_s2", 1.0), ("noise", 0.7)])
def test_a_dropped_term_is_0_before_the_first_statistics_too(drop, raw):
    assert Controller(GacOptions(drop=drop, alpha=0.7)).mu_raw() == pytest.approx(raw, abs=1e-7)


def test_absent_statistics_are_skipped():
    strategy = build(clock="steps", f_mu=1)
    strategy.adapt({"reward": 0.5}, Step(0))
    assert strategy.metrics()["mu_raw"] == pytest.approx(0.5) and "sigma_r2" not in strategy.metrics()
    strategy.adapt({"sigma_s2": 3.0}, Step(1))
    assert strategy.metrics()["mu_raw"] == pytest.approx(1 / 4)
    strategy.adapt({"sigma_r2": 2.0}, Step(2))
    metrics = strategy.metrics()
    assert metrics["mu_raw"] == pytest.approx(2 / 5)
    assert (metrics["sigma_s2"], metrics["sigma_r2_raw"]) == (3.0, 2.0) and "delta_g2" not in metrics


def test_metrics_hold_statistics_before_and_after_the_ema():
    strategy = build(clock="steps", f_mu=1, ema_beta=0.75)
    for index, value in enumerate((1.0, 5.0)):
        strategy.adapt({"sigma_r2": value}, Step(index))
    assert strategy.metrics()["sigma_r2"] == 2.0 and strategy.metrics()["sigma_r2_raw"] == 5.0


def test_the_kl_driven_ratio_asks_for_the_kl():
    assert "kl" in build(alpha_mode="kl").requires
    assert "kl" not in build().requires


@pytest.mark.parametrize(
    "options", [{"drop": "sigma"}, {"bias_s2": -0.1}, {"signal_phi": "false"}, {"signal_advantages": "random"}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build(**options)


# ---- sensitivity


class Shifted(Controller):
    """A controller whose mu_raw is `shift` higher at every tick."""

    shift = 0.0

    def mu_raw(self):
        return super().mu_raw() + self.shift


SENSITIVE = [
    {},
    {"ema_state": "estimate"},
    {"ema_state": "estimate", "change_cap": 1.0, "blend_weight": 0.9},
    {"ema_state": "estimate", "prior": "off", "change_cap": 0.002, "ema_beta": 0.5},  # the cap holds often
    {"ema_state": "estimate", "prior": "off", "ema_beta": 0.3, "mu_max": 0.62, "mu_min": 0.48},  # the bounds hold
    {"prior": "off", "ema_beta": 0.9, "mu_max": 0.62},
    {"ema_beta": 0.0},
    {"prior": "off", "change_cap": 1.0, "ema_beta": 0.0},
    {"blend_weight": 0.0},
    {"change_cap": 0.0},
]


@pytest.mark.parametrize("options", SENSITIVE, ids=str)
def test_sensitivity_is_the_derivative_of_mu(options):
    """Against central differences of the whole course, through cap and bounds."""
    h = 1e-7
    low, middle, high = controllers = [Shifted(GacOptions(clock="steps", **options)) for _ in range(3)]
    low.shift, high.shift = -h, h
    found, expected = [], []
    for index in range(300):
        for controller in controllers:
            controller.advance(noise(index)[0], Step(index))
        found.append(middle.metrics()["mu_sensitivity"])
        expected.append((high.mu - low.mu) / (2 * h))
    assert found == pytest.approx(expected, rel=0, abs=1e-6)
    assert any(found) == (options not in ({"blend_weight": 0.0}, {"change_cap": 0.0}))


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
def test_sensitivity_settles_at_its_closed_form(weight, beta):
    for state, expected in (("applied", weight * (1 - beta) / (1 - weight * beta)), ("estimate", weight)):
        options = GacOptions(clock="steps", change_cap=1.0, blend_weight=weight, ema_beta=beta, ema_state=state)
        controller = Controller(options)
        for index in range(4000):
            controller.advance(dict.fromkeys(NAMES, 1.0), Step(index))
        assert controller.sensitivity == pytest.approx(expected, rel=1e-9)


def test_sensitivity_where_cap_or_bound_hold():
    held = Controller(GacOptions(clock="steps", change_cap=0.001, prior="off", ema_beta=0.5))
    held.advance({"sigma_r2": 1.0, "sigma_s2": 0.1, "delta_g2": 0.1}, Step(0))
    assert held.mu == 0.501 and held.sensitivity == 0.0  # moved by the cap
    bound = Controller(GacOptions(clock="steps", change_cap=1.0, prior="off", ema_beta=0.5, mu_max=0.6))
    bound.advance({"sigma_r2": 1.0, "sigma_s2": 0.1, "delta_g2": 0.1}, Step(0))
    assert bound.mu == 0.6 and bound.sensitivity == 0.0
    free = Controller(GacOptions(clock="steps", change_cap=1.0, prior="off", ema_beta=0.75))
    free.advance({"sigma_r2": 1.0, "sigma_s2": 0.1, "delta_g2": 0.1}, Step(0))
    assert free.sensitivity == 0.25


# ---- signals


@pytest.fixture
def rows(random_batch):
    """Rollouts and demonstrations with advantages that differ from row to row, one row without a token."""
    batch = random_batch(1)
    batch = batch.take(batch.role != int(Role.TEACHER))
    mask = batch.mask.clone()
    mask[2] = 0.0
    return replace(batch, mask=mask, advantage=torch.linspace(-1.5, 2.0, len(mask), dtype=torch.float64))


def observed(strategy, batch, seed=5, split=None):
    """The statistics that the controller gets."""
    parts = [strategy.signals(batch.take(index)) for index in torch.arange(len(batch.role)).split(split or 99)]
    signals = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    strategy.observe(signals, Step(0, seed=seed))
    return strategy.controller.newest


def by_content(batch):
    """Rows with tokens, by their mean NLL: the order from which the shuffles draw."""
    means = [float(-batch.logp[i][mask > 0].mean()) for i, mask in enumerate(batch.mask)]
    return sorted((i for i in range(len(means)) if batch.mask[i].sum() > 0), key=means.__getitem__)


def test_shuffles_do_not_depend_on_the_order_of_rows(rows):
    order = torch.randperm(len(rows.role), generator=torch.Generator().manual_seed(3))
    for options in ({"signal_advantages": "shuffled"}, {"signal_phi": "shuffled"}):
        found = observed(build(**options), rows.take(order))["delta_g2"]
        assert found == pytest.approx(observed(build(**options), rows)["delta_g2"], rel=1e-12)


def disagreement(batch, c_s, c_r):
    """D from the token coefficients of every row."""
    used = [i for i in range(len(batch.role)) if batch.mask[i].sum() > 0]
    return np.mean([float(((c_s[i] - c_r[i]) ** 2)[batch.mask[i] > 0].mean()) for i in used])


@pytest.mark.parametrize("z_score", [False, True])
def test_shuffled_advantages(rows, z_score):
    """The coefficient of every rollout is built, token by token, from the advantage of another rollout."""
    rollouts = [i for i in by_content(rows) if rows.role[i] == 0]
    order = random.Random(5).sample(rollouts, len(rollouts))
    assert order != rollouts
    permuted = rows.advantage.clone()
    permuted[rollouts] = rows.advantage[order]
    p, mask = rows.logp.exp(), rows.mask > 0
    c_s, c_r = -p * (1 - p), torch.where(rows.role.unsqueeze(-1) == 0, -permuted.unsqueeze(-1), 0.0) + 0 * p
    if z_score:
        c_s, c_r = ((c - c[mask].mean()) / c[mask].std(correction=0) for c in (c_s, c_r))
    found = observed(build(signal_advantages="shuffled", z_score=z_score), rows)
    assert found["delta_g2"] == pytest.approx(disagreement(rows, c_s, c_r), rel=1e-12)
    true = observed(build(z_score=z_score), rows)
    assert abs(found["delta_g2"] - true["delta_g2"]) > 1e-3
    assert found["sigma_r2"] == true["sigma_r2"] and found["sigma_s2"] == true["sigma_s2"]


def test_shuffled_phi(rows):
    """Row i meets the moments of phi of row order[i]; E (c_s - c_r)^2 is expanded with those."""
    used = by_content(rows)
    order = random.Random(5).sample(used, len(used))
    values = []
    for i, j in zip(used, order, strict=True):
        p = rows.logp[j][rows.mask[j] > 0].exp()
        phi = p * (1 - p)
        a = float(rows.advantage[i]) if rows.role[i] == 0 else 0.0
        values.append(float(((-phi + a) ** 2).mean()))
    found = observed(build(signal_phi="shuffled"), rows)
    assert found["delta_g2"] == pytest.approx(np.mean(values), rel=1e-12)
    true = observed(build(), rows)
    assert found["delta_g2"] != true["delta_g2"]
    assert found["sigma_r2"] == true["sigma_r2"] and found["sigma_s2"] == true["sigma_s2"]


def test_shuffling_phi_within_rows_could_not_be_seen(rows):
    """Why the shuffle is across rows: with one advantage a row the order of its tokens does not enter D."""
    logp = rows.logp.clone()
    for i, mask in enumerate(rows.mask):
        n = int(mask.sum())
        logp[i, :n] = logp[i, :n].flip(0)
    found, true = observed(build(), replace(rows, logp=logp)), observed(build(), rows)
    assert found["delta_g2"] == pytest.approx(true["delta_g2"], rel=1e-14)


def test_constant_coefficients(rows):
    """c_s = c_r = -1 on rollouts, c_s = -1 and c_r = 0 on demonstrations: D is the share of demonstrations."""
    used = rows.mask.sum(-1) > 0
    share = float((rows.role[used] == 1).double().mean())
    true = observed(build(), rows)
    found = observed(build(signal_advantages="constant", signal_phi="constant"), rows)
    assert found == {**true, "delta_g2": pytest.approx(share, rel=1e-12)}
    unit = observed(build(signal_phi="constant"), rows)["delta_g2"]
    assert unit == pytest.approx(observed(build(sft_loss="plain"), rows)["delta_g2"], rel=1e-12)
    scored = observed(build(signal_advantages="constant", signal_phi="constant", z_score=True), rows)["delta_g2"]
    p, mask = rows.logp.exp(), rows.mask > 0
    c_r = torch.where(rows.role.unsqueeze(-1) == 0, -1.0, 0.0) + 0 * p
    c_r = (c_r - c_r[mask].mean()) / c_r[mask].std(correction=0)
    assert scored == pytest.approx(disagreement(rows, 0 * p, c_r), rel=1e-12)


@pytest.mark.parametrize("options", [{"signal_advantages": "shuffled"}, {"signal_phi": "shuffled"}])
def test_the_shuffle_follows_the_seed_and_not_the_split(rows, options):
    expected = observed(build(**options), rows)
    assert all(observed(build(**options), rows, split=size) == expected for size in (1, 4, 5))
    others = {observed(build(**options), rows, seed=seed)["delta_g2"] for seed in range(6)}
    assert len(others) > 3


def test_shuffled_signals_of_a_step_without_rows(rows):
    options = {"signal_advantages": "shuffled", "signal_phi": "shuffled"}
    strategy = build(**options)
    strategy.observe({}, Step(0))
    assert strategy.controller.newest == {}
    assert observed(build(**options), rows.take(rows.role == 1)).keys() == {"sigma_s2"}
    blank = build(signal_advantages="shuffled", signal_phi="constant")
    assert observed(blank, replace(rows, mask=rows.mask * 0)) == {}


def test_the_loss_knows_nothing_of_the_ablated_signals(rows):
    plain, shuffled = build(), build(signal_advantages="shuffled", signal_phi="constant")
    for found, expected in zip(shuffled.components(rows, Step(0)), plain.components(rows, Step(0)), strict=True):
        assert (found.name, found.scale, found.aggregator) == (expected.name, expected.scale, expected.aggregator)
        assert torch.equal(torch.as_tensor(found.advantage), torch.as_tensor(expected.advantage))


# ---- controls and matrix


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("gac_prior_only", {"blend_weight": 0.0}),
        ("gac_shuffled", {"signal_advantages": "shuffled"}),
        ("gac_constant", {"signal_advantages": "constant", "signal_phi": "constant"}),
    ],
)
def test_a_control_is_gac_with_one_thing_changed(name, changed, rows):
    control, same = build(name), build(**changed)
    values = {field: getattr(control.config, field) for field in GacOptions.__dataclass_fields__}
    assert values == {field: getattr(same.config, field) for field in GacOptions.__dataclass_fields__}
    assert type(control).kind == "control"
    assert observed(control, rows) == observed(same, rows)
    assert build(name, ema_state="estimate").config.ema_state == "estimate"
    with pytest.raises(ValueError, match=name):
        control.load_state_dict({"foreign": 1.0})


def test_prior_only_is_a_schedule():
    """Whatever the statistics; from the prior's first crossing of mu on, mu is the prior within its bounds."""
    found = drive(build("gac_prior_only", clock="steps"), 0, 1000)
    assert [mu for mu, _ in found] == pytest.approx(reference({"blend_weight": 0.0}, 1000), rel=0, abs=1e-12)
    assert all(mu == pytest.approx(metrics["prior"], abs=1e-12) for mu, metrics in found[250:])
    assert {metrics["mu_sensitivity"] for _, metrics in found} == {0.0}
    other = build("gac_prior_only", clock="steps")
    for index in range(1000):
        other.adapt({"sigma_r2": 9.0, "sigma_s2": 0.1, "delta_g2": 0.0}, Step(index))
        assert other.mu == found[index][0]


def test_signals_matter_only_where_the_estimate_has_weight(rows):
    """The released recursion lets a control differ from the method by lambda (1 - beta) / (1 - lambda beta) of what
    their estimates differ by, the other by lambda."""

    def final(name, ema_state):
        strategy = build(name, ema_state=ema_state, ema_beta=0.9, clock="steps", prior_peak=0.4, prior_valley=0.4)
        for index in range(300):
            signals = strategy.signals(rows)
            strategy.observe(signals, Step(index, seed=index))
        return strategy.mu

    gaps = {state: abs(final("gac", state) - final("gac_constant", state)) for state in ("applied", "estimate")}
    assert gaps["estimate"] > 0.01
    assert gaps["applied"] == pytest.approx(gaps["estimate"] * 0.1 / 0.55, rel=1e-3)


def arms():
    return tomllib.loads(MATRIX.read_text())["arms"]


@pytest.mark.parametrize("arm", arms(), ids=lambda arm: arm["name"])
def test_every_arm_of_the_matrix_is_a_valid_strategy(arm):
    assert arm.keys() <= {"name", "strategy", "options"}
    config = registry.validate(arm["strategy"], arm.get("options", {}))
    assert isinstance(config, GacOptions)
    for option, value in arm.get("options", {}).items():
        assert getattr(config, option) == value != getattr(registry.get(arm["strategy"]).Config(), option)


def test_no_two_arms_are_the_same():
    settings = [(arm["strategy"], json.dumps(arm.get("options", {}), sort_keys=True)) for arm in arms()]
    assert len(set(settings)) == len(settings) == len({arm["name"] for arm in arms()})
