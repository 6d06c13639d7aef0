"""Our suites as lm-eval tasks: one folder a suite with the task, its problems and the way to our grader."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.base import Problem, Suite
from harness import __version__
from harness.data import Renderer
from harness.evaluate import data_hash
from harness.lm_eval.grading import encode
from harness.spec import Evaluation

TAG = "harness"  # of all exported tasks: they run together as `--tasks harness`
VERSION = 1  # of the form of exported tasks

_UTILS = '''"""Problems and scores of this task. The package sft-rl-harness must be installed beside lm-eval."""

from pathlib import Path

from harness.lm_eval import grading

process_results, macro_mean = grading.scores, grading.macro_mean


def load(**settings):
    return grading.read(Path(__file__).with_name("problems.jsonl"))
'''


class _Text:
    """A tokenizer whose ids are characters and whose chat template is the message: a Renderer then writes text."""

    chat_template = "message"
    eos_token_id = 0
    bos_token_id = None

    def encode(self, text: str, add_special_tokens: bool, verbose: bool) -> list[int]:
        return [ord(character) for character in text]

    def apply_chat_template(
        self, messages: Sequence[dict[str, str]], tokenize: bool, add_generation_prompt: bool
    ) -> str:
        (message,) = messages
        return message["content"]


def prompt_text(problem: Problem, style: str) -> str:
    """What the model is asked: the whole prompt in plain style, the user's message in chat style."""
    renderer = Renderer(_Text(), style, False, 0)
    return "".join(map(chr, renderer.prompt(problem)))


def task_name(suite: Suite, split: str) -> str:
    return f"{TAG}_{suite.name}" + ("" if split == "eval" else f"_{split}")


def write(suite: Suite, plan: Evaluation, split: str, style: str, out: Path) -> int:
    """Writes the task of `suite` to a folder below `out` and returns its number of problems.

    lm-eval, run with that `--include_path`, takes the plan's k samples of each problem with its settings and scores
    them with the suite's grader; chat style needs its `--apply_chat_template`. `plan` is the suite's own, as
    `plan_for` gives it. ValueError if there are no problems.
    """
    problems = suite.problems(split, plan.problems if split == "eval" else plan.ood_problems, plan.seed)
    if not problems:
        raise ValueError(f"suite {suite.name} has no problems in split {split}: choose another --split")
    rows = [
        {"id": problem.id, "prompt": prompt_text(problem, style), "answer": problem.answer, "problem": encode(problem)}
        for problem in problems
    ]
    folder = out / task_name(suite, split)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "utils.py").write_text(_UTILS)
    facts = {"split": split, "style": style, "seed": plan.seed, "data_hash": data_hash(problems), **suite.identity()}
    (folder / "task.yaml").write_text(_yaml(suite, plan, task_name(suite, split), facts))
    return len(problems)


def _yaml(suite: Suite, plan: Evaluation, name: str, facts: Mapping[str, Any]) -> str:
    """The task; every value is JSON, which YAML contains. `facts`: to be shown beside its version."""
    sampled = plan.temperature > 0
    decoding: dict[str, Any] = {
        "until": list(plan.stop),
        "max_gen_toks": plan.max_tokens,
        "do_sample": sampled,
        "temperature": float(plan.temperature),
        # some models ship with a penalty, which lm-eval would apply
        "repetition_penalty": 1.0,
    }
    if sampled:
        decoding |= {"top_p": float(plan.top_p), "top_k": 0}  # without top_k, transformers takes 50
    mean = _function("macro_mean") if suite.macro else "mean"
    metrics = [
        {"metric": "avg_at_k", "aggregation": mean, "higher_is_better": True},
        {"metric": "pass_at_k", "aggregation": mean, "higher_is_better": True},
        {"metric": "infra", "aggregation": "mean", "higher_is_better": False},
    ]
    lines = {
        "task": name,
        "tag": TAG,
        "custom_dataset": _function("load"),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "process_results": _function("process_results"),
        "num_fewshot": 0,
        "generation_kwargs": decoding,
        "repeats": plan.k,
        "filter_list": [{"name": "all", "filter": [{"function": "take_first_k", "k": plan.k}]}],
        "metric_list": metrics,
        "metadata": {"version": VERSION, "harness": __version__, "suite": suite.name, **facts},
    }
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
    return re.sub(r'"!function utils\.(\w+)"', r"!function utils.\1", text)


def _function(name: str) -> str:
    return f"!function utils.{name}"
