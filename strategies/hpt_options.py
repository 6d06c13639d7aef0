"""Options of `hpt`, what its two definitions leave to them, and its tables of soft gates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from strategies.luffy import ReshapeOptions
from strategies.policy_gradient import VARIANTS, PolicyOptions
from strategies.sft_losses import SftAggregation, SftLossOptions

Weights = tuple[float, float, float]  # of the rollouts, of the demonstration as off-policy row, of its SFT

# by correct responses of a question, 1 to 8; the demonstration is one of them, so that there is no entry for none
_ON = (0.0, 0.125, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0)
_SFT = (1.0, 0.5, 0.25, 0.125, 0.0, 0.0, 0.0, 0.0)
SOFT_GATES: dict[str, tuple[Weights, ...]] = {
    "soft0": tuple(zip(_ON, (0.0, 0.5, 1.0, 0.5, 0.25, 0.125, 0.0, 0.0), _SFT, strict=True)),
    "soft1": tuple(zip(_ON, (1.0,) * 8, _SFT, strict=True)),
    "soft2": tuple(zip(_ON, (0.0,) * 8, _SFT, strict=True)),
}

UNCLIPPED = replace(VARIANTS["dr_grpo"], clip_low="off", clip_high="off")
RL_TERM = {"code": UNCLIPPED, "paper": VARIANTS["dr_grpo"]}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "code": {"normalisation": "global", "entropy_coefficient": 0.001, "skip_grad_norm": 80.0},
    "paper": {"normalisation": "question", "entropy_coefficient": 0.0, "skip_grad_norm": "off"},
}


@dataclass(frozen=True)
class HptOptions(ReshapeOptions, SftLossOptions, PolicyOptions):
    """Options of `hpt`, of its RL and SFT terms, and of its off-policy rows. None: the value of `definition`."""

    definition: Literal["code", "paper"] = "code"
    gate_type: Literal["hard", "soft0", "soft1", "soft2"] = "hard"
    gate: int = 0
    gate_fraction: float | None = None
    gate_off: int | None = None
    off_coefficient: float = 0.0
    sft_coefficient: float = 1.0
    sft_aggregation: SftAggregation | None = None
    normalisation: Literal["global", "question", "released"] | None = None
    entropy_coefficient: float | None = None
    skip_grad_norm: float | Literal["off"] | None = None

    def __post_init__(self) -> None:
        ReshapeOptions.__post_init__(self)
        SftLossOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        if self.gate < -1:
            raise ValueError(f"option gate must be >= -1, not {self.gate}")
        if self.gate_fraction is not None and not 0.0 <= self.gate_fraction <= 1.0:
            raise ValueError(f"option gate_fraction must be in [0, 1], not {self.gate_fraction}")
        if self.gate_fraction is not None and self.gate != 0:
            raise ValueError("options gate and gate_fraction exclude each other: give one")
        gates = self.gate != 0 or self.gate_fraction is not None or self.gate_off is not None or self.off_coefficient
        if self.gate_type != "hard" and gates:
            raise ValueError(
                'options gate, gate_fraction, gate_off and off_coefficient need gate_type "hard", '
                f'not "{self.gate_type}", whose table takes their place: remove them'
            )
        for option in ("off_coefficient", "sft_coefficient", "entropy_coefficient"):
            value = getattr(self, option)
            if value is not None and not value >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {value}")
        if isinstance(self.skip_grad_norm, float | int) and not self.skip_grad_norm > 0:
            raise ValueError(f'option skip_grad_norm must be a number > 0 or "off", not {self.skip_grad_norm}')
        if self.normalisation == "released" and (self.has_off_policy or self.gate_type != "hard"):
            raise ValueError(
                'normalisation "released" has no weights for single demonstrations: use "global" or "question" with '
                "gate_off, off_coefficient or a soft gate_type"
            )

    @property
    def has_off_policy(self) -> bool:
        """Whether a demonstration can be an off-policy row."""
        return self.gate_off is not None or self.off_coefficient > 0.0 or self.gate_type in ("soft0", "soft1")

    def completed(self) -> HptOptions:
        """The options with what is None, but for those of the RL term, taken from the definition."""
        defaults = DEFINITIONS[self.definition]
        full = replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})
        released = full.normalisation == "released"
        return replace(full, sft_aggregation=full.sft_aggregation or ("token_micro" if released else "sequence"))

    def rl_term(self) -> PolicyOptions:
        """What the RL term's options that are None come from."""
        aggregation = "constant_sum" if self.normalisation == "released" else "constant"
        return replace(RL_TERM[self.definition], aggregation=aggregation)
