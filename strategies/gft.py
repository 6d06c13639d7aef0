"""GFT: expert, teacher and own responses in one group, with a bound on the coefficient of unlikely tokens.

Source: arXiv 2604.14258, Eq. 4 (group advantage), Eq. 5 (rectification), Eq. 21 (loss); ZJU-OmniAI/GFT
`compute_gft_loss`. Eq. 22 of the paper has one more factor 1/pi, which is not the gradient of Eq. 21; this is Eq. 21.

    A = (R - mean) / (std + 1e-6)  over the hybrid group
    L = - mean over all tokens of A * C * log p,   C = p if p <= tau else 1

The four parts: pi_ref = pi_theta (no ratio, no old log-probs, no KL); advantage A, the demonstrations' rewards being
the verifier's; no mask; weight C.

Defaults: 1 expert, 3 teacher and 4 own responses of 8 (paper, section 4.1; the script has 4 given and 4 own); tau 0.7,
the best of the paper's Fig. 6 (released script: 0.1; default of the released function: 0.5). Options: `expert`,
`teacher`, `own` (None: the rest of the run's group); `rectify` false gives C = 1, the paper's ablation without DCR. A
prompt with fewer demonstrations than asked has a smaller group. tau = 1 weighs every token with p, tau = 0 none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies.base import Batch, Component, Role, SamplingPlan, Sizes, Step, Strategy
from strategies.estimator import group_advantage
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GftOptions:
    """Options of `gft`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    expert: int = 1
    teacher: int = 3
    own: int | None = None
    tau: float = 0.7
    rectify: bool = True

    def __post_init__(self) -> None:
        if self.expert not in (0, 1):
            raise ValueError(f"option expert must be 0 or 1, not {self.expert}")
        for option in ("teacher", "own"):
            value = getattr(self, option)
            if value is not None and value < 0:
                raise ValueError(f"option {option} must be >= 0, not {value}")
        if not 0.0 <= self.tau <= 1.0:
            raise ValueError(f"option tau must be in [0, 1], not {self.tau}")


@register
class Gft(Strategy):
    name = "gft"
    summary = "group fine-tuning: one group of expert, teacher and own responses, coefficients rectified below tau"
    source = "arXiv 2604.14258, Eq. 4, 5, 21; ZJU-OmniAI/GFT"
    kind = "group"
    Config = GftOptions

    def __init__(self, config: GftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        given = config.expert + config.teacher
        self.own = sizes.group - given if config.own is None else config.own
        if self.own < 0:
            raise ValueError(
                f"strategy gft asks for {given} demonstrations in a group of {sizes.group}: "
                "lower its options expert and teacher, or raise the run's group"
            )
        if given + self.own < 2:
            raise ValueError("strategy gft needs at least 2 responses in a group: raise expert, teacher or own")

    def plan(self, step: Step) -> SamplingPlan:
        config = self.config
        return SamplingPlan(self.sizes.prompts, self.own, expert=config.expert, teacher=config.teacher)

    def advantages(self, batch: Batch) -> Tensor:
        return group_advantage(batch.reward, batch.group)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        weight = None
        if self.config.rectify:
            probability = batch.logp.detach().exp()
            weight = probability.masked_fill(probability > self.config.tau, 1.0)
        return [Component("group", tuple(Role), advantage=batch.advantage, weight=weight)]
