"""`harness eval`"""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import terminal
from harness.commands.run import add_sandbox_flag, allow_sandbox
from harness.lm_eval import command as lm_eval
from harness.store import RunDir, read_json

if TYPE_CHECKING:
    from harness.evaluation_run import Target

EXAMPLE = """harness eval 1m --suite math --suite code
  harness eval results/default/RUN --at 40 --split both --k 8
  harness eval Qwen/Qwen2.5-0.5B-Instruct --suite gsm8k --suite humaneval --preset quick --data-dir DIR
  harness eval Qwen/Qwen2.5-0.5B-Instruct --data test.jsonl --temperature 0 --k 1 --max-tokens 512"""
DEFAULT_PRESET = "paper"  # of published suites that are named here
LINE_EVERY = 5.0  # seconds between plain progress lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="MODEL|RUN_DIR", help="model name, Hugging Face id, model or run directory")
    parser.add_argument(
        "--suite", action="append", help="may be given several times; default: the run's, or the procedural four"
    )
    parser.add_argument(
        "--preset",
        help=f"settings of published suites: paper or quick; other options go before it; default {DEFAULT_PRESET}",
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with the data of published suites; default: the hub"
    )
    parser.add_argument("--data", metavar="FILE", help="evaluate on all records of this JSONL file instead of suites")
    parser.add_argument("--split", choices=("eval", "ood", "both"), default="eval", help="default eval")
    parser.add_argument("--problems", type=int, metavar="N", help="problems of each suite and split")
    parser.add_argument("--k", type=int, help="samples per problem")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 is greedy")
    parser.add_argument("--top-p", type=float, metavar="P")
    parser.add_argument("--max-tokens", type=int, metavar="M")
    parser.add_argument("--stop", action="append", metavar="TEXT", help="ends a response; may be given several times")
    parser.add_argument("--seed", type=int, help="of problems and samples")
    parser.add_argument(
        "--style", choices=("auto", "plain", "chat"), help="of prompts; auto: chat if there is a template"
    )
    parser.add_argument("--at", default="latest", metavar="STEP", help="checkpoint of a run; default latest")
    parser.add_argument("--device", help="auto, cpu or cuda; default auto")
    parser.add_argument("--threads", type=int, help="CPU threads; default all cores")
    parser.add_argument("--engine", choices=("transformers", "vllm"), help="default: the run's, or transformers")
    parser.add_argument(
        "--engine-memory", type=float, metavar="S", help="share of the GPU's memory for vllm; default 0.9"
    )
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="without progress, after which it is stopped")
    parser.add_argument("--results", type=Path, default=Path("results"), help="results directory; default ./results")
    add_sandbox_flag(parser)
    lm_eval.add_arguments(parser)


def prepare(options: argparse.Namespace) -> tuple[Target, RunDir]:
    """What is evaluated, how, and where the results go."""
    from benchmarks import registry
    from harness import evaluation_run
    from harness.evaluation_plan import SAMPLING

    if options.data_dir is not None:
        registry.set_data_dir(options.data_dir)
    for name in options.suite or ():
        registry.get(name)
    if options.data and options.suite:
        raise ValueError("--data and --suite exclude each other: give one of them")
    chosen = evaluation_run.target(options.target, options.at)
    evaluation: dict[str, Any] = {
        name: getattr(options, name)
        for name in (*(key for key in SAMPLING if key != "stop"), "seed", "problems")
        if getattr(options, name) is not None
    }
    if options.stop is not None:
        evaluation["stop"] = tuple(options.stop)
    if options.problems is not None:
        evaluation["ood_problems"] = options.problems
    if options.engine:
        evaluation["engine"] = options.engine
    if options.suite:
        evaluation["suites"] = tuple(options.suite)
        if any(registry.get(name).presets for name in options.suite):
            evaluation["preset"] = DEFAULT_PRESET
    if options.preset is not None:
        evaluation["preset"] = options.preset
    data: dict[str, Any] = {"style": options.style} if options.style else {}
    if options.data:
        evaluation["suites"] = None
        # a file that is named for evaluation is evaluated whole
        data |= {"source": options.data, "eval_source": options.data}
    runtime = {
        name: getattr(options, name)
        for name in ("device", "threads", "engine_memory", "deadline")
        if getattr(options, name) is not None
    }
    chosen = evaluation_run.with_settings(chosen, evaluation, data, runtime)
    return chosen, evaluation_run.directory_for(chosen, options.split, options.results)


def run(options: argparse.Namespace) -> int:
    from harness import evaluation_run, supervisor

    allow_sandbox(options)
    tasks, options.suite = lm_eval.separate(options.suite)
    chosen, directory = prepare(options)
    if tasks:
        with closing(_Meter()) as meter:
            done = lm_eval.run(tasks, chosen, options, meter.report)
        lm_eval.show(chosen.name, done)
        if not options.suite:
            return 0
    if not directory.done:
        _say_plans(chosen)
        try:
            with closing(_Meter()) as meter:
                deadline = chosen.spec.runtime.deadline
                supervisor.evaluate(options, directory, deadline, meter.say, meter.report)
        except KeyboardInterrupt:
            print(f"\ninterrupted; the same command goes on where it stopped ({directory.path})", file=sys.stderr)
            return 130
        except supervisor.Failed as problem:
            print(f"harness eval: {problem}", file=sys.stderr)
            return 1
    _table(chosen.name, read_json(directory.evaluation)[evaluation_run.KEY])
    print(directory.path)
    return 0


def _say_plans(chosen: Target) -> None:
    """A line for each published suite: how it is evaluated."""
    from harness.data import evaluation_suites
    from harness.evaluation_plan import described

    suites = evaluation_suites(chosen.spec.data, chosen.spec.eval)
    for name, plan in described(chosen.spec.eval, suites).items():
        stop = f", stop at {' or '.join(map(repr, plan['stop']))}" if plan["stop"] else ""
        grader = f"; grader {plan['grader']} {plan['grader_version']}" if "grader" in plan else ""
        print(
            f"{name}: {plan['problems']:,} problems, k {plan['k']}, temperature {plan['temperature']:g}, "
            f"top-p {plan['top_p']:g}, {plan['max_tokens']:,} tokens{stop}{grader}"
        )


class _Meter:
    """Samples done, tokens a second and the time that is left: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self) -> None:
        self.shown = time.monotonic()
        self.bar: Any = None
        if terminal.on_terminal():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self.bar = Progress(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
            self.bar.start()
            self.task = self.bar.add_task("", total=None, note="")

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, flush=True)

    def report(self, done: int, total: int, rate: float, left: float) -> None:
        note = f"{rate:,.0f} tokens/s" + (f", {terminal.duration(left)} left" if done < total else "")
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, note=note)
        elif time.monotonic() - self.shown > LINE_EVERY:
            self.shown = time.monotonic()
            print(f"{done:,}/{total:,} samples  {note}", flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _table(name: str, summaries: dict[str, Any]) -> None:
    blocks = []
    for suite, summary in summaries.items():
        blocks += [(suite, "eval", summary)] if "n" in summary else []
        blocks += [(suite, "ood", summary["ood"])] if "ood" in summary else []
    ks = {block["k"] for _, _, block in blocks}
    voted = max(ks) > 1
    rows = [
        [
            suite,
            split,
            f"{block['n']:,}",
            str(block["k"]),
            terminal.percent(block["avg_at_k"]),
            terminal.percent(block["se"]),
            terminal.percent(list(block["pass_at_k"].values())[-1]),
            *([terminal.percent(block.get("cons_at_k"))] if voted else []),  # files of old versions have none
            terminal.percent(block["truncated"]),
            terminal.percent(block["no_answer"]),
        ]
        for suite, split, block in blocks
    ]
    blank = [""] * (4 if voted else 3)
    for suite, split, block in blocks:
        if "macro" in block:
            macro = block["macro"]
            cells = terminal.percent(macro["avg_at_k"]), terminal.percent(macro["se"])
            rows.append([f"{suite}, mean of {len(block['families'])} families", split, "", "", *cells, *blank])
    for split in dict.fromkeys(split for _, split, _ in blocks):
        found = [block for _, kind, block in blocks if kind == split]
        if len(found) > 1 and all(block["avg_at_k"] is not None for block in found):
            mean = sum(block["avg_at_k"] for block in found) / len(found)
            known = [block["se"] for block in found]
            error = math.sqrt(sum(se**2 for se in known)) / len(found) if None not in known else None
            rows.append(["mean", split, "", "", terminal.percent(mean), terminal.percent(error), *blank])
    headers = (
        "suite",
        "split",
        "n",
        "k",
        f"avg@{ks.pop()}" if len(ks) == 1 else "avg@k",
        "+- SE",
        "pass@k",
        *(["cons@k"] if voted else []),
        "truncated",
        "no answer",
    )
    notes = ["in percent; SE: standard error, clustered by problem"]
    notes += ["cons@k: of the answer that most of the k samples give, the mean over ties"] if voted else []
    terminal.show(terminal.Grid(headers, rows, frozenset(range(2, len(headers))), title=name, notes=notes))
