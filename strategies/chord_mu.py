"""CHORD-mu: GRPO and SFT mixed, the weight of SFT falls along a half cosine.

Sources: CHORD, arXiv 2508.11408, section 4; Trinity-RFT `chord_policy_loss.py` and `examples/mix_chord/mix_chord.yaml`,
whose comments give the values of this variant.

    L = (1 - mu) L_GRPO + mu L_SFT,   mu: peak -> valley over `decay` steps, then valley

The four parts: RL: pi_ref = pi_old, advantage normalised by the deviation, PPO clip 0.2, weight 1, no KL, scale 1 - mu.
SFT: pi_ref = pi_theta, advantage 1, no mask, weight 1, scale mu.

Defaults: peak 0.9, valley 0.05, no warm-up, decay 200 (section 4.3 and the yaml; appendix A says 30: `decay = 30`).
Both branches are token means, `aggregation` and `sft_aggregation` "token": Trinity takes the token mean of each branch
in each micro-batch, weighted with its share of the branch's rows, so that each branch weighs 1 in total; on one
micro-batch that is the token mean over the branch. Here it is so for every split. The paper trains for up to 1,500
steps; on the scaled clock `decay` counts ticks of `horizon` (1,000, as everywhere). Other options as in `decay`.
"""

from __future__ import annotations

from dataclasses import dataclass

from strategies.decay import Decay, DecayOptions
from strategies.policy_options import Aggregation
from strategies.registry import register
from strategies.schedules import Shape


@dataclass(frozen=True)
class ChordMuOptions(DecayOptions):
    """Options of `chord_mu`, those of `decay` with CHORD's values."""

    shape: Shape = "cosine"
    decay: float = 200.0
    aggregation: Aggregation | None = "token"


@register
class ChordMu(Decay):
    name = "chord_mu"
    summary = "CHORD-mu: (1 - mu) GRPO + mu SFT, mu falls from 0.9 to 0.05 along a cosine"
    source = "arXiv 2508.11408; Trinity-RFT chord_policy_loss.py, mix_chord.yaml"
    kind = "mixture"
    parity = "original code: schedule; losses: formula"
    Config = ChordMuOptions
