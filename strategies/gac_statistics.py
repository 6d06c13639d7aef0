"""The closed form of GAC, its statistics from the rows of one step, and the ablations of their coefficients.

Source: arXiv 2605.26184, sections 3.1 and 3.2; released code `gac/controller.py`. No tensors but in `ablate`: a step
has at most some thousand rows, and exact sums make the result independent of their order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from strategies.gac_options import Signal
from strategies.rows import Role

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("sigma_r2", "sigma_s2", "delta_g2")
EPS = 1e-8  # floor of the variances and of the denominator of mu_raw


def closed_form(
    alpha: float,
    delta: float,
    sft: float,
    rl: float,
    correlation: float = 0.0,
    bias_s2: float = 0.0,
    bias_r2: float = 0.0,
) -> float:
    """The mu that minimises (mu - alpha)^2 delta + mu^2 S + (1 - mu)^2 R + 2 mu (1 - mu) c.

    S = sft + bias_s2 and R = rl + bias_r2 are the mean squared errors of both gradients, sft and rl their variances,
    c = correlation * sqrt(sft * rl) the covariance of their noise. EPS is added to the denominator, as released.
    """
    covariance = correlation * math.sqrt(sft * rl)
    sft, rl = sft + bias_s2, rl + bias_r2
    return (alpha * delta + rl - covariance) / (delta + sft + rl - 2.0 * covariance + EPS)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    """Population variance, at least EPS."""
    mean = _mean(values)
    return max(_mean([(value - mean) ** 2 for value in values]), EPS)


def trimmed_variance(values: Sequence[float], trim: float) -> float:
    """Population variance without floor(trim * N) values at each end; fewer than four values are not trimmed."""
    cut = int(trim * len(values)) if len(values) >= 4 else 0
    return _variance(sorted(values)[cut : len(values) - cut])


def proxies(signals: Mapping[str, Sequence[float]], trim: float, z_score: bool) -> dict[str, float]:
    """The statistics of `NAMES` from `Gac.signals` of all rows of the step; those without rows are absent.

    sigma_r2: variance over rollouts of the token-mean advantage. sigma_s2: trimmed variance over demonstrations of the
    token-mean NLL. delta_g2: mean over rows of the token mean of (c_s - c_r)^2. Rows without a token do not count.
    """
    names = list(signals)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*signals.values(), strict=True)]
    rows = [row for row in rows if row["tokens"] > 0]
    advantages = [row["advantage"] for row in rows if row["role"] == Role.ROLLOUT]
    nlls = [row["nll"] for row in rows if row["role"] == Role.DEMO]
    found = {}
    if advantages:
        found["sigma_r2"] = _variance(advantages)
    if nlls:
        found["sigma_s2"] = trimmed_variance(nlls, trim)
    if advantages and nlls:
        found["delta_g2"] = _disagreement(rows, z_score)
    return found


def _disagreement(rows: Sequence[Mapping[str, float]], z_score: bool) -> float:
    """Mean over rows of E_t[(a c_s - b c_r - k)^2]; z-scoring gives a, b, k from the moments over all tokens."""
    a, b, k = 1.0, 1.0, 0.0
    if z_score:
        tokens = math.fsum(row["tokens"] for row in rows)

        def scaling(name: str) -> tuple[float, float]:
            """Inverse deviation, and mean over deviation, of a coefficient; both 0 if it is constant."""
            mean = math.fsum(row["tokens"] * row[name] for row in rows) / tokens
            square = math.fsum(row["tokens"] * row[f"{name}_{name}"] for row in rows) / tokens
            variance = square - mean * mean
            if variance <= 1e-12 * square:  # rounding of a constant
                return 0.0, 0.0
            return 1.0 / math.sqrt(variance), mean / math.sqrt(variance)

        (a, shift_s), (b, shift_r) = scaling("sft"), scaling("rl")
        k = shift_s - shift_r
    return _mean(
        [
            a * a * row["sft_sft"] + b * b * row["rl_rl"] - 2.0 * a * b * row["sft_rl"]
            + k * (k - 2.0 * a * row["sft"] + 2.0 * b * row["rl"])
            for row in rows
        ]
    )  # fmt: skip


def ablate(signals: Mapping[str, Tensor], advantages: Signal, phi: Signal, seed: int) -> Mapping[str, Tensor]:
    """`Gac.signals` of all rows, with other coefficients c_r (`advantages`) and c_s (`phi`) in D.

    "shuffled": the moments of c_r change places among the rollouts, those of c_s among all rows, as random.Random(seed)
    draws, c_r first, whatever the order of the rows. The shuffle is ACROSS rows because one within a row cannot be
    seen: where A is the same for all tokens of a row, as it is in GRPO, the row mean of (c_s - c_r)^2 does not depend
    on the order of its c_s. The mean of their product is then the product of the row means (exact for such A).
    "constant": c_s = -1 on
    all rows, c_r = -1 on rollouts. sigma_r2 and sigma_s2 stay those of the true advantages and NLLs: only D is ablated.
    """
    if advantages == phi == "true":
        return signals
    draw = random.Random(seed)
    roles, counts = signals["role"].tolist(), signals["tokens"].tolist()
    nlls = signals["nll"].tolist()
    # by content, so that the order in which the rows come does not matter
    rows = sorted((i for i, tokens in enumerate(counts) if tokens > 0), key=lambda i: (round(nlls[i], 9), counts[i]))
    rollouts = [i for i in rows if roles[i] == Role.ROLLOUT]
    changed = {name: value.clone() for name, value in signals.items()}
    for name, mode, places in (("rl", advantages, rollouts), ("sft", phi, rows)):
        if mode == "shuffled":
            order = draw.sample(places, len(places))
            for moment in (name, f"{name}_{name}"):
                changed[moment][places] = signals[moment][order]
        elif mode == "constant":
            changed[name][places] = -1.0
            changed[f"{name}_{name}"][places] = 1.0
    changed["sft_rl"] = changed["sft"] * changed["rl"]
    return changed
