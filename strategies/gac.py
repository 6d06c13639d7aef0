"""GAC, the guided adaptive controller: the weight of SFT follows estimates of gradient noise and disagreement.

Sources: arXiv 2605.26184, section 3; released code `gac/controller.py`, `hybrid_loss.py`, `sft_loss.py`.

    L = (1 - mu) L_RL + mu L_SFT,   mu* = (alpha D + R) / (D + S + R)

mu* minimises (mu - alpha)^2 D + mu^2 S + (1 - mu)^2 R, with D = |g_s - g_r|^2, S and R the variances of the SFT and RL
gradients, alpha the SFT share of the target gradient. The three are estimated in coefficient space, see `gac_control`.

The four parts: RL as in `grpo`, with its options, scale 1 - mu. SFT: CHORD's phi (`token_phi`), that is pi_ref = 1,
advantage 1, no mask, weight 1 - p, scale mu; else as in `sft`. Each branch is normalised by its own counts (Trinity
averages RL over tokens: `aggregation = "token"`).

Defaults are those of the released code and README. Where paper, docs and code differ, or are silent:
  ema_state   "applied" (code): the EMA runs on the mu that was applied, so that mu settles at 0.990 prior + 0.0099
              mu_raw and follows its prior whatever the signals say. "estimate": the EMA runs on mu_raw
              by itself, which then has the weight `blend_weight`. The control for both is the prior alone,
              `blend_weight = 0`.
  z_score     the docs normalise both coefficients over the batch's tokens before D, the code does not (default off).
  alpha_mode  "static" (code), or "kl": every f_mu steps alpha += alpha_rate (KL / kl_target - 1), within its range. The
              paper names the target and the range, no law is released; this one is a proposal.
  noise_correlation  correlation of the two gradient noises (the paper's appendix treats covariance), 0 in the code:
              mu* = (alpha D + R - c) / (D + S + R - 2 c), c = correlation * sqrt(S R).
  A statistic without rows is skipped; the code sets it to 0. mu moves once per optimiser step; the code moves it at
  every call. All rows of the step count; the code has S and D of one rank.
  clock       "steps": the constants hold per optimiser step. "scaled" (default): they hold per tick of a run of
              `horizon` (1,000) ticks, and an optimiser step does all ticks up to its share of the budget, so that runs
              of any length pass the same prior with the same filter. On a run of 1,000 steps both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.gac_control import Controller, GacOptions, Statistics
from strategies.policy_gradient import PolicyGradient
from strategies.registry import register
from strategies.sft import phi_component, sft_component

if TYPE_CHECKING:
    from torch import Tensor


@register
class Gac(Strategy):
    name = "gac"
    summary = "(1 - mu) GRPO + mu SFT, mu from estimates of gradient noise and disagreement"
    source = "arXiv 2605.26184; deepnovacore/GAC"
    kind = "control"
    Config = GacOptions

    def __init__(self, config: GacOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.requires = self.policy.requires
        self.controller = Controller(config)
        if sizes.demos < 1:
            raise ValueError("strategy gac needs demonstrations: set the run's `demos` to >= 1")

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(self.sizes.prompts, self.sizes.group, pool=self.sizes.demos)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        return super().route(self.policy.select(groups), pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def wants_signals(self, step: Step) -> bool:
        return self.controller.refresh_due(step)

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """Per row: role, tokens, and token means of the advantage, of -log p, and of the coefficients' moments."""
        mask = batch.mask.double()
        tokens = mask.sum(-1)
        rollout = batch.is_role(Role.ROLLOUT).double().unsqueeze(-1)

        def mean(value: Tensor) -> Tensor:
            return value.masked_fill(mask == 0, 0.0).sum(-1) / tokens.clamp(min=1)

        logp = batch.logp.detach().double()
        advantage = batch.advantage.double()
        advantage = (advantage.unsqueeze(-1) if advantage.dim() == 1 else advantage) * mask
        p = logp.exp()
        sft = -p * (1.0 - p) if self.config.token_phi else -mask
        rl = -advantage * rollout
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

    def observe(self, signals: Mapping[str, Tensor], step: Step) -> None:
        statistics = Statistics.of({name: value.tolist() for name, value in signals.items()}, self.config)
        self.controller.advance(statistics, step)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        mu = self.controller.mu
        sft = phi_component(batch, mu) if self.config.token_phi else sft_component(mu)
        return [*self.policy.components(batch, 1.0 - mu), sft]

    def metrics(self) -> dict[str, float]:
        """mu, mu_raw, prior, alpha, d_mu, estimator_share; sigma_r2, sigma_s2, delta_g2 once they are known."""
        return self.controller.metrics()

    def state_dict(self) -> dict[str, Any]:
        return self.controller.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.controller.load_state_dict(state)
