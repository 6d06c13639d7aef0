"""Scenarios of the testbed: how noise, signal and demonstrations behave over a run, and the sizes of a run."""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

PROXIES = ("gradient", "unfloored", "coefficient", "z_score")

Course = tuple[tuple[float, float], ...]


def at(course: Course, fraction: float) -> float:
    """Value of a piecewise linear course [(fraction, value), ...]; two points at one fraction are a jump."""
    after = bisect_right([point for point, _ in course], fraction)
    if after == 0:
        return course[0][1]
    if after == len(course):
        return course[-1][1]
    (x0, y0), (x1, y1) = course[after - 1 : after + 1]
    return y0 + (y1 - y0) * (fraction - x0) / (x1 - x0)


@dataclass(frozen=True)
class Scenario:
    """One world. J is the suboptimality, 1 at the start and 0 at the optimum.

    `sigma_r`, `sigma_s`: standard deviations of the two batch gradients, sqrt(E|noise|^2), in units of the gradient's
    norm at the start. `demo_gap`: J at the optimum of the demonstrations, so 0 means perfect ones. `start_reward`:
    share of correct rollouts at the start. `sparse`: an RL row is a group of rollouts that gives no gradient, and no
    noise, unless some of them are right and some wrong.
    """

    name: str
    summary: str
    sigma_r: Course
    sigma_s: Course
    demo_gap: float = 0.1
    start_reward: float = 0.1
    sparse: bool = False


def constant(value: float) -> Course:
    return ((0.0, value),)


_ALL = (
    Scenario("constant", "both noises stay as they are", constant(2.0), constant(1.0)),
    Scenario(
        "rl_noise_falls", "RL noise is high early, low late", ((0.0, 4.0), (0.25, 4.0), (0.75, 0.5)), constant(1.0)
    ),
    Scenario("demo_noise_rises", "demonstrations get noisier", constant(1.5), ((0.0, 0.5), (1.0, 4.0))),
    Scenario(
        "switch",
        "the noisy branch changes abruptly at each third",
        ((0.0, 4.0), (1 / 3, 4.0), (1 / 3, 0.75), (2 / 3, 0.75), (2 / 3, 4.0)),
        ((0.0, 0.75), (1 / 3, 0.75), (1 / 3, 4.0), (2 / 3, 4.0), (2 / 3, 0.75)),
    ),
    Scenario(
        "sparse_reward",
        "almost no rollout is rewarded at the start: neither signal nor noise from RL",
        constant(2.0),
        constant(1.0),
        start_reward=0.001,
        sparse=True,
    ),
    Scenario("biased_demos", "demonstrations lead to a poor optimum", constant(2.0), constant(1.0), demo_gap=0.6),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}


def choose(names: Iterable[str]) -> list[Scenario]:
    """The named scenarios, all of them for no names. ValueError for an unknown or repeated name."""
    names = list(names) or list(SCENARIOS)
    for i, name in enumerate(names):
        if name not in SCENARIOS:
            near = difflib.get_close_matches(name, SCENARIOS, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(SCENARIOS)}."
            raise ValueError(f"unknown scenario {name!r}: {hint}")
        if name in names[:i]:
            raise ValueError(f"scenario {name!r} is given twice: leave one out")
    return [SCENARIOS[name] for name in names]


@dataclass(frozen=True)
class Settings:
    """Sizes of a run. ValueError names the first bad one."""

    dimension: int = 16
    steps: int = 300
    seeds: int = 20
    seed: int = 0  # the first one
    learning_rate: float = 0.1  # stable below 2: the largest curvature is 1
    alpha: float = 0.5  # SFT share of the declared target gradient
    rl_rows: int = 32  # rows that the RL gradient and its statistics come from; a row is a group of rollouts
    sft_rows: int = 8
    group: int = 8  # rollouts a group
    proxy: str = "gradient"

    def __post_init__(self) -> None:
        least = {"dimension": 2, "steps": 10, "seeds": 2, "seed": 0, "rl_rows": 2, "sft_rows": 2, "group": 2}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name.replace('_', '-')} must be >= {low}, not {getattr(self, name)}")
        if not 0.0 < self.learning_rate < 2.0:
            raise ValueError(
                f"learning-rate must be in (0, 2), not {self.learning_rate:g}: the largest curvature is 1, "
                "so that descent diverges from 2 on"
            )
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must be in [0, 1], not {self.alpha:g}")
        if self.proxy not in PROXIES:
            raise ValueError(f"proxy must be one of {', '.join(PROXIES)}, not {self.proxy!r}")
