"""Running a tuning: what is done once, resumed, shared, cut off, and what its outcome is. Runs train nothing here."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_1samp
from tuned import NAMES, PROBLEMS, Stage, arguments, right

from harness import matrix_cost, matrix_run, tune_cost
from harness.estimate import simulate
from harness.ledger import Cost
from harness.models import published
from harness.models.ladder import resolve
from harness.tune import Outcome, cells, choose, load, outcome, rerun_cells
from tests.cli.test_cli_start import HEAVY
from tests.cli.test_matrix_run import RATES

Say = Callable[..., Any]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Stage:
    made = Stage(tmp_path, root)
    monkeypatch.setattr(matrix_run, "run_arguments", lambda job: arguments(made.home, job))
    return made


def rate_of(trial: dict[str, Any]) -> float:
    return trial["parameters"]["train.learning_rate"]


def validation(seed: int, rate: float) -> float:
    return statistics.mean(right(problem, seed, rate) for problem in PROBLEMS[1])


def test_a_whole_tuning(stage: Stage, say: Say) -> None:
    said = say("tune", stage.file(), "--jobs", "2")
    assert said.code == 0, said
    found = stage.found()
    assert found["rule"]["trials"] == 3 and found["rule"]["budget"] == {"kind": "flops", "limit": 1000}
    assert sorted(stage.seen("begin")[:6]) == NAMES
    for strategy in ("sft", "hpt"):
        entry = found["strategies"][strategy]
        trials = entry["trials"]
        assert [trial["seed"] for trial in trials] == [0, 1, 2]
        assert [trial["default"] for trial in trials] == [True, False, False]
        # every trial scored what the program says, on the problems of seed 1
        for trial in trials:
            assert trial["state"] == "done" and trial["score"] == validation(trial["seed"], rate_of(trial))
        scores = [trial["score"] for trial in trials]
        best = trials[scores.index(max(scores))]
        assert entry["score"] == max(scores)
        assert entry["best"]["parameters"] == best["parameters"] and entry["best"]["trial"] == best["trial"]
        assert entry["spread"] == {"best": max(scores), "median": sorted(scores)[1], "worst": min(scores)}
        assert (entry["flops"], entry["saved_flops"]) == (3000, 0)
        assert entry["default"]["parameters"] == {"train.learning_rate": 5e-4}
        # re-runs: fresh seeds, and only those problems that no trial had
        fresh = set(PROBLEMS[0]) - set(PROBLEMS[1])
        tuned, default = (
            [statistics.mean(right(p, seed, rate) for p in fresh) for seed in (100, 101, 102)]
            for rate in (rate_of(best), 5e-4)
        )
        rerun = entry["rerun"]
        assert rerun["tuned"]["score"]["mean"] == pytest.approx(statistics.mean(tuned))
        assert rerun["default"]["score"]["mean"] == pytest.approx(statistics.mean(default))
        assert (rerun["tuned"]["score"]["seeds"], rerun["tuned"]["score"]["problems"]) == (3, len(fresh))
        expected = statistics.mean(a - b for a, b in zip(tuned, default, strict=True))
        assert rerun["difference"]["mean"] == pytest.approx(expected)
        assert len(rerun["tuned"]["runs"]) == 3 and not set(rerun["tuned"]["runs"]) & set(rerun["default"]["runs"])
    assert found["final"] == {"seeds": [100, 101, 102], "eval_seed": 0, "left_out": {"math": 10}}
    markdown = (stage.home / "results" / "study" / "study.tuning.md").read_text()
    assert "are left out here (10 of math)" in markdown and "1 in every strategy" in markdown
    assert {path.suffix for path in (stage.home / "results" / "study").glob("study.tuning.*")} >= {
        ".csv",
        ".tex",
        ".db",
    }
    kept = json.loads((stage.home / "results" / "study" / "study.matrix.json").read_text())["cells"]
    assert {cell["arm"] for cell in kept.values()} == {"sft-default", "sft-tuned", "hpt-default", "hpt-tuned"}
    # the same command again runs nothing and writes the same
    again = say("tune", stage.file(), "--jobs", "2")
    assert again.code == 0 and len(stage.seen("begin")) == 6 + 12 and stage.found() == found
    assert "6 trials, 6 ended before" in again.out and "12 re-runs, 12 done before" in again.out


def test_an_interval_over_seeds_alone(stage: Stage, say: Say) -> None:
    """With equal problems in all respects but the seed the interval cannot be narrower than Student's over seeds."""
    say("tune", stage.file(), "--jobs", "2")
    entry = stage.found()["strategies"]["sft"]["rerun"]["difference"]
    fresh = set(PROBLEMS[0]) - set(PROBLEMS[1])
    best = stage.found()["strategies"]["sft"]["best"]["parameters"]["train.learning_rate"]
    differences = [
        statistics.mean(right(p, seed, best) - right(p, seed, 5e-4) for p in fresh) for seed in (100, 101, 102)
    ]
    low, high = ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert entry["half_width"] is not None and entry["half_width"] >= (high - low) / 2 - 1e-9


def test_runs_that_others_have_made_count(stage: Stage, say: Say) -> None:
    """The whole list of trials is known beforehand: a driver of somebody's own may run them."""
    tuning = load(stage.file())
    results = stage.home / "results"
    say("tune", stage.file(), "--jobs", "2")
    first = stage.found()
    assert [outcome(cell, results).state for cell in cells(tuning)] == ["done"] * 6
    known = {(cell.spec.run_id, cell.setting) for cell in rerun_cells(tuning, results)}
    for path in (results / "study").glob("study.*"):
        path.unlink()
    said = say("tune", stage.file(), "--jobs", "1")
    assert said.code == 0 and len(stage.seen("begin")) == 18
    assert stage.found() == first
    assert known == {
        (run.partition("/")[2], setting)
        for entry in first["strategies"].values()
        for setting in ("default", "tuned")
        for run in entry["rerun"][setting]["runs"]
    }


def test_unfinished_trials_have_no_reruns_yet(stage: Stage) -> None:
    with pytest.raises(ValueError, match="6 trials are not finished"):
        rerun_cells(load(stage.file()), stage.home / "results")


def test_a_failed_trial_counts_as_the_worst(stage: Stage, say: Say) -> None:
    stage.plan({"sft-1": ["fail"], "hpt-0": ["fail"], "hpt-1": ["fail"], "hpt-2": ["fail"]})
    said = say("tune", stage.file(), "--jobs", "2")
    assert said.code == 1
    assert "RuntimeError: it diverged" in said.out
    found = stage.found()["strategies"]
    trials = found["sft"]["trials"]
    assert [trial["state"] for trial in trials] == ["done", "failed", "done"]
    assert trials[1]["score"] is None and "diverged" in trials[1]["fault"]
    scores = [trials[0]["score"], 0.0, trials[2]["score"]]
    assert found["sft"]["spread"] == {"best": max(scores), "median": sorted(scores)[1], "worst": 0.0}
    assert found["hpt"]["score"] == 0.0 and found["hpt"]["best"]["default"] and found["hpt"]["study_scores"] == [0.0]
    # failures are final, unless another try is asked for
    assert say("tune", stage.file()).code == 0 and stage.seen("begin").count("sft-1") == 1
    assert say("tune", stage.file(), "--retry-failed").code == 0
    assert stage.seen("begin").count("sft-1") == 2 and stage.seen("begin").count("sft-0") == 1
    trials = stage.found()["strategies"]["sft"]["trials"]
    assert trials[1]["state"] == "done" and trials[1]["score"] == validation(1, rate_of(trials[1]))
    assert [trial["trial"] for trial in trials] == [0, 1, 2]


def test_retries(stage: Stage, say: Say) -> None:
    stage.plan({"sft-1": ["fail", "fail"]})
    said = say("tune", stage.file(), "--jobs", "2", "--retries", "2")
    assert said.code == 0 and stage.seen("begin").count("sft-1") == 3
    assert all(trial["state"] == "done" for trial in stage.found()["strategies"]["sft"]["trials"])


def test_a_failed_rerun_leaves_a_gap(stage: Stage, say: Say) -> None:
    stage.plan({"sft-101": ["fail", "fail"]})
    said = say("tune", stage.file(), "--jobs", "1")
    assert said.code == 1
    rerun = stage.found()["strategies"]["sft"]["rerun"]
    assert rerun["tuned"]["score"] is None and rerun["default"]["score"] is None and rerun["difference"] is None
    assert len(rerun["tuned"]["failed"]) == 1 and len(rerun["tuned"]["runs"]) == 3
    assert stage.found()["strategies"]["hpt"]["rerun"]["difference"] is not None
    assert "sft, tuned: 1 of 3 re-runs failed" in " ".join(said.out.split())
    assert say("tune", stage.file(), "--jobs", "1").code == 0
    assert stage.found()["strategies"]["sft"]["rerun"]["difference"] is not None


def test_median_over_studies(stage: Stage, say: Say) -> None:
    assert say("tune", stage.file("trials = 2\nstudies = 3"), "--jobs", "2").code == 0
    for entry in stage.found()["strategies"].values():
        trials = entry["trials"]
        assert sorted(trial["seed"] for trial in trials) == [0, 1, 2, 3, 4, 5]
        best = [max(t["score"] for t in trials if t["study"] == study) for study in range(3)]
        assert entry["study_scores"] == best and entry["score"] == sorted(best)[1]
        chosen = trials[2 * entry["best"]["study"] + entry["best"]["trial"]]
        assert chosen["score"] == sorted(best)[1] and chosen["parameters"] == entry["best"]["parameters"]


def test_interrupt_and_continue(stage: Stage, say: Say) -> None:
    stage.plan({"hpt-1": ["interrupt"]})
    said = say("tune", stage.file(), "--jobs", "1")
    assert said.code == 130
    command = said.err.strip().rpartition("Continue with: ")[2].split()
    assert command == ["harness", "tune", str(stage.home / "study.toml"), "--jobs", "1"]
    assert stage.seen("stopped") == ["hpt-1"]
    assert say(*command[1:]).code == 0
    assert sorted(stage.seen("begin")[:7]) == sorted([*NAMES, "hpt-1"])


@pytest.mark.parametrize("storage", [None, "journal"])
def test_kill_and_continue(stage: Stage, say: Say, storage: str | None) -> None:
    stage.file()
    stage.plan({"sft-1": ["murder"]})
    more = ["--storage", storage] if storage else []
    process = stage.start("--jobs", "1", *more)
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert stage.seen("begin")[-1] == "sft-1" and stage.seen("end") == ["sft-0", "hpt-0"]
    if storage:  # as if it had been killed in the middle of a line
        with open(stage.home / "results" / "study" / "study.tuning.journal", "a") as stream:
            stream.write('{"op_code": 5, "work')
    assert say("tune", "study.toml", "--jobs", "2", *more).code == 0
    assert sorted(stage.seen("begin")[:7]) == sorted([*NAMES, "sft-1"])
    assert all(t["state"] == "done" for s in stage.found()["strategies"].values() for t in s["trials"])


@pytest.mark.parametrize("storage", [None, "journal"])
def test_two_workers_share_one_storage(stage: Stage, storage: str | None) -> None:
    stage.file("trials = 5")
    more = ["--storage", storage] if storage else []
    processes = [stage.start("--jobs", "2", *more), stage.start("--jobs", "2", *more, "--worker")]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, (out, err)
    begun = stage.seen("begin")
    assert len(begun) == len(set(begun)) + 6  # tuned and default re-runs have the same names
    trials = [entry for entry in stage.journal() if entry[0] == "begin" and int(entry[1].partition("-")[2]) < 100]
    assert len(trials) == 10 and {name for _, name, *_ in trials} == {
        f"{s}-{i}" for s in ("sft", "hpt") for i in range(5)
    }
    assert all(len(s["trials"]) == 5 for s in stage.found()["strategies"].values())


def test_two_equal_commands(stage: Stage) -> None:
    stage.file("trials = 3")
    processes = [stage.start("--jobs", "1") for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, (out, err)
    rates = [(name, rate) for what, name, rate, _ in stage.journal() if what == "begin"]
    assert len(rates) == len(set(rates)) == 18
    assert len({parent for what, *_, parent in stage.journal() if what == "begin"}) == 2


def test_pruning(stage: Stage, say: Say) -> None:
    """Trials below the median at half their budget are cut off; the program waits there to see it."""
    search = 'trials = 4\npruner = "median"\nwarmup_trials = 1\nwarmup_fraction = 0.5'
    tuning = load(stage.file(search, fractions="[0.25, 0.5, 1.0]"))
    half = {}
    for cell in cells(tuning):
        quality = max(0.0, 1 - abs(math.log10(cell.parameters["train.learning_rate"] / 1e-3)))
        solved = [(7 * p + 3 * cell.spec.seed) % 20 < 10 * quality for p in PROBLEMS[1]]
        half[cell.slot] = statistics.mean(solved)
    # by hand: one after the other, each against the median of those that came to their end
    expected = {}
    for strategy in ("sft", "hpt"):
        ended: list[float] = []
        for trial in range(4):
            score = half[strategy, 0, trial]
            cut = bool(ended) and score < statistics.median(ended)
            expected[strategy, trial] = cut
            if not cut:
                ended.append(score)
    assert any(expected.values()) and not all(list(expected.values())[1:4])
    stage.plan({f"{strategy}-{trial}": ["slow"] for (strategy, trial), cut in expected.items() if cut})
    said = say("tune", stage.file(search, fractions="[0.25, 0.5, 1.0]"), "--jobs", "1")
    assert said.code == 0, said
    found = stage.found()["strategies"]
    states = {(name, t["trial"]): t["state"] == "pruned" for name in found for t in found[name]["trials"]}
    assert states == expected
    cut = sum(expected["sft", trial] for trial in range(4))
    assert found["sft"]["flops"] == 1000 * (4 - cut) + 500 * cut and found["sft"]["saved_flops"] == 500 * cut
    assert all(t["score"] is None for t in found["sft"]["trials"] if t["state"] == "pruned")
    assert found["sft"]["spread"]["worst"] == 0.0
    assert "cut off" in said.out and "Pruned by the median" in said.out
    begun = len(stage.seen("begin"))
    assert say("tune", stage.file(search, fractions="[0.25, 0.5, 1.0]")).code == 0
    assert len(stage.seen("begin")) == begun


def test_tpe_goes_on_as_it_would_have(stage: Stage, say: Say, tmp_path_factory: Any, monkeypatch: Any) -> None:
    search = 'trials = 5\nsampler = "tpe"'
    assert say("tune", stage.file(search), "--jobs", "1").code == 0
    whole = stage.found()["strategies"]
    other = Stage(tmp_path_factory.mktemp("other"), stage.root)
    monkeypatch.chdir(other.home)
    monkeypatch.setattr(matrix_run, "run_arguments", lambda job: arguments(other.home, job))
    other.plan({"sft-3": ["interrupt"]})
    assert say("tune", other.file(search), "--jobs", "1").code == 130
    assert say("tune", other.file(search), "--jobs", "1").code == 0
    cut = other.found()["strategies"]
    for name in ("sft", "hpt"):
        rates = [rate_of(trial) for trial in whole[name]["trials"]]
        assert rates == [rate_of(trial) for trial in cut[name]["trials"]]
        assert len(set(rates)) == 5 and all(1e-4 <= rate <= 4e-3 for rate in rates)


def test_the_table_names_edges_and_unequal_spaces(stage: Stage, say: Say) -> None:
    more = '[strategy_space.hpt]\n"options.gate" = { choices = [0, 1] }'
    narrow = stage.file("trials = 3\nallow_unequal = true\ninclude_default = false", more=more)
    # with seed 1 the largest of the points is at the upper end for sft, and is not for hpt
    text = narrow.read_text().replace("high = 4e-3", "high = 2e-4").replace("seed = 7", "seed = 1")
    narrow.write_text(text)
    said = say("tune", narrow, "--jobs", "2")
    assert said.code == 0, said
    markdown = (stage.home / "results" / "study" / "study.tuning.md").read_text()
    assert "UNEQUAL, 1 to 2" in markdown and "options.gate one of 0, 1" in markdown
    for name, entry in stage.found()["strategies"].items():
        rates = [rate_of(trial) for trial in entry["trials"]]
        place = math.log(rate_of(entry["best"]) / 1e-4) / math.log(2)
        expected = {"train.learning_rate": "high"} if place >= 0.9 else {}
        assert entry["best"]["edges"] == expected, (name, rates)
        assert bool(expected) == (name == "sft")
    assert "On the edge of the search space (within a tenth of the range): sft;" in markdown
    assert "learning\\_rate at the high edge" in markdown


def test_a_changed_file_begins_anew(stage: Stage, say: Say) -> None:
    say("tune", stage.file("trials = 2"), "--jobs", "2")
    path = stage.file("trials = 2")
    path.write_text(path.read_text().replace("high = 4e-3", "high = 3e-3"))
    said = say("tune", path, "--jobs", "2")
    assert said.code == 0 and "4 trials, 0 ended before" in said.out
    assert max(rate_of(t) for t in stage.found()["strategies"]["sft"]["trials"]) <= 3e-3
    # the default trials are the same runs
    assert stage.seen("begin").count("sft-0") == 1


def test_more_trials_keep_those_that_are_done(stage: Stage, say: Say) -> None:
    say("tune", stage.file("trials = 2"), "--jobs", "2")
    before = stage.found()["strategies"]["sft"]["trials"]
    said = say("tune", stage.file("trials = 3"), "--jobs", "2")
    assert said.code == 0 and "6 trials, 4 ended before" in said.out
    assert stage.found()["strategies"]["sft"]["trials"][:2] == before
    assert stage.seen("begin").count("sft-1") == 1


def test_dry_run(stage: Stage, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_cost, "estimate", partial(matrix_cost.estimate, trial=lambda values: RATES))
    path = stage.file("trials = 3")
    before = sorted(stage.home.rglob("*"))
    said = say("tune", path, "--dry-run", "--jobs", "1")
    assert said.code == 0 and sorted(stage.home.rglob("*")) == before
    for cell in cells(load(path)):
        assert f"study-trials/{cell.spec.run_id}" in said.out
    assert "3 trials of each of 2 strategies: " in said.out and "12 re-runs at most" in said.out
    # every run ends with its first update, which costs more than the budget; an update of a strategy costs the same
    first = {cell.strategy: cell.spec for cell in cells(load(path))}
    cost = {
        name: simulate(spec, Cost.of(published.config(resolve(spec.model)) or {}), RATES).flops
        for name, spec in first.items()
    }
    assert min(cost.values()) > 1000
    assert f"total: {9 * sum(cost.values()):.2e} FLOPs" in said.out


def test_trials_are_listed_without_torch(stage: Stage, root: Path) -> None:
    stage.file("trials = 3")
    code = "import sys; from pathlib import Path; from harness import tune, tune_cost, tune_pool, tune_table\n"
    code += "import harness.commands.tune\n"
    code += "print(len(tune.cells(tune.load(Path('study.toml')))), *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=stage.home, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True,
        text=True,
    )  # fmt: skip
    number, *modules = done.stdout.split()
    assert number == "6" and not set(modules) & set(HEAVY), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--storage", "trials.sqlite"), "--storage must be journal"),
        (("--storage", "nodatabase://me:secret@host/name"), "--storage nodatabase://me:***@host/name cannot be used"),
        (("--retries", "-1"), "--retries"),
        (("--jobs", "0"), "--jobs"),
    ],
)
def test_bad_arguments(stage: Stage, say: Say, arguments: tuple[str, ...], message: str) -> None:
    said = say("tune", stage.file(), *arguments)
    assert said.code == 2 and message in said.err and "secret" not in said.err and not stage.seen("begin")


def test_the_better_of_equals_is_the_earlier(stage: Stage) -> None:
    tuning = load(stage.file("trials = 3"))
    own = [cell for cell in cells(tuning) if cell.strategy == "sft"]
    found = choose(tuning, [Outcome(own[2], "done", 0.5), Outcome(own[0], "done", 0.2), Outcome(own[1], "done", 0.5)])
    assert found.best.cell is own[1] and found.score == 0.5
    nothing = choose(tuning, [Outcome(own[0], "failed"), Outcome(own[1], "done", 0.0), Outcome(own[2], "pruned")])
    assert nothing.best.cell is own[1] and nothing.score == 0.0


def test_an_even_number_of_studies(stage: Stage) -> None:
    tuning = load(stage.file("trials = 2\nstudies = 4"))
    own = {cell.slot: cell for cell in cells(tuning) if cell.strategy == "sft"}
    best = [0.4, 0.1, 0.3, None]
    found = choose(
        tuning,
        [
            Outcome(
                own["sft", study, trial], "failed" if score is None else "done", score and score - 0.1 * (1 - trial)
            )
            for study, score in enumerate(best)
            for trial in range(2)
        ],
    )
    assert [o.counted for o in found.studies] == pytest.approx([0.4, 0.1, 0.3, 0.0])
    assert found.score == pytest.approx(0.2)  # between 0.1 and 0.3
    assert (found.best.cell.study, found.best.cell.trial) == (1, 1)  # the lower of the two in the middle


@pytest.mark.slow
def test_the_smoke_preset(tmp_path: Path, root: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(root))  # for the runs
    said = say("tune", root / "reports" / "tuning" / "smoke.toml", "--jobs", str(os.cpu_count() or 1))
    assert said.code == 0, said
    found = json.loads((tmp_path / "results" / "tuning-smoke" / "tuning-smoke.tuning.json").read_text())
    for entry in found["strategies"].values():
        assert [trial["state"] for trial in entry["trials"]] == ["done", "done"]
        assert entry["flops"] > 0 and entry["rerun"]["default"]["score"]["seeds"] == 2
    compared = say("compare", tmp_path / "results" / "tuning-smoke")
    assert compared.code == 0 and "sft-default" in compared.out
