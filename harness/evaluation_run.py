"""An evaluation by itself: of a model, or of a checkpoint of a run, in a directory of its own that can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import provenance
from harness import spec as specification
from harness.checkpoint import list_steps
from harness.data import Renderer, evaluation_suites
from harness.engines import factory
from harness.engines.base import Completion, Engine
from harness.evaluation_plan import SAMPLING, check, described, plan_for, require_data
from harness.models import ladder
from harness.run import choose_device, set_threads
from harness.spec import Rollout, RunSpec, Sampling
from harness.store import SCHEMA, RunDir, read_json, read_lines, write_json

if TYPE_CHECKING:
    from harness.evaluate import Evaluator

KIND = "evaluation"
FRACTION = 0.0  # what files are named after; a model that is evaluated by itself is at no point of a budget
KEY = f"{FRACTION:.2f}"
SPLITS = {"eval": (False, True), "ood": (True, False), "both": (True, True)}  # (harder problems, problems like trained)

Report = Callable[[int, int, float, float], None]  # samples done, samples in all, tokens a second, seconds left
Guard = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Target:
    """What is evaluated. `spec` is the run's, or the default one with the model's name; `embedded`: plain prompts."""

    name: str
    ref: ladder.ModelRef
    spec: RunSpec
    embedded: bool


def target(text: str, at: str) -> Target:
    """A model name, a Hugging Face id, a model directory, a run directory or one of its checkpoints.

    `at`: "latest" or the step of a checkpoint, for run directories. ValueError in one sentence for anything else.
    """
    path = Path(text)
    if path.parent.name == "checkpoints" and path.name.startswith("step_") and path.is_dir():
        path, at = path.resolve().parents[1], path.name[5:]
    manifest = path / "manifest.json"
    if not manifest.is_file():
        if at != "latest":
            raise ValueError(f"--at names a checkpoint of a run, but {text} is no run directory: leave it out")
        ref = ladder.resolve(text)
        return Target(_name(text), ref, RunSpec(model=text), ref.kind == "embedded")
    content = read_json(manifest)
    if content.get("kind") is not None or "spec" not in content:
        raise ValueError(f"{path} is no training run: name a run directory, a model directory or a model")
    steps = list_steps(path / "checkpoints")
    if not steps:
        raise ValueError(f"{path} has no checkpoint yet: let the run go on, or evaluate its model by name")
    if at != "latest" and not (at.isdigit() and int(at) in steps):
        raise ValueError(f"{path} has no checkpoint at step {at}: there is {', '.join(map(str, steps))}")
    step = steps[-1] if at == "latest" else int(at)
    folder = path.resolve() / "checkpoints" / f"step_{step:06d}"
    spec = specification.build(content["spec"])
    name = f"{path.resolve().name}-step_{step:06d}"
    return Target(name, ladder.ModelRef(name, str(folder), "local"), spec, spec.model in ladder.EMBEDDED)


def _name(text: str) -> str:
    return text.strip("/").replace("/", "--")[-40:].strip(".-")


def directory_for(chosen: Target, split: str, results: Path) -> RunDir:
    """results/evaluations/<name>-<hash>: another model file, other settings or another split give another one."""
    spec = chosen.spec
    content = {
        "model": chosen.ref.location,
        "files": weights_state(chosen),
        "eval": {key: value for key, value in asdict(spec.eval).items() if key != "engine"},
        "data": asdict(spec.data),
        "seed": spec.seed,
        "split": split,
        "suites": described(spec.eval, evaluation_suites(spec.data, spec.eval)),
    }
    if spec.evaluation_engine != Rollout.engine:  # the usual one goes without saying
        content["engine"] = spec.evaluation_engine
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return RunDir(results / "evaluations" / f"{chosen.name}-{digest}")


def execute(
    chosen: Target,
    split: str,
    directory: RunDir,
    say: Callable[[str], None],
    report: Report,
    guard: Guard = nullcontext,
) -> None:
    """Evaluates and writes manifest, generations, verdicts, evaluation.json and DONE; goes on where it stopped.

    `guard` surrounds each piece of work that must not last for ever: loading, sampling some, grading.
    ValueError if another process writes to the directory.
    """
    spec = chosen.spec
    from harness.evaluate import Evaluator

    # what can be wrong is found before anything is written
    ladder.check_reachable(chosen.ref)
    choose_device(spec.runtime.device)
    suites = evaluation_suites(spec.data, spec.eval)
    check(spec.eval, suites)
    require_data(spec.eval, suites)
    factory.check(spec)
    with directory.writer():
        path = directory.path / "manifest.json"
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "kind": KIND,
            "target": chosen.name,
            "model": chosen.ref.location,
            "split": split,
            "engine": spec.evaluation_engine,
            "suites": described(spec.eval, suites),
            "spec": {key: value for key, value in spec.as_dict().items() if key in ("model", "seed", "data", "eval")},
            "attempts": [],
        }
        if path.exists():
            manifest = read_json(path)
        manifest["provenance"] = provenance.collect()
        number = len(manifest["attempts"]) + 1
        manifest["attempts"].append({"number": number, "started": time.time(), "pid": os.getpid()})
        write_json(path, manifest)
        meter = Meter(report)
        with guard():
            renderer, engine = _load(chosen)
        evaluator = Evaluator(spec, renderer, engine, say, guard, meter.drawn)
        ood, own = SPLITS[split]
        meter.expect(*_amounts(evaluator, directory, ood, own))
        summaries = evaluator.run(directory, FRACTION, ood, own)
        if not summaries:
            raise ValueError(f"none of the suites has problems in split {split}: choose another --split")
        write_json(directory.evaluation, {KEY: summaries})
        directory.finish()


def weights_state(chosen: Target) -> list[list[Any]]:
    """Name, size and time of each file of weights: what tells a model from an earlier one at the same place."""
    files = sorted(Path(chosen.ref.location).glob("*.safetensors"))
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


@dataclass(frozen=True)
class Loaded:
    """What an evaluation samples with. model: the engine's own, if it is of transformers; ends: `ladder.end_ids`."""

    engine: Engine
    tokenizer: Any
    model: Any
    context: int
    ends: tuple[int, ...]


def loaded(chosen: Target) -> Loaded:
    """The tokenizer, and an engine with the model."""
    spec = chosen.spec
    set_threads(spec.runtime.threads)
    device = choose_device(spec.runtime.device)
    model = None
    if spec.evaluation_engine == factory.VLLM:
        config, tokenizer = ladder.load_tokenizer(chosen.ref)
        engine = factory.alone(spec, chosen.ref, config, device)
    else:
        model, tokenizer = ladder.load(chosen.ref, device)
        config, engine = model.config.to_dict(), factory.of_model(model)
    return Loaded(engine, tokenizer, model, int(config["max_position_embeddings"]), ladder.end_ids(chosen.ref, config))


def _load(chosen: Target) -> tuple[Renderer, Engine]:
    """The engine, and how prompts are written for it."""
    found = loaded(chosen)
    style = chosen.spec.data.style
    return Renderer(found.tokenizer, style, chosen.embedded, found.context, found.ends), found.engine


def _amounts(evaluator: Evaluator, directory: RunDir, ood: bool, own: bool) -> tuple[int, int]:
    """(samples to draw, samples in all), before anything is drawn."""
    from harness.evaluate import Evaluator

    # the same problems, without saying twice which of them are left out
    silent = Evaluator(evaluator.spec, evaluator.renderer, evaluator.engine, lambda text: None)
    left = total = 0
    for suite in silent.suites:
        splits = ["eval"] * own + ["ood"] * ood
        k = plan_for(evaluator.spec.eval, suite).k
        wanted = sum(len(silent.problems(suite, split)) for split in splits) * k
        total += wanted
        left += wanted - len(silent.kept(read_lines(directory.generations(suite.name, FRACTION)), wanted))
    return left, total


class Meter:
    """Reports how far an evaluation is."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.finished = self.tokens = self.left = self.total = 0
        self.seconds = 0.0

    def expect(self, left: int, total: int) -> None:
        """How many samples will be drawn, and how many there are with those that are stored already."""
        self.left, self.total = left, total

    def drawn(self, completions: Sequence[Completion], seconds: float) -> None:
        """That these samples were finished in the last `seconds` of sampling."""
        self.seconds += seconds
        self.finished += len(completions)
        self.tokens += sum(len(completion.tokens) for completion in completions)
        if completions:
            left = (self.left - self.finished) * self.seconds / self.finished
            done = self.total - self.left + self.finished
            self.report(done, self.total, self.tokens / self.seconds, left)


def with_settings(chosen: Target, evaluation: dict[str, Any], data: dict[str, Any], runtime: dict[str, Any]) -> Target:
    """The target with other settings, which go before presets as well; ValueError for values out of range."""
    spec = chosen.spec
    spec = replace(
        spec,
        eval=replace(spec.eval, **evaluation),
        data=replace(spec.data, **data),
        runtime=replace(spec.runtime, **runtime),
    )
    own = {key: evaluation[key] for key in ("problems", *SAMPLING) if key in evaluation}
    if own and (spec.eval.preset is not None or spec.eval.settings):
        settings = dict(spec.eval.settings)
        for suite in evaluation_suites(spec.data, spec.eval):
            if suite.name in settings or (suite.presets and spec.eval.preset is not None):
                settings[suite.name] = replace(settings.get(suite.name, Sampling()), **own)
        spec = replace(spec, eval=replace(spec.eval, settings=settings))
    return replace(chosen, spec=spec)
