"""Specifications: what is accepted, the one sentence for what is not, and the hash."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.report.spec import load as load_report
from harness.spec import RunSpec, build, load, override

# these have parsers and tests of their own
OTHERS = ("pyproject.toml", "reports/testbed.toml")


def specifications(root: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.toml"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    names = listed.stdout.split()
    if listed.returncode != 0:  # an unpacked archive has no git
        names = [str(path.relative_to(root)) for path in root.rglob("*.toml")]
    return [root / name for name in names if not name.startswith("tests/") and name not in OTHERS]


def test_every_specification_of_the_repository_is_valid(root):
    for path in specifications(root):
        values = load(path)
        if {"run", "matrix", "strategies"} & values.keys() or path.parent.name == "published":
            continue  # a table of runs, which has its own parser and tests
        if "item" in values:
            assert load_report(path).item, path
            continue
        assert build(values).run_id, path


def test_defaults_are_valid_and_round_trip():
    spec = build({})
    assert spec == RunSpec()
    assert build(spec.as_dict()) == spec


def test_as_dict_round_trips(make_spec):
    spec = make_spec(
        options={"ema_state": "estimate", "alpha": 0.3}, train={"betas": [0.8, 0.99]}, eval={"suites": ["logic"]}
    )
    again = build(json.loads(json.dumps(spec.as_dict())))
    assert again == spec
    assert again.hash() == spec.hash() and again.run_id == spec.run_id


CHANGES = [
    "seed=1", "strategy='grpo'", "model='4m'", "options.alpha=0.3", "budget.limit=61", "budget.kind='flops'",
    "data.suites=['math']", "data.levels=[1]", "data.demo_noise=0.1", "train.learning_rate=1e-3", "train.micro_rows=3",
    "train.betas=[0.9, 0.99]", "rollout.max_tokens=5", "eval.k=2", "eval.suites=['math']", "probe.every=0",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_is_of_the_content(change):
    changed = build(override({}, [change]))
    assert changed != RunSpec()
    assert changed.hash() != RunSpec().hash()
    assert changed.run_id != RunSpec().run_id


@pytest.mark.parametrize(
    "change", ["runtime.threads=1", "runtime.device='cpu'", "runtime.checkpoint_every=3", "experiment='other'"]
)
def test_the_hash_is_not_of_how_a_run_is_executed(change):
    changed = build(override({}, [change]))
    assert changed != RunSpec() and changed.hash() == RunSpec().hash()


def test_hashes_differ_among_all_changes():
    hashes = {build(override({}, [change])).hash() for change in CHANGES}
    assert len(hashes) == len(CHANGES)


# assignments on top of the defaults, and what the sentence must name
WRONG = [
    (["lerning_rate=1"], "learning_rate|known keys"),
    (["train.lerning_rate=1"], "learning_rate"),
    (["trian.learning_rate=1"], "train"),
    (["train=3"], "section"),
    (["train.learning_rate='fast'"], "train.learning_rate"),
    (["train.learning_rate=-1"], "learning_rate"),
    (["train.learning_rate=nan"], "learning_rate"),
    (["train.prompts=0"], "prompts"),
    (["train.prompts=1.5"], "train.prompts"),
    (["train.prompts=true"], "train.prompts"),
    (["train.schedule='exponential'"], "train.schedule"),
    (["train.betas=[0.9]"], "train.betas"),
    (["train.betas=[0.9, 1.0]"], "betas"),
    (["train.grad_clip=0"], "grad_clip"),
    (["train.dtype='float16'"], "train.dtype"),
    (["budget.limit=0"], "limit"),
    (["budget.limit=inf"], "limit"),
    (["budget.limit=nan"], "limit"),
    (["budget.kind='steps'"], "budget.kind"),
    (["data.suites=['maths']"], "math"),
    (["data.suites='math'"], "data.suites"),
    (["data.suites=[]"], "suites"),
    (["data.levels=[]"], "levels"),
    (["data.levels=[0]"], "levels"),
    (["data.demo_noise=1.5"], "demo_noise"),
    (["data.demo_noise=nan"], "demo_noise"),
    (["rollout.temperature=0"], "temperature"),
    (["rollout.max_tokens=0"], "max_tokens"),
    (["eval.fractions=[0.5, 1.5]"], "fractions"),
    (["eval.top_p=0"], "top_p"),
    (["eval.temperature=nan"], "temperature"),
    (["eval.k=0"], "k "),
    (["eval.suites=['nothing']"], "nothing"),
    (["probe.every=-1"], "every"),
    (["runtime.deadline=0"], "deadline"),
    (["runtime.keep_checkpoints=0"], "keep_checkpoints"),
    (["seed='one'"], "seed"),
    (["seed"], "key=value"),
    (["strategy='gacc'"], "gac"),
    (["options.mu_mim=0.1"], "mu_min"),
    (["options.mu_min='low'"], "mu_min"),
    (["options=3"], "options"),
    (["seed.deep=3"], "seed"),
]


@pytest.mark.parametrize(("assignments", "named"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_one_sentence(assignments, named):
    with pytest.raises(ValueError, match=named) as problem:
        build(override({}, assignments))
    text = str(problem.value)
    assert "\n" not in text and len(text) < 400
    assert "pydantic" not in text and "http" not in text


@pytest.mark.parametrize("values", [{"train": 3}, {"train": {"prompts": "8"}}, {"seed": None}, {"seed": 1.0}, {1: 2}])
def test_values_of_another_type_are_refused(values):
    with pytest.raises(ValueError) as problem:
        build(values)
    assert "\n" not in str(problem.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="no specification at"):
        load(tmp_path / "missing.toml")
    (tmp_path / "broken.toml").write_text("seed = = 1")
    with pytest.raises(ValueError, match="not valid TOML"):
        load(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not valid TOML"):
        load(tmp_path / "binary.toml")
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "date.toml").write_text("seed = 2024-01-01")
    with pytest.raises(ValueError, match="numbers, texts, lists and tables"):
        build(load(tmp_path / "date.toml"))


def test_overrides_are_toml_and_bare_words_are_text():
    assignments = ["strategy=sft", "train.betas=[0.5, 0.6]", "options.x.y=1", "seed = 4"]
    values = override({"train": {"prompts": 2}}, assignments)
    assert values == {
        "train": {"prompts": 2, "betas": [0.5, 0.6]}, "strategy": "sft", "options": {"x": {"y": 1}}, "seed": 4
    }  # fmt: skip


def test_reading_a_specification_loads_no_torch(root):
    program = "import sys, harness.spec as s; s.build({}); print(sorted({'torch', 'vllm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
