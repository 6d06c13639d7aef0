"""Published suites on the command line and in run specifications: presets, data, refusals, listing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry
from harness import evaluation_run, spec
from harness.data import INSTRUCTION, Renderer
from harness.evaluate import cut
from harness.store import RunDir, find_runs, read_lines

FAST = ("--max-tokens", "6", "--threads", "1")
ROW = {"question": "What is 1+1?", "answer": "1+1=2\n#### 2"}


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data directory but the one that a test names."""
    monkeypatch.setenv(registry.DATA_DIR, "")
    monkeypatch.delenv(registry.DATA_DIR)
    yield
    registry.set_data_dir(None)


@pytest.fixture
def data(shared: Path) -> Path:
    return shared / "data"


def the_one(results: Path) -> tuple[Path, dict[str, Any]]:
    (found,) = find_runs(results, "evaluation")
    return found.path, json.loads((found.path / "evaluation.json").read_text())["0.00"]


def test_a_published_suite_from_a_local_folder(say: Callable[..., Any], tiny: Path, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", tiny, "--suite", "gsm8k", "--preset", "quick", "--problems", "5", "--k", "2", *FAST)
    said = say(*arguments, "--data-dir", data)
    assert said.code == 0, said.err
    assert "gsm8k: 5 problems, k 2, temperature 0, top-p 1, 6 tokens; grader math_strict 1" in said.out
    folder, summaries = the_one(tmp_path / "results")
    assert (summaries["gsm8k"]["n"], summaries["gsm8k"]["k"]) == (5, 2)
    stored = read_lines(folder / "generations" / "gsm8k@0.00.jsonl")
    assert len(stored) == 10 and all(row["n_tokens"] <= 6 for row in stored)
    assert stored[0]["text"] == stored[1]["text"]  # greedy, so both samples are the same
    verdicts = read_lines(folder / "verdicts" / "gsm8k@0.00.jsonl")
    assert {row["grader"] for row in verdicts} == {"mathematics"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["suites"]["gsm8k"]["max_tokens"] == 6 and manifest["suites"]["gsm8k"]["grader"] == "math_strict"
    assert manifest["spec"]["eval"]["preset"] == "quick"
    # the same command goes on where it stopped, another setting of the suite goes elsewhere
    (folder / "DONE").unlink()
    (folder / "verdicts" / "gsm8k@0.00.jsonl").unlink()
    assert say(*arguments, "--data-dir", data).code == 0
    assert read_lines(folder / "generations" / "gsm8k@0.00.jsonl") == stored
    assert read_lines(folder / "verdicts" / "gsm8k@0.00.jsonl") == verdicts
    assert say(*arguments, "--data-dir", data, "--stop", "x").code == 0
    assert len(find_runs(tmp_path / "results", "evaluation")) == 2


def test_changed_data_are_not_mixed_with_stored_samples(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [ROW | {"question": f"What is {i}+1?"} for i in range(1319)]
    (folder / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("eval", tiny, "--suite", "gsm8k", "--problems", "2", *FAST, "--data-dir", folder)
    assert say(*arguments).code == 0
    path, _ = the_one(tmp_path / "results")
    (path / "DONE").unlink()
    (folder / "gsm8k.jsonl").write_text(
        "".join(json.dumps(row | {"question": f"{i}?"}) + "\n" for i, row in enumerate(rows))
    )
    registry._get.cache_clear()  # as in another process
    said = say(*arguments)
    assert said.code == 2 and "samples of other problems" in said.err


def settings(spec_values: dict[str, Any], tiny: Path) -> evaluation_run.Target:
    built = spec.build({"model": str(tiny), "eval": spec_values, "runtime": {"threads": 1, "device": "cpu"}})
    return replace(evaluation_run.target(str(tiny), "latest"), spec=built)


def evaluated(chosen: evaluation_run.Target, results: Path) -> tuple[RunDir, dict[str, Any]]:
    directory = evaluation_run.directory_for(chosen, "eval", results)
    evaluation_run.execute(chosen, "eval", directory, lambda text: None, lambda *numbers: None)
    return directory, json.loads(directory.evaluation.read_text())["0.00"]


def test_each_suite_has_settings_of_its_own(tiny: Path, data: Path, tmp_path: Path) -> None:
    registry.set_data_dir(data)
    own = {
        "gsm8k": {"problems": 3, "k": 2, "max_tokens": 5, "temperature": 0.0},
        "bbh_object_counting": {"problems": 4, "k": 3, "max_tokens": 7, "temperature": 1.0, "top_p": 1.0},
    }
    values = {"suites": ["gsm8k", "bbh_object_counting", "math"], "preset": "quick", "settings": own,
              "problems": 2, "k": 1, "max_tokens": 4, "ood_problems": 0}  # fmt: skip
    directory, summaries = evaluated(settings(values, tiny), tmp_path)
    assert {name: (found["n"], found["k"]) for name, found in summaries.items()} == {
        "gsm8k": (3, 2), "bbh_object_counting": (4, 3), "math": (2, 1)
    }  # fmt: skip
    for name, tokens in (("gsm8k", 5), ("bbh_object_counting", 7), ("math", 4)):
        rows = read_lines(directory.generations(name, 0.0))
        assert max(row["n_tokens"] for row in rows) == tokens
    greedy = read_lines(directory.generations("gsm8k", 0.0))
    assert len({row["text"] for row in greedy[:2]}) == 1
    drawn = read_lines(directory.generations("bbh_object_counting", 0.0))
    assert len({row["text"] for row in drawn[:3]}) == 3
    other = values | {"settings": own | {"gsm8k": own["gsm8k"] | {"max_tokens": 6}}}
    assert evaluation_run.directory_for(settings(other, tiny), "eval", tmp_path).path != directory.path


def test_flags_go_before_presets_and_presets_before_the_rest(
    say: Callable[..., Any], tiny: Path, data: Path, tmp_path: Path
) -> None:
    said = say(
        "eval",
        tiny,
        "--suite",
        "humaneval",
        "--suite",
        "math",
        "--data-dir",
        data,
        "--problems",
        "2",
        *FAST,
        "--k",
        "1",
    )
    assert said.code == 0, said.err
    # without --preset published suites follow the papers
    assert "humaneval: 2 problems, k 1, temperature 0.2, top-p 0.95, 6 tokens" in said.out
    path, summaries = the_one(tmp_path / "results")
    assert summaries["math"]["n"] == 2
    evaluation = json.loads((path / "manifest.json").read_text())["spec"]["eval"]
    assert evaluation["temperature"] == 1.0 and evaluation["preset"] == "paper"


def test_macro_average_over_families(say: Callable[..., Any], tiny: Path, data: Path, tmp_path: Path) -> None:
    said = say(
        "eval",
        tiny,
        "--suite",
        "bbh_logic",
        "--preset",
        "quick",
        "--problems",
        "8",
        "--seed",
        "1",
        *FAST,
        "--data-dir",
        data,
    )
    assert said.code == 0, said.err
    _, summaries = the_one(tmp_path / "results")
    found = summaries["bbh_logic"]
    assert sum(family["n"] for family in found["families"].values()) == 8
    mean = sum(family["avg_at_k"] for family in found["families"].values()) / len(found["families"])
    assert found["macro"]["avg_at_k"] == pytest.approx(mean)
    assert f"bbh_logic, mean of {len(found['families'])} families" in said.out


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("answer 4\n\nQuestion: next", ("\n\n",), ("answer 4", True)),
        ("a STOP b END c", ("END", "STOP"), ("a ", True)),
        ("STOP", ("STOP",), ("", True)),
        ("nothing", ("STOP",), ("nothing", False)),
        ("nothing", (), ("nothing", False)),
    ],
)
def test_stop_texts_cut_at_the_first(text: str, stops: tuple[str, ...], expected: tuple[str, bool]) -> None:
    assert cut(text, stops) == expected


def test_stop_texts_reach_the_stored_samples(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    arguments = (
        "eval",
        tiny,
        "--suite",
        "math",
        "--problems",
        "4",
        "--k",
        "2",
        "--max-tokens",
        "24",
        "--style",
        "plain",
    )
    say(*arguments)
    (whole,) = find_runs(tmp_path / "results", "evaluation")
    texts = [row["text"] for row in read_lines(whole.generations("math", 0.0))]
    stop = max(texts, key=len)[5:7]
    say(*arguments, "--stop", stop)
    (cut_run,) = [run for run in find_runs(tmp_path / "results", "evaluation") if run.path != whole.path]
    rows = read_lines(cut_run.generations("math", 0.0))
    assert [row["text"] for row in rows] == [text.split(stop)[0] for text in texts]
    assert all(row["finish"] == "stop" for row, text in zip(rows, texts, strict=True) if stop in text)


def broken(folder: Path) -> Path:
    place = folder / "math" / "gsm8k"
    place.mkdir(parents=True)
    (place / "test.jsonl").write_text(json.dumps(ROW) + "\n")
    return folder


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--suite", "gsm8k", "--preset", "fast"), ("no preset 'fast'", "paper, quick")),
        (("--suite", "math", "--preset", "quick"), ("is for published suites",)),
        (("--suite", "gsm8k", "--suite", "gsm8k"), ("named twice",)),
        (("--suite", "gsm8", "--preset", "quick"), ("did you mean gsm8k",)),
        (("--suite", "gsm8k@main"), ("40 hex digits",)),
        (("--suite", "gsm8k", "--data-dir", "nowhere"), ("nowhere does not exist",)),
        (("--suite", "folio"), ("folio-validation.jsonl", "--data-dir")),
        (("--suite", "folio", "--data-dir", "."), ("no data in", "folio-validation.jsonl", "Yale-LILY/FOLIO")),
        (("--suite", "theoremqa"), ("no commit of TIGER-Lab/TheoremQA is known", "theoremqa@COMMIT")),
        (("--suite", "gsm8k", "--data-dir", "broken"), ("has sha256", "3730d312f6e3440559ace48831e51066")),
        (("--suite", "gsm8k", "--k", "0"), ("k must be at least 1",)),
        (("--suite", "gsm8k", "--stop", ""), ("empty text",)),
    ],
)
def test_one_sentence_and_code_2(
    arguments: tuple[str, ...], parts: tuple[str, ...], say: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    broken(tmp_path / "broken")
    said = say("eval", tiny, *arguments)
    assert said.code == 2 and said.err.count("\n") == 1
    for part in parts:
        assert part in said.err
    assert not list((tmp_path / "results").rglob("manifest.json"))


def test_what_does_not_fit_the_context_is_refused(say: Callable[..., Any], tiny: Path, data: Path) -> None:
    said = say("eval", tiny, "--suite", "gsm8k", "--preset", "paper", "--data-dir", data, "--threads", "1")
    assert said.code == 2 and said.err.count("\n") == 1
    assert "with max_tokens 8192 is more than the model's context of" in said.err


def test_published_suites_in_a_run(execute: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    """Trained on GSM8K's demonstrations, evaluated on it and on a logic task."""
    registry.set_data_dir(data)
    run = execute(
        strategy="sft",
        budget={"limit": 2},
        data={"suites": ["gsm8k"], "problems": 40},
        eval={"suites": ["gsm8k", "bbh_navigate"], "preset": "quick", "fractions": [1.0],
              "settings": {"gsm8k": {"problems": 3, "max_tokens": 8},
                           "bbh_navigate": {"problems": 2, "k": 2, "max_tokens": 5}}},
        probe={"every": 0},
    )  # fmt: skip
    summaries = json.loads(run.evaluation.read_text())["1.00"]
    assert {name: (found["n"], found["k"]) for name, found in summaries.items()} == {
        "gsm8k": (3, 1),
        "bbh_navigate": (2, 2),
    }


def test_run_specifications_name_suites_and_presets_that_exist() -> None:
    def refused(part: str, **values: Any) -> None:
        with pytest.raises(ValueError, match=part):
            spec.build({"eval": values})

    refused("no preset 'fast'", suites=["gsm8k"], preset="fast")
    refused("did you mean", suites=["gsm8"])
    refused("not evaluated", suites=["gsm8k"], settings={"mbpp": {"k": 2}})
    refused("unknown key 'eval.settings.gsm8k.kk'", suites=["gsm8k"], settings={"gsm8k": {"kk": 2}})
    refused("k must be at least 1", suites=["gsm8k"], settings={"gsm8k": {"k": 0}})
    plain = spec.build({})
    assert spec.build(plain.as_dict()) == plain
    # what is not set does not change the name of a run
    assert spec.build({"eval": {"settings": {}, "stop": []}}).hash() == plain.hash()
    assert (
        spec.build({"eval": {"suites": ["gsm8k"], "preset": "quick"}}).hash()
        != spec.build({"eval": {"suites": ["gsm8k"]}}).hash()
    )


def test_the_instruction_belongs_to_the_suite(tiny: Path, data: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}!"
    registry.set_data_dir(data)
    (published,) = registry.get("gsm8k").problems("eval", 1, 0)
    (own,) = registry.get("math").problems("eval", 1, 0)
    chat, plain = (Renderer(tokenizer, style, False, 4096) for style in ("chat", "plain"))

    def text(renderer: Renderer, problem: Any) -> str:
        return tokenizer.decode(list(renderer.prompt(problem)), skip_special_tokens=True)

    instruction = registry.get("gsm8k").instruction
    asked = f"{published.prompt}\n\n{instruction}".encode("ascii", "ignore").decode()  # all that the tokenizer knows
    assert text(chat, published) == f"{asked}!" and text(plain, published) == f"{asked}\n"
    assert INSTRUCTION.strip() not in text(chat, published)
    assert INSTRUCTION.strip()[:20] in text(chat, own) and INSTRUCTION.strip()[:20] not in text(plain, own)


def test_listing(say: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    said = say("suites", "--data-dir", data)
    lines = {line.split()[0]: line.split() for line in said.out.splitlines() if line and not line.startswith("-")}
    assert lines["gsm8k"][:5] == ["gsm8k", "math", "1,319", "math_strict", "here"]
    assert lines["aime24"][4] == "missing" and lines["humaneval"][4] == "here"
    assert set(registry.names()) <= set(lines)
    said = say("suites", "--data-dir", broken(tmp_path / "broken"))
    (line,) = [line for line in said.out.splitlines() if line.startswith("gsm8k ")]
    assert "other content" in line


def test_description(say: Callable[..., Any], data: Path) -> None:
    said = say("suites", "aime24")
    text = " ".join(said.out.split())
    assert said.code == 0
    for part in ("30 to evaluate", "math_strict, version 1", "HuggingFaceH4/aime_2024 at 2fe88a2f1091d5",
                 "missing", "download data/train-00000-of-00001.parquet", "paper all 32 0.6 0.95 8,192"):  # fmt: skip
        assert part in text
    said = say("suites", "gsm8k", "--data-dir", data, "--n", "2", "--demos", "--split", "train")
    assert said.code == 0 and said.out.count("(graded: pass)") == 2 and said.out.count("(graded: fail)") == 2
    assert say("suites", "gsm8k", "--level", "2").code == 2
