"""`harness run`"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from harness import sinks
from harness import spec as specification

EXAMPLE = f"""harness run --strategy gac
  harness run --strategy hpt --model 4m --seed 1 --budget 100 --set options.gate=1
  harness run my-spec.toml --set train.learning_rate=1e-4 --dry-run
  harness run --strategy sft --data train.jsonl --eval-data test.jsonl
  harness run --strategy gac --log tensorboard --log wandb{sinks.EPILOG}"""
KINDS = {"updates": "updates", "tokens": "generated_tokens", "flops": "flops", "seconds": "seconds"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", help="TOML specification; flags and --set go on top of it")
    parser.add_argument("--strategy", help="name of a strategy (see `harness strategies`); default gac")
    parser.add_argument("--model", help="0.2m, 1m, 4m, 0.5b ... 14b, a Hugging Face id or a directory; default 1m")
    parser.add_argument("--seed", type=int, help="run seed; default 0")
    parser.add_argument("--experiment", help="name of the folder under the results directory; default `default`")
    parser.add_argument("--budget", metavar="N[KIND]", help="e.g. 60, 60updates, 1e6tokens, 2e13flops, 90seconds")
    parser.add_argument(
        "--data", metavar="FILE", help="JSONL file or Hugging Face data set to train on instead of the suites"
    )
    parser.add_argument(
        "--eval-data", metavar="FILE", help="the same for evaluation; default: a tenth of --data is held out"
    )
    parser.add_argument("--device", help="auto, cpu or cuda; default auto")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of the specification, as section.key=value",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="results directory; default ./results")
    parser.add_argument("--resume", action="store_true", help="continue the unfinished run of this specification")
    parser.add_argument("--dry-run", action="store_true", help="print specification, plan and estimates, and exit")
    parser.add_argument("--quiet", action="store_true", help="no progress on the terminal")
    sinks.add_argument(parser, "the run")
    add_sandbox_flag(parser)


def add_sandbox_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of every command that may execute what a model wrote."""
    parser.add_argument(
        "--allow-weak-sandbox",
        action="store_true",
        help="execute programs although nothing but resource limits isolates them here",
    )


def allow_sandbox(options: argparse.Namespace) -> None:
    """Hands the flag on, to child processes as well."""
    if options.allow_weak_sandbox:
        os.environ["HARNESS_ALLOW_WEAK_SANDBOX"] = "1"


def _budget(text: str) -> dict[str, Any]:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    kind = text[len(number) :]
    if text and text[-1] in "eE":
        number, kind = text, ""
    try:
        limit = float(number)
    except ValueError:
        raise ValueError(
            f"--budget takes a number and a kind, not {text!r}: for example 60updates or 1e6tokens"
        ) from None
    if kind and kind not in KINDS:
        raise ValueError(f"unknown budget kind {kind!r}: choose from {', '.join(KINDS)}")
    return {"limit": limit, "kind": KINDS[kind or "updates"]}


def resolve(options: argparse.Namespace) -> specification.RunSpec:
    """The specification from file, flags and --set, in this order."""
    values = specification.load(Path(options.spec)) if options.spec else {}
    for name in ("strategy", "model", "seed", "experiment"):
        if getattr(options, name) is not None:
            values[name] = getattr(options, name)
    if options.budget is not None:
        values["budget"] = _budget(options.budget)
    for flag, key in (("data", "source"), ("eval_data", "eval_source")):
        if getattr(options, flag) is not None:
            values.setdefault("data", {})[key] = getattr(options, flag)
    if options.device is not None:
        values.setdefault("runtime", {})["device"] = options.device
    return specification.build(specification.override(values, options.set))


def run(options: argparse.Namespace) -> int:
    allow_sandbox(options)
    spec = resolve(options)
    from harness.run import directory_for, execute, preflight

    sinks.check(options.log)
    if options.dry_run:
        from harness.estimate import describe

        print(describe(spec, preflight(spec), directory_for(spec, options.results)))
        return 0
    finished = directory_for(spec, options.results)
    if finished.done:
        if options.log:
            from harness.sinks.feed import publish

            publish(options.log, finished, print)
        print(f"this run is done already: harness show {finished.path}")
        return 0
    try:
        directory = execute(spec, options.results, options.resume, options.quiet, options.log)
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; nothing that was finished is lost ({finished.path}). "
            "Continue with the same command and --resume",
            file=sys.stderr,
        )
        return 130
    if not options.quiet:
        print(f"done: harness show {directory.path}")
    return 0
