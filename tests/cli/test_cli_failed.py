"""`harness show` on single samples and problems, against what is in the files of trained runs and evaluations."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from trained import run_of

from harness.sample_view import answer_place, excerpt
from harness.scores import by_problem
from harness.store import RunDir, keep_lines, read_lines
from tests.store.stored import change_verdicts, make

HEAD = re.compile(r"^\[(\S+), sample (\d+), .*\] (\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 samples of math, of each of its 10 problems three."""
    return make(tmp_path_factory.mktemp("made") / "run", "math", "logic", problems=8, ood=2).path


@pytest.fixture
def stored(made: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(made, tmp_path / "run")))


def rows_of(run: RunDir, suite: str, key: float = 0.0) -> list[dict[str, Any]]:
    return read_lines(run.verdicts(suite, key))


def shown(text: str) -> list[tuple[str, int, str]]:
    return [(problem, int(sample), status) for problem, sample, status in HEAD.findall(text)]


def listed(rows: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(row["problem"], row["sample"], row["status"]) for row in rows]


def test_failed_samples_in_pages(say: Callable[..., Any], stored: RunDir) -> None:
    failed = listed([row for row in rows_of(stored, "math") if row["status"] != "pass"])
    assert 10 < len(failed) <= 20
    first = say("show", stored.path, "--suite", "math", "--failed")
    assert first.code == 0
    assert f"{len(failed)} of 30 samples, page 1 of 2 (1-10)" in first.out
    assert shown(first.out) == failed[:10]
    second = say("show", stored.path, "--suite", "math", "--failed", "--page", "2")
    assert shown(second.out) == failed[10:]
    assert shown(say("show", stored.path, "--suite", "math", "--failed", "--all").out) == failed
    beyond = say("show", stored.path, "--suite", "math", "--failed", "--page", "3")
    assert beyond.code == 2 and "1 to 2" in beyond.err


def test_one_status_and_one_problem(say: Callable[..., Any], stored: RunDir) -> None:
    change_verdicts(stored, "math", lambda i, row: {**row, "status": "timeout", "score": 0.0} if i in (3, 7) else row)
    rows = rows_of(stored, "math")
    said = say("show", stored.path, "--suite", "math", "--failed", "--status", "timeout")
    assert shown(said.out) == listed([rows[3], rows[7]])
    problem = rows[12]["problem"]
    said = say("show", stored.path, "--suite", "math", "--problem", problem[-9:])
    assert shown(said.out) == listed([row for row in rows if row["problem"] == problem])
    wrong = say("show", stored.path, "--suite", "math", "--status", "timed-out")
    assert wrong.code == 2 and "timeout (2)" in wrong.err
    for part in ("math-", "no such problem"):
        wrong = say("show", stored.path, "--suite", "math", "--problem", part)
        assert wrong.code == 2 and len(wrong.err.strip().splitlines()) == 1


def test_everything_about_a_sample(say: Callable[..., Any], stored: RunDir) -> None:
    said = say("show", stored.path, "--suite", "math", "--status", "fail", "--all").out
    texts = {(row["problem"], row["sample"]): row for row in read_lines(stored.generations("math", 0.0))}
    row = next(row for row in rows_of(stored, "math") if row["status"] == "fail")
    generation = texts[row["problem"], row["sample"]]
    block = said.split("\n[")[1]
    assert f"response  {generation['text']}\n" in block
    assert f"extracted {row['extracted']}\n" in block
    assert f"level {row['level']}" in block and f"{generation['n_tokens']} tokens" in block
    assert f"grader    {row['grader']} {row['grader_version']}\n" in block
    from benchmarks import registry

    problems = [p for split in ("eval", "ood") for p in registry.get("math").problems(split, 8, 0)]
    problem = next(problem for problem in problems if problem.id == row["problem"])
    assert f"prompt    {problem.prompt}\n" in block and f"gold      {problem.answer}\n" in block


def test_samples_of_a_training_run(say: Callable[..., Any], results: Path) -> None:
    run = RunDir(run_of(results, "gac", 0))
    for at, key in (("0.5", 0.5), (None, 1.0)):
        more = ("--at", at) if at else ()
        said = say("show", run.path, "--suite", "code", "--all", *more)
        assert shown(said.out) == listed(rows_of(run, "code", key))
        assert f"code at {100 * key:.0f}% of the budget" in said.out
    said = say("show", run.path, "--suite", "code", "--all", "--at", "0.3")
    assert said.code == 2 and "0.00, 0.50, 1.00" in said.err
    assert say("show", run.path, "--failed").code == 2  # which suite?
    assert say("show", run.path, "--failed", "--suite", "maths").code == 2


def test_options_that_do_not_go_together(say: Callable[..., Any], stored: RunDir) -> None:
    for options in (
        ("--problems", "--failed"), ("--csv",), ("--all", "--page", "1"), ("--at", "0.5"), ("--csv", "--failed"),
    ):  # fmt: skip
        said = say("show", stored.path, "--suite", "math", *options)
        assert said.code == 2 and len(said.err.strip().splitlines()) == 1, options


def test_without_the_data_there_is_no_prompt(say: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text(
        "".join(json.dumps({"question": f"{i}+1", "answer": f"so #### {i + 1}"}) + "\n" for i in range(4))
    )
    run = make(tmp_path / "run", data={"source": str(source), "eval_source": str(source)})
    assert "prompt    0+1" in say("show", run.path, "--all").out
    source.unlink()
    said = say("show", run.path, "--all")
    assert said.code == 0 and len(shown(said.out)) == 12
    assert "prompt  " not in said.out and "gold" not in said.out and "--data-dir" in said.out


def test_control_characters_are_shown(say: Callable[..., Any], stored: RunDir) -> None:
    rows = [{**row, "text": "\x1b[2J\ud800\u202e5\nend"} for row in read_lines(stored.generations("math", 0.0))]
    keep_lines(stored.generations("math", 0.0), rows)
    said = say("show", stored.path, "--suite", "math", "--all").out
    assert "\x1b" not in said and "\u202e" not in said
    assert "response  \\x1b[2J\\ud800\\u202e5\n            end\n" in said


def test_problems_as_table_and_csv(say: Callable[..., Any], stored: RunDir) -> None:
    rows = rows_of(stored, "math")
    said = say("show", stored.path, "--suite", "math", "--problems", "--csv")
    table = list(csv.DictReader(io.StringIO(said.out)))
    assert [line["problem"] for line in table] == list(dict.fromkeys(row["problem"] for row in rows))
    for line in table:
        mine = [row for row in rows if row["problem"] == line["problem"]]
        assert float(line["avg"]) == pytest.approx(sum(row["score"] for row in mine) / 3)
        assert float(line["mean_tokens"]) == pytest.approx(sum(row["n_tokens"] for row in mine) / 3)
        assert (line["suite"], line["split"], line["level"]) == ("math", mine[0]["split"], str(mine[0]["level"]))
        (score,) = [p for p in by_problem(rows, line["split"]) if p.problem == line["problem"]]
        assert float(line["cons"]) == pytest.approx(score.cons)
        assert int(line["passed"]) == sum(row["status"] == "pass" for row in mine)
        assert int(line["no_answer"]) == sum(row["status"] == "no_answer" for row in mine)
    plain = say("show", stored.path, "--suite", "math", "--problems").out
    assert all(line["problem"] in plain for line in table)
    assert "cons@3" in plain


def test_problems_of_an_old_file(say: Callable[..., Any], stored: RunDir) -> None:
    rows = [{k: v for k, v in row.items() if k not in ("n_tokens", "truncated")} for row in rows_of(stored, "math")]
    keep_lines(stored.verdicts("math", 0.0), rows)
    table = list(csv.DictReader(io.StringIO(say("show", stored.path, "--suite", "math", "--problems", "--csv").out)))
    assert len(table) == 10 and all(line["mean_tokens"] == "" for line in table)
    assert say("show", stored.path, "--suite", "math", "--problems").code == 0
    assert say("show", stored.path, "--suite", "math", "--failed").code == 0


def test_long_texts_are_cut_around_the_answer() -> None:
    text = "a" * 3000 + "THE ANSWER" + "b" * 3000
    place = answer_place(text, "THE ANSWER")
    assert text[slice(*place)] == "THE ANSWER"
    parts = excerpt(text, place, 400)
    assert parts[0][0] == 0 and parts[-1][1] == len(text)
    assert any(begin <= place[0] and place[1] <= end for begin, end in parts)
    assert sum(end - begin for begin, end in parts) <= 410
    assert all(left[1] < right[0] for left, right in pairwise(parts))
    assert excerpt("short", (-1, -1), 400) == [(0, 5)]
    assert answer_place("nothing here", "42") == answer_place("x", "  ") == (-1, -1)
    assert answer_place("5 and 5", "5") == (6, 7)
    for begin in range(0, 6000, 97):
        parts = excerpt(text, (begin, begin + 10), 400)
        assert any(low <= begin and begin + 10 <= high for low, high in parts)


def test_a_terminal_gets_a_pager_with_the_answer_marked(stored: RunDir, root: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200", "TERM": "xterm", "PAGER": "cat"}
    command = [sys.executable, "-m", "harness", "show", str(stored.path), "--suite", "math", "--failed"]
    child = subprocess.Popen(command, stdin=follower, stdout=follower, env=environment)
    os.close(follower)
    said = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(leader)
    assert child.wait() == 0
    failed = [row for row in rows_of(stored, "math") if row["status"] != "pass"]
    assert len(failed) > 10  # more than a page: all of them
    assert all(row["problem"].encode() in said for row in failed)
    answers = [row["extracted"] for row in failed if row["extracted"]]
    assert answers and all(f"\x1b[1;7m{answer}\x1b[0m".encode() in said for answer in answers)
