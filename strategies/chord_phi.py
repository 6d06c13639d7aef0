"""CHORD-phi: GRPO and SFT mixed, with a weight on each demonstration token that vanishes at p = 0 and p = 1.

Sources: CHORD, arXiv 2508.11408, section 4; Trinity-RFT `chord_policy_loss.py` and `examples/mix_chord/mix_chord.yaml`.

    L = (1 - mu) L_GRPO + mu mean_t[- phi log p],   phi = p (1 - p), no gradient through it

The four parts: RL: pi_ref = pi_old, advantage normalised by the deviation, PPO clip 0.2, weight 1, no KL, scale 1 - mu.
SFT: pi_ref = 1, advantage 1, no mask unless `cutoff_prob` < 1, weight 1 - p, scale mu.

`definition` sets what the other options leave open:

              "paper" (default)   "yaml": the values that the example runs with
    warmup    0                   200
    decay     0                   400
    peak      0.1                 0.5
    valley    0.1                 0.02

`cutoff_prob` (1: off): tokens with p above it get no gradient, as Trinity's clamp of log p has it. Aggregation, clock
and horizon as in `chord_mu`. The authors recommend phi for instruct models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from strategies.base import Sizes
from strategies.chord_mu import ChordMuOptions
from strategies.decay import Decay
from strategies.registry import register
from strategies.sft_losses import SftLoss

DEFINITIONS: dict[str, dict[str, float]] = {
    "paper": {"warmup": 0.0, "decay": 0.0, "peak": 0.1, "valley": 0.1},
    "yaml": {"warmup": 200.0, "decay": 400.0, "peak": 0.5, "valley": 0.02},
}


@dataclass(frozen=True)
class ChordPhiOptions(ChordMuOptions):
    """Options of `chord_phi`, those of `chord_mu`. None takes the value from `definition`."""

    definition: Literal["paper", "yaml"] = "paper"
    warmup: float | None = None
    decay: float | None = None
    peak: float | None = None
    valley: float | None = None
    sft_loss: SftLoss = "phi"


@register
class ChordPhi(Decay):
    name = "chord_phi"
    summary = "CHORD-phi: (1 - mu) GRPO + mu SFT with the token weight p (1 - p)"
    source = "arXiv 2508.11408; Trinity-RFT chord_policy_loss.py, mix_chord.yaml"
    kind = "mixture"
    parity = "original code: schedule; losses: formula"
    Config = ChordPhiOptions

    def __init__(self, config: ChordPhiOptions, sizes: Sizes) -> None:
        defaults = DEFINITIONS[config.definition]
        config = replace(config, **{name: value for name, value in defaults.items() if getattr(config, name) is None})
        super().__init__(config, sizes)
