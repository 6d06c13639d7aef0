"""GFT: expert, teacher and own responses in one group, with a bound on the coefficient of unlikely tokens.

Source: arXiv 2604.14258, Eq. 4 (group advantage), Eq. 5 (rectification), Eq. 21 (loss); ZJU-OmniAI/GFT
`compute_gft_loss` and its script. Eq. 22 of the paper has one more factor 1/pi, which is not the gradient of Eq. 21;
this is Eq. 21.

    A = (R - mean) / (std + 1e-6)  over the hybrid group, std with n - 1
    L = - mean over all tokens of A * C * log p,   C = p if p <= tau else 1

The four parts: pi_ref = pi_theta (no ratio, no old log-probs, no KL); advantage A, the demonstrations' rewards being
the verifier's; no mask; weight C.

Groups of 8, by the options `expert`, `teacher` and `own` (None: the rest of the run's group):

    default                    1 expert, 3 teacher, 4 own. Paper, section 4.1; the script's 4 given and 4 own
    teacher = 0                1 expert, 7 own. The paper's "no mix" is GFT without teacher data, but its group is not
                               given: the 7 are our reading
    teacher = 7 / 5 / 3 / 1    given : own of 8:0 / 6:2 / 4:4 / 2:6, the paper's Table 5, whose best is 2:6
    expert = 0, teacher = 0    0:8

Defaults: tau 0.7, the best of the paper's Fig. 6 (released script: 0.1; default of the released function: 0.5).
`rectify` false gives C = 1, the paper's ablation without DCR. Eq. 5 has p < tau, the code p <= tau. A prompt with fewer
demonstrations than asked has a smaller group. tau = 1 weighs every token with p, tau = 0 none. A group whose rewards
are all equal has A = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.demo_group import counted_together
from strategies.estimator import group_advantage
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor

SIGNALS = {"rl": (Role.ROLLOUT,), "sft": (Role.DEMO, Role.TEACHER)}
ORIGINS = {"expert_advantage": Role.DEMO, "teacher_advantage": Role.TEACHER, "own_advantage": Role.ROLLOUT}


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
    parity = "original code: compute_gft_loss"
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
        self._seen: dict[str, float] = {}

    def plan(self, step: Step) -> SamplingPlan:
        config = self.config
        return SamplingPlan(self.sizes.prompts, self.own, expert=config.expert, teacher=config.teacher)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        rewards = [[row.reward for row in (*group.rollouts, *group.demos)] for group in groups]
        given = sum(len(group.demos) for group in groups)
        self._seen = {
            "given_share": given / max(sum(map(len, rewards)), 1),
            "uniform_groups": sum(len(set(group)) < 2 for group in rewards) / max(len(groups), 1),
        }
        return super().route(groups, pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        value = group_advantage(batch.reward, batch.group)
        for name, role in ORIGINS.items():
            rows = batch.is_role(role)
            self._seen[name] = float(value[rows].mean()) if bool(rows.any()) else 0.0
        return value

    def components(self, batch: Batch, step: Step) -> list[Component]:
        weight = None
        if self.config.rectify:
            probability = batch.logp.detach().exp()
            weight = probability.masked_fill(probability > self.config.tau, 1.0)
        return [Component("group", tuple(Role), advantage=batch.advantage, weight=weight)]

    def branches(self, batch: Batch, step: Step) -> dict[str, list[Component]]:
        (whole,) = self.components(batch, step)
        return {
            name: [counted_together(replace(whole, roles=roles), batch, tuple(Role))] for name, roles in SIGNALS.items()
        }

    def metrics(self) -> dict[str, float]:
        """Of the last step: share of given responses, of groups with equal rewards, mean advantage by origin."""
        return dict(self._seen)
