"""Exported suites score inside lm-eval what our own evaluation finds, problem by problem."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is an optional extra: pip install -e '.[eval]'")
pytest.importorskip("accelerate", reason="lm-eval's hf model needs accelerate")

import lm_eval
from lm_eval.tasks import TaskManager

from benchmarks import registry
from benchmarks.base import Problem, Verdict
from harness import cli, evaluation_run
from harness.lm_eval import export, grading
from harness.models import ladder
from harness.spec import Evaluation
from harness.store import read_lines

N, TOKENS = 12, 64


def ours(style: str, results: Path) -> dict[str, dict[str, tuple[float, str]]]:
    """suite -> problem -> (score, text), greedy, one sample."""
    chosen = evaluation_run.target("1m", "latest")
    settings = {"suites": tuple(registry.BUILT_IN), "problems": N, "k": 1, "temperature": 0.0, "max_tokens": TOKENS}
    chosen = evaluation_run.with_settings(chosen, settings, {"style": style}, {"device": "cpu", "threads": 1})
    directory = evaluation_run.directory_for(chosen, "eval", results)
    evaluation_run.execute(chosen, "eval", directory, lambda text: None, lambda *numbers: None)
    found = {}
    for name in registry.BUILT_IN:
        texts = {row["problem"]: row["text"] for row in read_lines(directory.generations(name, 0.0))}
        verdicts = read_lines(directory.verdicts(name, 0.0))
        found[name] = {row["problem"]: (row["score"], texts[row["problem"]]) for row in verdicts}
    return found


def theirs(folder: Path, tasks: list[str], chat: bool = False) -> dict[str, Any]:
    return lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": ladder.resolve("1m").location, "dtype": "float32"},
        device="cpu",
        batch_size=16,
        tasks=tasks,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        apply_chat_template=chat,
        bootstrap_iters=10,
    )


@pytest.mark.parametrize("style", ("plain", "chat"))
def test_same_score_problem_by_problem(style: str, tmp_path: Path) -> None:
    arguments = [word for name in registry.BUILT_IN for word in ("--suite", name)]
    out = tmp_path / "tasks"
    plan = ["--problems", str(N), "--k", "1", "--temperature", "0", "--max-tokens", str(TOKENS), "--style", style]
    assert cli.main(["export", "lm-eval", *arguments, "--out", str(out), *plan]) == 0
    found = theirs(out, [export.TAG], chat=style == "chat")
    for name, expected in ours(style, tmp_path).items():
        task = f"harness_{name}"
        samples = found["samples"][task]
        assert {row["doc"]["id"]: (row["avg_at_k"], row["filtered_resps"][0][0]) for row in samples} == expected
        score = sum(value for value, _ in expected.values()) / N
        assert found["results"][task]["avg_at_k,all"] == pytest.approx(score)
        assert found["results"][task]["infra,all"] == 0
    if style == "plain":  # the test can tell right from wrong
        scores = [value for expected in found["samples"].values() for value in (row["avg_at_k"] for row in expected)]
        assert 0 < sum(scores) < len(scores)


def test_samples_of_a_problem_are_all_scored(tmp_path: Path) -> None:
    suite = registry.get("math")
    plan = Evaluation(problems=6, k=3, max_tokens=TOKENS, top_p=0.95)
    assert export.write(suite, plan, "eval", "plain", tmp_path) == 6
    found = theirs(tmp_path, ["harness_math"])
    problems = {problem.id: problem for problem in suite.problems("eval", 6, 0)}
    for row in found["samples"]["harness_math"]:
        (responses,) = row["resps"]
        problem = problems[row["doc"]["id"]]
        scores = [verdict.score for verdict in suite.grade([problem] * 3, responses)]
        assert len(responses) == 3 and row["avg_at_k"] == pytest.approx(sum(scores) / 3)
        assert row["pass_at_k"] == max(scores)
    assert any(len(set(row["resps"][0])) > 1 for row in found["samples"]["harness_math"])


def test_hidden_tests_and_parameters_survive_the_file(tmp_path: Path) -> None:
    suite = registry.get("code")
    export.write(suite, Evaluation(ood_problems=20, seed=3), "ood", "plain", tmp_path)
    rows = read_lines(tmp_path / "harness_code_ood" / "problems.jsonl")
    assert [grading.decode(row["problem"]) for row in rows] == suite.problems("ood", 20, 3)
    assert all(problem.tests for problem in suite.problems("ood", 20, 3))


def test_what_is_no_literal_is_refused() -> None:
    (problem,) = registry.get("math").problems("eval", 1, 0)
    assert grading.decode(grading.encode(replace(problem, params=("a", (1, 2.5), {"b": None})))).params[1] == (1, 2.5)
    for value in (object(), float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cannot be exported"):
            grading.encode(replace(problem, params=(value,)))


def test_every_field_that_grading_may_read_is_written() -> None:
    assert set(grading._FIELDS) == {field.name for field in fields(Problem)} - {"demonstrations"}


def verdicts_of(*scores: float | None) -> Callable[..., list[Verdict]]:
    return lambda problems, responses: [
        Verdict("infra" if score is None else "fail", score, "", "made up", "1") for score in scores
    ]


def test_what_was_not_scored_is_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = registry.get("math").problems("eval", 1, 0)
    doc = {"problem": grading.encode(problem)}
    suite = SimpleNamespace(macro=False, grade=verdicts_of(1.0, None, 0.0))
    monkeypatch.setattr(registry, "get", lambda name: suite)
    assert grading.scores(doc, [["a", "b", "c"]]) == {"infra": pytest.approx(1 / 3), "avg_at_k": 0.5, "pass_at_k": 1.0}
    suite.grade = verdicts_of(None)
    assert grading.scores(doc, [["a"]]) == {"infra": 1.0}
    suite.grade, suite.macro = verdicts_of(1.0), True
    assert grading.scores(doc, [["a"]])["avg_at_k"] == (problem.family, 1.0)


def test_mean_over_families() -> None:
    assert grading.macro_mean([("a", 1.0), ("a", 0.0), ("a", 0.0), ("b", 1.0)]) == pytest.approx((1 / 3 + 1) / 2)


def test_task_says_how_to_sample(tmp_path: Path) -> None:
    import yaml

    suite = registry.get("logic")
    for temperature in (0.0, 0.6):
        plan = Evaluation(problems=2, k=2, max_tokens=33, temperature=temperature, top_p=0.9, stop=("\n\n", '"Q":'))
        export.write(suite, plan, "eval", "chat", tmp_path)
        text = (tmp_path / "harness_logic" / "task.yaml").read_text()
        content = yaml.safe_load(text.replace("!function ", ""))
        decoding = content["generation_kwargs"]
        assert decoding["until"] == ["\n\n", '"Q":'] and decoding["max_gen_toks"] == 33
        assert (decoding["do_sample"], decoding["temperature"]) == (temperature > 0, temperature)
        assert ("top_p" in decoding) == ("top_k" in decoding) == (temperature > 0)
        assert content["repeats"] == 2 and content["filter_list"][0]["filter"][0] == {
            "function": "take_first_k",
            "k": 2,
        }
    rows = read_lines(tmp_path / "harness_logic" / "problems.jsonl")
    assert all(row["prompt"].startswith(grading.decode(row["problem"]).prompt) for row in rows)


def test_export_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["export", "lm-eval", "--out", str(tmp_path)]
    for more, word in (
        (["--suite", "maths"], "did you mean math"),
        (["--suite", "math", "--k", "0"], "at least 1"),
        (["--suite", "math", "--temperature", "-1"], "temperature"),
        (["--suite", "math", "--preset", "paper"], "published"),
        (["--suite", "math", "--data-dir", str(tmp_path / "none")], "does not exist"),
    ):
        assert cli.main([*base, *more]) == 2
        assert word in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_rows_are_json(tmp_path: Path) -> None:
    export.write(registry.get("math"), Evaluation(problems=3), "eval", "plain", tmp_path)
    lines = (tmp_path / "harness_math" / "problems.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"id", "prompt", "answer", "problem"}] * 3


@pytest.mark.parametrize("name", ("gsm8k", "humaneval", "arc_challenge", "folio"))
def test_published_suites_are_graded_without_their_data(
    name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(registry.DATA_DIR, str(shared / "data"))
    out = tmp_path / "tasks"
    options = ["--preset", "quick", "--problems", "4", "--style", "chat", "--temperature", "0.6", "--k", "2"]
    assert cli.main(["export", "lm-eval", "--suite", name, "--out", str(out), *options]) == 0
    suite = registry.get(name)
    problems = suite.problems("eval", 4, 0)
    rows = read_lines(out / f"harness_{name}" / "problems.jsonl")
    assert [grading.decode(row["problem"]) for row in rows] == [replace(p, demonstrations=()) for p in problems]
    assert all(
        row["prompt"] == problem.prompt + problem.instruction for row, problem in zip(rows, problems, strict=True)
    )
    responses = [[problem.demonstrations[0] if problem.demonstrations else problem.answer, "?"] for problem in problems]
    responses[-1] = [f"The answer is \\boxed{{{problems[-1].answer}}}.", "no"]
    expected = [suite.grade([p, p], list(r)) for p, r in zip(problems, responses, strict=True)]
    monkeypatch.delenv(registry.DATA_DIR)
    found = [grading.scores(row, [r]) for row, r in zip(rows, responses, strict=True)]
    assert [row["avg_at_k"] for row in found] == [sum(v.score for v in pair) / 2 for pair in expected]
    assert any(row["avg_at_k"] > 0 for row in found)
    task = (out / f"harness_{name}" / "task.yaml").read_text()
    assert '"temperature": 0.6' in task and f'"max_gen_toks": {suite.presets["quick"].max_tokens}' in task
