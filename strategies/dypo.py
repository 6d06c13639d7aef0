"""DYPO: SFT on questions that are never solved, nothing on those always solved, RL and pairs on the rest.

Sources: arXiv 2604.08926; Tocci-Zhu/DYPO (commit 061e581) `core_algos.py`, `ray_trainer_dypo.py`, which put the group
alignment loss (GAL) into a form that micro-batches can be given.

    no rollout correct     multi-teacher SFT: the expert's demonstration and the teachers'
    all rollouts correct   left out
    mixed                  a L_GRPO + b L_GAL

    L_GAL = mean over pairs (s, f) of a correct and a wrong rollout of -log sigmoid(beta (score_s - score_f))

The four parts: RL as in `grpo`, scale a. SFT as `sft_loss` says ("plain": advantage 1, no mask, weight 1). GAL, scale
b: pi_ref = pi_theta, no mask, and the advantage of a row is -dL_GAL / dscore at the anchor, the policy at the start of
the update, whose scores a first pass without gradient takes (`pairwise`). With m pairs in the question,

    A_s = (beta / m) sum_f sigmoid(-beta (score_s - score_f)),   A_f = -(beta / m) sum_s of the same

so that the gradient is that of the pairwise loss at the anchor, however the step is split.

Options: `definition` sets what the others leave open:

                            "paper" (default)    "code"
    a, b                    alpha, 1 - alpha     1, gal_coefficient
    alpha, gal_coefficient  0.5                  0.001
    beta                    1                    0.1
    policy_loss             "ppo", clip 0.2      "gspo", clip 0.2
    entropy_coefficient     0                    0.01

`score`: "sum" of the row's token log-probs, as in the code (default), or "mean" over its tokens (ours; which of them
the paper has is not known here). `reference` takes the start policy's score off, as the code does where it has one (its
script has none). `teachers` (1): teacher responses asked for, of which only correct ones are used (ours).
Ours too: one update for both kinds of questions, each question with the same weight (the code queues them and updates
apart); the anchor is the trainer's policy, the code's is the sampler's. A question that is never solved and has no
demonstration is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step
from strategies.gates import Gate
from strategies.pairwise import pair_advantages, pair_component, pair_signals
from strategies.policy_gradient import VARIANTS, PolicyGradient, PolicyOptions
from strategies.registry import register
from strategies.sft_losses import SftLossOptions

if TYPE_CHECKING:
    from torch import Tensor

RL_TERM = {"paper": VARIANTS["grpo"], "code": replace(VARIANTS["gspo"], clip_low=0.2, clip_high=0.2)}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "paper": {"alpha": 0.5, "beta": 1.0, "entropy_coefficient": 0.0},
    "code": {"gal_coefficient": 0.001, "beta": 0.1, "entropy_coefficient": 0.01},
}


@dataclass(frozen=True)
class DypoOptions(SftLossOptions, PolicyOptions):
    """Options of `dypo`, and of its GRPO and SFT terms. None takes the value from `definition`."""

    definition: Literal["paper", "code"] = "paper"
    alpha: float | None = None
    gal_coefficient: float | None = None
    beta: float | None = None
    entropy_coefficient: float | None = None
    score: Literal["sum", "mean"] = "sum"
    reference: bool = False
    teachers: int = 1

    def __post_init__(self) -> None:
        SftLossOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        if self.alpha is not None and not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"option alpha must be in [0, 1], not {self.alpha}")
        if self.alpha is not None and self.gal_coefficient is not None:
            raise ValueError("options alpha and gal_coefficient exclude each other: give one")
        for option in ("gal_coefficient", "entropy_coefficient", "teachers"):
            value = getattr(self, option)
            if value is not None and not value >= 0:
                raise ValueError(f"option {option} must be >= 0, not {value}")
        if self.beta is not None and not self.beta > 0.0:
            raise ValueError(f"option beta must be > 0, not {self.beta}")


@register
class Dypo(Gate):
    name = "dypo"
    summary = "multi-teacher SFT where every rollout fails, GRPO with pairwise alignment where some do, else nothing"
    source = "arXiv 2604.08926; Tocci-Zhu/DYPO"
    parity = "formula"
    Config = DypoOptions
    demo_roles = (Role.DEMO, Role.TEACHER)

    def __init__(self, config: DypoOptions, sizes: Sizes) -> None:
        defaults = dict(DEFINITIONS[config.definition])
        if config.alpha is not None or config.gal_coefficient is not None:
            defaults = {name: value for name, value in defaults.items() if name not in ("alpha", "gal_coefficient")}
        config = replace(config, **{name: value for name, value in defaults.items() if getattr(config, name) is None})
        super().__init__(config, sizes, PolicyGradient(config, RL_TERM[config.definition]))
        self.entropy_coefficient = config.entropy_coefficient
        self.requires |= frozenset(
            name for name, needed in (("entropy", config.entropy_coefficient), ("ref_logp", config.reference)) if needed
        )
        alpha, gal = config.alpha, config.gal_coefficient
        self.mix = (1.0, gal) if alpha is None else (alpha, 1.0 - alpha)  # a, b
        self._mixed = 0  # questions of the step with correct and wrong rollouts
        self._skipped = 0.0
        self._pairs: Tensor | None = None  # [rows of the step] A of every row, divided by the mixed questions

    def plan(self, step: Step) -> SamplingPlan:
        return replace(super().plan(step), teacher=self.config.teachers)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        failed = [group for group in groups if group.n_correct == 0]
        mixed = [group for group in groups if 0 < group.n_correct < len(group.rollouts)]
        demos = [[row for row in g.demos if row.role == Role.DEMO or row.correct] for g in failed]
        self._mixed = len(mixed)
        self._gated = sum(map(bool, demos)) / max(len(groups), 1)
        self._skipped = 1.0 - (len(failed) + len(mixed)) / len(groups) if groups else 0.0
        return [row for group in mixed for row in group.rollouts] + [row for rows in demos for row in rows]

    def wants_signals(self, step: Step) -> bool:
        return self._mixed > 0 and self.mix[1] > 0.0

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        return pair_signals(batch, self.config.score, self.config.reference)

    def observe(self, signals: Mapping[str, Tensor], step: Step) -> None:
        self._pairs = None
        if signals:
            self._pairs = pair_advantages(signals["score"], signals["group"], signals["outcome"], self.config.beta)

    def terms(self, batch: Batch, rl: float, sft: float) -> list[Component]:
        policy = self.policy.components(batch, self.mix[0] * rl)
        demos = self.sft.components(batch, sft)
        if self._pairs is None:
            return [*policy, *demos]
        length, scale = self.sizes.max_response, self.mix[1] * rl
        return [*policy, pair_component("gal", batch, self._pairs, self.config.score, length, scale), *demos]

    def metrics(self) -> dict[str, float]:
        """gated, skipped: shares of the last step's questions with SFT, and always solved; mixed: how many have RL."""
        return {"gated": self._gated, "skipped": self._skipped, "mixed": float(self._mixed)}
