"""From a specification to a finished run directory."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import registry as suites
from harness import provenance, sinks
from harness.engines import factory
from harness.models import ladder
from harness.spec import RunSpec
from harness.store import SCHEMA, RunDir, write_json
from strategies import registry as strategies
from strategies.base import NEEDS, Sizes, Step


def directory_for(spec: RunSpec, results: Path) -> RunDir:
    return RunDir(results / spec.experiment / spec.run_id)


def sizes_of(spec: RunSpec) -> Sizes:
    train = spec.train
    return Sizes(train.prompts, train.group, train.demos, spec.rollout.max_tokens)


def preflight(spec: RunSpec) -> ladder.ModelRef:
    """Checks all that can be checked without loading anything; ValueError in one sentence."""
    ref = ladder.resolve(spec.model)
    strategy = strategies.build(spec.strategy, spec.options, sizes_of(spec))
    for need in sorted({"kl", "validation_nll"} & strategy.requires):
        if not spec.probe.every:
            raise ValueError(
                f"strategy {spec.strategy} with these options follows a measurement of the probe, {NEEDS[need]}, "
                "but probe.every is 0: set it to 1 or more"
            )
    if spec.budget.kind == "generated_tokens":
        # at the first step and late in a run, of whose budget nothing is spent
        plans = [strategy.plan(Step(index)) for index in (0, 10**9)]
        if not any(plan.prompts for plan in plans):
            raise ValueError(
                f"strategy {spec.strategy} samples nothing before some of the budget is spent, so that a budget of "
                "generated tokens is never reached: choose updates, flops or seconds"
            )
    if spec.data.source is None:
        for name in spec.data.suites:
            suites.get(name)
    config = ref.config
    context = (config or {}).get("max_position_embeddings")
    if context and max(spec.rollout.max_tokens, spec.eval.max_tokens) >= context:
        raise ValueError(
            f"max_tokens leaves no room for a prompt in the model's context of {context} tokens: "
            "lower rollout.max_tokens and eval.max_tokens"
        )
    factory.check(spec)
    return ref


def execute(spec: RunSpec, results: Path, resume: bool = False, quiet: bool = False, log: Sequence[str] = ()) -> RunDir:
    """Runs or resumes a specification and returns its directory, DONE. `log`: names of sinks that are told of it.

    ValueError if the directory holds an unfinished run and `resume` is false, or another process writes to it.
    KeyboardInterrupt passes through; the directory can then be resumed.
    """
    ref = preflight(spec)
    sinks.check(log)
    directory = directory_for(spec, results)
    if directory.done:
        return directory
    ladder.check_reachable(ref)
    with directory.writer():
        # asked under the lock: a run that somebody else is writing must not be advised to be deleted
        if directory.done:
            return directory
        if (directory.path / "manifest.json").exists() and not resume:
            raise ValueError(
                f"{directory.path} holds an unfinished run of this specification: "
                "continue it with --resume, or delete it"
            )
        _attempt(spec, ref, directory, quiet, log)
    return directory


def _attempt(spec: RunSpec, ref: ladder.ModelRef, directory: RunDir, quiet: bool, log: Sequence[str]) -> None:
    from harness.progress import Progress
    from harness.sinks.feed import Feed, info
    from harness.watchdog import Watchdog

    manifest: dict[str, Any] = {"schema": SCHEMA, "spec": spec.as_dict(), "spec_hash": spec.hash(), "attempts": []}
    if (directory.path / "manifest.json").exists():
        manifest = directory.manifest
        if manifest["spec_hash"] != spec.hash():
            raise ValueError(f"{directory.path} belongs to another specification: use another directory")
    number = len(manifest["attempts"]) + 1
    manifest["provenance"] = provenance.collect()
    manifest["attempts"].append({"number": number, "started": time.time(), "pid": os.getpid()})
    progress = Progress(directory.path / "logs" / f"attempt_{number}.log", spec.budget.kind, spec.budget.limit, quiet)
    progress.feed = Feed(log, info(directory, manifest), progress.say)
    try:
        progress.feed.open()  # first: what the user has to do before it can start must not leave an unfinished run
        write_json(directory.path / "manifest.json", manifest)
        progress.say(f"{spec.strategy} on {spec.model}, seed {spec.seed} -> {directory.path}")
        watchdog = Watchdog(spec.runtime.deadline, progress.log)
        with watchdog.phase():
            try:
                trainer = assemble(spec, ref, directory, progress, watchdog)
            except ValueError:
                # what cannot be run as asked leaves no unfinished run behind, which could only fail again
                if number == 1:
                    (directory.path / "manifest.json").unlink()
                raise
        with closing(trainer):
            trainer.run()
    except BaseException as problem:
        said = progress.note if isinstance(problem, ValueError) else progress.say  # the command says a user's error
        said(f"stopped: {type(problem).__name__}: {problem}")
        raise
    finally:
        progress.feed.close(directory.done)
        progress.close()


def choose_device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"runtime.device is {wanted}, but torch sees no CUDA device: use --device cpu, or install the GPU build"
        )
    return wanted


def set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads or os.cpu_count() or 1)


def assemble(spec: RunSpec, ref: ladder.ModelRef, directory: RunDir, progress: Any, watchdog: Any) -> Any:
    """The trainer of a specification, with everything loaded."""
    import torch

    from harness.data import Renderer
    from harness.trainer import Trainer

    set_threads(spec.runtime.threads)
    device = choose_device(spec.runtime.device)
    torch.manual_seed(spec.seed)
    model, tokenizer = ladder.load(ref, device)
    context = int(model.config.max_position_embeddings)
    ends = ladder.end_ids(ref, model.config.to_dict())
    renderer = Renderer(tokenizer, spec.data.style, ref.kind == "embedded", context, ends)
    strategy = strategies.build(spec.strategy, spec.options, sizes_of(spec))
    engines = factory.of_trainer(spec, ref, model)
    return Trainer(spec, directory, model, renderer, strategy, engines, progress, watchdog)
