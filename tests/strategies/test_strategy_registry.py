"""Names, plug-ins and option checks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from importlib import metadata
from pathlib import Path

import pytest

from strategies import registry
from strategies.base import NoConfig, Sizes, Strategy

BUILT_IN = {"sft", "grpo", "sft_then_rl", "fixed", "hpt", "gac", "gft"}
SIZES = Sizes(prompts=2, group=8, demos=4, max_response=16)


class Outside(Strategy):
    name, summary, source, kind, parity = "outside", "a plug-in", "nowhere", "single", "none"


class Impostor(Strategy):
    name, summary, source, kind, parity = "sft", "takes a name", "nowhere", "single", "none"


@pytest.fixture
def plugins(monkeypatch):
    """Sets the installed entry points; the registry is as before afterwards."""

    def install(**points):
        found = [metadata.EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in points.items()]
        monkeypatch.setattr(registry.metadata, "entry_points", lambda group: found)
        registry._plugins.cache_clear()

    registry.names()
    registry.validate("sft", {})  # pydantic looks for plug-ins of its own when it is first used
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setitem(sys.modules, "outside_package", sys.modules[__name__])
    yield install
    registry._plugins.cache_clear()


def test_built_in_names():
    assert set(registry.names()) >= BUILT_IN
    assert registry.names() == sorted(registry.names())
    for name in registry.names():
        assert registry.get(name).name == name


def test_imports_neither_torch_nor_pydantic():
    code = (
        "import sys; from strategies import registry; from strategies.base import Sizes\n"
        "for name in registry.names(): registry.get(name)(registry.get(name).Config(), Sizes(2, 8, 4, 16))\n"
        "assert len(registry.names()) >= 7\n"
        "print([name for name in ('torch', 'pydantic', 'numpy') if name in sys.modules])\n"
        "registry.build('fixed', {'mu': 0.5}, Sizes(2, 8, 4, 16)); print('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"unknown strategy 'grop': did you mean grpo"):
        registry.get("grop")
    with pytest.raises(ValueError, match=r"unknown strategy 'zzzz': choose from .*gac.*sft"):
        registry.get("zzzz")


def test_taken_name_is_refused():
    with pytest.raises(ValueError, match=r"'sft' is defined twice, by strategies\.sft\.Sft and .*Impostor"):
        registry.register(Impostor)
    assert registry.register(registry.get("sft")) is registry.get("sft")


def test_incomplete_class_is_refused():
    class NoSource(Strategy):
        name, summary, kind, parity = "no_source", "x", "single", "none"

    with pytest.raises(ValueError, match="must define the string `source`"):
        registry.register(NoSource)

    class BadKind(Strategy):
        name, summary, source, kind, parity = "bad_kind", "x", "y", "other", "none"

    with pytest.raises(ValueError, match="unknown kind 'other'"):
        registry.register(BadKind)


def test_plugin_is_found_and_loaded(plugins):
    plugins(outside="outside_package:Outside")
    assert "outside" in registry.names()
    assert registry.get("outside") is Outside
    assert isinstance(registry.build("outside", {}, SIZES), Outside)
    with pytest.raises(ValueError, match="strategy outside has no options, but 'x' is given"):
        registry.validate("outside", {"x": 1})


def test_plugin_with_a_built_in_name_is_refused(plugins):
    plugins(sft="outside_package:Impostor")
    with pytest.raises(
        ValueError, match=r"outside_package:Impostor defines strategy 'sft', which strategies\.sft\.Sft"
    ):
        registry.names()


def test_two_plugins_of_one_name_are_refused(plugins, monkeypatch):
    found = [metadata.EntryPoint("outside", f"{module}:Outside", "g") for module in ("one", "two")]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: found)
    registry._plugins.cache_clear()
    with pytest.raises(ValueError, match="'outside' is defined by two plug-ins, one:Outside and two:Outside"):
        registry.get("sft")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("not_there:Outside", "cannot be imported"),
        ("outside_package:NotThere", "cannot be imported"),
        ("outside_package:SIZES", "must be a subclass"),
        ("outside_package:Impostor", "has another `name`"),
    ],
)
def test_broken_plugin_hurts_only_itself(plugins, value, reason):
    plugins(outside=value)
    assert registry.get("sft").name == "sft"
    with pytest.raises(ValueError, match=reason):
        registry.get("outside")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fixed", {"mue": 0.1}, r"strategy fixed has no option 'mue': did you mean mu"),
        ("sft", {"variant": "dapo"}, r"strategy sft has no option 'variant': choose from"),
        ("grpo", {"variant": "ppo"}, r"option 'variant' .* cannot be 'ppo': .*'grpo', 'dr_grpo'"),
        ("grpo", {"clip_low": "of"}, r"option 'clip_low' .* cannot be 'of': .*number, or: .*'off'"),
        ("grpo", {"clip_high": -0.1}, r"clip_high must be a number >= 0"),
        ("grpo", {"clip_low": float("nan")}, r"clip_low must be a number >= 0"),
        ("grpo", {"dual_clip": 0.5}, r"dual_clip must be a number > 1"),
        ("grpo", {"kl_coefficient": -1}, r"kl_coefficient must be >= 0"),
        ("fixed", {"mu": 1.01}, r"mu must be in \[0, 1\], not 1\.01"),
        ("fixed", {"mu": float("nan")}, r"mu must be in \[0, 1\]"),
        ("fixed", {"mu": "0.5"}, r"option 'mu' .* cannot be '0\.5'"),
        ("fixed", {"mu": True}, r"option 'mu' .* cannot be True"),
        ("fixed", {"mu": object()}, r"options of strategy fixed must be numbers"),
        ("sft", {"rows": 0}, r"rows must be >= 1"),
        ("sft_then_rl", {"switch": 2}, r"switch must be in \[0, 1\]"),
        ("sft_then_rl", {"switch_step": -1}, r"switch_step must be >= 0"),
        ("hpt", {"gate": 1.5}, r"option 'gate' .* integer"),
        ("hpt", {"gate": -2}, r"gate must be >= -1"),
        ("hpt", {"gate": 9}, r"gate of strategy hpt is 9, above the run's group of 8"),
        ("hpt", {"gate": 1, "gate_fraction": 0.5}, r"exclude each other"),
        ("hpt", {"gate_fraction": 1.5}, r"gate_fraction must be in"),
        ("hpt", {"skip_grad_norm": 0}, r"skip_grad_norm must be a number > 0"),
        ("gft", {"tau": -0.1}, r"tau must be in"),
        ("gft", {"expert": 2}, r"expert must be 0 or 1"),
        ("gft", {"teacher": 8}, r"asks for 9 demonstrations in a group of 8"),
        ("gft", {"teacher": 0, "own": 0}, r"at least 2 responses"),
        ("gac", {"mu_min": 0.6}, r"mu_min <= mu_init <= mu_max"),
        ("gac", {"trim": 0.5}, r"trim must be in"),
        ("gac", {"f_mu": 0}, r"f_mu must be >= 1"),
        ("gac", {"clock": "fast"}, r"'scaled' or 'steps'"),
        ("gac", {"kl_target": 0.0}, r"kl_target must be > 0"),
        ("gac", {"prior_decay": -1.0}, r"prior_decay must be >= 0"),
        ("gac", {"noise_correlation": 1.5}, r"noise_correlation must be in"),
    ],
)
def test_bad_option_is_one_sentence(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        registry.build(name, options, SIZES)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("name", ["fixed", "gac", "sft"])
def test_methods_with_a_pool_need_demonstrations(name):
    with pytest.raises(ValueError, match="needs demonstrations"):
        registry.build(name, {}, Sizes(2, 8, 0, 16))


def test_config_is_frozen_and_keeps_numbers():
    config = registry.validate("fixed", {"mu": 1, "clip_low": "off", "variant": "dapo"})
    assert (config.mu, config.clip_low, config.variant) == (1.0, "off", "dapo")
    assert isinstance(config.mu, float)
    with pytest.raises(FrozenInstanceError):
        config.mu = 0.5
    assert NoConfig() == NoConfig()


def test_strategies_are_short():
    """A method can be read in one sitting."""
    folder = Path(__file__).resolve().parents[2] / "strategies"
    long = {path.name: n for path in folder.glob("*.py") if (n := len(path.read_text().splitlines())) > 150}
    assert not long, long
