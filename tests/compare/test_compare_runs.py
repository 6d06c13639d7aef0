"""Grouping, refusals, warnings and estimates of a comparison against values recomputed from the files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness import cli
from harness.compare import compare_runs


def _row(comparison, label):
    return next(row for row in comparison.rows if row.label == label)


def _rewrite(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(lines)))


def _table(path, split="eval"):
    """Problem -> mean score, read without the code under test."""
    scores = {}
    for row in map(json.loads, path.read_text().splitlines()):
        if row["split"] == split:
            scores.setdefault(row["problem"], []).append(row["score"])
    return {problem: float(np.mean(values)) for problem, values in sorted(scores.items())}


def test_scores_gain_and_difference_follow_from_the_verdicts(tmp_path, write_run):
    paths = {name: [write_run(tmp_path, name, seed, skill) for seed in (0, 1, 2)] for name, skill in
             (("old", 0.3), ("new", 0.6))}  # fmt: skip
    comparison = compare_runs(tmp_path, "old", False)
    new = _row(comparison, "new").scores["eval"]
    end, start, other = (
        np.mean([[np.mean(list(_table(path / "verdicts" / f"{suite}@{at}.jsonl").values())) for path in paths[name]]
                 for suite in ("arithmetic", "coding")])
        for name, at in (("new", "1.00"), ("new", "0.00"), ("old", "1.00"))
    )  # fmt: skip
    assert new.mean.mean == pytest.approx(end)
    assert new.gain.mean == pytest.approx(end - start)
    assert new.difference.mean == pytest.approx(end - other)
    assert (new.difference.seeds, new.difference.problems) == (3, 48)
    assert new.holm == pytest.approx(new.difference.p_value)
    worst = min(interval.p_value for interval in new.suite_difference.values())
    assert min(new.suite_holm.values()) == pytest.approx(min(1, 2 * worst))
    assert _row(comparison, "old").scores["eval"].difference is None


def test_one_seed_is_paired_by_problem_and_flagged(tmp_path, write_run):
    old = write_run(tmp_path, "old", 0, 0.3, suites=("arithmetic",))
    new = write_run(tmp_path, "new", 0, 0.6, suites=("arithmetic",))
    comparison = compare_runs(tmp_path / "exp", "old", False)
    tables = [_table(path / "verdicts" / "arithmetic@1.00.jsonl") for path in (new, old)]
    gaps = [tables[0][problem] - tables[1][problem] for problem in tables[0]]
    difference = _row(comparison, "new").scores["eval"].difference
    expected = scipy_stats.t.interval(0.95, len(gaps) - 1, np.mean(gaps), scipy_stats.sem(gaps))
    assert (difference.low, difference.high) == pytest.approx(expected)
    assert any("One seed only" in warning for warning in comparison.warnings)


def test_splits_and_levels_are_kept_apart(tmp_path, write_run):
    path = write_run(tmp_path, "new", 0, 0.6, ood=True)
    row = compare_runs(tmp_path, None, False).rows[0]
    for split in ("eval", "ood"):
        means = [np.mean(list(_table(path / "verdicts" / f"{suite}@1.00.jsonl", split).values()))
                 for suite in ("arithmetic", "coding")]  # fmt: skip
        assert row.scores[split].mean.mean == pytest.approx(np.mean(means))
    problems = _table(path / "verdicts" / "coding@1.00.jsonl")
    hardest = [score for name, score in problems.items() if int(name[-3:]) % 3 == 2]
    assert row.levels["coding"][3].mean == pytest.approx(np.mean(hardest))
    assert list(row.mean_levels) == [1, 2, 3]


def test_rows_are_split_and_labelled_by_what_differs(tmp_path, write_run):
    for seed in (0, 1):
        write_run(tmp_path, "mixer", seed, spec={"options": {"weight": 0.1, "clip": 1}})
        write_run(tmp_path, "mixer", seed, spec={"options": {"weight": 0.5, "clip": 1}})
        write_run(tmp_path, "plain", seed)
    comparison = compare_runs(tmp_path, None, False)
    assert [row.label for row in comparison.rows] == ["mixer (weight=0.1)", "mixer (weight=0.5)", "plain"]
    assert [row.seeds for row in comparison.rows] == [[0, 1]] * 3


def test_experiments_make_rows(tmp_path, write_run):
    write_run(tmp_path, "mixer", experiment="first")
    write_run(tmp_path, "mixer", experiment="second")
    comparison = compare_runs(tmp_path, None, False)
    assert [row.label for row in comparison.rows] == ["mixer (experiment=first)", "mixer (experiment=second)"]


def test_unequal_budgets_are_refused_and_make_rows_where_forced(tmp_path, write_run):
    write_run(tmp_path, "mixer", steps=12)
    write_run(tmp_path, "mixer", steps=24)
    message = r"The budgets differ: limits from 12 \(mixer \(budget=12 updates\)\) to 24 .* more than 10% apart"
    with pytest.raises(ValueError, match=message) as caught:
        compare_runs(tmp_path, None, False)
    assert "With --force they are compared" in str(caught.value)
    comparison = compare_runs(tmp_path, None, True)
    assert [row.label for row in comparison.rows] == ["mixer (budget=12 updates)", "mixer (budget=24 updates)"]
    assert len(comparison.forced) == 1 and comparison.forced[0].startswith("The budgets differ: limits")
    assert not compare_runs(tmp_path, None, False, tolerance=1.0).forced
    assert compare_runs(tmp_path, None, False, tolerance=1.0).warnings[0].startswith("The budgets differ: 12 updates")


def test_budgets_of_different_kinds_are_refused_whatever_the_tolerance(tmp_path, write_run):
    write_run(tmp_path, "a")
    write_run(tmp_path, "b", spec={"budget": {"kind": "flops", "limit": 12e9}})
    with pytest.raises(ValueError, match=r"of different kinds: flops \(b .*\); updates \(a .*\)\."):
        compare_runs(tmp_path, None, False, tolerance=100.0)


@pytest.mark.parametrize(("factor", "refused"), [(1.09, False), (1.11, True)])
@pytest.mark.parametrize("kind", ["flops", "generated_tokens"])
def test_what_was_spent_counts_in_the_unit_of_the_budget(tmp_path, write_run, kind, factor, refused):
    budget = {"budget": {"kind": kind, "limit": 1000}}
    write_run(tmp_path, "a", spec=budget)
    write_run(tmp_path, "b", spec=budget, flops=factor * 1e9, tokens=factor * 500)
    if not refused:
        assert not compare_runs(tmp_path, None, False).forced
        return
    name = {"flops": "FLOPs", "generated_tokens": "generated tokens"}[kind]
    with pytest.raises(
        ValueError, match=f"The {name} spent are not equal: from .* to .*, which is more than 10% apart"
    ):
        compare_runs(tmp_path, None, False)
    assert not compare_runs(tmp_path, None, False, tolerance=0.12).forced


@pytest.mark.parametrize(("factor", "warned"), [(1.09, False), (1.11, True)])
def test_measured_cost_warns_above_the_tolerance(tmp_path, write_run, factor, warned):
    write_run(tmp_path, "a", flops=1e9)
    write_run(tmp_path, "b", flops=factor * 1e9)
    comparison = compare_runs(tmp_path, None, False)
    found = [warning for warning in comparison.warnings if "FLOPs from" in warning]
    assert bool(found) == warned and comparison.unequal == found
    assert not compare_runs(tmp_path, None, False, tolerance=0.12).unequal


def test_costs_that_must_be_equal_are_refused_where_they_are_not(tmp_path, write_run):
    write_run(tmp_path, "a", flops=1e9)
    path = write_run(tmp_path, "b", flops=5e9)
    assert not compare_runs(tmp_path, None, False, equal=["seconds", "updates"]).forced
    with pytest.raises(ValueError, match=r"The FLOPs spent are not equal: from 1.2e\+10 \(a\) to 6e\+10 \(b\)"):
        compare_runs(tmp_path, None, False, equal=["flops"])
    assert len(compare_runs(tmp_path, None, True, equal=["flops"]).forced) == 1
    with pytest.raises(ValueError, match="no cost 'watts'; choose from updates, prompts"):
        compare_runs(tmp_path, None, True, equal=["watts"])
    with pytest.raises(ValueError, match="must not be negative"):
        compare_runs(tmp_path, None, True, tolerance=-0.1)
    (path / "timing.jsonl").unlink()
    with pytest.raises(ValueError, match="The seconds of b are not recorded"):
        compare_runs(tmp_path, None, False, equal=["seconds"])


def test_the_command_refuses_with_one_line_and_marks_what_is_forced(tmp_path, write_run, capsys):
    write_run(tmp_path / "r", "a", steps=12)
    write_run(tmp_path / "r", "b", steps=24)
    assert cli.main(["compare", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "--force" in said and "limits from 12 (a" in said
    assert cli.main(["compare", str(tmp_path / "r"), "--tolerance", "0.1", "--equal", "flops", "--force"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "NOT COMPARABLE (forced): The budgets differ: limits" in printed
    assert "NOT COMPARABLE (forced): The FLOPs spent are not equal" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"model": "large"}}, "base models differ: large, tiny"),
        ({"spec": {"eval": {"temperature": 1.0, "samples": 4}}}, "setting temperature differs: 0.6 against 1.0"),
        ({"grader_version": "2"}, "graders of arithmetic differ: exact 1, exact 2"),
        ({"data_hash": "xyz"}, "problem data of coding differ: abc against xyz"),
        ({"suites": ("coding",)}, "different suites: arithmetic, coding against coding"),
    ],
)
def test_the_incomparable_is_refused_unless_forced(tmp_path, write_run, change, message):
    write_run(tmp_path, "a")
    write_run(tmp_path, "b", **change)
    with pytest.raises(ValueError, match=message):
        compare_runs(tmp_path, None, False)
    comparison = compare_runs(tmp_path, None, True)
    assert any(message in reason for reason in comparison.forced)
    assert len(comparison.rows) == 2


def test_two_runs_of_one_seed_are_refused(tmp_path, write_run):
    first = write_run(tmp_path, "a")
    first.rename(first.with_name("copy"))
    write_run(tmp_path, "a")
    with pytest.raises(ValueError, match=r"have the same seed: exp/a-.*, exp/copy"):
        compare_runs(tmp_path, None, False)


def test_unfinished_runs_are_left_out_by_name(tmp_path, write_run):
    write_run(tmp_path, "a", 0)
    path = write_run(tmp_path, "a", 1, done=False)
    comparison = compare_runs(tmp_path, None, False)
    assert comparison.rows[0].seeds == [0]
    assert f"Left out as unfinished (no DONE): exp/{path.name}." in comparison.warnings
    (tmp_path / "exp" / comparison.rows[0].runs[0].run_id / "DONE").unlink()
    with pytest.raises(ValueError, match="No finished run"):
        compare_runs(tmp_path, None, False)


def test_unscored_samples_are_excluded_counted_and_pairing_survives(tmp_path, write_run):
    paths = [write_run(tmp_path, "a", seed) for seed in (0, 1)]
    file = paths[1] / "verdicts" / "coding@1.00.jsonl"

    def lose(rows):
        for row in rows:
            if row["problem"] == "coding-000" or (row["problem"] == "coding-001" and row["sample"] == 0):
                row |= {"status": "infra", "score": None}
        return rows

    _rewrite(file, lose)
    comparison = compare_runs(tmp_path, None, False)
    row = comparison.rows[0]
    assert row.scores["eval"].by_suite["coding"].problems == 23
    assert row.scores["eval"].dropped == 1
    assert "a: 5 samples have no score; 1 problems are left out." in comparison.warnings
    assert row.runs[1].evaluations["coding", "1.00"].statuses["infra"] == 5


def test_a_regraded_sample_counts_once_and_a_torn_line_is_skipped(tmp_path, write_run):
    path = write_run(tmp_path, "a")
    before = compare_runs(tmp_path, None, False).rows[0].scores["eval"].by_suite["coding"].mean
    file = path / "verdicts" / "coding@1.00.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    fails = next(row for row in rows if row["score"] == 0.0)
    file.write_text(file.read_text() + json.dumps(fails | {"score": 1.0}) + "\n" + '{"problem": "cod')
    after = compare_runs(tmp_path, None, False).rows[0].scores["eval"].by_suite["coding"].mean
    assert after - before == pytest.approx(1 / (24 * 4))


def test_damage_is_named(tmp_path, write_run):
    path = write_run(tmp_path, "a")
    metrics = path / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl line 2 is not valid JSON"):
        compare_runs(tmp_path, None, False)


def test_baseline_by_strategy_by_label_and_nearest_in_settings(tmp_path, write_run):
    for experiment in ("one", "two"):
        write_run(tmp_path, "plain", experiment=experiment)
        write_run(tmp_path, "mixer", experiment=experiment)
    comparison = compare_runs(tmp_path, "plain", False)
    row = _row(comparison, "mixer (experiment=two)")
    assert row.baseline.label == "plain (experiment=two)"
    named = compare_runs(tmp_path, "plain (experiment=one)", False)
    assert _row(named, "mixer (experiment=two)").baseline.label == "plain (experiment=one)"
    with pytest.raises(ValueError, match="no finished run of the baseline 'plane'; choose one of: mixer, plain"):
        compare_runs(tmp_path, "plane", False)


def test_an_ambiguous_baseline_is_refused(tmp_path, write_run):
    write_run(tmp_path, "plain", spec={"options": {"weight": 0.1}})
    write_run(tmp_path, "plain", spec={"options": {"weight": 0.5}})
    write_run(tmp_path, "mixer")
    with pytest.raises(ValueError, match="ambiguous for mixer"):
        compare_runs(tmp_path, "plain", False)


def test_differences_use_the_shared_seeds_and_missing_pairs_warn(tmp_path, write_run):
    for seed in (0, 1, 2):
        write_run(tmp_path, "plain", seed)
    write_run(tmp_path, "few", 1)
    write_run(tmp_path, "few", 2)
    write_run(tmp_path, "apart", 9)
    comparison = compare_runs(tmp_path, "plain", False)
    assert _row(comparison, "few").scores["eval"].difference.seeds == 2
    assert _row(comparison, "apart").scores["eval"].difference is None
    assert "apart shares no seed or problem with plain (eval)." in comparison.warnings


def test_cost_and_reasons_by_hand(tmp_path, write_run):
    write_run(tmp_path, "a", 0, has_mu=True, steps=12, flops=2e9, tokens=100)
    write_run(tmp_path, "a", 1, has_mu=True, steps=12, flops=2e9, tokens=100)
    row = compare_runs(tmp_path, None, False).rows[0]
    assert row.cost == pytest.approx(
        {
            "updates": 12,
            "prompts": 96,
            "generated_tokens": 1200,
            "trained_tokens_rollout": 1080,
            "trained_tokens_demo": 1200,
            "flops": 2.4e10,
            "seconds": 24,
        }
    )
    assert row.reasons["effective_mix_first"] == pytest.approx(0.8 - 0.5 * (1 + 2 + 3) / 36)
    assert row.reasons["effective_mix_last"] == pytest.approx(0.8 - 0.5 * (10 + 11 + 12) / 36)
    assert row.reasons["kl_last"] == pytest.approx(0.1)
    assert row.reasons["large_dmu_events"] == 3
    assert row.reasons["controller_share"] == pytest.approx(0.01 / 2.0)
    final = [json.loads((tmp_path / "exp" / run.run_id / "metrics.jsonl").read_text().splitlines()[-1])["mu"]
             for run in row.runs]  # fmt: skip
    assert row.reasons["mu_last"] == pytest.approx(np.mean(final))


def test_absent_and_null_metrics_are_missing_not_zero(tmp_path, write_run):
    path = write_run(tmp_path, "a")
    _rewrite(path / "metrics.jsonl", lambda rows: [{"step": row["step"], "mu": None, "reward": 0.5} for row in rows])
    (path / "timing.jsonl").unlink()
    row = compare_runs(tmp_path, None, False).rows[0]
    assert row.reasons == {"reward_last": 0.5}
    assert row.cost == {"updates": 12.0}
    assert [point.ledger["updates"] for point in row.curve] == [0, 6, 12]
