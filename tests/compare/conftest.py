"""Fixture that writes small finished run directories with known difficulty, seed effects and costs."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SUITES = ("arithmetic", "coding")
FRACTIONS = ("0.00", "0.50", "1.00")


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(
    root: Path,
    strategy: str = "mixer",
    seed: int = 0,
    skill: float = 0.5,
    *,
    experiment: str = "exp",
    spec: dict[str, Any] | None = None,
    problems: int = 24,
    samples: int = 4,
    steps: int = 12,
    flops: float = 1e9,
    tokens: float = 500.0,
    has_mu: bool = False,
    ood: bool = False,
    done: bool = True,
    grader_version: str = "1",
    data_hash: str = "abc",
    suites: tuple[str, ...] = SUITES,
) -> Path:
    """One run; `skill` in [0, 1] is reached at the end from 0.2 at the start, problem difficulty is shared."""
    full: dict[str, Any] = {
        "strategy": strategy,
        "model": "tiny",
        "seed": seed,
        "budget": {"kind": "updates", "limit": steps},
        "eval": {"temperature": 0.6, "samples": samples},
        "train": {"lr": 0.001},
        "options": {},
    }
    full |= copy.deepcopy(spec or {})
    name = f"{strategy}-{zlib.crc32(json.dumps(full, sort_keys=True).encode()):08x}-s{seed}"
    path = root / experiment / name
    (path / "verdicts").mkdir(parents=True)
    manifest = {"schema": 1, "spec": full, "spec_hash": "0", "provenance": {}, "attempts": [], "sizes": {}}
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    rng = np.random.default_rng([zlib.crc32(strategy.encode()), seed])
    gain = skill - 0.2 + rng.normal(0, 0.02)
    metrics, timing = [], []
    for step in range(1, steps + 1):
        done_share = step / steps
        row = {
            "step": step,
            "fraction": done_share,
            "reward": 0.2 + gain * done_share + rng.normal(0, 0.03),
            "mu": None,
            "kl": 0.1 * done_share,
            "kl_drift_area": 0.05 * step,
            "entropy": 1.5 - done_share + rng.normal(0, 0.02),
            "response_length": 40 + 10 * done_share,
            "truncated": 0.02,
            "grad_norm": 0.5 + rng.uniform(0, 0.2),
            "effective_mix": 0.8 - 0.5 * done_share,
            "prompts": 8 * step,
            "generated_tokens": tokens * step,
            "trained_tokens_rollout": tokens * step * 0.9,
            "trained_tokens_demo": 100 * step,
            "flops": flops * step,
        }
        if has_mu:
            noise = float(rng.uniform(0.5, 1.5))
            row |= {"mu": 0.8 - 0.4 * done_share + rng.normal(0, 0.02), "mu_raw": 0.8 - 0.4 * done_share * noise}
            row |= {"prior": 0.8 - 0.5 * done_share, "alpha": 0.3, "sigma_r2": 0.4 * noise, "sigma_s2": 0.1 / noise}
            row |= {"delta_g2": 0.01 * noise, "large_dmu_events": float(step // 4), "d_mu": -0.01}
        metrics.append(row)
        cumulative = 2.0 * step
        timing.append({"step": step, "seconds": 2.0, "controller": 0.01, "cumulative_seconds": cumulative})
    _lines(path / "metrics.jsonl", metrics)
    _lines(path / "timing.jsonl", timing)

    evaluation: dict[str, Any] = {}
    for fraction in FRACTIONS:
        at_step = round(float(fraction) * steps)
        ledger = {"updates": at_step, "generated_tokens": tokens * at_step, "flops": flops * at_step}
        ledger["seconds"] = 2.0 * at_step
        evaluation[fraction] = {}
        for suite in suites:
            easiness = np.random.default_rng(zlib.crc32(suite.encode())).beta(2, 2, problems)
            rows = []
            for number in range(problems):
                split = "ood" if ood and number % 4 == 3 else "eval"
                level = 1 + number % 3
                chance = np.clip((0.2 + gain * float(fraction)) * 2 * easiness[number] / level**0.5, 0, 1)
                for sample in range(samples):
                    passed = bool(rng.uniform() < chance)
                    rows.append(
                        {
                            "problem": f"{suite}-{number:03d}",
                            "sample": sample,
                            "status": "pass" if passed else "fail",
                            "score": float(passed),
                            "family": "f",
                            "level": level,
                            "split": split,
                            "truncated": sample == 0 and number == 0,
                            "grader": "exact",
                            "grader_version": grader_version,
                            "sandbox": "none",
                        }
                    )
            _lines(path / "verdicts" / f"{suite}@{fraction}.jsonl", rows)
            evaluation[fraction][suite] = {"n": problems, "k": samples, "data_hash": data_hash, "at": ledger}
    (path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    if done:
        (path / "DONE").write_text("", encoding="utf-8")
    return path


@pytest.fixture(name="write_run", scope="session")
def _write_run() -> Callable[..., Path]:
    return write_run
