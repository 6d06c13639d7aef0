"""The specification of a run: frozen, typed, hashed. Reading and checking it imports neither torch nor vllm."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_origin, get_type_hints

Forbid = {"extra": "forbid", "allow_inf_nan": False}


def _positive(section: object, *names: str) -> None:
    for name in names:
        if getattr(section, name) <= 0:
            raise ValueError(f"{name} must be above 0, but is {getattr(section, name)}")


def _share(section: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(section, name) <= 1:
            raise ValueError(f"{name} is a share and must lie in [0, 1], but is {getattr(section, name)}")


def _no_fewer(section: object, low: int, *names: str) -> None:
    for name in names:
        if getattr(section, name) < low:
            raise ValueError(f"{name} must be at least {low}, but is {getattr(section, name)}")


@dataclass(frozen=True)
class Budget:
    """What a run may spend; the run stops at the first optimiser step at which the ledger has reached it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    kind: Literal["updates", "generated_tokens", "flops", "seconds"] = "updates"
    limit: float = 60  # seconds make a run depend on the machine's speed: such runs cannot be repeated bit by bit

    def __post_init__(self) -> None:
        _positive(self, "limit")


@dataclass(frozen=True)
class Data:
    """Training problems and the noise put on them. Noise applies to training only, never to evaluation."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    suites: tuple[str, ...] = ("math", "code", "science", "logic")
    levels: tuple[int, ...] = (1, 2, 3)
    problems: int = 1000  # distinct training problems of each suite
    source: str | None = None  # JSONL file or Hugging Face id used instead of the suites
    eval_source: str | None = None  # the same for evaluation; without it a tenth of `source` is held out
    seed: int = 0  # draws the problems; runs of different seed share them
    demo_noise: float = 0.0  # share of demonstrations that are wrong
    reward_noise: float = 0.0  # share of rollout rewards that are flipped
    teacher_error: float = 0.1  # share of teacher responses that are wrong
    style: Literal["auto", "plain", "chat"] = "auto"  # auto: plain for embedded models, chat where there is a template

    def __post_init__(self) -> None:
        _share(self, "demo_noise", "reward_noise", "teacher_error")
        _no_fewer(self, 1, "problems")
        if not self.suites and not self.source:
            raise ValueError("data.suites is empty: name at least one suite, or a data.source")
        if not self.levels or min(self.levels) < 1:
            raise ValueError("data.levels must name at least one level, counted from 1")


@dataclass(frozen=True)
class Train:
    """The optimiser step. The defaults are those of the embedded models."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    prompts: int = 16  # per batch of rollouts
    group: int = 8  # responses per prompt
    demos: int = 32  # expert rows per step of methods with a pool of demonstrations
    minibatches: int = 1  # optimiser steps per batch of rollouts; 1 is strictly on-policy
    micro_rows: int = 256  # rows per forward and backward; changes memory and speed, never the result
    learning_rate: float = 5e-4
    warmup: int = 5  # optimiser steps of linear warm-up
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    grad_clip: float = 1.0
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; weights and optimiser states are float32

    def __post_init__(self) -> None:
        _no_fewer(self, 1, "prompts", "group", "minibatches", "micro_rows")
        _no_fewer(self, 0, "demos", "warmup")
        _positive(self, "grad_clip")
        if self.learning_rate < 0 or self.weight_decay < 0:
            raise ValueError("learning_rate and weight_decay must not be negative")
        if any(not 0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), but are {list(self.betas)}")


@dataclass(frozen=True)
class Rollout:
    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    engine: Literal["transformers", "vllm"] = "transformers"  # also samples for probes
    temperature: float = 1.0
    max_tokens: int = 96
    max_mismatch: float = 0.1  # mean |log-prob of sampler - of trainer| above which the run fails

    def __post_init__(self) -> None:
        _positive(self, "temperature", "max_tokens", "max_mismatch")


@dataclass(frozen=True)
class Sampling:
    """Settings of one suite that go before its preset and before those of the section eval; None: as there."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    problems: int | None = None
    k: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Evaluation at fixed fractions of the budget. The clock and the ledger stand still meanwhile."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    engine: Literal["auto", "transformers", "vllm"] = "auto"  # auto: that of the rollouts
    suites: tuple[str, ...] | None = None  # None: those trained on
    fractions: tuple[float, ...] = (0.0, 0.5, 1.0)
    problems: int = 100  # per suite
    ood_problems: int = 25  # per suite, harder than anything trained on; at the first and the last fraction
    k: int = 4  # samples per problem
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()  # texts at which a response ends; what follows the first of them is not graded
    seed: int = 0  # of problems and samples; the same for all runs, so that they can be paired
    preset: str | None = None  # of the published suites, instead of problems, k and sampling: paper or quick
    settings: dict[str, Sampling] = field(default_factory=dict)  # by suite: before its preset and the values above

    def __post_init__(self) -> None:
        _no_fewer(self, 1, "problems", "k", "max_tokens")
        for suite, own in self.settings.items():
            values = {key: value for key, value in dataclasses.asdict(own).items() if value is not None}
            try:
                dataclasses.replace(self, settings={}, **values)
            except ValueError as problem:
                raise ValueError(f"settings.{suite}: {problem}") from None
        if "" in self.stop:
            raise ValueError("stop must not hold an empty text")
        _no_fewer(self, 0, "ood_problems")
        if any(not 0 <= fraction <= 1 for fraction in self.fractions):
            raise ValueError("eval.fractions must lie in [0, 1]")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError("eval.temperature must not be negative, and eval.top_p must lie in (0, 1]")


@dataclass(frozen=True)
class Probe:
    """Measurements made for every method alike, outside the ledger.

    KL to the start policy on fresh samples for fixed prompts; if wanted, the exact gradients behind the mix.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    every: int = 5  # optimiser steps; 0 = off
    prompts: int = 64
    gradients_every: int = 0  # optimiser steps between two measurements of the branches' exact gradients; 0 = off

    def __post_init__(self) -> None:
        _no_fewer(self, 0, "every", "gradients_every")
        _no_fewer(self, 1, "prompts")


@dataclass(frozen=True)
class Runtime:
    """How the run is executed. Left out of the hash: it changes speed and safety, not what is computed."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    device: str = "auto"  # auto: cuda where there is one, else cpu
    threads: int = 0  # CPU threads; 0 = all cores
    checkpoint_every: int = 20  # optimiser steps
    keep_checkpoints: int = 2
    deadline: float = 900.0  # seconds a single phase may take before the watchdog ends the run with a stack dump
    engine_memory: float = 0.0  # share of the GPU's memory for an engine with weights of its own; 0: 0.4, 0.9 if alone

    def __post_init__(self) -> None:
        _share(self, "engine_memory")
        _no_fewer(self, 1, "checkpoint_every", "keep_checkpoints")
        _positive(self, "deadline")


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines a run's numbers, and how to execute it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = Forbid
    strategy: str = "gac"
    model: str = "1m"
    seed: int = 0
    experiment: str = "default"
    options: dict[str, Any] = field(default_factory=dict)  # of the strategy; unknown ones are errors
    budget: Budget = field(default_factory=Budget)
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    rollout: Rollout = field(default_factory=Rollout)
    eval: Evaluation = field(default_factory=Evaluation)
    probe: Probe = field(default_factory=Probe)
    runtime: Runtime = field(default_factory=Runtime)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a whole limit is an integer, however it was written, so that the hash is the same."""
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        limit = values["budget"]["limit"]
        if float(limit).is_integer():
            values["budget"]["limit"] = int(limit)
        return values

    @property
    def evaluation_engine(self) -> str:
        """The engine that samples for evaluations."""
        return self.rollout.engine if self.eval.engine == "auto" else self.eval.engine

    def hash(self) -> str:
        """16 hex digits over everything that changes what is computed."""
        content = self.as_dict()
        content.pop("runtime")
        content.pop("experiment")
        # the usual engine goes without saying: runs have the names that they had when there was no other
        rollouts, evaluations = content["rollout"].pop("engine"), content["eval"].pop("engine")
        if rollouts != Rollout.engine:
            content["rollout"]["engine"] = rollouts
        if evaluations not in ("auto", rollouts):
            content["eval"]["engine"] = evaluations
        for key in ("stop", "preset", "settings"):
            if not content["eval"][key]:
                content["eval"].pop(key)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def run_id(self) -> str:
        model = self.model.strip("/").replace("/", "--")[-40:]
        return f"{self.strategy}-{model}-s{self.seed}-{self.hash()[:8]}"


SECTIONS = {f.name for f in dataclasses.fields(RunSpec) if dataclasses.is_dataclass(f.default_factory)}


def _known(path: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(path.rsplit(".", 1)[-1], names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(names)}."


def build(values: Mapping[str, Any]) -> RunSpec:
    """A checked RunSpec from nested plain values; ValueError in one sentence for the first thing that is wrong.

    Names of strategy, suites and strategy options are checked by the registries that own them.
    """
    from pydantic import TypeAdapter, ValidationError

    from benchmarks import registry as suites
    from strategies import registry as strategies

    try:
        document = json.dumps(dict(values))
    except TypeError as problem:
        raise ValueError(f"a specification holds numbers, texts, lists and tables: {problem}") from None
    try:
        # strict, so that true or "8" is no number; as JSON, because strict Python input must be an instance already
        spec = TypeAdapter(RunSpec).validate_json(document, strict=True)
    except ValidationError as problem:
        raise ValueError(_sentence(problem.errors()[0])) from None
    strategies.validate(spec.strategy, spec.options)
    if spec.data.source is None:
        from harness import evaluation_plan

        evaluated = spec.eval.suites or spec.data.suites
        for name in spec.data.suites:
            suites.get(name)
        evaluation_plan.check(spec.eval, [suites.get(name) for name in evaluated])
    return spec


def _sentence(error: Mapping[str, Any]) -> str:
    path = [str(part) for part in error["loc"]]
    name = ".".join(path)
    if error["type"] == "unexpected_keyword_argument":
        owner: Any = RunSpec
        for part in path[:-1]:
            owner = Sampling if owner is dict else get_type_hints(owner)[part]
            owner = get_origin(owner) or owner
        return f"unknown key {name!r} in the specification: {_known(name, [f.name for f in dataclasses.fields(owner)])}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = "" if error["type"] == "value_error" else f", not {error['input']!r}"
    return f"{name or 'specification'}: {message}{given}".replace("input should be", "must be")


def load(path: Path) -> dict[str, Any]:
    """The plain values of a TOML specification."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"no specification at {path}: check the path") from None
    except OSError as problem:
        raise ValueError(f"{path} cannot be read: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not valid TOML: {problem}") from None


def override(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`values` with `section.key=value` assignments applied; values are TOML, bare words are strings."""
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ValueError(f"--set takes key=value, not {assignment!r}: for example --set train.learning_rate=1e-4")
        parts = path.strip().split(".")
        if len(parts) > 1 and parts[0] not in SECTIONS | {"options"}:
            hint = _known(parts[0], sorted(SECTIONS | {"options"}))
            raise ValueError(f"unknown section {parts[0]!r} in --set {assignment}: {hint}")
        target = values
        for part in parts[:-1]:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise ValueError(f"--set {assignment}: {part!r} is a value, not a section")
        if len(parts) == 1 and parts[0] in SECTIONS:
            raise ValueError(
                f"--set {assignment}: {parts[0]!r} is a section, set one of its keys, as {parts[0]}.key=value"
            )
        try:
            target[parts[-1]] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            target[parts[-1]] = text
    return values


__all__ = ["RunSpec", "build", "load", "override"]
