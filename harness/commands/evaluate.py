"""`harness eval`"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

from harness import terminal
from harness.store import read_json

EXAMPLE = """harness eval 1m --suite math --suite code
  harness eval results/default/RUN --at 40 --split both --k 8
  harness eval Qwen/Qwen2.5-0.5B-Instruct --data test.jsonl --temperature 0 --k 1 --max-tokens 512"""
LINE_EVERY = 5.0  # seconds between plain progress lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="MODEL|RUN_DIR", help="model name, Hugging Face id, model or run directory")
    parser.add_argument("--suite", action="append", help="may be given several times; default: the run's, or all four")
    parser.add_argument("--data", metavar="FILE", help="evaluate on all records of this JSONL file instead of suites")
    parser.add_argument("--split", choices=("eval", "ood", "both"), default="eval", help="default eval")
    parser.add_argument("--problems", type=int, metavar="N", help="problems of each suite and split")
    parser.add_argument("--k", type=int, help="samples per problem")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 is greedy")
    parser.add_argument("--top-p", type=float, metavar="P")
    parser.add_argument("--max-tokens", type=int, metavar="M")
    parser.add_argument("--seed", type=int, help="of problems and samples")
    parser.add_argument(
        "--style", choices=("auto", "plain", "chat"), help="of prompts; auto: chat if there is a template"
    )
    parser.add_argument("--at", default="latest", metavar="STEP", help="checkpoint of a run; default latest")
    parser.add_argument("--device", help="auto, cpu or cuda; default auto")
    parser.add_argument("--threads", type=int, help="CPU threads; default all cores")
    parser.add_argument("--results", type=Path, default=Path("results"), help="results directory; default ./results")


def run(options: argparse.Namespace) -> int:
    from benchmarks import registry
    from harness import evaluation_run

    for name in options.suite or ():
        registry.get(name)
    if options.data and options.suite:
        raise ValueError("--data and --suite exclude each other: give one of them")
    chosen = evaluation_run.target(options.target, options.at)
    evaluation: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("k", "temperature", "top_p", "max_tokens", "seed", "problems")
        if getattr(options, name) is not None
    }
    if options.problems is not None:
        evaluation["ood_problems"] = options.problems
    if options.suite:
        evaluation["suites"] = tuple(options.suite)
    data: dict[str, Any] = {"style": options.style} if options.style else {}
    if options.data:
        evaluation["suites"] = None
        # a file that is named for evaluation is evaluated whole
        data |= {"source": options.data, "eval_source": options.data}
    runtime = {name: getattr(options, name) for name in ("device", "threads") if getattr(options, name) is not None}
    chosen = evaluation_run.with_settings(chosen, evaluation, data, runtime)
    directory = evaluation_run.directory_for(chosen, options.split, options.results)
    if not directory.done:
        meter = _Meter()
        try:
            evaluation_run.execute(chosen, options.split, directory, meter.say, meter.report)
        except KeyboardInterrupt:
            print(f"\ninterrupted; the same command goes on where it stopped ({directory.path})", file=sys.stderr)
            return 130
        finally:
            meter.close()
    _table(chosen.name, read_json(directory.evaluation)[evaluation_run.KEY])
    print(directory.path)
    return 0


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
    most = max(block["k"] for _, _, block in blocks)
    rows = [
        [
            suite,
            split,
            f"{block['n']:,}",
            str(block["k"]),
            terminal.percent(block["avg_at_k"]),
            terminal.percent(block["se"]),
            terminal.percent(list(block["pass_at_k"].values())[-1]),
            terminal.percent(block["truncated"]),
            terminal.percent(block["no_answer"]),
        ]
        for suite, split, block in blocks
    ]
    for split in dict.fromkeys(split for _, split, _ in blocks):
        found = [block for _, kind, block in blocks if kind == split]
        if len(found) > 1 and all(block["avg_at_k"] is not None for block in found):
            mean = sum(block["avg_at_k"] for block in found) / len(found)
            known = [block["se"] for block in found]
            error = math.sqrt(sum(se**2 for se in known)) / len(found) if None not in known else None
            rows.append(["mean", split, "", "", terminal.percent(mean), terminal.percent(error), "", "", ""])
    headers = ("suite", "split", "n", "k", f"avg@{most}", "+- SE", "pass@k", "truncated", "no answer")
    notes = ["in percent; SE: standard error, clustered by problem"]
    terminal.show(terminal.Grid(headers, rows, frozenset(range(2, 9)), title=name, notes=notes))
