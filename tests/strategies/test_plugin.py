"""A strategy in a package of its own: installed, listed, run and tested; and the one that the README adds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from strategies import registry, standalone
from strategies.base import Sizes, Step

PLUGIN = Path(__file__).with_name("plugin")
MODULE = PLUGIN / "unsolved_strategy.py"
NAME = "unsolved"
SIZES = Sizes(prompts=2, group=4, demos=3, max_response=5)


def by_hand(source: Path, target: Path) -> None:
    """What an installer leaves behind: the modules, and metadata with the entry points."""
    project = tomllib.loads((source / "pyproject.toml").read_text())
    name, version = project["project"]["name"], project["project"]["version"]
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in project["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module in project["tool"]["setuptools"]["py-modules"]:
        shutil.copy(source / f"{module}.py", target)


def can_build() -> bool:
    """Whether pip can build a wheel here without fetching anything: setuptools does so by itself from 71 on."""
    found = {distribution.name: distribution.version for distribution in metadata.distributions()}
    return "pip" in found and int(found.get("setuptools", "0").partition(".")[0]) >= 71


def by_pip(source: Path, target: Path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the plug-in, put there by pip where pip and setuptools are at hand."""
    folder = tmp_path_factory.mktemp("plugin")
    source = Path(shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__")))
    (by_pip if can_build() else by_hand)(source, folder / "target")
    return folder / "target"


@pytest.fixture
def python(root: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """(plug-ins, arguments of python) -> the finished process, in an empty directory."""

    def call(plugins: Path, *arguments: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": f"{plugins}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return call


# ---- installed


def test_the_package_is_complete(installed: Path) -> None:
    assert (installed / MODULE.name).read_text() == MODULE.read_text()
    (info,) = installed.glob("unsolved_strategy-1.0*.dist-info")
    assert (
        f"[{registry.ENTRY_POINT_GROUP}]\n{NAME} = unsolved_strategy:Unsolved"
        in (info / "entry_points.txt").read_text()
    )


def test_both_ways_of_installing_agree(installed: Path, tmp_path: Path) -> None:
    by_hand(PLUGIN, tmp_path)
    found = [next(folder.glob("*.dist-info/entry_points.txt")).read_text().split() for folder in (installed, tmp_path)]
    assert found[0] == found[1]


def test_it_is_listed_and_explained(installed, python) -> None:
    listed = python(installed, "-m", "harness", "strategies", "--markdown")
    assert listed.returncode == 0, listed.stderr
    assert f"| `{NAME}` | controller |" in listed.stdout
    shown = python(installed, "-m", "harness", "strategies", NAME)
    assert shown.returncode == 0, shown.stderr
    assert "mu = mu_max * share of the step's prompts" in shown.stdout
    assert re.search(r"options\.mu_max\s.*0\.5.*mu when no prompt has a correct rollout", shown.stdout)


def test_it_runs(installed, python, values, tmp_path) -> None:
    settings = values(strategy=NAME, budget={"limit": 3}, options={"mu_max": 0.4}, eval={"fractions": []})
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    for section, content in settings.items():
        if isinstance(content, dict):
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in content.items())]
    (tmp_path / "small.toml").write_text("\n".join(lines))
    done = python(installed, "-m", "harness", "run", "small.toml", "--strategy", NAME, "--results", "out", "--quiet")
    assert done.returncode == 0, done.stderr
    (metrics,) = (tmp_path / "out").glob("*/*/metrics.jsonl")
    steps = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert len(steps) == 3
    for step in steps:
        assert step["mu"] == pytest.approx(0.4 * step["groups_none_correct"])
    assert any(step["mu"] > 0 for step in steps)


def test_it_has_every_property(installed, python, root) -> None:
    """The tests of all strategies take it up because its package is installed."""
    file = "tests/strategies/test_strategy_properties.py"
    options = ["-p", "no:cacheprovider", "-k", NAME, file]
    done = python(installed, "-m", "pytest", *options, cwd=root)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 20


def test_a_wrong_option_is_one_sentence(installed, python) -> None:
    done = python(installed, "-m", "harness", "run", "--strategy", NAME, "--set", "options.mu_max=2", "--dry-run")
    assert done.returncode == 2
    assert "option mu_max must be in [0, 1], not 2" in done.stderr and "Traceback" not in done.stderr


def test_a_taken_name_is_one_sentence(python, tmp_path) -> None:
    source = Path(shutil.copytree(PLUGIN, tmp_path / "source"))
    project = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(project.replace("unsolved = ", "grpo = "))
    by_hand(source, tmp_path / "target")
    for arguments in (["strategies"], ["run", "--strategy", "sft", "--dry-run"]):
        done = python(tmp_path / "target", "-m", "harness", *arguments)
        assert done.returncode == 2
        assert "plug-in unsolved_strategy:Unsolved defines strategy 'grpo', which strategies.grpo.Grpo" in done.stderr
        assert "defines already: rename it or remove the plug-in" in done.stderr and "Traceback" not in done.stderr


# ---- what it computes


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], object]:
    """(source text of a module) -> the module; what it registers is forgotten afterwards."""

    def imported(text: str) -> object:
        registry.names()
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
        path = tmp_path / "added_strategy.py"
        path.write_text(text)
        specification = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, path.stem, module)
        specification.loader.exec_module(module)
        return module

    return imported


def tensors(rewards: list[float]) -> dict[str, torch.Tensor]:
    """Two groups of four rollouts with these rewards, and three demonstrations."""
    noise = torch.Generator().manual_seed(0)
    logp = -2.0 * torch.rand(11, 5, generator=noise, dtype=torch.float64)
    return {
        "logp": logp.requires_grad_(),
        "mask": (torch.arange(5) < torch.arange(11).unsqueeze(-1) % 4 + 2).double(),
        "role": torch.tensor([0] * 8 + [1] * 3),
        "group": torch.tensor([0] * 4 + [1] * 4 + [2, 3, 4]),
        "reward": torch.tensor([*rewards, 1.0, 1.0, 1.0], dtype=torch.float64),
        "old_logp": logp.detach() + 0.4 * torch.rand(11, 5, generator=noise, dtype=torch.float64),
    }


@pytest.mark.parametrize(
    ("rewards", "share"),
    [([0, 1, 0, 0, 1, 1, 1, 0], 0.0), ([0, 0, 0, 0, 1, 1, 1, 0], 0.5), ([0.0] * 8, 1.0)],
    ids=["all_solved", "half", "none_solved"],
)
def test_its_gradient_is_the_mixture(load, rewards, share) -> None:
    load(MODULE.read_text())
    values = tensors([float(reward) for reward in rewards])
    strategy = registry.build(NAME, {"mu_max": 0.8}, SIZES)
    loss, _ = standalone.loss(strategy, Step(0), **values)
    mu = 0.8 * share
    assert strategy.metrics()["mu"] == pytest.approx(mu)
    expected = sum(
        weight * standalone.loss(registry.build(name, {}, SIZES), Step(0), **values)[0]
        for name, weight in (("grpo", 1 - mu), ("sft", mu))
    )
    found, wanted = (torch.autograd.grad(value, values["logp"])[0] for value in (loss, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)


def test_every_step_has_its_own_weight(load) -> None:
    load(MODULE.read_text())
    strategy = registry.build(NAME, {}, SIZES)
    for rewards, mu in (([0.0] * 8, 0.5), ([1.0] * 8, 0.0), ([0.0] * 4 + [1.0] * 4, 0.25)):
        standalone.loss(strategy, Step(0), **tensors(rewards))
        assert strategy.metrics()["mu"] == pytest.approx(mu)


# ---- the README


def block(text: str, heading: str) -> str:
    """The first Python block under `heading`."""
    section = re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def readme(root: Path) -> str:
    text = (root / "README.md").read_text()
    if "\n## Add a strategy\n" not in text:
        pytest.skip("README.md has no section 'Add a strategy' yet")
    return text


def test_the_strategy_of_the_readme_runs(readme, load, execute) -> None:
    code = block(readme, "Add a strategy")
    assert len(code.splitlines()) < 40
    before = set(registry.names())
    module = load(code)
    (name,) = set(registry.names()) - before
    assert registry.get(name).__module__ == module.__name__
    directory = execute(strategy=name, budget={"limit": 3}, eval={"fractions": []}, options={})
    steps = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert len(steps) == 3 and any(step["loss"] is not None for step in steps)


def test_the_call_of_the_readme_runs(readme) -> None:
    if "\n## Use a strategy in your own trainer\n" not in readme:
        pytest.skip("README.md has no section 'Use a strategy in your own trainer' yet")
    found: dict[str, object] = {}
    exec(block(readme, "Use a strategy in your own trainer"), found)
    assert torch.isfinite(found["loss"])
    assert found["logp"].grad.abs().sum() > 0
