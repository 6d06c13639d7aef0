"""Bad input: one sentence that names what is near, and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import spec
from harness.commands import run as run_command

WRONG = [
    (["rnu"], "run"),
    (["run", "--strategy", "gca"], "gac"),
    (["run", "--model", "1mm"], "1m"),
    (["run", "--set", "data.suites=['maths']"], "math"),
    (["run", "--set", "train.learning_rat=1e-3"], "learning_rate"),
    (["run", "--set", "trian.learning_rate=1e-3"], "train"),
    (["run", "--set", "options.alhpa=0.1"], "alpha"),
    (["run", "--set", "train.prompts"], "key=value"),
    (["run", "--set", "train=3"], "train.key=value"),
    (["run", "--set", "train.prompts=many"], "train.prompts"),
    (["run", "--set", "train.prompts=0"], "train"),
    (["run", "--budget", "60update"], "updates"),
    (["run", "--budget", "lots"], "60updates"),
    (["run", "no-such.toml"], "no-such.toml"),
    (["strategies", "hptt"], "hpt"),
    (["suites", "logics"], "logic"),
    (["suites", "math", "--level", "9"], "1, 2, 3, 4"),
    (["suites", "math", "--n", "0"], "--n"),
    (["eval", "1mm"], "1m"),
    (["eval", "1m", "--suite", "maths"], "math"),
    (["eval", "1m", "--at", "3"], "--at"),
    (["eval", "1m", "--suite", "math", "--data", "x.jsonl"], "--data"),
    (["eval", "1m", "--data", "missing.jsonl"], "missing.jsonl"),
    (["models", "1mm"], "1m"),
    (["pretrain", "2m"], "0.2m"),
    (["pretrain", "1m", "--steps", "0"], "--steps"),
    (["ls"], "results"),
    (["show", "latest"], "results"),
    (["show", "nowhere"], "nowhere"),
    (["compare", "nowhere"], "nowhere"),
]


@pytest.mark.parametrize(
    ("arguments", "expected"), WRONG, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_one_sentence_and_code_2(say: Callable[..., Any], tmp_path: Path, arguments: list[str], expected: str) -> None:
    said = say(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert expected in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.err.startswith("harness")
    assert list(tmp_path.iterdir()) == []


def test_pretraining_does_not_overwrite(say: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    said = say("pretrain", "0.2m", "--out", tmp_path / "model")
    assert said.code == 2
    assert "--force" in said.err


def resolved(tmp_path: Path, *arguments: str) -> spec.RunSpec:
    from harness.cli import Parser

    parser = Parser()
    run_command.add_arguments(parser)
    return run_command.resolve(parser.parse_args(arguments))


def test_set_goes_on_top_of_flags_and_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('strategy = "sft"\nseed = 4\n[train]\nprompts = 2\ngroup = 3\n')
    found = resolved(tmp_path, str(path), "--seed", "5", "--set", "train.group=6", "--set", "experiment=noise")
    assert (found.strategy, found.seed, found.experiment) == ("sft", 5, "noise")
    assert (found.train.prompts, found.train.group) == (2, 6)


def test_set_reads_toml_values(tmp_path: Path) -> None:
    settings = (
        "eval.fractions=[0.0, 1.0]",
        "data.suites=['math']",
        "train.learning_rate=1e-3",
        "options.z_score=true",
    )
    found = resolved(tmp_path, *(part for setting in settings for part in ("--set", setting)))
    assert found.eval.fractions == (0.0, 1.0)
    assert found.data.suites == ("math",)
    assert found.train.learning_rate == 1e-3
    assert found.options == {"z_score": True}


@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [
        ("60", "updates", 60),
        ("1e6tokens", "generated_tokens", 1e6),
        ("2e13flops", "flops", 2e13),
        ("90seconds", "seconds", 90),
    ],
)
def test_budget(tmp_path: Path, text: str, kind: str, limit: float) -> None:
    budget = resolved(tmp_path, "--budget", text).budget
    assert (budget.kind, budget.limit) == (kind, limit)


def test_a_refused_run_leaves_no_unfinished_one(say: Any, tmp_path: Path) -> None:
    refused = say(
        "run", "--strategy", "sft", "--model", "0.2m", "--set", "rollout.max_tokens=2000", "--results", tmp_path
    )
    assert refused.code == 2 and "leaves no room" in refused.err
    assert "ValueError" not in refused.out + refused.err, "the sentence is said once"
    assert "no runs" in say("ls", "--results", tmp_path).err
