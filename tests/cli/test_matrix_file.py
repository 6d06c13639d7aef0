"""A matrix as a file: expansion, precedence of its parts, and the one sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import spec as specification
from harness.matrix import Cell, expand, load
from harness.matrix_jobs import Job, write_spec
from harness.store import RunDir


@pytest.fixture
def cells(tmp_path: Path) -> Callable[[str], list[Cell]]:
    """(text of a matrix) -> its cells."""

    def read(text: str) -> list[Cell]:
        path = tmp_path / "trial.toml"
        path.write_text(text)
        return expand(load(path), tmp_path / "results")

    return read


def test_axes_are_crossed_and_the_last_changes_fastest(cells: Callable[[str], list[Cell]]) -> None:
    found = cells('[axes]\nstrategy = ["sft", "gac"]\nseed = [0, 1]\n"data.demo_noise" = [0.0, 0.2]\n')
    assert [(c.spec.strategy, c.spec.seed, c.spec.data.demo_noise) for c in found] == [
        (strategy, seed, noise) for strategy in ("sft", "gac") for seed in (0, 1) for noise in (0.0, 0.2)
    ]
    assert [cell.number for cell in found] == list(range(1, 9))
    assert found[3].label == "sft seed=1 data.demo_noise=0.2"
    assert len({cell.spec.run_id for cell in found}) == 8


def test_a_cell_is_the_run_that_the_same_flags_give(cells: Callable[[str], list[Cell]]) -> None:
    (found,) = cells('[base]\nmodel = "0.2m"\n[base.options]\nalpha = 0.3\n[axes]\nseed = [4]\n')
    same = specification.build({"model": "0.2m", "seed": 4, "options": {"alpha": 0.3}})
    assert found.spec.run_id == same.run_id


def test_nested_and_quoted_keys_are_the_same_axes(cells: Callable[[str], list[Cell]]) -> None:
    nested = cells("[axes]\ndata.demo_noise = [0.0, 0.2]\n[axes.train]\ngroup = [2, 4]\n")
    quoted = cells('[axes]\n"data.demo_noise" = [0.0, 0.2]\n"train.group" = [2, 4]\n')
    assert [cell.spec for cell in nested] == [cell.spec for cell in quoted]


def test_a_section_can_be_an_axis(cells: Callable[[str], list[Cell]]) -> None:
    found = cells('[axes]\nbudget = [{limit = 5}, {kind = "flops", limit = 1e9}]\n')
    assert [(c.spec.budget.kind, c.spec.budget.limit) for c in found] == [("updates", 5), ("flops", 1e9)]


def test_the_experiment_is_the_name_unless_base_sets_one(cells: Callable[[str], list[Cell]]) -> None:
    assert cells("")[0].spec.experiment == "trial"
    assert cells('matrix = "noise"')[0].spec.experiment == "noise"
    assert cells('matrix = "noise"\n[base]\nexperiment = "other"')[0].spec.experiment == "other"


ARMS = """
[base]
model = "0.2m"
[base.options]
alpha = 0.4
[axes]
seed = [0, 1]
[strategy_options.gac]
alpha = 0.3
clock = "steps"
[[arms]]
name = "released"
strategy = "gac"
[[arms]]
name = "prior_only"
strategy = "gac"
options = {blend_weight = 0.0, alpha = 0.1}
train.group = 4
"""


def test_arms_are_crossed_with_axes_and_their_options_go_on_top(cells: Callable[[str], list[Cell]]) -> None:
    found = cells(ARMS)
    assert [cell.label for cell in found] == [
        "released seed=0", "released seed=1", "prior_only seed=0", "prior_only seed=1",
    ]  # fmt: skip
    assert found[0].spec.options == {"alpha": 0.3, "clock": "steps"}
    assert found[3].spec.options == {"alpha": 0.1, "clock": "steps", "blend_weight": 0.0}
    assert [cell.spec.train.group for cell in found] == [8, 8, 4, 4]
    assert {cell.spec.model for cell in found} == {"0.2m"}


def test_options_of_a_strategy_apply_to_it_only(cells: Callable[[str], list[Cell]]) -> None:
    found = cells('[axes]\nstrategy = ["sft", "hpt"]\n[strategy_options.hpt]\ngate = 2\n')
    assert [cell.spec.options for cell in found] == [{}, {"gate": 2}]


def test_an_axis_goes_over_the_options_of_a_strategy(cells: Callable[[str], list[Cell]]) -> None:
    found = cells('[base]\nstrategy = "hpt"\n[axes]\n"options.gate" = [1, 3]\n[strategy_options.hpt]\ngate = 2\n')
    assert [cell.spec.options for cell in found] == [{"gate": 1}, {"gate": 3}]


def test_the_file_of_a_cell_is_its_specification(cells: Callable[[str], list[Cell]], tmp_path: Path) -> None:
    text = ARMS + '[base.eval]\nfractions = [0, 1]\nsuites = ["math"]\n[base.data]\nsource = "a \\"b\\".jsonl"\n'
    for cell in cells(text):
        job = Job(cell, tmp_path, RunDir(tmp_path / cell.spec.run_id), 3, "waiting")
        write_spec(job)
        again = specification.build(specification.load(job.spec_file))
        assert again.run_id == cell.spec.run_id and again.hash() == cell.spec.hash()
        assert again.experiment == cell.spec.experiment and again.runtime.threads == 3


WRONG = [
    ("[axis]\nseed = [0]\n", ["unknown key 'axis'", "axes"]),
    ('matrix = "a/b"\n', ["matrix", "'a/b'"]),
    ("base = 3\n", ["base must be a table"]),
    ("axes = [1]\n", ["axes must be a table"]),
    ("[axes]\nseed = 3\n", ["axis seed", "list"]),
    ("[axes]\nseed = []\n", ["axis seed", "at least one"]),
    ("[axes]\nsed = [0]\n", ["'sed'", "did you mean seed"]),
    ('[axes]\n"data.demo_nois" = [0]\n', ["data.demo_nois", "did you mean data.demo_noise"]),
    ('[axes]\n"dta.demo_noise" = [0]\n', ["'dta.demo_noise'", "data"]),
    ('[axes]\n"seed.x" = [0]\n', ["seed.x", "seed"]),
    ('[axes]\nbudget = [{limit = 3}]\n"budget.limit" = [4]\n', ["budget and budget.limit"]),
    ("[axes]\nseed = [0, -1.5]\n", ["cell 2", "seed=-1.5", "seed"]),
    ('[axes]\nstrategy = ["sft", "gca"]\n', ["cell 2 (gca)", "did you mean gac"]),
    ('[axes]\nmodel = ["1m", "1mm"]\n', ["cell 2 (1mm)", "unknown model", "1m"]),
    ("[base.train]\ngroop = 2\n", ["cell 1 (trial)", "train.groop", "group"]),
    ('[base.options]\nalhpa = 0.1\n[axes]\nseed = [3]\n', ["cell 1 (seed=3)", "alhpa", "alpha"]),
    ("[base]\nseed = 2026-01-01\n", ["cell 1", "specification"]),
    ("[axes]\nseed = [2026-01-01]\n", ["cell 1", "specification"]),
    ('[base]\nbudget.kind = "generated_tokens"\n[axes]\nstrategy = ["grpo", "sft"]\n', ["cell 2 (sft)", "samples"]),
    ('[axes]\n"rollout.max_tokens" = [9, 99999]\n', ["cell 2", "max_tokens=99999", "context"]),
    ("[axes]\nseed = [5, 6, 5]\n", ["cells 1 (seed=5) and 3 (seed=5)", "same run"]),
    ('[[arms]]\nname = "a"\n[[arms]]\nname = "b"\nruntime.threads = 1\n', ["cells 1 (a) and 2 (b)", "same run"]),
    ('[[arms]]\nstrategy = "sft"\n', ["arm 1 needs a name"]),
    ('[[arms]]\nname = "a"\n[[arms]]\nname = "a"\n', ["two arms", "'a'"]),
    ('[arms]\nname = "a"\n', ["[[arms]]"]),
    ('[axes]\nstrategy = ["sft"]\n[[arms]]\nname = "a"\n', ["arms and an axis `strategy` exclude each other"]),
    ('[axes]\nseed = [1]\n[[arms]]\nname = "a"\nseed = 2\n', ["arm 'a' sets seed", "axis"]),
    ('[axes]\n"options.gate" = [1]\n[[arms]]\nname = "a"\noptions = {gate = 2}\n', ["sets options.gate"]),
    ('[[arms]]\nname = "a"\nstrateg = "sft"\n', ["cell 1 (a)", "strateg", "strategy"]),
    ("[strategy_options.hptt]\ngate = 2\n", ["hptt", "hpt"]),
    ("[strategy_options.hpt]\ngate = 2\n", ["strategy_options.hpt is of no use"]),
    ("[strategy_options]\nhpt = 2\n", ["strategy_options.hpt must be a table"]),
    ('[base]\nstrategy = "hpt"\n[strategy_options.hpt]\ngat = 2\n', ["cell 1", "'gat'", "gate"]),
    ("[axes\n", ["not valid TOML"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[text.replace("\n", " ") for text, _ in WRONG])
def test_one_sentence_and_code_2(say: Callable[..., Any], tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "trial.toml").write_text(text)
    for arguments in ([], ["--dry-run"]):
        said = say("matrix", "trial.toml", *arguments)
        assert said.code == 2 and said.out == ""
        assert len(said.err.strip().splitlines()) == 1
        assert all(part in said.err for part in expected), said.err
    assert [path.name for path in tmp_path.iterdir()] == ["trial.toml"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing.toml"], "missing.toml"),
        (["empty.toml", "--jobs", "0"], "--jobs"),
        (["empty.toml", "--retries", "-1"], "--retries"),
        (["empty.toml", "--gpus-per-cell", "1"], "--on ray"),
        (["empty.toml", "--on", "slurm"], "slurm"),
    ],
)
def test_bad_flags(say: Callable[..., Any], tmp_path: Path, arguments: list[str], expected: str) -> None:
    (tmp_path / "empty.toml").write_text("")
    said = say("matrix", *arguments)
    assert said.code == 2 and expected in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_every_matrix_of_the_repository_is_valid(root: Path, tmp_path: Path) -> None:
    paths = sorted((root / "reports" / "matrices").glob("*.toml"))
    assert paths
    for path in paths:
        cells = expand(load(path), tmp_path)
        assert len({cell.label for cell in cells}) == len(cells), path


def test_the_study_is_seven_strategies_and_three_seeds(root: Path, tmp_path: Path) -> None:
    cells = expand(load(root / "reports" / "matrices" / "study-1m.toml"), tmp_path)
    strategies = ("sft", "grpo", "sft_then_rl", "fixed", "hpt", "gac", "gft")
    expected = {
        specification.build({"strategy": name, "seed": seed}).run_id for name in strategies for seed in range(3)
    }
    assert {cell.spec.run_id for cell in cells} == expected
    assert {(cell.spec.experiment, cell.spec.runtime.threads) for cell in cells} == {("study", 1)}
