"""`harness contamination`: against a naive search, on known overlaps, and in every form of output."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry
from benchmarks.base import Problem
from harness.contamination import Index, Match, by_suite, squeezed, words


def problem(identity: str, text: str) -> Problem:
    return Problem(identity, "s", text, "1")


def contains(text: str, unit: str, gram: str) -> bool:
    return f" {gram} " in f" {' '.join(words(text))} " if unit == "words" else gram in squeezed(text)


def grams_of(text: str, n: int, c: int) -> tuple[str, list[str]]:
    split, short = words(text), squeezed(text)
    if len(split) >= n:
        return "words", [" ".join(split[i : i + n]) for i in range(len(split) - n + 1)]
    if len(short) >= c:
        return "characters", [short[i : i + c] for i in range(len(short) - c + 1)]
    return "whole", []


def naive(problems: list[Problem], texts: list[tuple[str, str]], n: int, c: int) -> list[tuple[Any, ...]]:
    """(unit, n-grams, matched, own, same) of every problem by looking for each n-gram in each text."""
    cut = [grams_of(problem.prompt, n, c) for problem in problems]
    found = []
    for i, (unit, grams) in enumerate(cut):
        matched = {gram for gram in grams if any(contains(text, unit, gram) for _, text in texts)}
        others = {gram for j, (_, other) in enumerate(cut) if j != i for gram in other}
        same = any(squeezed(text) == squeezed(problems[i].prompt) for _, text in texts)
        found.append((unit, len(set(grams)), len(matched), len(matched - others), same))
    return found


@pytest.mark.parametrize(("n", "c"), [(2, 2), (3, 7), (5, 9), (4, 1000)])
def test_against_a_naive_search(n: int, c: int) -> None:
    rng = random.Random(n)
    vocabulary = ["a", "bb", "Ccc", "dd,", "e-e", "7", "f_f"]

    def text(longest: int) -> str:
        return " ".join(rng.choices(vocabulary, k=rng.randint(1, longest)))

    problems = [problem(f"p{i}", text(14)) for i in range(60)]
    texts = [(f"t{i}", text(40 if i % 2 else 6)) for i in range(4 if n == 2 else 25)] + [
        ("last", problems[3].prompt.upper())
    ]
    index = Index(n, c)
    for one in problems:
        index.add("s", one)
    index.scan(texts)
    matches = index.matches()
    assert [(m.unit, m.grams, m.matched, m.own, m.same) for m in matches] == naive(problems, texts, n, c)
    assert len({m.coverage for m in matches}) > 2
    for match, one in zip(matches, problems, strict=True):
        if not match.overlaps:
            assert match.nearest == match.excerpt == ""
            continue
        text_of = dict(texts)[match.nearest]
        if match.matched:
            assert any(contains(text_of, match.unit, gram) for gram in grams_of(one.prompt, n, c)[1])
            assert contains(one.prompt, match.unit, match.excerpt)
        else:
            assert squeezed(text_of) == squeezed(one.prompt)


def test_the_nearest_text_and_the_longest_run() -> None:
    index = Index(3, 50)
    index.add("s", problem("p", "one two three four five six seven"))
    index.scan([("a", "zero one two three"), ("b", "Three, four: FIVE six!"), ("c", "nothing")])
    (match,) = index.matches()
    assert (match.matched, match.grams, match.nearest, match.excerpt) == (3, 5, "b", "three four five six")
    assert match.coverage == pytest.approx(3 / 5) and not match.same


def test_templates_are_told_apart() -> None:
    """Questions that differ in a number share their template: the overlap is there, but none of it is their own."""
    index = Index(4, 50)
    for i in range(20):
        index.add("s", problem(f"p{i}", f"Anna has {i} apples. How many apples does Anna have now"))
    index.scan([("t", "Anna has 99 apples. How many apples does Anna have now")])
    (suite,) = by_suite(index.matches())
    assert (suite["overlapping"], suite["own"], suite["same"]) == (20, 0, 0)
    assert all(match.nearest == "t" for match in index.matches())
    index.scan([("u", "Anna has 7 apples, and Tom has none")])
    assert [match.problem for match in index.matches() if match.own] == ["p7"]


def test_coverage_and_shares() -> None:
    match = Match("s", "p", "whole", 0, 0, 0, True, "t", "x")
    assert match.coverage == 1.0 and match.overlaps
    assert Match("s", "p", "words", 10, 8, 0, False, "t", "x").coverage == 0.8
    (suite,) = by_suite(
        [match, Match("s", "q", "words", 10, 8, 0, False, "t", "x"), Match("s", "r", "words", 9, 0, 0, False, "", "")]
    )
    assert (suite["problems"], suite["overlapping"], suite["own"], suite["mostly"], suite["same"]) == (3, 2, 1, 2, 1)
    assert (suite["words"], suite["whole"]) == (2, 1)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_splits_of_the_procedural_suites_share_nothing(say: Callable[..., Any]) -> None:
    for name in ("math", "code"):
        said = say("contamination", "--train", name, "--suite", name, "--format", "json")
        assert said.code == 0
        found = json.loads(said.out)
        assert found["suites"][0]["problems"] == 100 and found["suites"][0]["same"] == 0
        assert found["texts"] >= 2000


def test_records_with_evaluation_problems_among_them(say: Callable[..., Any], tmp_path: Path) -> None:
    asked = registry.get("science").problems("eval", 20, 0)
    rows = [{"messages": [{"role": "user", "content": one.prompt.upper()}], "id": i} for i, one in enumerate(asked[:6])]
    source = write(tmp_path / "train.jsonl", [*rows, {"text": "something else"}])
    said = say("contamination", "--train", source, "--suite", "science", "--problems", "20", "--format", "csv")
    assert said.code == 0
    table = list(csv.DictReader(io.StringIO(said.out)))
    assert [line["problem"] for line in table] == [one.id for one in asked]
    assert [line["same"] for line in table] == ["True"] * 6 + ["False"] * 14
    assert table[2]["nearest"] == "record 3 messages[0].content"
    plain = say("contamination", "--train", source, "--suite", "science", "--problems", "20", "--top", "2").out
    assert "6 (30.0%)" in plain and plain.count("same text,") == 2
    for limit in ("paraphrase", "base model", "no proof"):
        assert limit in plain


def test_a_specification_and_a_run(say: Callable[..., Any], results: Path, tmp_path: Path) -> None:
    rows = [{"question": f"What is the sum of {i} and {i}?", "answer": f"it is #### {2 * i}"} for i in range(40)]
    train, held = write(tmp_path / "train.jsonl", rows), write(tmp_path / "test.jsonl", rows[:4])
    spec = tmp_path / "spec.toml"
    spec.write_text(f"[data]\nsource = {json.dumps(str(train))}\neval_source = {json.dumps(str(held))}\n")
    found = json.loads(say("contamination", "--train", spec, "--n", "4", "--format", "json").out)
    # the suite takes what is held out away from what is trained on; the template is left
    (suite,) = found["suites"]
    assert (suite["problems"], suite["same"], suite["overlapping"]) == (4, 0, 4)
    assert found["texts"] == 2 * 36
    (run,) = [path for path in (results / "trial").iterdir() if path.name.startswith("sft-")]
    found = json.loads(say("contamination", "--train", run, "--format", "json").out)
    assert [suite["suite"] for suite in found["suites"]] == ["math", "code"]
    assert found["texts"] == 2 * 2 * 30
    assert all(suite["same"] == 0 for suite in found["suites"])


def test_what_is_wrong_is_said_in_one_sentence(say: Callable[..., Any], tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [{"text": "x"}])
    for options in (
        ("--train", source), ("--train", source, "--suite", "maths"), ("--train", "nothing.jsonl", "--suite", "math"),
        ("--train", source, "--suite", "math", "--n", "1"), ("--train", source, "--suite", "math", "--problems", "0"),
        ("--train", "nothing.toml", "--suite", "math"), ("--train", source, "--suite", "math", "--top", "-1"),
    ):  # fmt: skip
        said = say("contamination", *options)
        assert said.code == 2 and len(said.err.strip().splitlines()) == 1, options


def test_ten_thousand_texts_against_a_thousand_problems() -> None:
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 9))) for _ in range(3000)]
    problems = [problem(f"p{i}", " ".join(rng.choices(vocabulary, k=rng.randint(4, 80)))) for i in range(1000)]
    texts = [(str(i), " ".join(rng.choices(vocabulary, k=100))) for i in range(10_000)]
    texts[5000] = ("leak", f"{texts[5000][1]} {problems[500].prompt} {texts[5000][1]}")
    begin = time.process_time()
    index = Index()
    for one in problems:
        index.add("s", one)
    index.scan(texts)
    matches = index.matches()
    assert time.process_time() - begin < 10
    assert [match.problem for match in matches if match.overlaps] == ["p500"]
    assert matches[500].coverage == 1.0 and matches[500].nearest == "leak"
