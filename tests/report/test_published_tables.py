"""Papers beside runs: orders against scipy and brute force, verdicts on made differences, protocols field by field."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from harness.report import order
from harness.report.published import load
from harness.report.published_match import Asked, counterpart, differences, printed
from harness.report.tables.published import build
from harness.statistics.intervals import paired_interval

PAPER = """
paper = "x"
title = "A paper"
where = "a place"
[protocols.main]
model = "Big-7B"
temperature = 0.6
top_p = 0.95
max_tokens = 64
k = 4
seeds = 3
inferred = ["temperature"]
[[table]]
id = "t"
title = "Table T"
source = "page 1"
metric = "accuracy"
protocol = "main"
columns = [
    { key = "a", header = "A", suite = "arithmetic" },
    { key = "b", header = "B" },
    { key = "avg", header = "average", mean_of = ["a", "b"] },
]
rows = [
    { label = "RL", strategy = "grpo", values = [50.0, 40.0, 45.0], errors = [0.5, 1.25, nan] },
    { label = "SFT", strategy = "sft", values = [40.0, 30.0, 35.0] },
    { label = "DFT", strategy = "sft", options = { sft_loss = "dft" }, values = [70.0, 6.66, nan], note = "a note" },
    { label = "Gate", strategy = "hpt", values = [60.0, 50.0, 55.0] },
    { label = "Other", values = [1.0, 2.0, 1.5] },
    { label = "Start", strategy = "no_op", trained = false, values = [5.0, 5.0, 5.0] },
]
claims = [
    { above = "Gate", below = "SFT" },
    { above = "RL", below = "Gate", column = "a", note = "the numbers say the opposite" },
    { above = "Gate", below = "Other" },
]
[[headline]]
label = "area"
printed = "-28 %"
source = "abstract"
strategy = "hpt"
against = "sft"
measure = "kl_drift_area"
[[headline]]
label = "proxy"
printed = "0.84"
source = "text"
strategy = "hpt"
measure = "correlation mu"
unit = "number"
[[headline]]
label = "share"
printed = "1 %"
source = "text"
strategy = "hpt"
measure = "controller_share"
"""
EVAL = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 64, "k": 4}
SKILLS = {"grpo": 0.3, "sft": 0.45, "hpt": 0.9}
START = {"no_op": 0.2}


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("paper") / "x.toml"
    path.write_text(PAPER)
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_run) -> Path:
    """`same`: the paper's model and sampling; `other`: another model, one sample fewer, a second setting of sft."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        for strategy, skill in (SKILLS | START).items():
            spec = {"model": "org/big-7b", "eval": EVAL}
            write_run(root, strategy, seed, skill, experiment="same", spec=spec, has_mu=strategy == "hpt")
            spec = {"model": "tiny", "eval": EVAL | {"k": 3}}
            write_run(root, strategy, seed, 1 - skill, experiment="other", spec=spec)
        spec = {"model": "tiny", "eval": EVAL | {"k": 3}, "options": {"sft_loss": "dft"}}
        write_run(root, "sft", seed, 0.5, experiment="other", spec=spec)
    return root


@pytest.fixture(scope="module")
def both(root, make_source):
    return [make_source(root / name, name, None, label=name) for name in ("same", "other")]


@pytest.fixture
def make(both, make_item, paper):
    def table(*names, **options):
        chosen = [source for source in both if source.name in (names or ("same",))]
        return build(chosen, make_item("published", paper=paper, **({"table": "t"} | options)))

    return table


def lines(table, key=None):
    """First cell -> cells by column key."""
    keys = [column.key for column in table.columns]
    return {row[0].value: dict(zip(keys, row, strict=True)) for row in table.rows}


# ---- orders


def test_tau_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for size in (3, 5, 9):
        for _ in range(20):
            a, b = rng.integers(0, 6, size), rng.integers(0, 6, size)
            if len(set(a)) > 1 and len(set(b)) > 1:
                assert order.kendall(a, b) == pytest.approx(kendalltau(a, b).statistic)
    assert math.isnan(order.kendall([1, 2, 3], [1, 1, 1]))
    assert order.kendall([1, 2, 3], [[1, 2, 3], [3, 2, 1]]).tolist() == [1, -1]


def test_permutation_test_is_exact_for_few_and_close_for_many():
    a, b = [1, 2, 3, 4, 5], [2, 1, 3, 5, 4]
    tau = kendalltau(a, b).statistic
    hits = [abs(kendalltau(a, other).statistic) >= abs(tau) - 1e-9 for other in itertools.permutations(b)]
    assert order.permutation_p(a, b) == pytest.approx(np.mean(hits))
    assert order.permutation_p(a, b) == pytest.approx(kendalltau(a, b, method="exact").pvalue)
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=9), rng.normal(size=9)
    assert order.permutation_p(a, b) == pytest.approx(kendalltau(a, b, method="exact").pvalue, abs=0.02)
    assert math.isnan(order.permutation_p([1, 2], [1, 1]))


def test_bounds_of_tau(both):
    rows = [row for row in both[0].comparison.rows if row.strategy in SKILLS]
    skills = [SKILLS[row.strategy] for row in rows]
    found = order.agreement(skills, rows, "eval", ["arithmetic", "coding"], 0.95)
    assert (found.tau, found.low, found.high) == pytest.approx((1, 1, 1))
    assert found.methods == 3
    opposite = order.agreement([-skill for skill in skills], rows, "eval", ["arithmetic", "coding"], 0.95)
    assert (opposite.tau, opposite.high) == pytest.approx((-1, -1))
    assert order.agreement(skills[:2], rows[:2], "eval", ["arithmetic"], 0.95) is None


def test_an_order_within_the_noise_has_wide_bounds(tmp_path, write_run, make_source):
    for seed in range(3):
        for strategy in SKILLS:
            write_run(tmp_path, strategy, seed, 0.5, experiment="even")
    rows = make_source(tmp_path / "even", baseline=None).comparison.rows
    found = order.agreement([1, 2, 3], rows, "eval", ["arithmetic"], 0.95)
    assert found.low < 0 < found.high


# ---- which row, and under which protocol


def test_counterparts_have_the_same_options(both, paper):
    table = load(paper).find("t")
    same, other = both
    assert counterpart(table.row("SFT"), same, {}).strategy == "sft"
    assert counterpart(table.row("DFT"), same, {}) is None
    assert counterpart(table.row("DFT"), other, {}).runs[0].spec["options"] == {"sft_loss": "dft"}
    assert counterpart(table.row("SFT"), other, {}).runs[0].spec["options"] == {}
    assert counterpart(table.row("Other"), same, {}) is None
    assert counterpart(table.row("Other"), same, {"Other": "hpt"}).strategy == "hpt"
    assert counterpart(table.row("Other"), same, {"Other": "of another source"}) is None


def test_two_rows_of_one_setting_are_ambiguous(tmp_path, write_run, make_source, paper):
    for noise in (0.0, 0.3):
        write_run(tmp_path, "grpo", 0, 0.5, experiment="noisy", spec={"data": {"demo_noise": noise}})
    source = make_source(tmp_path / "noisy", "noisy", None)
    with pytest.raises(ValueError, match="Source noisy has several rows for 'RL'"):
        counterpart(load(paper).find("t").row("RL"), source, {})


def test_differences_name_every_field(both, paper):
    published = load(paper)
    table = published.find("t")
    asked = [Asked(table.columns[0], published.protocol(table, table.columns[0]))]
    same, other = (counterpart(table.row("RL"), source, {}) for source in both)
    assert differences(same, ["arithmetic"], asked, "eval") == ()
    assert differences(other, ["arithmetic"], asked, "eval") == (
        "model tiny, not Big-7B",
        "samples per problem 3, not 4",
    )
    assert differences(same, ["coding"], asked, "eval") == ("coding, not arithmetic",)
    assert differences(same, ["arithmetic", "coding"], asked, "eval")[0] == (
        "the mean of arithmetic, coding, not arithmetic"
    )
    unknown = [Asked(asked[0].column, type(asked[0].protocol)(model="Big-7B"))]
    told = differences(same, ["arithmetic"], unknown, "eval")
    assert told == (
        "samples per problem 4, not one that is not stated",
        "temperature 0.6, not one that is not stated",
        "tokens 64, not one that is not stated",
    )


def test_some_of_the_problems_of_a_published_suite_are_a_difference(tmp_path, write_run, make_source):
    spec = {"model": "Qwen2.5-Math-7B", "eval": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 8192, "k": 32}}
    write_run(tmp_path, "hpt", 0, 0.5, experiment="aime", spec=spec, suites=("aime24", "aime25"))
    published = load("hpt")
    table = published.find("t2")
    row = make_source(tmp_path / "aime", baseline=None).comparison.rows[0]
    asked = [Asked(table.columns[0], published.protocol(table, table.columns[0]))]
    assert differences(row, ["aime24"], asked, "eval") == ("24 of the 30 problems of aime24",)


# ---- views


def test_numbers_stand_as_printed_and_ours_beside_them(make, both):
    table = make()
    assert [column.key for column in table.columns] == ["method", "a", "here_1", "b", "here_2", "avg"]
    found = lines(table)
    assert found["RL"]["a"].value == "50.0 \u00b1 0.5"
    assert found["RL"]["b"].value == "40.0 \u00b1 1.25"
    assert found["DFT"]["b"].value == "6.66"
    assert found["DFT"]["avg"].value is None
    row = next(row for row in both[0].comparison.rows if row.strategy == "hpt")
    assert found["Gate"]["here_1"].value == row.scores["eval"].by_suite["arithmetic"].mean
    assert found["Gate"]["here_1"].mark == ""
    assert found["Gate"]["here_2"].value == row.scores["eval"].mean.mean
    assert found["Gate"]["here_2"].mark == " [a]"
    assert found["DFT"]["here_1"].value is None and found["Other"]["here_1"].value is None
    text = "\n".join(table.notes)
    assert "[a] the mean of arithmetic, coding, not B." in text
    assert "No strategy here is the same as: Other." in text and "Not among these runs: DFT." in text
    assert "(inferred, not stated: temperature)" in text and "DFT: a note." in text


def test_a_mapped_suite_and_a_second_source(make):
    table = make("same", "other", suites={"b": "coding"})
    found = lines(table)
    assert found["Gate"]["here_2"].mark == " [a]"
    assert found["DFT"]["here_1"].mark == " [b]"
    assert [note for note in table.notes if note.startswith("[")] == [
        "[a] same: coding, not B.",
        "[b] other: model tiny, not Big-7B; samples per problem 3, not 4.",
        "[c] other: model tiny, not Big-7B; coding, not B; samples per problem 3, not 4.",
    ]


def test_claims_have_the_paired_difference_and_a_verdict(make, both):
    table = make(view="claims")
    assert [row[0].value for row in table.rows] == ["Gate > SFT", "RL > Gate", "Gate > Other"]
    found = lines(table)
    assert [found[name]["verdict"].value for name in found] == ["supported", "contradicted", "not tested"]
    assert [found[name]["printed"].value for name in found] == ["+20.0", "-10.0", "+53.5"]
    rows = {row.strategy: row for row in both[0].comparison.rows}
    truth = paired_interval(
        [_matrix(rows["grpo"], "arithmetic")], [_matrix(rows["hpt"], "arithmetic")]
    )  # the column A alone
    assert found["RL > Gate"]["here"].value == pytest.approx(truth.mean)
    assert found["RL > Gate"]["here"].interval.half_width == pytest.approx(truth.half_width)
    assert found["RL > Gate"]["where"].value == "A"
    assert "1 supported, 1 contradicted, 1 not tested" in table.notes[0]
    assert any(note == "RL > Gate: the numbers say the opposite." for note in table.notes)
    assert any(
        "Order of 3 methods (RL, SFT, Gate), A there and arithmetic here: Kendall's tau" in n for n in table.notes
    )


def test_a_difference_within_the_noise_is_undecided(tmp_path, write_run, make_source, make_item, paper):
    for seed in range(3):
        for strategy in SKILLS:
            write_run(tmp_path, strategy, seed, 0.5, experiment="even", spec={"eval": EVAL})
    source = make_source(tmp_path / "even", "even", None)
    table = build([source], make_item("published", paper=paper, table="t", view="claims"))
    assert [row[5].value for row in table.rows] == ["undecided", "undecided", "not tested"]


def test_columns_of_single_sources(make):
    table = make("same", "other", view="claims", column_sources={"a": "same", "b": "other"})
    found = [(row[0].value, row[1].value, row[5].value, row[6].value) for row in table.rows[:2]]
    assert found[0] == ("Gate > SFT", "A", "supported", "same")
    assert found[1] == ("Gate > SFT", "B", "contradicted", "other")
    header = [column.header for column in make("same", "other", column_sources={"a": "other"}).columns]
    assert "here: arithmetic (other)" in header


def test_headlines_are_changes_and_means_over_seeds(make, root):
    table = make(view="headlines", table="")
    found = lines(table)
    area = {
        name: [
            json.loads(path.read_text().splitlines()[-1])["kl_drift_area"]
            for path in sorted((root / "same").glob(f"{name}-*/metrics.jsonl"))
        ]
        for name in ("hpt", "sft")
    }
    change = np.mean(area["hpt"]) / np.mean(area["sft"]) - 1
    assert found["area"]["here"].number == pytest.approx(change)
    assert found["share"]["here"].number == pytest.approx(0.01 / 2)
    assert found["share"]["here"].value.endswith(" %")
    assert found["proxy"]["here"].value is None


def test_correlations_of_a_proxy(tmp_path, write_run, make_source, make_item, paper):
    path = write_run(tmp_path, "hpt", 0, 0.5, experiment="probe", has_mu=True)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    rng = np.random.default_rng(0)
    for row in rows[::2]:
        row["true_mu"] = row["mu_raw"] + rng.normal(0, 0.1)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = np.array([[row["mu_raw"], row["true_mu"]] for row in rows[::2]])
    source = make_source(tmp_path / "probe", "probe", None)
    table = build([source], make_item("published", paper=paper, view="headlines"))
    assert lines(table)["proxy"]["here"].number == pytest.approx(np.corrcoef(pairs.T)[0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "all"}, "option view must be one of numbers, claims, headlines"),
        ({"rows": {"Nobody": "hpt"}}, "has no row 'Nobody'"),
        ({"suites": {"z": "coding"}}, "has no column 'z'"),
        ({"suites": {"b": "poetry"}}, "poetry"),
        ({"column_sources": {"a": "elsewhere"}}, "There is no source 'elsewhere'"),
        ({"split": "ood"}, "ood"),
        ({"table": "u"}, "has no table 'u'"),
        ({"tables": "t"}, "has no option 'tables'"),
    ],
)
def test_options_that_are_wrong(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_printing():
    assert printed(6.66, 1) == "6.66"
    assert printed(70.5, 2) == "70.50"
    assert printed(58, 0) == "58"
    assert printed(55.9, 1, 0.7) == "55.9 \u00b1 0.7"


def _matrix(row, suite):
    from harness.compare_estimates import score_matrix

    return score_matrix(row.runs, suite, row.last, "eval").to_numpy()
