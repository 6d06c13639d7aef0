"""Bad records and bad moments that evaluations, runs and comparisons must survive, one numbered test a case or more."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import harness.evaluate
import harness.store
from benchmarks import registry
from benchmarks.base import Preset, Verdict
from harness import checkpoint, cli
from harness.compare import compare_runs
from harness.data import Renderer, TrainingData
from harness.engines.base import Completion
from harness.evaluate import Evaluator
from harness.models.tokenizer import character_tokenizer
from harness.run import directory_for
from harness.run import execute as run_spec
from harness.scores import SPEAKING, repetition, summarise, verdict_row
from harness.store import RunDir, read_json, read_lines, write_json
from harness.tables import write_tables
from tests.store.runs import content, leftovers, lines, repeated
from tests.store.test_damage import HOLDER, damage_flip, damage_truncate

SHORT = {"strategy": "grpo", "probe": {"every": 0}, "data": {"suites": ["math"]}, "eval": {"fractions": []}}
ASKED = {"problems": 4, "k": 3, "ood_problems": 0, "temperature": 1.0}
LONG = "first 3 + 4 is 7, so that 2 * 7 is 14 #14"


class Scripted:
    """An engine whose sample number i, counted over all it was asked for, has the text `say(i)`."""

    own_weights = False

    def __init__(self, say: Callable[[int], str], finish: str = "stop") -> None:
        self.tokenizer = character_tokenizer()
        self.say, self.finish = say, finish
        self.asked = 0

    def sample(self, prompts, seeds, params, eos_ids) -> list[Completion]:
        start, self.asked = self.asked, self.asked + len(prompts)
        end = tuple(eos_ids) if self.finish == "stop" else ()
        texts = [self.say(start + i) for i in range(len(prompts))]
        return [Completion((*self.tokenizer.encode(text), *end), (), self.finish) for text in texts]


@pytest.fixture
def evaluate(make_spec, tmp_path):
    """(text of sample i, finish, evaluation settings) -> (summary of the suite math, its directory, what was said)."""

    def run(say, finish="stop", into="evaluated", **changes):
        said: list[str] = []
        spec = make_spec(data={"suites": ["math"]}, eval={**ASKED, **changes})
        engine = Scripted(say, finish)
        evaluator = Evaluator(spec, Renderer(engine.tokenizer, "plain", True, 1024), engine, said.append)
        directory = RunDir(tmp_path / into)
        return evaluator.run(directory, 0.0, False)["math"], directory, said

    return run


@pytest.fixture(scope="module")
def pair(make_spec, tmp_path_factory):
    """Results with two finished runs of two suites each, which may be compared."""
    results = tmp_path_factory.mktemp("pair")
    changes = {"probe": {"every": 0}, "budget": {"limit": 2}, "eval": {"fractions": [0.0, 1.0]}}
    for strategy in ("grpo", "sft"):
        run_spec(make_spec(strategy=strategy, experiment="pair", **changes), results, quiet=True)
    return results


@pytest.fixture
def runs(pair, tmp_path):
    """(results, the two run directories) of a fresh copy."""
    results = Path(shutil.copytree(pair, tmp_path / "pair"))
    return results, sorted(path.parent for path in results.glob("pair/*/manifest.json"))


def change_rows(path: Path, change: Callable) -> None:
    rows = change(lines(path))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def refused(results: Path, match: str, force: bool = False) -> str:
    with pytest.raises(ValueError, match=match) as caught:
        compare_runs(results, None, force)
    return str(caught.value)


# ---- 68, 69: what a generation may be


@pytest.mark.parametrize("text", ["", "   ", "\n\n\t "], ids=["only-eos", "spaces", "white"])
@pytest.mark.parametrize("suite", ["math", "code", "logic"])
def test_68_an_empty_generation_is_no_answer(suite, text):
    tokenizer = character_tokenizer()
    renderer = Renderer(tokenizer, "plain", True, 1024)
    text = renderer.text((*tokenizer.encode(text), renderer.eos))
    problem = registry.get(suite).problems("eval", 1, 0)[0]
    (verdict,) = registry.get(suite).grade([problem], [text])
    assert (verdict.status, verdict.score) == ("no_answer", 0.0)


def test_68_empty_generations_are_counted(evaluate):
    summary, directory, _ = evaluate(lambda i: "")
    assert (summary["no_answer"], summary["avg_at_k"], summary["samples"]) == (1.0, 0.0, 12)
    assert {row["n_tokens"] for row in read_lines(directory.generations("math", 0.0))} == {1}


def test_69_a_truncated_sample_is_graded_as_it_is_and_flagged(evaluate, make_spec):
    suite = registry.get("math")
    problems = suite.problems("eval", ASKED["problems"], make_spec().eval.seed)
    # of each problem's three samples one is right
    summary, directory, _ = evaluate(
        lambda i: suite.demonstration(problems[i // 3]) if i % 3 == 0 else "1 + 1 is", finish="length"
    )
    rows = read_lines(directory.verdicts("math", 0.0))
    assert [row["status"] for row in rows] == ["pass", "no_answer", "no_answer"] * 4
    assert all(row["truncated"] for row in rows) and summary["truncated"] == 1.0
    assert summary["avg_at_k"] == pytest.approx(1 / 3)
    ended, _, _ = evaluate(lambda i: "#1", into="ended")
    assert ended["truncated"] == 0.0


# ---- 70: samples that are no independent draws


@pytest.mark.parametrize(
    ("say", "changes", "share", "warned"),
    [
        (lambda i: LONG, {}, 1.0, True),
        (lambda i: f"{LONG} of problem {i // 3}", {}, 1.0, True),
        (lambda i: LONG if i < 9 else "#5", {}, 0.75, True),
        (lambda i: LONG if i < 6 else f"{LONG} of {i}", {}, 0.5, False),
        (lambda i: f"{LONG} of {i}", {}, 0.0, False),
        (lambda i: "#5", {}, 0.0, False),
        (lambda i: LONG, {"temperature": 0.0}, None, False),
        (lambda i: LONG, {"k": 1}, None, False),
    ],
    ids=["all", "each-its-own", "all-that-can-tell", "half", "none", "short", "greedy", "one-sample"],
)
def test_70_repeated_samples_of_a_problem_are_reported(say, changes, share, warned, evaluate):
    summary, _, said = evaluate(say, **changes)
    assert summary["repeated"] == share
    warnings = [text for text in said if text.startswith("warning: math: one text only in")]
    assert len(warnings) == warned


def test_70_equal_seeds_are_reported(evaluate, monkeypatch):
    whole = harness.evaluate.seed_for
    # the fault: the sample's number is forgotten
    monkeypatch.setattr(harness.evaluate, "seed_for", lambda *names: whole(*names[:-1]))
    summary, _, said = evaluate(lambda i: f"{LONG} of {i}")
    assert summary["repeated"] == 1.0
    assert any("two samples of one seed in 4 of 4 problems" in text for text in said)


def test_70_a_remarkable_text_has_sixteen_tokens():
    for n_tokens, texts in ((SPEAKING - 1, 0), (SPEAKING, 1)):
        rows = [{"problem": "p", "sample": i, "seed": i, "text": "x", "n_tokens": n_tokens} for i in range(2)]
        found = repetition(rows)
        assert (found.texts, found.short, found.suspicious) == (texts, 1 - texts, bool(texts))


# ---- 71, 72: prompts


def test_71_a_prompt_with_two_bos_is_refused_before_the_first_step(tiny, make_spec, tmp_path):
    model = Path(shutil.copytree(tiny, tmp_path / "model"))
    tokenizer = character_tokenizer()
    tokenizer.bos_token = "#"
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(model)
    spec = make_spec(**{**SHORT, "data": {"suites": ["math"], "style": "chat"}}, model=str(model))
    with pytest.raises(ValueError, match="starts with two BOS tokens"):
        run_spec(spec, tmp_path / "results", quiet=True)
    directory = directory_for(spec, tmp_path / "results")
    assert not directory.metrics.exists() and not directory.done


@pytest.mark.parametrize("section", ["rollout", "eval"])
def test_72_answers_as_long_as_the_context_are_refused(section, make_spec, tiny, tmp_path):
    context = json.loads((tiny / "config.json").read_text())["max_position_embeddings"]
    changes = {**SHORT, "eval": {"fractions": []}}
    changes[section] = {**changes.get(section, {}), "max_tokens": context}
    with pytest.raises(ValueError, match=f"no room for a prompt in the model's context of {context} tokens"):
        run_spec(make_spec(**changes), tmp_path / "results", quiet=True)
    assert not (tmp_path / "results").exists()


def test_72_prompts_that_do_not_fit_with_their_answers(make_spec, monkeypatch):
    tokenizer = character_tokenizer()
    spec = make_spec(data={"suites": ["math"]}, eval=ASKED)
    lengths = [len(Renderer(tokenizer, "plain", True, 10**6).prompt(problem))
               for problem in registry.get("math").problems("eval", ASKED["problems"], spec.eval.seed)]  # fmt: skip
    with pytest.raises(ValueError, match="no training prompt fits"):
        TrainingData(spec, Renderer(tokenizer, "plain", True, spec.rollout.max_tokens + 1))
    tight = Renderer(tokenizer, "plain", True, max(lengths) + spec.eval.max_tokens - 1)
    # a generated suite may lose some problems, but says so; a published one is evaluated whole or not at all
    said: list[str] = []
    kept = Evaluator(spec, tight, Scripted(str), said.append).problems(registry.get("math"), "eval")
    lost = sum(length == max(lengths) for length in lengths)
    assert len(kept) == 4 - lost and f"math: {lost} of 4 eval prompts do not fit the context" in said[0]
    preset = Preset(1, 1.0, 1.0, spec.eval.max_tokens)
    monkeypatch.setattr(type(registry.get("math")), "presets", {"published": preset})
    with pytest.raises(ValueError, match="more than the model's context"):
        Evaluator(spec, tight, Scripted(str), said.append)


# ---- 73: problem ids


def test_73_the_untouched_runs_are_compared(runs):
    results, paths = runs
    assert len(paths) == 2 and len(compare_runs(results, None, False).rows) == 2
    # what a change of verdicts must not be hidden by
    assert all((path / "scores.jsonl").exists() for path in paths)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda rows: rows[2:], "verdicts on 13 different problems, but 14 were evaluated"),
        (lambda rows: rows[1:], "1 samples of problem .* instead of 2"),
        (lambda rows: [*rows, {**rows[0], "sample": 2}], "3 samples of problem .* instead of 2"),
        (
            lambda rows: [row | ({"problem": rows[0]["problem"]} if row["problem"] == rows[2]["problem"] else {})
                          for row in rows],
            "verdicts on 13 different problems, but 14 were evaluated",
        ),
        (lambda rows: [*rows[:-1], {**rows[-1], "split": "eval"}], "in the splits eval and ood"),
    ],
    ids=["missing", "missing-sample", "additional-sample", "duplicated", "two-splits"],
)  # fmt: skip
def test_73_missing_and_duplicated_problems_are_refused(change, match, force, runs):
    results, paths = runs
    change_rows(RunDir(paths[0]).verdicts("math", 1.0), change)
    said = refused(results, match, force)
    assert "math@1.00.jsonl" in said and len(said.splitlines()) == 1


def test_73_runs_with_other_problems_are_refused(runs):
    results, paths = runs
    path = RunDir(paths[1]).verdicts("math", 1.0)
    one = lines(path)[0]["problem"]
    change_rows(path, lambda rows: [row | ({"problem": "other"} if row["problem"] == one else {}) for row in rows])
    said = refused(results, "eval problems of math are not the same in")
    assert "2 are in one of them only" in said
    assert any("not the same in" in reason for reason in compare_runs(results, None, True).forced)


# ---- 74, 75, 76: moments at which a run may end


def test_74_a_torn_last_line_is_skipped_and_its_sample_redone(evaluate, monkeypatch):
    monkeypatch.setattr(harness.evaluate, "CHUNK", 4)
    _, directory, _ = evaluate(lambda i: f"#{i}")
    paths = [directory.generations("math", 0.0), directory.verdicts("math", 0.0)]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])
    asked = []
    evaluate(lambda i: asked.append(i) or f"#{8 + i}")
    # the samples of the torn chunk, and no others
    assert len(asked) == 4
    assert [path.read_bytes() for path in paths] == before


def test_75_a_kill_between_two_writes(values, root, tmp_path):
    specification = tmp_path / "spec.json"
    specification.write_text(json.dumps(values(probe={"every": 0}, budget={"limit": 3}, eval={"fractions": [1.0]})))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.store.killing", specification, tmp_path / "results", "writes", "2", "7"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    whole = content(Path(report["whole"]))
    assert len(report["kills"]) >= 2 and len(report["directories"]) == 2
    for directory in map(Path, report["directories"]):
        assert (directory / "DONE").exists() and leftovers(directory) == [] and repeated(directory) == []
        assert content(directory) == whole


class Full:
    """A file on a disk that has room for half of the text."""

    def __init__(self, stream, code):
        self.stream, self.code = stream, code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def write(self, text):
        self.stream.write(text[: len(text) // 2])
        self.stream.flush()
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=["full", "quota"])
def test_76_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    code, values, make_spec, tmp_path, monkeypatch, capsys
):
    changes = {**SHORT, "budget": {"limit": 4}}
    spec = make_spec(**changes)
    assignments = [
        f"--set={section}.{key}={json.dumps(value)}"
        for section, entries in values(**changes).items()
        if isinstance(entries, dict)
        for key, value in entries.items()
    ]
    command = ["run", "--strategy", "grpo", "--model", spec.model, "--results", str(tmp_path), "--quiet", *assignments]
    directory = directory_for(spec, tmp_path)
    opened, appended = open, 0

    def open_on_full_disk(path, mode="r", **options):
        nonlocal appended
        stream = opened(path, mode, **options)
        if mode != "a" or Path(path).name != "metrics.jsonl":
            return stream
        appended += 1
        return Full(stream, code) if appended == 3 else stream

    with monkeypatch.context() as patch:
        patch.setattr(harness.store, "open", open_on_full_disk, raising=False)
        assert cli.main(command) == 1
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and said.startswith(f"harness run: {os.strerror(code)}")
    assert str(directory.path) in said and "--resume" in said
    assert [row["step"] for row in read_lines(directory.metrics)] == [1, 2] and not directory.done
    assert cli.main([*command, "--resume"]) == 0
    whole = run_spec(spec, tmp_path / "whole", quiet=True)
    assert content_without_evaluation(directory) == content_without_evaluation(whole)


def content_without_evaluation(run: RunDir) -> tuple[bytes, bytes]:
    newest = checkpoint.list_steps(run.checkpoints)[-1]
    return run.metrics.read_bytes(), (run.checkpoints / f"step_{newest:06d}" / "model.safetensors").read_bytes()


def test_76_a_full_disk_where_nothing_is_resumed(runs, monkeypatch, capsys):
    def fail(path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_text", fail)
    assert cli.main(["compare", str(runs[0])]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("harness compare: No space left on device: ") and len(said.splitlines()) == 1


def test_76_other_faults_of_files_keep_their_traceback(tmp_path):
    with pytest.raises(OSError, match="Input/output") as caught, RunDir(tmp_path).writer():
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert not isinstance(caught.value, harness.store.DiskFull)


# ---- 77: numbers that are none


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_77_a_score_that_is_no_number_is_not_scored(value, tmp_path):
    problem = registry.get("math").problems("eval", 1, 0)[0]
    generation = {"problem": problem.id, "sample": 0, "finish": "stop", "n_tokens": 3}
    row = verdict_row(problem, generation, Verdict("pass", value, "5", "g", "1"))
    assert (row["status"], row["score"]) == ("infra", None)
    right = verdict_row(problem, {**generation, "sample": 1}, Verdict("pass", 1.0, "5", "g", "1"))
    assert (right["status"], right["score"]) == ("pass", 1.0)
    summary = summarise([row, right], row["split"], 1)
    assert (summary["avg_at_k"], summary["infra"]) == (1.0, 0.5)
    path = tmp_path / "verdicts.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        harness.store.append_lines(path, [{"score": value}])
    assert not path.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_77_compare_refuses_such_a_score(value, runs):
    results, paths = runs
    change_rows(RunDir(paths[0]).verdicts("math", 1.0), lambda rows: [{**rows[0], "score": value}, *rows[1:]])
    refused(results, f"has the score {value} for problem")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_77_a_step_on_such_rewards_is_skipped_and_counted(value, execute, tiny, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.setattr(TrainingData, "noisy_reward", lambda *_: value)
    run = execute(**SHORT, budget={"limit": 2})
    text = run.metrics.read_text()
    rows = lines(run.metrics)
    assert [(row["skipped"], row["loss"], row["grad_norm"]) for row in rows] == [(1.0, None, None)] * 2
    assert "NaN" not in text and "Infinity" not in text
    start, end = load_file(tiny / "model.safetensors"), load_file(run.checkpoints / "step_000002/model.safetensors")
    assert all((start[name] == weight).all() for name, weight in end.items())


# ---- 78, 79: the directory


def test_78_a_second_process_is_refused(tmp_path, root):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"being written by process {holder.pid} "), RunDir(tmp_path).writer():
            pass
        holder.stdin.close()
    with RunDir(tmp_path).writer():
        assert RunDir(tmp_path).locked


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip], ids=["truncated", "hash"])
def test_79_a_damaged_checkpoint_gives_way_to_the_one_before(damage, execute):
    # AdamW has a file of its own, which is the one that damage_flip changes
    changes = {**SHORT, "budget": {"limit": 4}, "train": {"warmup": 0}}
    run = execute(**changes)
    before = content_without_evaluation(run)
    assert checkpoint.list_steps(run.checkpoints) == [2, 4]
    (run.path / "DONE").unlink()
    damage(run.checkpoints / "step_000004")
    assert "does not match its hash" in str(checkpoint.verify(run.checkpoints / "step_000004"))
    execute(**changes)
    said = (run.path / "logs" / "attempt_2.log").read_text()
    assert "falling back to the checkpoint before it" in said and "resumed at step 2" in said
    assert run.done and leftovers(run.path) == [] and content_without_evaluation(run) == before


# ---- 80: what must not be compared


def other_spec(section: str, key: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        manifest = read_json(path / "manifest.json")
        manifest["spec"][section][key] = value
        write_json(path / "manifest.json", manifest)

    return change


def other_grader(path: Path) -> None:
    for file in (path / "verdicts").iterdir():
        change_rows(file, lambda rows: [{**row, "grader_version": "0"} for row in rows])


def other_data(path: Path) -> None:
    evaluation = read_json(path / "evaluation.json")
    for suites in evaluation.values():
        suites["math"]["data_hash"] = "0" * 16
    write_json(path / "evaluation.json", evaluation)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (other_grader, "The graders of math differ"),
        (other_data, "The problem data of math differ"),
        (other_spec("eval", "temperature", 0.25), "The evaluation setting temperature differs"),
        (other_spec("eval", "top_p", 0.5), "The evaluation setting top_p differs"),
    ],
    ids=["grader", "data", "temperature", "top_p"],
)
def test_80_the_incomparable_is_refused_and_marked_where_forced(change, match, runs, tmp_path):
    results, paths = runs
    change(paths[0])
    refused(results, match)
    comparison = compare_runs(results, None, True)
    assert any(match in reason for reason in comparison.forced)
    files = [path for path in write_tables(comparison, tmp_path, []) if path.suffix == ".md"]
    assert files and all(match in path.read_text() for path in files)


def test_80_unequal_budgets_are_refused_and_marked_where_forced(runs, tmp_path):
    results, paths = runs
    other_spec("budget", "limit", 3)(paths[0])
    refused(results, "The budgets differ: limits from 2 .* to 3 .* updates, which is more than 10% apart")
    comparison = compare_runs(results, None, True)
    assert any(reason.startswith("The budgets differ: ") for reason in comparison.forced)
    files = [path for path in write_tables(comparison, tmp_path, []) if path.suffix == ".md"]
    assert any("NOT COMPARABLE (forced):** The budgets differ" in path.read_text() for path in files)


def test_80_what_was_spent_of_equal_budgets_is_measured(runs):
    results, paths = runs
    for path in paths:
        other_spec("budget", "kind", "generated_tokens")(path)
        other_spec("budget", "limit", 100)(path)
    # one of the two methods has sampled nothing at all
    refused(results, "The generated tokens spent are not equal: from 0 .* to ")
    assert any("generated tokens from 0" in sentence for sentence in compare_runs(results, None, True).unequal)


def test_80_costs_that_a_reader_wants_equal_are_held_to_it(runs, capsys):
    results, _ = runs
    assert any("FLOPs from" in sentence for sentence in compare_runs(results, None, False).unequal)
    assert cli.main(["compare", str(results), "--equal", "flops"]) == 2
    said = capsys.readouterr().err.strip()
    assert "The FLOPs spent are not equal" in said and "--force" in said and len(said.splitlines()) == 1
