"""Tables of one comparison inside a report: the same numbers as the comparison's own, one source or several."""

from __future__ import annotations

import numpy as np
import pytest

from harness.report.tables import TABLES
from harness.statistics.intervals import crossed_interval, paired_interval
from harness.tables import all_tables


def column(table, key):
    place = [one.key for one in table.columns].index(key)
    return {row[0].value: row[place] for row in table.rows}


@pytest.mark.parametrize(
    ("show", "options", "name"),
    [
        ("scores", {}, "scores"),
        ("scores", {"split": "ood"}, "scores_ood"),
        ("differences", {}, "differences"),
        ("differences", {"split": "ood"}, "differences_ood"),
        ("levels", {}, "levels"),
        ("levels", {"by_suite": True}, "levels_by_suite"),
        ("cost", {}, "cost"),
        ("what_happened", {}, "reasons"),
    ],
)
def test_tables_of_one_source_are_those_of_the_comparison(sources, make_item, show, options, name):
    found = TABLES[show]([sources["small"]], make_item(show, name="mine", **options))
    same = next(table for table in all_tables(sources["small"].comparison) if table.name == name)
    assert (found.name, found.title, found.notes) == ("mine", same.title, same.notes)
    assert (found.columns, found.rows) == (same.columns, same.rows)
    assert TABLES[show]([sources["small"]], make_item(show, title="Own title", **options)).title == "Own title"


def test_a_choice_of_suites_changes_means_and_differences(sources, make_item, matrix):
    table = TABLES["scores"]([sources["small"]], make_item("scores", suites=["coding"]))
    keys = [one.key for one in table.columns]
    assert "suite_coding" in keys and "suite_arithmetic" not in keys
    own, base = matrix("small", "mixer", "coding"), matrix("small", "plain_rl", "coding")
    cell = column(table, "mean")["mixer"]
    truth = crossed_interval([own])
    assert cell.value == pytest.approx(own.mean())
    assert cell.interval.half_width == pytest.approx(truth.half_width)
    gap = column(table, "difference")["mixer"]
    assert gap.value == pytest.approx((own - base).mean())
    assert gap.interval.half_width == pytest.approx(paired_interval([own], [base]).half_width)
    # the comparison itself is left as it was
    assert set(sources["small"].comparison.rows[0].scores["eval"].by_suite) == {"arithmetic", "coding"}


def test_several_sources_stand_under_each_other(sources, make_item):
    chosen = [sources["small"], sources["large"]]
    table = TABLES["scores"](chosen, make_item("scores"))
    assert [row[0].value for row in table.rows] == ["small"] * 3 + ["large"] * 2
    alone = TABLES["scores"](chosen[1:], make_item("scores"))
    assert [row[1:] for row in table.rows[3:]] == alone.rows
    assert len(set(table.notes)) == len(table.notes)


def test_unknown_splits_suites_and_missing_baselines(sources, study, make_item, make_source):
    with pytest.raises(ValueError, match="evaluated splits are: eval, ood"):
        TABLES["scores"]([sources["small"]], make_item("scores", split="test"))
    with pytest.raises(ValueError, match="'codng' was not evaluated"):
        TABLES["scores"]([sources["small"]], make_item("scores", suites=["codng"]))
    without = make_source(study / "small", "bare", baseline=None)
    with pytest.raises(ValueError, match="needs a baseline: give source bare one"):
        TABLES["differences"]([without], make_item("differences"))


def test_settings_show_what_differs_and_what_is_shared(sources, make_item):
    table = TABLES["settings"]([sources["noisy"]], make_item("settings"))
    lines = [(row[0].value, row[1].value, row[2].value) for row in table.rows]
    at = {(key, value): rows for key, value, rows in lines}
    assert at["data.demo_noise", "0.3"] == "mixer (demo_noise=0.3), plain_rl (demo_noise=0.3)"
    assert at["data.demo_noise", "0.6"] == "mixer (demo_noise=0.6), plain_rl (demo_noise=0.6)"
    assert at["budget", "12 updates"] == "all" and at["model", "0.2m"] == "all"
    assert lines[0][0] == "data.demo_noise"  # what differs comes first
    differing = TABLES["settings"]([sources["noisy"]], make_item("settings", show="differing"))
    assert {row[0].value for row in differing.rows} == {"data.demo_noise"}
    shared = TABLES["settings"]([sources["noisy"]], make_item("settings", show="shared"))
    assert len(differing.rows) + len(shared.rows) == len(table.rows)


def test_settings_know_the_defaults_of_a_registered_strategy(tmp_path, write_run, make_source, make_item):
    from harness.settings import option_defaults

    default = option_defaults("fixed")["mu"]
    write_run(tmp_path, "fixed", 0)
    write_run(tmp_path, "mixer", 0)
    source = make_source(tmp_path, baseline=None)
    table = TABLES["settings"]([source], make_item("settings"))
    assert ["options.mu", str(default), "fixed"] in [[cell.value for cell in row] for row in table.rows]
    table = TABLES["settings"]([source], make_item("settings", options=False))
    assert not any(row[0].value.startswith("options.") for row in table.rows)


def test_columns_without_a_value_are_left_out(tmp_path, write_run, make_source, make_item):
    for seed in (0, 1):
        path = write_run(tmp_path, "once", seed)
        for file in (path / "verdicts").glob("*@0.00.jsonl"):  # no evaluation before training: no gain
            file.unlink()
    table = TABLES["scores"]([make_source(tmp_path, baseline=None)], make_item("scores"))
    assert [one.key for one in table.columns] == ["strategy", "seeds", "suite_arithmetic", "suite_coding", "mean"]
    assert np.isfinite(column(table, "mean")["once"].interval.half_width)
