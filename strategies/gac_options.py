"""Options of GAC: its statistics, its controller, and what an ablation takes away. See `gac` for their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strategies.mixture import MixtureOptions
from strategies.sft_losses import SftLoss

Signal = Literal["true", "shuffled", "constant"]


@dataclass(frozen=True)
class GacOptions(MixtureOptions):
    """Options of `gac` and of both branches; `sft_loss` "plain" is "GAC without phi"."""

    sft_loss: SftLoss = "phi"
    mu_init: float = 0.5
    mu_min: float = 0.05
    mu_max: float = 0.90
    f_mu: int = 10  # controller steps between two refreshes of the statistics
    ema_beta: float = 0.99  # of the statistics, per refresh, and of mu, per controller step; 0: no EMA
    ema_state: Literal["applied", "estimate"] = "applied"
    change_cap: float = 0.01  # largest change of mu per controller step; 1: none
    blend_weight: float = 0.5  # of the adaptive part; the rest is the prior's
    trim: float = 0.10  # share of demonstrations left out at each end of the NLLs
    z_score: bool = False
    delta_cap_ratio: float = 0.0  # bound of D as a multiple of S + R; 0: none
    noise_correlation: float = 0.0
    bias_s2: float = 0.0  # squared biases of the SFT and of the RL gradient, in the units of the variances
    bias_r2: float = 0.0
    drop: Literal["none", "sigma_r2", "sigma_s2", "delta_g2", "noise"] = "none"  # what is 0 in the closed form
    signal_advantages: Signal = "true"  # what c_r in D is made of
    signal_phi: Signal = "true"  # what c_s in D is made of
    alpha_mode: Literal["static", "kl"] = "static"
    alpha: float = 0.5  # start value in mode "kl"
    alpha_min: float = 0.10
    alpha_max: float = 0.95
    alpha_rate: float = 0.01
    kl_target: float = 0.02  # nats per token
    prior: Literal["cosine", "off"] = "cosine"
    prior_warmup: float = 200.0
    prior_decay: float = 800.0
    prior_peak: float = 0.85
    prior_valley: float = 0.15
    clock: Literal["scaled", "steps"] = "scaled"
    horizon: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        unit = ("mu_init", "mu_min", "mu_max", "ema_beta", "change_cap", "blend_weight", "alpha", "alpha_min")
        for option in (*unit, "alpha_max", "prior_peak", "prior_valley"):
            if not 0.0 <= getattr(self, option) <= 1.0:
                raise ValueError(f"option {option} must be in [0, 1], not {getattr(self, option)}")
        for low, middle, high in (("mu_min", "mu_init", "mu_max"), ("alpha_min", "alpha", "alpha_max")):
            if not getattr(self, low) <= getattr(self, middle) <= getattr(self, high):
                raise ValueError(f"options must have {low} <= {middle} <= {high}")
        if not 0.0 <= self.trim < 0.5:
            raise ValueError(f"option trim must be in [0, 0.5), not {self.trim}")
        if not -1.0 <= self.noise_correlation <= 1.0:
            raise ValueError(f"option noise_correlation must be in [-1, 1], not {self.noise_correlation}")
        for option in ("f_mu", "horizon"):
            if getattr(self, option) < 1:
                raise ValueError(f"option {option} must be >= 1, not {getattr(self, option)}")
        at_least_0 = ("delta_cap_ratio", "bias_s2", "bias_r2", "alpha_rate", "prior_warmup", "prior_decay")
        for option in at_least_0:
            if not getattr(self, option) >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {getattr(self, option)}")
        if not self.kl_target > 0.0:
            raise ValueError(f"option kl_target must be > 0, not {self.kl_target}")
