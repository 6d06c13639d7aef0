"""`harness dynamics`: every number against another way to get it, arms and seeds, and what a user may get wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from trained import run_of

from harness import dynamics
from harness.dynamics import Settings

STEPS = 40


def records(seed: int, mu: bool = True, probe: bool = True) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Metrics and timing of a made-up run of 40 steps: KL every fourth step, exact gradients every second."""
    noise = np.random.default_rng(seed)
    metrics, timing = [], []
    level = 0.5
    for step in range(1, STEPS + 1):
        level += float(noise.normal(0, 0.005))
        line: dict[str, Any] = {"step": step, "effective_mix": float(noise.uniform()), "kl": None}
        if step % 4 == 0:
            line["kl"] = float(noise.uniform(0, 0.05))
        if mu:
            line |= {"mu": level, "estimator_share": float(step % 3 == 0), "mu_sensitivity": 0.01 * step}
            line |= {name: float(noise.uniform()) for name in (*dynamics.PROXIES, "sigma_r2_raw")}
        clock = {"step": step, "seconds": 2.0, "rollout": 1.5, "update": 0.5, "controller": 0.01 * (step % 2)}
        if probe and step % 2:
            for name in dynamics.PROXIES:
                line[f"true_{name}"] = round(float(noise.uniform()), 1)  # with ties
            line |= {"true_cosine": -0.25, "mu_optimal": 0.4, "mu_regret": 0.01 * step, "error_optimal": 2.0}
            clock["gradient_probe"] = 3.0
        metrics.append(line)
        timing.append(clock)
    return metrics, timing


def write(root: Path, strategy: str, seed: int, options: dict[str, Any] | None = None, **made: Any) -> Path:
    path = root / "trial" / f"{strategy}-{len(options or {})}-s{seed}"
    path.mkdir(parents=True)
    spec = {"strategy": strategy, "model": "1m", "seed": seed, "options": options or {}, "budget": {"limit": STEPS}}
    (path / "manifest.json").write_text(json.dumps({"spec": spec}))
    for name, rows in zip(("metrics", "timing"), records(seed, **made), strict=True):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Two seeds of a method with a mu and an exact-gradient probe, one run of a method without either."""
    root = tmp_path / "runs"
    for seed in (0, 1):
        write(root, "steered", seed)
    write(root, "plain", 0, mu=False, probe=False)
    return root


def document(say: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    said = say("dynamics", *arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_numbers_of_a_run(say: Callable[..., Any], written: Path) -> None:
    found = document(say, written / "trial" / "steered-0-s0", "--thresholds", "0.002,0.01", "--kl-target", "0.03")
    (run,) = found["runs"]
    metrics, timing = records(0)
    mus = [line["mu"] for line in metrics]
    assert run["steps"] == STEPS
    assert run["controller_share"] == pytest.approx(sum(t["controller"] for t in timing) / (2.0 * STEPS))
    assert run["events"] == {str(x): int((np.abs(np.diff(mus)) > x).sum()) for x in (0.002, 0.01)}
    assert 0 < run["events"]["0.01"] < run["events"]["0.002"]
    assert run["estimator_share"] == pytest.approx(13 / 40)
    assert run["mu_sensitivity"] == pytest.approx(np.mean([0.01 * step for step in range(1, 41)]))
    assert run["mu"] == {"first": mus[0], "mean": pytest.approx(np.mean(mus)), "last": mus[-1]}
    mix = [line["effective_mix"] for line in metrics]
    assert run["effective_mix"] == {"first": mix[0], "mean": pytest.approx(np.mean(mix)), "last": mix[-1]}


def test_drift_is_the_integral_of_the_interpolated_kl(say: Callable[..., Any], written: Path) -> None:
    (run,) = document(say, written / "trial" / "steered-0-s0", "--kl-target", "0.03")["runs"]
    known = [(0, 0.0)] + [(line["step"], line["kl"]) for line in records(0)[0] if line["kl"] is not None]
    fine = np.linspace(0, STEPS, 400_001)
    kl = np.interp(fine, *zip(*known, strict=True))
    assert run["kl_drift_area"] == pytest.approx(np.trapezoid(kl, fine), rel=1e-9)
    assert run["kl_drift_above_target"] == pytest.approx(np.trapezoid(np.maximum(kl - 0.03, 0), fine), rel=1e-6)
    assert 0 < run["kl_drift_above_target"] < run["kl_drift_area"]


def test_correlations_with_the_exact_gradients(say: Callable[..., Any], written: Path) -> None:
    found = document(say, written)
    probes = {run["seed"]: run["probe"] for run in found["runs"] if run["label"] == "steered"}
    for seed, probe in probes.items():
        lines = [line for line in records(seed)[0] if "true_delta_g2" in line]
        for name, kind, column in [
            ("sigma_r2", "estimated", "sigma_r2_raw"),
            *((name, "smoothed", name) for name in dynamics.PROXIES),
        ]:
            x, y = [line[column] for line in lines], [line[f"true_{name}"] for line in lines]
            assert probe["proxies"][name][kind] == {
                "n": 20,
                "pearson": pytest.approx(stats.pearsonr(x, y).statistic),
                "spearman": pytest.approx(stats.spearmanr(x, y).statistic),
            }
        assert "estimated" not in probe["proxies"]["sigma_s2"]
        assert probe["mu_regret"] == pytest.approx(np.mean([line["mu_regret"] for line in lines]))
        assert probe["seconds"] == 60.0 and probe["measured"] == 20
    (arm,) = (arm for arm in found["arms"] if arm["label"] == "steered")
    means = arm["probe"]["proxies"]["delta_g2"]["smoothed"]
    assert means["n"] == 40
    both = [probe["proxies"]["delta_g2"]["smoothed"]["pearson"] for probe in probes.values()]
    assert means["pearson"] == pytest.approx(np.mean(both))


def test_undefined_correlations_are_none() -> None:
    assert dynamics.correlation([1.0, 2.0], [3.0, 4.0]) == {"n": 2, "pearson": None, "spearman": None}
    assert dynamics.correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])["pearson"] is None
    assert dynamics.correlation([1.0, 2.0, 3.0], [0.1, 7.0, 8.0])["spearman"] == pytest.approx(1.0)


def test_arms_are_means_over_seeds(say: Callable[..., Any], written: Path) -> None:
    found = document(say, written)
    arms = {arm["label"]: arm for arm in found["arms"]}
    assert set(arms) == {"plain", "steered"} and arms["steered"]["seeds"] == [0, 1]
    runs = [run for run in found["runs"] if run["label"] == "steered"]
    for read in (
        lambda run: run["kl_drift_area"],
        lambda run: run["mu"]["last"],
        lambda run: run["events"]["0.005"],
        lambda run: run["controller_share"],
    ):
        assert read(arms["steered"]) == pytest.approx(np.mean([read(run) for run in runs]))
    plain = arms["plain"]
    assert plain["mu"] is plain["events"] is plain["estimator_share"] is plain["probe"] is None
    assert plain["effective_mix"] and plain["kl_drift_area"]


def test_names_of_a_matrix_are_used_where_they_tell_runs_apart(say: Callable[..., Any], tmp_path: Path) -> None:
    cells = {}
    for seed in (0, 1):
        for options, arm in (({}, "full"), ({"cap": 1}, "no-cap"), ({"cap": 1, "phi": 0}, "no-cap")):
            path = write(tmp_path, "steered", seed, options)
            cells[path.name] = {"arm": arm, "axes": {"seed": seed, "data.noise": 0.2}}
    (tmp_path / "trial" / "x.matrix.json").write_text(json.dumps({"cells": cells}))
    labels = [arm["label"] for arm in document(say, tmp_path)["arms"]]
    assert "full data.noise=0.2" in labels and len(set(labels)) == len(labels) == 3
    assert not any(label.startswith("no-cap") for label in labels)


def test_table(say: Callable[..., Any], written: Path) -> None:
    said = say("dynamics", written, "--thresholds", "0.003")
    assert said.code == 0 and not said.err
    assert "means over seeds" in said.out and "estimates against exact gradients" in said.out
    assert said.out.count("moves of mu: steps at which it changed by more than 0.003") == 2
    rows = [line.split() for line in said.out.splitlines()]
    (mean,) = (row for row in rows if row[:3] == ["steered", "2", "40"])
    assert mean[3] == "0.25"
    assert len([row for row in rows if row[:1] == ["steered"] and "delta_g2" in row]) == 1
    assert next(row for row in rows if row[:1] == ["plain"])[-4] == "-"
    single = say("dynamics", written / "trial" / "plain-0-s0").out
    assert "means over seeds" not in single and "exact gradients" not in single


def test_a_step_that_was_done_again_counts_once() -> None:
    metrics, timing = records(3)
    expected = dynamics.measure(metrics, timing, Settings())
    old = [{**line, "mu": 0.9, "kl": 1.0} for line in metrics[10:13]]
    assert dynamics.measure([*metrics[:13], *old, *metrics[10:]], [*timing, timing[-1]], Settings()) == expected


def test_runs_that_cannot_be_read_are_named(say: Callable[..., Any], written: Path) -> None:
    (written / "trial" / "plain-0-s0" / "metrics.jsonl").write_text("")
    (written / "trial" / "steered-0-s1" / "manifest.json").write_text("{")
    said = say("dynamics", written)
    assert said.code == 0
    assert "plain-0-s0 has no steps yet" in said.err and "steered-0-s1" in said.err
    assert "plain" not in said.out


def test_what_a_user_may_get_wrong(say: Callable[..., Any], written: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, word in [
        ((tmp_path / "empty",), "no run with a step under"),
        ((tmp_path / "missing",), "does not exist"),
        ((written, "--thresholds", "small"), "--thresholds takes numbers"),
        ((written, "--thresholds=-0.1"), "thresholds must be numbers >= 0"),
        ((written, "--kl-target", "-1"), "KL target must be"),
    ]:
        said = say("dynamics", *arguments)
        assert said.code == 2 and word in said.err and len(said.err.strip().splitlines()) == 1, said.err


def test_agrees_with_what_the_trainer_counted(say: Callable[..., Any], results: Path) -> None:
    """On really trained runs: the trainer keeps the drift area and the moves above 0.005 itself."""
    found = {run["run"]: run for run in document(say, results)["runs"]}
    assert len(found) == 3
    for path in (run_of(results, "gac", 0), run_of(results, "gac", 1), run_of(results, "sft", 0)):
        last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
        run = found[str(path)]
        assert run["steps"] == last["step"]
        assert run["kl_drift_area"] == pytest.approx(last["kl_drift_area"])
        if "mu" in last:
            assert run["events"]["0.005"] == last["large_dmu_events"]
            assert run["mu"]["last"] == last["mu"] and run["mu_sensitivity"] is not None
