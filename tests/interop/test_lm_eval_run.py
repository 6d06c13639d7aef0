"""Tasks of lm-eval on our models: its scores, our directory, and going on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is an optional extra: pip install -e '.[eval]'")
pytest.importorskip("accelerate", reason="lm-eval's hf model needs accelerate")

import lm_eval
from lm_eval.tasks import TaskManager

from benchmarks import registry
from harness import cli, evaluation_run
from harness.lm_eval import evaluation, model, tasks
from harness.models import ladder
from harness.store import RunDir, read_json, read_lines

Write = Callable[..., Path]

CHOICE = (
    "output_type: multiple_choice",
    "doc_to_text: '{{question}}'",
    "doc_to_choice: choices",
    "doc_to_target: label",
    "target_delimiter: ''",
    "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, "
    "{metric: acc_norm, aggregation: mean, higher_is_better: true}]",
)
UNTIL = (
    "output_type: generate_until",
    "doc_to_text: '{{question}}'",
    "doc_to_target: answer",
    "generation_kwargs: {until: ['#'], do_sample: false, max_gen_toks: 40}",
    "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]",
)
ROLLING = (
    "output_type: loglikelihood_rolling",
    "doc_to_text: ''",
    "doc_to_target: '{{text}}'",
    "metric_list: [{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]",
)


@pytest.fixture
def target() -> evaluation_run.Target:
    chosen = evaluation_run.target("1m", "latest")
    return evaluation_run.with_settings(chosen, {}, {}, {"device": "cpu", "threads": 1})


def choices(n: int) -> list[dict[str, Any]]:
    """The right answer among numbers of other lengths, which is what acc_norm is about."""
    rows = []
    for i, problem in enumerate(registry.get("math").problems("eval", n, 0, [1])):
        answer = problem.answer
        wrong = [answer + "0", str(abs(int(answer)) + 1), "5"]
        options = [*wrong[: i % 3], answer, *wrong[i % 3 :]]
        rows.append({"question": problem.prompt + "\n", "choices": ["#" + o for o in options], "label": i % 3})
    return rows


def arc(shared: Path, n: int) -> list[dict[str, Any]]:
    lines = (shared / "data" / "science" / "arc_challenge" / "test.jsonl").read_text().split("\n")[:n]
    rows = []
    for row in map(json.loads, lines):
        found = row["choices"]
        texts, labels = (
            (found["text"], found["label"])
            if isinstance(found, dict)
            else ([choice["text"] for choice in found], [choice["label"] for choice in found])
        )
        question = row["question"] if isinstance(row["question"], str) else row["question"]["stem"]
        rows.append(
            {
                "question": f"{question} ",
                "choices": texts,
                "label": labels.index(row.get("answerKey", row.get("answer"))),
            }
        )
    return rows


def theirs(folder: Path, task: str) -> dict[str, Any]:
    return lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": ladder.resolve("1m").location, "dtype": "float32"},
        device="cpu",
        batch_size=16,
        tasks=[task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=10,
    )


def compare(directory: RunDir, task: str, expected: dict[str, Any]) -> None:
    """Scores, and the answers that they were computed from, document by document."""
    found = read_json(directory.path / "lm_eval.json")["results"][task]
    for key, value in expected["results"][task].items():
        if isinstance(value, float) and "_stderr" not in key:
            assert found[key] == pytest.approx(value, abs=1e-4), key
    answers = {(row["problem"], row["choice"]): row for row in read_lines(directory.generations(task, 0.0))}
    n = 0
    for sample in expected["samples"][task]:
        for choice, response in enumerate(sample["resps"]):
            row = answers[sample["doc_id"], choice]
            if isinstance(response[0], str):
                assert row["text"] == response[0]
            else:
                assert row["logprob"] == pytest.approx(
                    response[0][0] if isinstance(response[0], tuple) else response[0], abs=1e-4
                )
            n += 1
    assert n == len(answers)


@pytest.mark.parametrize("made_up", (True, False))
def test_multiple_choice(made_up: bool, request: Any, write_task: Write, target: Any, tmp_path: Path) -> None:
    rows = choices(40) if made_up else arc(request.getfixturevalue("shared"), 40)
    folder = write_task("local_choice", rows, *CHOICE)
    options = evaluation.Options(include=folder)
    directory = evaluation.run(target, "local_choice", options, tmp_path / "results")
    expected = theirs(folder, "local_choice")
    compare(directory, "local_choice", expected)
    values = expected["results"]["local_choice"]
    if made_up:
        assert 0.3 < values["acc,none"] != values["acc_norm,none"]
    (summary,) = read_json(directory.evaluation)["0.00"].values()
    assert (summary["n"], summary["version"], summary["shots"]) == (len(rows), 3, 0)
    by_name = {row["metric"]: row for row in summary["metrics"]}
    assert by_name["acc"]["value"] == values["acc,none"] and by_name["acc_norm"]["value"] == values["acc_norm,none"]
    assert 0 < by_name["acc"]["se"] < 0.1
    verdicts = read_lines(directory.verdicts("local_choice", 0.0))
    assert sum(row["metrics"]["acc"] for row in verdicts) / len(rows) == pytest.approx(values["acc,none"])


def test_generation_and_perplexity(write_task: Write, target: Any, tmp_path: Path) -> None:
    problems = registry.get("logic").problems("eval", 12, 1)
    rows = [{"question": problem.prompt + "\n", "answer": problem.answer} for problem in problems]
    folder = write_task("local_until", rows, *UNTIL)
    write_task("local_rolling", [{"text": row["question"] + row["answer"]} for row in rows], *ROLLING)
    for task in ("local_until", "local_rolling"):
        directory = evaluation.run(target, task, evaluation.Options(include=folder), tmp_path / "results")
        compare(directory, task, theirs(folder, task))


def test_goes_on_where_it_stopped(
    write_task: Write, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = registry.get("math").problems("eval", 10, 2)
    rows = [{"question": problem.prompt + "\n", "answer": problem.answer} for problem in problems]
    lines = [line.replace("do_sample: false", "do_sample: true, temperature: 1.0") for line in UNTIL]
    folder = write_task("local_until", rows, *lines, "repeats: 2")
    options = evaluation.Options(include=folder)
    whole = evaluation.run(target, "local_until", options, tmp_path / "whole")

    monkeypatch.setattr(model, "CHUNK", 4)
    asked = []
    original = model.generate

    def dying(engine: Any, prompts: list[Any], *others: Any) -> Any:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return original(engine, prompts, *others)

    monkeypatch.setattr(model, "generate", dying)
    results = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        evaluation.run(target, "local_until", options, results)
    directory = evaluation.directory_for(target, "local_until", options, results)
    path = directory.generations("local_until", 0.0)
    assert not directory.done and len(read_lines(path)) == 8
    with open(path, "a") as stream:
        stream.write('{"task": "loc')
    asked.clear()
    monkeypatch.setattr(
        model,
        "generate",
        lambda engine, prompts, *others: (asked.append(len(prompts)), original(engine, prompts, *others))[1],
    )
    assert evaluation.run(target, "local_until", options, results).done
    assert sum(asked) == 12
    assert read_lines(path) == read_lines(whole.generations("local_until", 0.0))
    assert read_json(directory.evaluation) == read_json(whole.evaluation)
    assert len(directory.manifest["attempts"]) == 2
    asked.clear()
    evaluation.run(target, "local_until", options, results)
    assert not asked


def test_options_change_what_is_run(write_task: Write, target: Any, tmp_path: Path) -> None:
    rows = [{"question": f"{i}+{i}\n", "answer": str(2 * i)} for i in range(1, 7)]
    folder = write_task("local_until", rows, *UNTIL, "fewshot_config: {split: test}")
    base = evaluation.Options(include=folder, limit=2)
    for changes in ({}, {"max_tokens": 5}, {"shots": 1}, {"temperature": 0.8, "top_p": 0.9}, {"chat": True}):
        options = evaluation.Options(**{**vars(base), **changes})
        directory = evaluation.run(target, "local_until", options, tmp_path / "results")
        (summary,) = read_json(directory.evaluation)["0.00"].values()
        assert summary["n"] == 2 and summary["shots"] == changes.get("shots", 0)
        answers = read_lines(directory.generations("local_until", 0.0))
        if "max_tokens" in changes:
            assert all(row["n_tokens"] <= 5 for row in answers)
    assert len(list((tmp_path / "results" / "evaluations").iterdir())) == 5
    before = evaluation.directory_for(target, "local_until", base, tmp_path)
    (folder / "note.txt").write_text("another state of the folder")
    assert evaluation.directory_for(target, "local_until", base, tmp_path).path != before.path


def test_configuration_hash() -> None:
    first = {"task": "a", "metric_list": [{"metric": "acc"}], "process_results": "def f(): pass"}
    assert tasks.config_hash(first) == tasks.config_hash(json.loads(json.dumps(first)))
    assert tasks.config_hash(first) != tasks.config_hash({**first, "task": "b"})


def test_what_lm_eval_gives_is_made_plain() -> None:
    import numpy as np

    value = {"a": (np.float32(0.5), np.int64(3), np.bool_(True)), "b": float("nan"), "c": [np.array([1.0, np.inf])]}
    assert evaluation.plain(value) == {"a": [0.5, 3, True], "b": None, "c": [[1.0, None]]}
    found = evaluation.metrics(
        {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,last": 1.0, "f1_stderr,last": "N/A"}
    )
    assert found == [
        {"metric": "acc", "filter": "none", "value": 0.5, "se": 0.1},
        {"metric": "f1", "filter": "last", "value": 1.0, "se": None},
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    (
        (("dataset_path: nobody/nothing", "dataset_kwargs: null"), "not to be had"),
        (("unsafe_code: true",), "sandbox"),
        (("doc_to_text: '{{nothing}}'",), "cannot load"),
        (("process_results: !function missing_module.f",), "package"),
    ),
)
def test_bad_tasks_are_told_in_one_sentence(
    lines: tuple[str, ...], word: str, write_task: Write, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    kept = [line for line in UNTIL if not line.startswith(lines[0].split(":")[0] + ":")]
    folder = write_task("local_bad", [{"question": "1\n", "answer": "1"}], *kept, *lines)
    with pytest.raises(ValueError, match=word) as caught:
        evaluation.run(target, "local_bad", evaluation.Options(include=folder), tmp_path / "results")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_missing_folder_is_told(target: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        evaluation.run(target, "x", evaluation.Options(include=tmp_path / "none"), tmp_path / "results")


def test_unknown_names_get_the_nearest(
    write_task: Write, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_task("local_until", [{"question": "1\n", "answer": "1"}], *UNTIL)
    kind = tasks._manager()
    monkeypatch.setattr(tasks, "_manager", lambda: partial(kind, include_defaults=False))  # it has thousands
    with pytest.raises(ValueError, match="did you mean local_until"):
        evaluation.run(target, "locl_until", evaluation.Options(include=folder), tmp_path / "results")


def test_command(
    write_task: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_task("local_choice", choices(9), *CHOICE)
    name = ["eval", "1m", "--threads", "1", "--suite", "lm_eval:local_choice", "--lm-eval-include", str(folder)]
    assert cli.main([*name, "--problems", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (directory,) = (tmp_path / "results" / "evaluations").iterdir()
    assert str(directory.relative_to(tmp_path)) == lines[-1]
    (summary,) = read_json(directory / "evaluation.json")["0.00"].values()
    rows = [line.split() for line in lines if line.startswith("local_choice ")]
    assert [row[:6] for row in rows] == [["local_choice", "3", "0", "6", "none", m] for m in ("acc", "acc_norm")]
    assert [row[6] for row in rows] == [f"{found['value']:.4f}" for found in summary["metrics"]]
    assert cli.main([*name, "--suite", "math", "--problems", "2", "--max-tokens", "8"]) == 0
    said = capsys.readouterr().out
    assert "lm-eval's own" in said and any(line.startswith("math ") for line in said.splitlines())
    for more, word in ((["--k", "2"], "--k"), (["--split", "ood"], "--split")):
        assert cli.main([*name, *more]) == 2
        assert word in capsys.readouterr().err


def test_missing_data_are_told_without_a_network(
    write_task: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = write_task("science", [], "dataset_path: allenai/ai2_arc", "dataset_kwargs: null", *CHOICE)
    name = ["--suite", "lm_eval:science", "--lm-eval-include", str(folder)]
    assert cli.main(["eval", "1m", "--threads", "1", *name]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("harness eval:")]
    assert "ai2_arc" in line and "--lm-eval-include" in line
    assert list(tmp_path.iterdir()) == [folder]
