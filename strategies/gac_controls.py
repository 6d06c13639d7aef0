"""Controls of GAC: what is left of a result when the estimate, or the information in its signals, is taken away.

Source: ablations named for arXiv 2605.26184 (signal ablations: shuffled advantages, constant coefficients), with the
prior-only control that its released update calls for: there mu follows the prior whatever the signals say.

    mu = prior (capped, clipped)              gac_prior_only
    D with permuted or constant coefficients  gac_shuffled, gac_constant (`gac_statistics.ablate`)

The four parts: those of `gac`. Each control is `gac` with one default changed and has all of its options. An estimate
can only matter where it has weight: compare gac_shuffled and gac_constant with `gac` at `ema_state = "estimate"` in
both; with "applied" all of them follow the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

from strategies.gac import Gac
from strategies.gac_options import GacOptions, Signal
from strategies.registry import register


@dataclass(frozen=True)
class PriorOnlyOptions(GacOptions):
    """Options of `gac`; the adaptive part has no weight."""

    blend_weight: float = 0.0


@dataclass(frozen=True)
class ShuffledOptions(GacOptions):
    """Options of `gac`; D sees the advantages of other rollouts."""

    signal_advantages: Signal = "shuffled"


@dataclass(frozen=True)
class ConstantOptions(GacOptions):
    """Options of `gac`; D sees c_s = -1 on all rows and c_r = -1 on rollouts."""

    signal_advantages: Signal = "constant"
    signal_phi: Signal = "constant"


@register
class GacPriorOnly(Gac):
    """The schedule of GAC without its controller; the statistics are still measured, and cost what they cost."""

    name = "gac_prior_only"
    summary = "control of gac: mu is its prior schedule alone"
    kind = "control"
    parity = "formula"
    Config = PriorOnlyOptions


@register
class GacShuffled(Gac):
    """GAC whose disagreement D pairs every rollout with the advantage of another one."""

    name = "gac_shuffled"
    summary = "control of gac: its disagreement sees shuffled advantages"
    kind = "control"
    parity = "formula"
    Config = ShuffledOptions


@register
class GacConstant(Gac):
    """GAC whose disagreement D knows neither probabilities nor advantages: it is the share of demonstrations."""

    name = "gac_constant"
    summary = "control of gac: its disagreement sees constant coefficients"
    kind = "control"
    parity = "formula"
    Config = ConstantOptions
