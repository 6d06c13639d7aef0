"""`harness eval`: the same numbers as the run's own evaluation, kept apart from runs, resumable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained import run_of

from harness import figures
from harness.store import find_runs, read_lines

SMALL = ("--suite", "math", "--problems", "6", "--k", "2", "--max-tokens", "10", "--threads", "1", "--style", "plain")


def made(results: Path) -> list[Path]:
    return sorted(path for path in (results / "evaluations").iterdir() if path.is_dir())


def test_a_checkpoint_gives_what_its_run_found(say: Callable[..., Any], results: Path) -> None:
    run = run_of(results, "gac", 0)
    said = say("eval", run, "--split", "both")
    assert said.code == 0
    (folder,) = made(results)
    assert str(folder.relative_to(results.parent)) in said.out
    own = json.loads((run / "evaluation.json").read_text())["1.00"]
    found = json.loads((folder / "evaluation.json").read_text())["0.00"]
    for suite, summary in own.items():
        assert found[suite] == {key: value for key, value in summary.items() if key != "at"}
        texts = [
            [(row["problem"], row["sample"], row["text"]) for row in read_lines(place / "generations" / name)]
            for place, name in ((run, f"{suite}@1.00.jsonl"), (folder, f"{suite}@0.00.jsonl"))
        ]
        assert texts[0] == texts[1]


def test_earlier_checkpoints_are_evaluated_by_step(say: Callable[..., Any], results: Path) -> None:
    run = run_of(results, "gac", 0)
    said = say("eval", run, "--at", "2", "--suite", "math")
    assert said.code == 0
    own = json.loads((run / "evaluation.json").read_text())["0.50"]["math"]
    found = json.loads((made(results)[0] / "evaluation.json").read_text())["0.00"]["math"]
    assert found["avg_at_k"] == own["avg_at_k"]
    wrong = say("eval", run, "--at", "3")
    assert wrong.code == 2 and "2, 4" in wrong.err


def test_evaluations_are_no_runs(
    say: Callable[..., Any], results: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "draw_figures", lambda comparison: {})  # not looked at here
    before = say("ls").out
    assert say("eval", tiny, *SMALL).code == 0
    assert say("ls").out == before
    assert len(find_runs(results, "evaluation")) == 1
    said = say("compare", results)
    assert said.code == 0
    assert made(results)[0].name not in said.out
    assert say("show", made(results)[0]).code == 2


def test_table_holds_the_numbers(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    said = say("eval", tiny, *SMALL, "--split", "both")
    summary = json.loads((made(tmp_path / "results")[0] / "evaluation.json").read_text())["0.00"]["math"]
    rows = [line.split() for line in said.out.splitlines() if line.startswith("math  ")]
    assert [row[:4] for row in rows] == [["math", "eval", "6", "2"], ["math", "ood", "6", "2"]]
    assert rows[0][4] == f"{100 * summary['avg_at_k']:.1f}"
    assert rows[0][7] == f"{100 * summary['cons_at_k']:.1f}"
    assert rows[0][8:] == [f"{100 * summary['truncated']:.1f}", f"{100 * summary['no_answer']:.1f}"]


def test_ood_alone(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    said = say("eval", tiny, *SMALL, "--split", "ood")
    assert said.code == 0
    (folder,) = made(tmp_path / "results")
    assert set(json.loads((folder / "evaluation.json").read_text())["0.00"]["math"]) == {"ood"}
    assert len(read_lines(folder / "generations" / "math@0.00.jsonl")) == 12


def test_goes_on_where_it_stopped(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    first = say("eval", tiny, *SMALL)
    (folder,) = made(tmp_path / "results")
    generations = (folder / "generations" / "math@0.00.jsonl").read_text()
    for name in ("DONE", "evaluation.json"):
        (folder / name).unlink()
    verdicts = folder / "verdicts" / "math@0.00.jsonl"
    verdicts.write_text("".join(verdicts.read_text().splitlines(keepends=True)[:5]) + '{"problem": "to')
    again = say("eval", tiny, *SMALL)
    assert made(tmp_path / "results") == [folder]
    assert again.out.splitlines()[-4:] == first.out.splitlines()[-4:]
    assert (folder / "generations" / "math@0.00.jsonl").read_text() == generations
    assert len(read_lines(verdicts)) == 12
    assert len(json.loads((folder / "manifest.json").read_text())["attempts"]) == 2


def test_done_is_not_done_again(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    first = say("eval", tiny, *SMALL)
    (folder,) = made(tmp_path / "results")
    stamp = (folder / "evaluation.json").stat().st_mtime_ns
    again = say("eval", tiny, *SMALL)
    assert again.out.splitlines()[-4:] == first.out.splitlines()[-4:]
    assert (folder / "evaluation.json").stat().st_mtime_ns == stamp


def test_other_settings_and_other_weights_are_kept_apart(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "copy"
    shutil.copytree(tiny, model)
    say("eval", model, *SMALL)
    say("eval", model, *SMALL, "--temperature", "0")
    assert len(made(tmp_path / "results")) == 2
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes())  # written anew: may be others
    say("eval", model, *SMALL)
    assert len(made(tmp_path / "results")) == 3


def test_own_records(say: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    rows = [{"question": f"{i}+1", "answer": f"so #### {i + 1}"} for i in range(5)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = say("eval", tiny, "--data", "mine.jsonl", "--k", "2", "--max-tokens", "8", "--style", "plain")
    assert said.code == 0
    (row,) = [line.split() for line in said.out.splitlines() if line.startswith("mine")]
    assert row[1:4] == ["eval", "5", "2"]
