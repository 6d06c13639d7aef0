"""doctor, models, strategies, suites: what they list is what there is, and what is broken is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry as suites
from benchmarks.base import Verdict
from harness.commands import doctor
from harness.commands import strategies as strategies_command
from harness.models import ladder
from strategies import registry as strategies


def levels(check: Callable[[], Any]) -> list[str]:
    return [level for level, _, _ in check()]


def test_graders_of_this_installation_are_sound() -> None:
    assert levels(doctor._graders) == ["ok"] * len(suites.BUILT_IN)


def test_a_grader_that_passes_everything_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suites.get("logic")
    generous = lambda problems, responses: [Verdict("pass", 1.0, "", "generous", "1")] * len(problems)  # noqa: E731
    monkeypatch.setattr(suite, "grade", generous)
    assert levels(doctor._graders).count("fail") == 1


def test_sandbox_of_this_machine_holds() -> None:
    found = list(doctor._sandbox())
    assert len(found) == 4
    assert "fail" not in [level for level, _, _ in found]


def test_a_missing_and_a_present_model_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> None:
    monkeypatch.setattr(ladder, "WEIGHTS", tmp_path)
    (tmp_path / "1m").symlink_to(tiny)
    found = {text.partition(":")[0]: level for level, _, text in doctor._models()}
    assert found == {"0.2m": "fail", "1m": "ok", "4m": "fail"}


def test_exit_code_follows_the_checks(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_python", "_packages", "_device", "_machine", "_sandbox", "_graders"):
        monkeypatch.setattr(doctor, name, lambda: iter([("ok", "thing", "well")]))
    monkeypatch.setattr(doctor, "_models", lambda: iter([("warn", "thing", "so so")]))
    said = say("doctor")
    assert said.code == 0
    assert "7 checks: 0 failed, 1 with a warning" in said.out
    monkeypatch.setattr(doctor, "_models", lambda: iter([("fail", "thing", "broken")]))
    said = say("doctor")
    assert said.code == 1
    assert "fail  thing" in said.out


def test_versions_are_compared_with_the_constraints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    monkeypatch.setattr(doctor, "CONSTRAINTS", path)
    path.write_text("# versions\nnumpy==0.1\nRich==99.0 # newest\n")
    assert doctor.pins(path) == {"numpy": "0.1", "rich": "99.0"}
    (warning,) = [text for level, _, text in doctor._packages() if level == "warn"]
    assert "(tested with 0.1)" in warning and "(tested with 99.0)" in warning
    path.unlink()
    assert "warn" not in levels(doctor._packages)


def test_models_lists_every_name_and_what_was_measured(
    say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> None:
    monkeypatch.setattr(ladder, "WEIGHTS", tmp_path)
    (tmp_path / "1m").mkdir()
    for path in tiny.iterdir():
        (tmp_path / "1m" / path.name).symlink_to(path)
    card = {"parameters": 1234567, "accuracy": {"math": 0.123, "logic": 0.5}}
    (tmp_path / "1m" / "pretraining.json").write_text(json.dumps(card))
    said = say("models", tiny)
    assert said.code == 0
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert set(rows) >= {*ladder.EMBEDDED, *ladder.REAL, str(tiny)}
    assert "1.23M" in rows["1m"] and "12.3" in rows["1m"] and "50.0" in rows["1m"]
    assert "not installed" in rows["4m"]
    assert "7.62B" in rows["7b"] and "32,768" in rows["7b"]


def test_strategies_lists_all_with_their_parity(say: Callable[..., Any]) -> None:
    out = say("strategies").out
    for name in strategies.names():
        cls = strategies.get(name)
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert all(text in line for text in (cls.kind, cls.summary, cls.parity))


@pytest.mark.parametrize("name", strategies.names())
def test_options_of_a_strategy_with_type_and_default(say: Callable[..., Any], name: str) -> None:
    said = say("strategies", name)
    assert said.code == 0
    for option in fields(strategies.get(name).Config):
        assert any(line.startswith(f"options.{option.name} ") for line in said.out.splitlines())


def test_types_are_shown_as_values_are_written() -> None:
    from typing import Literal

    assert strategies_command.type_name(int | None) == "int | none"
    assert strategies_command.type_name(Literal["a", 1]) == '"a" | 1'
    assert strategies_command.type_name(tuple[float, ...]) == "tuple[float]"
    assert strategies_command.type_name(bool) == "true | false"


def test_suites_shows_problems_with_demonstrations(say: Callable[..., Any]) -> None:
    table = say("suites").out
    assert all(any(line.startswith(f"{name} ") for line in table.splitlines()) for name in suites.names())
    said = say("suites", "science", "--level", "2", "--n", "3", "--split", "eval", "--demos")
    assert said.code == 0
    assert said.out.count("(level 2, answer ") == 3
    assert said.out.count("right demonstration (graded: pass)") == 3
    assert said.out.count("wrong demonstration (graded: fail)") == 3
    problem = suites.get("science").problems("eval", 3, 0, (2,))[0]
    assert problem.prompt in said.out
    assert "demonstration" not in say("suites", "science", "--n", "1").out


def test_pretraining_saves_a_model_that_runs(say: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "model"
    said = say("pretrain", "0.2m", "--out", out, "--steps", "1", "--threads", "1")
    assert said.code == 0
    card = json.loads((out / "pretraining.json").read_text())
    assert card["steps"] == 1 and str(card["parameters"]) in said.out
    assert say("eval", out, "--suite", "math", "--problems", "2", "--k", "1", "--max-tokens", "4").code == 0
