"""ls, show and compare on really trained runs, against what is in their files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained import run_of

from harness import figures, run_report, terminal
from harness.store import RunDir


def lines_of(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def fields(line: str) -> list[str]:
    """Cells of a row of plain text; columns are two spaces apart."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_ls_tells_the_state_of_every_run(say: Callable[..., Any], results: Path) -> None:
    said = say("ls")
    assert said.code == 0
    rows = {line.split()[1]: fields(line) for line in lines_of(said.out, "trial")}
    done, cut = run_of(results, "gac", 0), run_of(results, "gac", 1)
    assert set(rows) == {path.name for path in (results / "trial").iterdir()}
    assert "done" in rows[done.name]
    assert "interrupted at step 2" in rows[cut.name]
    scores = json.loads((done / "evaluation.json").read_text())
    first, last = (
        100 * sum(suite["avg_at_k"] for suite in scores[key].values()) / len(scores[key]) for key in ("0.00", "1.00")
    )
    assert f"{first:.1f} -> {last:.1f}" in rows[done.name]


def test_ls_sees_a_writer(say: Callable[..., Any], results: Path) -> None:
    cut = run_of(results, "gac", 1)
    with RunDir(cut).writer():
        (line,) = [line for line in lines_of(say("ls").out, "trial") if cut.name in line]
        assert "running" in line
    (line,) = [line for line in lines_of(say("ls").out, "trial") if cut.name in line]
    assert "running" not in line


def test_ls_shows_a_damaged_run(say: Callable[..., Any], results: Path) -> None:
    broken = run_of(results, "sft", 0)
    (broken / "manifest.json").write_text("{")
    (line,) = [line for line in lines_of(say("ls").out, "trial") if broken.name in line]
    assert "damaged" in line


def test_ls_filters_by_experiment(say: Callable[..., Any], results: Path) -> None:
    assert say("ls", "--experiment", "trial").out == say("ls").out
    said = say("ls", "--experiment", "other")
    assert said.code == 2
    assert "trial" in said.err


def test_show_agrees_with_the_run(say: Callable[..., Any], results: Path) -> None:
    run = run_of(results, "gac", 0)
    said = say("show", run)
    assert said.code == 0
    assert "budget.limit = 4" in said.out and "(default 60" in said.out
    scores = json.loads((run / "evaluation.json").read_text())
    for suite in ("math", "code"):
        before, after = scores["0.00"][suite], scores["1.00"][suite]
        (line,) = [line for line in lines_of(said.out, f"{suite}  ") if "+-" in line]
        cells = fields(line)
        assert cells[1] == str(before["n"])
        assert cells[2] == f"{100 * before['avg_at_k']:.1f} +- {100 * before['se']:.1f}"
        assert cells[3] == f"{100 * after['avg_at_k']:.1f} +- {100 * after['se']:.1f}"
        gain = 100 * (after["avg_at_k"] - before["avg_at_k"])
        assert cells[4].startswith(f"{gain:+.1f}".replace("-0.0", "+0.0"))
        assert lines_of(said.out, f"{suite} (ood)")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"{last['flops']:.2e}" in said.out
    for word in ("reward", "mu", "kl", "controller", "peak", "samples at 0%", "samples at 100%", "gold"):
        assert word in said.out
    figure = run / "figure.png"
    assert str(figure) in said.out
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size > 20_000


def test_show_latest_is_the_run_started_last(say: Callable[..., Any], results: Path) -> None:
    older = run_of(results, "sft", 0)
    manifest = json.loads((older / "manifest.json").read_text())
    manifest["attempts"].append({"number": 2, "started": 4e9, "pid": 1})
    (older / "manifest.json").write_text(json.dumps(manifest))
    assert str(older) in say("show", "latest", "--samples", "0", "--results", results).out


def test_show_takes_an_interrupted_run(say: Callable[..., Any], results: Path) -> None:
    cut = run_of(results, "gac", 1)
    (cut / "evaluation.json").unlink()
    said = say("show", cut)
    assert said.code == 0
    assert "interrupted at step 2" in said.out and "not evaluated yet" in said.out


def test_show_samples_of_one_suite(say: Callable[..., Any], results: Path) -> None:
    run = run_of(results, "gac", 0)
    said = say("show", run, "--suite", "math", "--samples", "3")
    heads = [line for line in said.out.splitlines() if line.startswith("[")]
    assert len(heads) == 6 and all(head.startswith("[math, ") for head in heads)
    wrong = say("show", run, "--suite", "maths")
    assert wrong.code == 2 and "math" in wrong.err


def test_control_characters_of_a_model_are_not_obeyed(say: Callable[..., Any], results: Path) -> None:
    run = run_of(results, "sft", 0)
    for path in (run / "generations").glob("*.jsonl"):
        rows = [json.loads(line) | {"text": "\x1b[2Jred\nline"} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = say("show", run, "--samples", "1")
    assert "\x1b" not in said.out
    assert "answer  \\x1b[2Jred\n          line\n" in said.out


def test_samples_show_passes_and_failures_in_turn(results: Path) -> None:
    run = run_of(results, "gac", 0)
    for suite in ("math", "code"):
        path = run / "verdicts" / f"{suite}@1.00.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for i, row in enumerate(rows):
            row["status"] = "pass" if i >= len(rows) - 3 else "fail"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run_report.samples(RunDir(run), "1.00", 4, None)
    assert [(sample.suite, sample.verdict["status"]) for sample in found] == [
        ("math", "pass"), ("code", "fail"), ("math", "fail"), ("code", "pass"),
    ]  # fmt: skip
    assert all(sample.problem is not None and sample.problem.id == sample.verdict["problem"] for sample in found)


def test_gain_is_paired_by_problem(results: Path) -> None:
    run = run_of(results, "gac", 0)
    means = []
    for key in ("0.00", "1.00"):
        rows = [json.loads(line) for line in (run / "verdicts" / f"math@{key}.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["split"] == "eval"]
        ids = sorted({row["problem"] for row in rows})
        means.append([sum(r["score"] for r in rows if r["problem"] == i) / 2 for i in ids])
    differences = [after - before for before, after in zip(*means, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    score = next(s for s in run_report.scores(RunDir(run)) if (s.suite, s.split) == ("math", "eval"))
    assert score.n == n == 10
    assert score.gain == pytest.approx(mean)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    assert score.gain_se == pytest.approx((variance / n) ** 0.5)


def test_compare_prints_and_writes(say: Callable[..., Any], results: Path) -> None:
    said = say("compare", results, "--baseline", "sft", "--force")
    assert said.code == 0
    assert "Scores" in said.out and "minus sft" in " ".join(said.out.split())
    out = results / "comparison"
    assert str(out) in said.err
    assert {path.suffix for path in out.iterdir()} == {".md", ".csv", ".tex", ".png", ".pdf"}
    with open(out / "runs.csv", newline="") as stream:
        names = {row["run"].split("/")[1] for row in csv.DictReader(stream)}
    assert names == {run_of(results, "gac", 0).name, run_of(results, "sft", 0).name}
    assert run_of(results, "gac", 1).name in "".join(said.out.split())  # named as left out


@pytest.mark.parametrize(("form", "begins"), [("markdown", "# Comparison"), ("csv", "forced,"), ("latex", "% ")])
def test_compare_formats(
    say: Callable[..., Any], results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, begins: str
) -> None:
    monkeypatch.setattr(figures, "draw_figures", lambda comparison: {})  # drawn in the test above
    said = say("compare", results, "--format", form, "--out", tmp_path / "out")
    assert said.code == 0
    assert said.out.startswith(begins)
    assert (tmp_path / "out" / "comparison.md").is_file()


def test_plain_tables_line_up() -> None:
    grid = terminal.Grid(("name", "n"), [("a", "1"), ("long name", "1,000")], frozenset({1}), notes=["note"])
    assert terminal.plain(grid).splitlines() == [
        "name           n",
        "----------------",
        "a              1",
        "long name  1,000",
        "note",
    ]


def test_sparkline_runs_from_lowest_to_highest() -> None:
    line = terminal.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)
    assert line == terminal.BLOCKS
    assert terminal.sparkline([0.0] * 4 + [1.0] * 4, 2) == terminal.BLOCKS[0] + terminal.BLOCKS[-1]
    assert terminal.sparkline([2.0, 2.0]) == terminal.BLOCKS[0] * 2
    assert terminal.sparkline([]) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (119.6, "120 s")]
)
def test_durations(value: float, text: str) -> None:
    assert terminal.duration(value) == text


def test_output_on_a_terminal(results: Path, root: Path) -> None:
    """Rich tables, once through a pseudo-terminal of 200 columns."""
    import pty
    import subprocess
    import sys

    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200", "TERM": "xterm"}
    command = [sys.executable, "-m", "harness", "ls", "--results", str(results)]
    child = subprocess.Popen(command, stdout=follower, env=environment, cwd=results)
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
    assert b"interrupted at step 2" in said and "\u2500".encode() in said
