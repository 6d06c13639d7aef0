"""Suites from files: GSM8K as it is distributed, and files that are wrong in one way each."""

from __future__ import annotations

import gzip
import json
import re
from decimal import Decimal

import pytest

from benchmarks.base import Problem
from benchmarks.graders.answers import number
from benchmarks.records import RecordSuite, read_records


@pytest.fixture(scope="module")
def gsm8k(shared):
    return shared / "data/math/gsm8k"


@pytest.fixture(scope="module")
def suite(gsm8k):
    return RecordSuite(str(gsm8k / "train.jsonl.gz"), str(gsm8k / "test.jsonl"))


def test_gsm8k_has_all_its_rows(suite, gsm8k):
    with gzip.open(gsm8k / "train.jsonl.gz", "rt") as stream:
        train = [json.loads(line) for line in stream]
    test = [json.loads(line) for line in (gsm8k / "test.jsonl").open()]
    assert (len(train), len(test)) == (7473, 1319)
    held_out = {row["question"].strip() for row in test}
    assert len(suite.problems("eval", 10**6, 0)) == len(held_out)
    assert len(suite.problems("train", 10**6, 0)) == len({row["question"].strip() for row in train} - held_out)
    assert suite.left_out == 0 and suite.numeric
    assert suite.problems("ood", 10, 0) == []


def test_gsm8k_gold_answers_and_demonstrations(suite, gsm8k):
    problems = suite.problems("train", 10**6, 0) + suite.problems("eval", 10**6, 0)
    gold = {}
    with gzip.open(gsm8k / "train.jsonl.gz", "rt") as stream:
        for line in [*stream, *(gsm8k / "test.jsonl").open()]:
            row = json.loads(line)
            gold[row["question"].strip()] = Decimal(re.search(r"#### (-?[\d,.]+)$", row["answer"])[1].replace(",", ""))
    assert all(number(problem.answer) == gold[problem.prompt] for problem in problems)
    right = [suite.demonstration(problem) for problem in problems]
    assert {v.status for v in suite.grade(problems, right)} == {"pass"}
    assert not any("<<" in text or ">>" in text for text in right)
    wrong = [suite.demonstration(problem, wrong=True) for problem in problems]
    assert {v.status for v in suite.grade(problems, wrong)} == {"fail"}


def test_problems_are_drawn_by_seed(suite):
    assert suite.problems("train", 20, 1) == suite.problems("train", 50, 1)[:20]
    assert suite.problems("train", 20, 1) != suite.problems("train", 20, 2)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_fields_are_found_by_their_usual_names(tmp_path):
    rows = [
        {"question": "a", "answer": "so\n#### 1"},
        {"prompt": "b", "solution": "thus #2"},
        {"problem": "c", "solution": "because", "answer": 3},
        {"instruction": "d", "ground_truth": "4"},
        {"input": "e", "output": "5 <<5=5>>5\n#### 5", "target": "9"},
        {"prompt": "f", "final_answer": 0},
        {"prompt": " f ", "final_answer": 7},  # the same prompt again
        {"prompt": "g", "solution": "no answer in it"},
    ]
    suite = RecordSuite(write(tmp_path / "some data.v2.jsonl", rows))
    problems = {p.prompt: p for split in ("train", "eval") for p in suite.problems(split, 99, 0)}
    assert {prompt: p.answer for prompt, p in problems.items()} == {
        "a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "0"
    }  # fmt: skip
    assert suite.left_out == 1
    assert re.fullmatch(r"[A-Za-z0-9_-]+", suite.name)
    assert suite.demonstration(problems["c"]) == "because\n#### 3"
    assert suite.demonstration(problems["e"]) == "5 5\n#### 5"
    with pytest.raises(ValueError, match="no worked solution"):
        suite.demonstration(problems["d"])
    assert [v.score for v in suite.grade([problems["c"]], ["#3.0"])] == [1.0]


def test_answers_that_are_no_numbers_are_compared_as_texts(tmp_path):
    rows = [{"prompt": str(i), "solution": f"it is word{i}", "final_answer": f"word{i}"} for i in range(5)]
    suite = RecordSuite(write(tmp_path / "x.jsonl", rows))
    for problem in suite.problems("train", 5, 0):
        (right,) = suite.grade([problem], [f"#{problem.answer}"])
        (wrong,) = suite.grade([problem], [f"#{problem.answer}s"])
        assert (right.status, wrong.status) == ("pass", "fail")
        (flawed,) = suite.grade([problem], [suite.demonstration(problem, wrong=True)])
        assert flawed.status == "fail"


def test_a_bare_answer_is_no_worked_solution(tmp_path):
    suite = RecordSuite(write(tmp_path / "x.jsonl", [{"prompt": str(i), "answer": str(i)} for i in range(5)]))
    (problem, *_) = suite.problems("train", 5, 0)
    with pytest.raises(ValueError, match="has no worked solution"):
        suite.demonstration(problem)


def test_a_tenth_is_held_out_where_no_file_is_named(tmp_path):
    rows = [{"prompt": f"question {i}", "answer": str(i)} for i in range(3000)]
    suite = RecordSuite(write(tmp_path / "x.jsonl", rows))
    train, held_out = ({p.prompt for p in suite.problems(split, 10**6, 0)} for split in ("train", "eval"))
    assert len(train) + len(held_out) == 3000 and not train & held_out
    assert 240 < len(held_out) < 360
    # the split of a row does not depend on the other rows
    fewer = RecordSuite(write(tmp_path / "y.jsonl", rows[:1000]))
    assert {p.prompt for p in fewer.problems("eval", 10**6, 0)} == held_out & {f"question {i}" for i in range(1000)}


def test_what_is_evaluated_is_not_trained_on(tmp_path):
    rows = [{"prompt": f"question {i}", "answer": str(i)} for i in range(30)]
    suite = RecordSuite(write(tmp_path / "x.jsonl", rows), write(tmp_path / "y.jsonl", rows[:7]))
    assert {p.prompt for p in suite.problems("train", 99, 0)} == {f"question {i}" for i in range(7, 30)}
    assert len(suite.problems("eval", 99, 0)) == 7


BROKEN = {
    "bad.jsonl": (b'{"prompt": "a", "answer": "1"}\n{"prompt": \n', "line 2 is not JSON"),
    "list.jsonl": (b'["prompt"]\n', "line 1 is no JSON object"),
    "empty.jsonl": (b"\n\n", "no records"),
    "prompt.jsonl": (b'{"text": "a", "answer": "1"}\n', "no prompt"),
    "blank.jsonl": (b'{"prompt": "  ", "answer": "1"}\n', "no prompt"),
    "answer.jsonl": (b'{"prompt": "a", "note": "1"}\n', "has an answer"),
    "latin.jsonl": (b'{"prompt": "\xe9", "answer": "1"}\n', "cannot be read"),
    "plain.jsonl.gz": (b'{"prompt": "a", "answer": "1"}\n', "cannot be read"),
    "torn.jsonl.gz": (gzip.compress(b'{"prompt": "a", "answer": "1"}\n' * 1000)[:-12], "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_file_is_one_sentence(name, tmp_path):
    data, message = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as problem:
        RecordSuite(str(tmp_path / name))
    assert "\n" not in str(problem.value) and len(str(problem.value)) < 400


@pytest.mark.parametrize("name", ["missing.jsonl", "./missing", "/nowhere/missing", "missing"])
def test_a_file_that_is_not_there(name):
    with pytest.raises(ValueError, match="no data at") as problem:
        read_records(name)
    assert "\n" not in str(problem.value)


def test_line_separators_inside_of_texts_are_kept(tmp_path):
    text = "a\u2028b\x85c\x0bd"
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"prompt": text, "answer": "1"}, ensure_ascii=False) + "\n", encoding="utf-8")
    suite = RecordSuite(str(path))
    found = [p for split in ("train", "eval") for p in suite.problems(split, 9, 0)]
    assert [p.prompt for p in found] == [text] and isinstance(found[0], Problem)
