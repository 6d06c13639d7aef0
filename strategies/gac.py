"""GAC, the guided adaptive controller: the weight of SFT follows estimates of gradient noise and disagreement.

Sources: arXiv 2605.26184, section 3; released code `gac/controller.py`, `hybrid_loss.py`, `sft_loss.py`.

    L = (1 - mu) L_RL + mu L_SFT,   mu* = (alpha D + R) / (D + S + R)

mu* minimises (mu - alpha)^2 D + mu^2 S + (1 - mu)^2 R, with D = |g_s - g_r|^2, S and R the variances of the SFT and RL
gradients, alpha the SFT share of the target gradient. D = delta_g2, S = sigma_s2 and R = sigma_r2 are estimated in
coefficient space, see `gac_statistics`; `gac_control` has EMA, prior, cap and bounds.

The four parts: RL as in `grpo`, with its options, scale 1 - mu. SFT: as `sft_loss` says, scale mu; "phi" by default,
that is pi_ref = 1, advantage 1, no mask, weight 1 - p. The token coefficient of that loss is -c_s in D as well. Each
branch is normalised by its own counts (Trinity averages RL over tokens: `aggregation = "token"`).

Defaults are those of the released code and README. Where paper, docs and code differ, or are silent:
  ema_state   "applied" (code): the EMA runs on the mu that was applied, so that mu settles at 0.990 prior + 0.0099
              mu_raw and follows its prior whatever the signals say. "estimate": the EMA runs on mu_raw by itself, which
              then has the weight `blend_weight`. The metric mu_sensitivity is that weight as it is. The control for
              both is the prior alone, `blend_weight = 0`.
  z_score     the docs normalise both coefficients over the batch's tokens before D, the code does not (default off).
  alpha_mode  "static" (code), or "kl": every f_mu steps alpha += alpha_rate (KL / kl_target - 1), within its range. The
              paper names the target and the range, no law is released; this one is a proposal.
  noise_correlation  correlation of the two gradient noises (the paper's appendix treats covariance), 0 in the code:
              mu* = (alpha D + R - c) / (D + S + R - 2 c), c = correlation * sqrt(S R). It is not estimated: rollouts
              and demonstrations are drawn independently, so that nothing in a step shows it.
  bias_s2, bias_r2   the paper's bias-augmented bound, whose form is not released. A reconstruction: the squared bias
              of each gradient is added to its variance, mu* = (alpha D + R + b_r) / (D + S + b_s + R + b_r). 0 in the
              code.
  A statistic without rows is skipped; the code sets it to 0. mu moves once per optimiser step; the code moves it at
  every call. All rows of the step count; the code has S and D of one rank.
  clock       "steps": the constants hold per optimiser step. "scaled" (default): they hold per tick of a run of
              `horizon` (1,000) ticks, and an optimiser step does all ticks up to its share of the budget, so that runs
              of any length pass the same prior with the same filter. On a run of 1,000 steps both are the same.

Ablations: `blend_weight = 0`, the prior alone; `prior = "off"`; `change_cap = 1`, no cap; `ema_beta = 0`, no EMA;
`drop`, a term of the closed form is 0 ("noise": S and R with their biases, so that mu_raw = alpha); `sft_loss =
"plain"`, without phi; `signal_advantages` and `signal_phi`, other coefficients in D (`gac_statistics.ablate`). As
controls with names of their own: `gac_controls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from strategies.base import Batch, Role, Sizes, Step
from strategies.gac_control import Controller
from strategies.gac_options import GacOptions
from strategies.gac_statistics import ablate, proxies
from strategies.mixture import Mixture
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Gac(Mixture):
    name = "gac"
    summary = "(1 - mu) GRPO + mu SFT, mu from estimates of gradient noise and disagreement"
    source = "arXiv 2605.26184; deepnovacore/GAC"
    kind = "controller"
    parity = "controller: hand-computed steps; losses: original code"
    Config = GacOptions

    def __init__(self, config: GacOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        if config.alpha_mode == "kl":
            self.requires = self.requires | {"kl"}
        self.controller = Controller(config, self.name)
        self.mu = self.controller.mu

    def mu_at(self, step: Step) -> float:
        return self.controller.mu

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        """Moves mu with sigma_r2, sigma_s2 and delta_g2; those that `statistics` does not hold are skipped."""
        self.controller.advance(statistics, step)
        super().adapt(statistics, step)

    def wants_signals(self, step: Step) -> bool:
        return self.controller.refresh_due(step)

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """Per row: role, tokens, and token means of the advantage, of -log p, and of the coefficients' moments."""
        mask = batch.mask.double()
        tokens = mask.sum(-1)
        # every value below is 0 where the mask is; padding may hold anything
        logp = batch.logp.detach().double().masked_fill(mask == 0, 0.0)
        advantage = batch.advantage.double()
        advantage = (advantage.unsqueeze(-1) if advantage.dim() == 1 else advantage) * mask
        sft = -self.sft.token_coefficient(replace(batch, logp=logp, mask=mask))
        rl = -advantage * batch.is_role(Role.ROLLOUT).double().unsqueeze(-1)

        def mean(value: Tensor) -> Tensor:
            return value.sum(-1) / tokens.clamp(min=1)

        return {
            "role": batch.role.double(),
            "tokens": tokens,
            "advantage": mean(advantage),
            "nll": mean(-logp),
            "sft": mean(sft),
            "rl": mean(rl),
            "sft_sft": mean(sft * sft),
            "rl_rl": mean(rl * rl),
            "sft_rl": mean(sft * rl),
        }

    def statistics(self, signals: Mapping[str, Tensor]) -> dict[str, float]:
        """sigma_r2, sigma_s2 and delta_g2 from `signals` of all rows; those without rows are absent."""
        values = {name: value.tolist() for name, value in signals.items()}
        return proxies(values, self.config.trim, self.config.z_score)

    def observe(self, signals: Mapping[str, Tensor], step: Step) -> None:
        if signals:
            signals = ablate(signals, self.config.signal_advantages, self.config.signal_phi, step.seed)
        super().observe(signals, step)

    def metrics(self) -> dict[str, float]:
        """mu, mu_raw, mu_sensitivity (derivative of mu by mu_raw), prior, alpha, d_mu, estimator_share (1 if the
        estimate pulls harder than the prior); once known, sigma_r2, sigma_s2, delta_g2, and with _raw before the EMA.
        """
        return self.controller.metrics()

    def state_dict(self) -> dict[str, Any]:
        return self.controller.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.controller.load_state_dict(state)
        self.mu = self.controller.mu
