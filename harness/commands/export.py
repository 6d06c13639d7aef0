"""`harness export`"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from harness.commands.evaluate import DEFAULT_PRESET
from harness.spec import Evaluation

EXAMPLE = """harness export lm-eval --suite math --suite code --out tasks --k 1 --temperature 0
  lm_eval --model hf --model_args pretrained=MODEL --include_path tasks --tasks harness_math"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    plan = Evaluation()
    parser.add_argument("form", choices=("lm-eval",), help="lm-eval: a folder of tasks for lm-eval's --include_path")
    parser.add_argument("--suite", action="append", required=True, help="may be given several times")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--split", choices=("eval", "ood"), default="eval", help="default eval")
    parser.add_argument(
        "--preset",
        help=f"settings of published suites: paper or quick; other options go before it; default {DEFAULT_PRESET}",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the data files of published suites")
    parser.add_argument(
        "--problems", type=int, metavar="N", help=f"of each suite; default {plan.problems}, ood {plan.ood_problems}"
    )
    parser.add_argument("--k", type=int, help=f"samples per problem; default {plan.k}")
    parser.add_argument("--temperature", type=float, metavar="T", help=f"0 is greedy; default {plan.temperature}")
    parser.add_argument("--top-p", type=float, metavar="P", help=f"default {plan.top_p}")
    parser.add_argument("--max-tokens", type=int, metavar="M", help=f"default {plan.max_tokens}")
    parser.add_argument("--seed", type=int, help=f"of the problems; default {plan.seed}")
    parser.add_argument(
        "--style",
        choices=("plain", "chat"),
        default="plain",
        help="of prompts; chat: messages, for lm-eval's --apply_chat_template; default plain",
    )


def run(options: argparse.Namespace) -> int:
    from benchmarks import registry
    from harness.evaluation_plan import check, plan_for
    from harness.lm_eval import export

    if options.data_dir is not None:
        registry.set_data_dir(options.data_dir)
    suites = [registry.get(name) for name in options.suite]
    names = ("k", "temperature", "top_p", "max_tokens", "seed", "problems")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "problems" in given:
        given["ood_problems"] = given["problems"]
    usual = DEFAULT_PRESET if any(suite.presets for suite in suites) else None
    evaluation = Evaluation(preset=options.preset or usual)
    check(evaluation, suites)
    # what is given by itself goes before the preset
    plans = [replace(plan_for(evaluation, suite), **given) for suite in suites]
    tasks = []
    for suite, plan in zip(suites, plans, strict=True):
        tasks.append(export.task_name(suite, options.split))
        n = export.write(suite, plan, options.split, options.style, options.out)
        print(f"{tasks[-1]}: {n:,} problems, {plan.k} samples each")
    chat = " --apply_chat_template" if options.style == "chat" else ""
    print(
        "run it where this package is installed too, for instance by\n"
        f"  lm_eval --model hf --model_args pretrained=MODEL,dtype=float32 --include_path {options.out} "
        f"--tasks {','.join(tasks)}{chat}"
    )
    return 0
