"""Exclusive solves, pass@k, question heat maps and sweeps against enumeration, hand counts and scipy's tests."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, t

from harness.report.document import Source
from harness.report.figures import pass_at_k as pass_at_k_figure
from harness.report.figures import question_heatmap
from harness.report.figures import sweep as sweep_figure
from harness.report.figures.style import drawer, files
from harness.report.spec import Item
from harness.report.tables import exclusive_solves, pass_at_k, sweep
from harness.table_formats import Table, show

Problems = dict[str, tuple[int | None, Sequence[float | None]]]  # id -> level, scores of its samples


def write_run(
    root: Path,
    strategy: str,
    seed: int,
    suites: dict[str, Problems],
    *,
    moments: dict[str, dict[str, Problems]] | None = None,
    spec: dict[str, Any] | None = None,
    metrics: Sequence[dict[str, float]] = ({"entropy": 1.0},),
) -> None:
    """One finished run with exactly these graded samples at 100% of its budget, and others at other `moments`."""
    content = {"strategy": strategy, "model": "tiny", "seed": seed, "budget": {"kind": "updates", "limit": 8}}
    content |= spec or {}
    path = root / "exp" / f"{strategy}-{zlib.crc32(json.dumps(content).encode()):08x}-s{seed}"
    (path / "verdicts").mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"schema": 1, "spec": content}))
    evaluation: dict[str, Any] = {}
    for fraction, found in {**(moments or {}), "1.00": suites}.items():
        evaluation[fraction] = {}
        for suite, problems in found.items():
            rows = [
                {"problem": problem, "sample": i, "status": "pass" if score == 1 else "fail", "score": score,
                 "level": level, "split": "eval", "grader": "exact", "grader_version": "1"}
                for problem, (level, scores) in problems.items()
                for i, score in enumerate(scores)
            ]  # fmt: skip
            (path / "verdicts" / f"{suite}@{fraction}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
            k = len(next(iter(problems.values()))[1])
            evaluation[fraction][suite] = {"n": len(problems), "k": k, "data_hash": "x", "at": {}}
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    steps = [{"step": i, **row} for i, row in enumerate(metrics, start=1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    (path / "timing.jsonl").write_text("")
    (path / "DONE").write_text("")


def column(table: Table, key: str) -> list[str | float | None]:
    place = [one.key for one in table.columns].index(key)
    return [row[place].value for row in table.rows]


def bits(levels: Sequence[int], *right: Sequence[int]) -> Problems:
    """Problems p0, p1, ...: `right` holds the samples of each."""
    return {f"p{i}": (level, [float(b) for b in of]) for i, (level, of) in enumerate(zip(levels, right, strict=True))}


# ---------------------------------------------------------------------------------------------- exclusive solves


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two strategies, two seeds, two samples. Pooled right answers of 4: one 4 3 2 1 0, two 0 2 3 1 4."""
    one = ([[1, 1], [1, 0], [1, 0], [0, 1], [0, 0]], [[1, 1], [1, 1], [1, 0], [0, 0], [0, 0]])
    two = ([[0, 0], [1, 1], [1, 1], [0, 0], [1, 1]], [[0, 0], [0, 0], [1, 0], [0, 1], [1, 1]])
    for seed in (0, 1):
        write_run(tmp_path, "one", seed, {"s": bits([1, 1, 2, 2, 2], *one[seed])})
        write_run(tmp_path, "two", seed, {"s": bits([1, 1, 2, 2, 2], *two[seed])})
    return tmp_path


def test_majority_counts_by_hand(
    pair: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    table = exclusive_solves.build([make_source(pair, baseline="two")], make_item("exclusive_solves"))
    # more than 2 of 4: one solves p0 p1, two solves p2 p4
    assert (column(table, "strategy"), column(table, "against")) == (["one"], ["two"])
    assert column(table, "level_1") == ["+2 / -0"]
    assert column(table, "level_2") == ["+0 / -2"]
    assert (column(table, "plus"), column(table, "minus"), column(table, "problems")) == ([2.0], [2.0], [5.0])
    # seed 0, both of 2: one p0, two p1 p2 p4; seed 1: one p0 p1, two p4
    assert column(table, "seeds") == ["1 ahead, 1 behind of 2"]


def test_any_counts_by_hand(pair: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]) -> None:
    table = exclusive_solves.build([make_source(pair, baseline="two")], make_item("exclusive_solves", rule="any"))
    # one solves p0 p1 p2 p3, two solves p1 p2 p3 p4
    assert column(table, "level_1") == ["+1 / -0"]
    assert column(table, "level_2") == ["+0 / -1"]


def test_row_against_every_other(
    pair: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    write_run(pair, "three", 0, {"s": bits([1, 1, 2, 2, 2], *[[1, 1]] * 5)})
    source = make_source(pair, baseline=None)
    table = exclusive_solves.build([source], make_item("exclusive_solves", row="one"))
    assert column(table, "against") == ["three", "two"]
    # of three, which has seed 0 only, one lacks all but p0 under that seed
    assert (column(table, "plus")[0], column(table, "minus")[0]) == (0.0, 4.0)
    assert column(table, "seeds")[0] == "0 ahead, 1 behind of 1"
    assert any("Only seeds that both rows have" in note for note in table.notes)
    single = exclusive_solves.build([source], make_item("exclusive_solves", row="one", against="two"))
    assert column(single, "minus") == [2.0]
    with pytest.raises(ValueError, match="need a baseline"):
        exclusive_solves.build([source], make_item("exclusive_solves"))


@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (1, 0), (3, 3), (9, 2), (2, 9), (58, 15), (43, 16), (300, 250)])
def test_mcnemar_is_the_sign_test(plus: int, minus: int) -> None:
    expected = binomtest(plus, plus + minus).pvalue if plus + minus else 1.0
    assert exclusive_solves.mcnemar(plus, minus) == pytest.approx(expected, rel=1e-9)


def test_holm_over_all_rows(tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]) -> None:
    problems = 12
    for name, right in (("base", 0), ("far", 12), ("near", 3)):
        answers = [[int(i < right)] for i in range(problems)]
        write_run(tmp_path, name, 0, {"s": bits([1] * problems, *answers)})
    table = exclusive_solves.build([make_source(tmp_path, baseline="base")], make_item("exclusive_solves"))
    far, near = 2 * 0.5**12, 2 * 0.5**3
    assert column(table, "p") == pytest.approx([far, near])
    assert column(table, "p_holm") == pytest.approx([2 * far, near])


def test_unscored_problems_are_left_out(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    write_run(tmp_path, "one", 0, {"s": {"a": (None, [1.0, 1.0]), "b": (None, [1.0, None])}})
    write_run(tmp_path, "two", 0, {"s": {"a": (None, [0.0, 0.0]), "b": (None, [None, None])}})
    # `b` has no scored sample in two; levels are unknown
    table = exclusive_solves.build([make_source(tmp_path, baseline="two")], make_item("exclusive_solves"))
    assert (column(table, "problems"), column(table, "plus")) == ([1.0], [1.0])
    assert not any(one.key.startswith("level") for one in table.columns)
    with pytest.raises(ValueError, match="no option 'rules'"):
        exclusive_solves.build([make_source(tmp_path, baseline="two")], make_item("exclusive_solves", rules="any"))
    with pytest.raises(ValueError, match="majority, any"):
        exclusive_solves.build([make_source(tmp_path, baseline="two")], make_item("exclusive_solves", rule="all"))
    with pytest.raises(ValueError, match="no row 'three'"):
        exclusive_solves.build([make_source(tmp_path, baseline=None)], make_item("exclusive_solves", row="three"))


def test_seeds_that_are_not_shared(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    write_run(tmp_path, "one", 0, {"s": bits([1], [1])})
    write_run(tmp_path, "two", 1, {"s": bits([1], [1])})
    with pytest.raises(ValueError, match="share no seed"):
        exclusive_solves.build([make_source(tmp_path, baseline="two")], make_item("exclusive_solves"))


# -------------------------------------------------------------------------------------------------------- pass@k


def enumerated(samples: Sequence[int], k: int) -> float:
    """Share of all subsets of size k that hold a right answer."""
    subsets = list(itertools.combinations(samples, k))
    return sum(any(subset) for subset in subsets) / len(subsets)


SAMPLES = 6


@pytest.fixture
def sampled(tmp_path: Path) -> dict[str, np.ndarray]:
    """steady: 3 of 6 right on half the problems; broad: 1 of 6 on all of them. Shape [seeds, problems, samples]."""
    rng = np.random.default_rng(0)
    drawn = {"steady": np.zeros((3, 40, SAMPLES), int), "broad": np.zeros((3, 40, SAMPLES), int)}
    for seed in range(3):
        for problem in range(40):
            right = {"steady": 3 + seed % 2 if problem % 2 else 0, "broad": 1 if problem % 9 else 0}
            for name, count in right.items():
                drawn[name][seed, problem] = rng.permutation([1] * count + [0] * (SAMPLES - count))
    for name, answers in drawn.items():
        for seed in range(3):
            half = {"s": bits([1] * 20, *answers[seed, :20]), "u": bits([2] * 20, *answers[seed, 20:])}
            write_run(tmp_path, name, seed, half)
    return drawn


def test_pass_at_k_is_the_share_of_subsets(
    tmp_path: Path,
    sampled: dict[str, np.ndarray],
    make_source: Callable[..., Source],
    make_item: Callable[..., Item],
) -> None:
    source = make_source(tmp_path, baseline="steady")
    ks = list(range(1, SAMPLES + 1))
    table = pass_at_k.build([source], make_item("pass_at_k", ks=ks))
    assert column(table, "strategy") == ["broad", "steady"]
    for k in ks:
        for i, name in enumerate(("broad", "steady")):
            truth = np.mean([enumerated(list(answers), k) for answers in sampled[name].reshape(-1, SAMPLES)])
            assert column(table, f"pass_at_{k}")[i] == pytest.approx(truth)
    usual = pass_at_k.build([source], make_item("pass_at_k"))
    shown = [one.key for one in usual.columns if one.key.startswith("pass")]
    assert shown == ["pass_at_1", "pass_at_2", "pass_at_4", "pass_at_6"]


def test_crossing_is_where_the_enumerated_curves_cross(
    tmp_path: Path,
    sampled: dict[str, np.ndarray],
    make_source: Callable[..., Source],
    make_item: Callable[..., Item],
) -> None:
    curves = {
        name: [np.mean([enumerated(list(one), k) for one in answers.reshape(-1, SAMPLES)]) for k in range(1, 7)]
        for name, answers in sampled.items()
    }
    gaps = np.array(curves["steady"]) - np.array(curves["broad"])
    first = int(np.flatnonzero(gaps < 0)[0]) + 1
    assert gaps[0] > 0 and first > 2  # else the data test nothing
    source = make_source(tmp_path, baseline="steady")
    table = pass_at_k.build([source], make_item("pass_at_k"))
    assert f"Crossings beyond the intervals: broad passes steady at k = {first}." in table.notes
    assert not any("passes" in note for note in pass_at_k.build([source], make_item("x", crossings="none")).notes)
    drawn = drawer(pass_at_k_figure.draw)([source], make_item("pass_at_k", "figure"))
    assert f"broad passes steady at k = {first}" in drawn.alt
    rings = [line for line in drawn.figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert len(rings) == 1 and first - 1 < rings[0].get_xdata()[0] < first


def test_suites_with_other_numbers_of_samples(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    many, few = [[1, 0, 0, 0], [1, 1, 0, 0]], [[1, 0], [0, 0]]
    write_run(tmp_path, "one", 0, {"many": bits([1, 1], *many), "few": bits([1, 1], *few)})
    source = make_source(tmp_path, baseline=None)
    table = pass_at_k.build([source], make_item("pass_at_k"))
    assert column(table, "samples") == [2.0]
    truth = np.mean([np.mean([enumerated(one, 2) for one in suite]) for suite in (many, few)])
    assert column(table, "pass_at_2") == pytest.approx([truth])
    alone = pass_at_k.build([source], make_item("pass_at_k", suites=["many"]))
    assert column(alone, "pass_at_4") == [1.0]


def test_unscored_samples_leave_their_problem_out(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    problems: Problems = {"a": (1, [1.0, 0.0]), "b": (1, [1.0, None]), "c": (1, [0.0, 0.0])}
    write_run(tmp_path, "one", 0, {"s": problems})
    table = pass_at_k.build([make_source(tmp_path, baseline=None)], make_item("pass_at_k"))
    assert column(table, "pass_at_1") == [0.25]
    assert any("left out" in note and "1 (one)" in note for note in table.notes)
    with pytest.raises(ValueError, match="positive integers"):
        pass_at_k.build([make_source(tmp_path, baseline=None)], make_item("pass_at_k", ks=[0]))
    with pytest.raises(ValueError, match="the most is 2"):
        pass_at_k.build([make_source(tmp_path, baseline=None)], make_item("pass_at_k", ks=[64]))


def test_many_samples_need_few_points() -> None:
    ks = pass_at_k.values_of_k(1000)
    assert {2**i for i in range(10)} | {1000} <= set(ks) and len(ks) < 70
    assert ks == sorted(set(ks))
    assert pass_at_k.values_of_k(5) == [1, 2, 3, 4, 5]


# -------------------------------------------------------------------------------------------------- heat map


def test_heat_map_orders_by_level_then_mean(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    early = bits([2, 1, 1, 2], [0, 0], [0, 0], [0, 1], [0, 0])
    for seed, answers in enumerate(([[1, 1], [0, 0], [1, 1], [0, 0]], [[1, 1], [0, 1], [1, 0], [0, 0]])):
        write_run(tmp_path, "one", seed, {"s": bits([2, 1, 1, 2], *answers)}, moments={"0.50": {"s": early}})
        write_run(tmp_path, "two", seed, {"s": bits([2, 1, 1, 2], *[[0, 1]] * 4)}, moments={"0.50": {"s": early}})
    source = make_source(tmp_path, baseline=None)
    drawn = drawer(question_heatmap.draw)(
        [source], make_item("question_heatmap", "figure", columns="moments", row="one")
    )
    (image,) = drawn.figure.axes[0].images
    # level 1: p2 (0.5, 0.75), p1 (0, 0.25); level 2: p0 (0, 1), p3 (0, 0)
    np.testing.assert_allclose(np.asarray(image.get_array()), [[50, 75], [0, 25], [0, 100], [0, 0]])
    assert "4 problems (2 of level 1, 2 of level 2): 1 are right nowhere, 0 everywhere" in drawn.alt
    assert "at 50%: 12.5%; at 100%: 50.0%" in drawn.alt

    item = make_item("question_heatmap", "figure", columns="moments", row="one", minus="two", levels=[2])
    drawn = drawer(question_heatmap.draw)([source], item)
    np.testing.assert_allclose(np.asarray(drawn.figure.axes[0].images[0].get_array()), [[0, 50], [0, -50]])
    assert "at 100%: +0.0 points, better on 1 problems and worse on 1" in drawn.alt

    drawn = drawer(question_heatmap.draw)([source], make_item("question_heatmap", "figure"))
    values = np.asarray(drawn.figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(values, [[75, 50], [25, 50], [100, 50], [0, 50]])
    drawn = drawer(question_heatmap.draw)([source], make_item("question_heatmap", "figure", minus="two"))
    np.testing.assert_allclose(np.asarray(drawn.figure.axes[0].images[0].get_array()), [[25], [-25], [50], [-50]])


def test_heat_map_refuses(tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]) -> None:
    write_run(tmp_path, "one", 0, {"s": {"a": (None, [1.0]), "b": (3, [0.0])}})
    source = make_source(tmp_path, baseline=None)
    for options, reason in (
        ({"columns": "moments"}, "name it in the option row"),
        ({"columns": "moments", "row": "two"}, "no row 'two'"),
        ({"row": "one"}, "belongs to|every row is shown"),
        ({"levels": [7]}, "chosen levels"),
        ({"minus": "one"}, "no other row"),
        ({"split": "ood"}, "'ood'"),
    ):
        with pytest.raises(ValueError, match=reason):
            question_heatmap.draw([source], make_item("question_heatmap", "figure", **options))
    with pytest.raises(ValueError, match="one source"):
        question_heatmap.draw([source, source], make_item("question_heatmap", "figure"))
    drawn = drawer(question_heatmap.draw)([source], make_item("question_heatmap", "figure"))
    assert [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()] == ["level 3\n(1)", "no level\n(1)"]


# ---------------------------------------------------------------------------------------------------------- sweep


TAUS = {0.3: 0.4, 0.5: 0.7, None: 0.6, 0.9: 0.2}  # gft's default is 0.7


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """GFT at four values of tau, 20 problems, 2 seeds; the second solves one problem more. Entropy: tau + seed."""
    for tau, skill in TAUS.items():
        for seed in (0, 1):
            solved = round(20 * skill) + seed
            answers = [[int(i < solved)] for i in range(20)]
            steps = [{"entropy": 100.0}] * 6 + [{"entropy": (tau or 0.7) + seed - 0.5}] * 2
            spec = {"options": {} if tau is None else {"tau": tau}}
            write_run(tmp_path, "gft", seed, {"s": bits([1] * 20, *answers)}, spec=spec, metrics=steps)
    write_run(tmp_path, "sft", 0, {"s": bits([1] * 20, *[[1]] * 20)}, metrics=[{"entropy": 1.0}] * 8)
    return tmp_path


def test_sweep_values_marks_and_intervals(
    swept: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    source = make_source(swept, baseline=None)
    item = make_item("sweep", key="options.tau", metrics=["score", "entropy", "score:s"])
    table = sweep.build([source], item)
    assert column(table, "value") == ["0.3", "0.5", "0.7", "0.9"]
    assert column(table, "mark") == [None, "best", "default", None]
    assert column(table, "score") == pytest.approx([0.425, 0.725, 0.625, 0.225])
    assert column(table, "score_s") == column(table, "score")
    # the last quarter of 8 updates is 2 of them: tau - 0.5 and tau + 0.5
    assert column(table, "entropy") == pytest.approx([0.3, 0.5, 0.7, 0.9])
    assert column(table, "entropy_half_width") == pytest.approx([t.ppf(0.975, 1) * 0.5] * 4)
    (gap,) = [note for note in table.notes if "best minus default" in note]
    assert "+10.0 +/-" in gap
    place = [one.key for one in table.columns].index("score")
    row = next(row for row in source.comparison.rows if row.settings.get("options.tau") == "0.5")
    assert table.rows[1][place].interval == row.scores["eval"].mean
    assert show(table.rows[1][place], table.columns[place]).startswith("72.5 ")


def test_sweep_figure_marks_best_and_default(
    swept: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    item = make_item("sweep", "figure", key="options.tau", metrics=["score", "entropy"], best="min")
    drawn = drawer(sweep_figure.draw)([make_source(swept, baseline=None)], item)
    first, second = drawn.figure.axes
    (star,) = [line for line in first.lines if line.get_marker() == "*"]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([0.9], pytest.approx([22.5]))
    dotted = [line for axis in (first, second) for line in axis.lines if line.get_linestyle() == ":"]
    assert [list(line.get_xdata()) for line in dotted] == [[0.7, 0.7]] * 2
    assert "Best at 0.9. Default: 0.7; best minus default -40.0" in drawn.alt
    assert "0.5 +/- 6.4 at 0.5" in drawn.alt
    assert drawn.figure.get_figwidth() == pytest.approx(3.4)


def test_sweep_of_two_settings_is_ordered_by_both(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    for expert, teacher in ((1, 10), (0, 0), (1, 3), (1, 5)):
        spec = {"options": {"expert": expert, "teacher": teacher}}
        write_run(tmp_path, "gft", 0, {"s": bits([1, 1], [1], [0])}, spec=spec)
    item = make_item("sweep", key="options.expert,options.teacher", metrics=["entropy"])
    table = sweep.build([make_source(tmp_path, baseline=None)], item)
    assert column(table, "value") == ["0:0", "1:3", "1:5", "1:10"]
    assert column(table, "mark")[1] == "default"
    # one seed has no interval over seeds
    assert "entropy_half_width" not in [one.key for one in table.columns]


def test_sweep_of_a_setting_outside_the_options(
    tmp_path: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]
) -> None:
    for strategy in ("gft", "third_party"):
        for group in (4, 8, 16):
            spec = {"train": {"group": group}, "options": {"x": group} if strategy == "third_party" else {}}
            write_run(tmp_path, strategy, 0, {"s": bits([1, 1], [1], [int(group == 8)])}, spec=spec)
    source = make_source(tmp_path, baseline=None, force=True)
    table = sweep.build([source], make_item("sweep", key="train.group"))
    assert (column(table, "strategy"), column(table, "value")) == (["gft"] * 3, ["4", "8", "16"])
    assert column(table, "mark") == [None, "best, default", None]
    both = sweep.build([source], make_item("sweep", key="train.group,options.x"))
    assert column(both, "strategy") == ["third_party"] * 3


def test_sweep_refuses(swept: Path, make_source: Callable[..., Source], make_item: Callable[..., Item]) -> None:
    source = make_source(swept, baseline=None)
    for options, reason in (
        ({}, "needs the option key"),
        ({"key": ""}, "takes the options key"),
        ({"key": "options.nothing"}, "two values of options.nothing"),
        ({"key": "options.tau", "metrics": ["magic"]}, "No run has the metric 'magic'.*entropy"),
        ({"key": "options.tau", "metrics": ["score:law"]}, "suite 'law'"),
        ({"key": "options.tau", "best": "most"}, "max, min, none"),
        ({"key": "options.tau", "split": "ood"}, "'ood'"),
    ):
        with pytest.raises(ValueError, match=reason):
            sweep.build([source], make_item("sweep", **options))
    again = {"options": {"tau": 0.7}}
    write_run(swept, "gft", 0, {"s": bits([1] * 20, *[[1]] * 20)}, spec=again, metrics=[{"entropy": 1.0}] * 8)
    with pytest.raises(ValueError, match=r"Two rows have options.tau = 0\.7"):
        sweep.build([make_source(swept, baseline=None)], make_item("sweep", key="options.tau"))


# ---------------------------------------------------------------------------------------------------- all figures


def test_figures_give_equal_bytes(sources: dict[str, Source], make_item: Callable[..., Item]) -> None:
    item = make_item("question_heatmap", "figure", minus="plain_rl", suites=["coding"])
    first, second = (drawer(question_heatmap.draw)([sources["small"]], item) for _ in range(2))
    assert files(first.figure) == files(second.figure)
    assert first.alt.isascii() and first.alt == second.alt
    assert first.figure.get_figwidth() == pytest.approx(3.4)


def test_tables_of_several_sources_name_them(sources: dict[str, Source], make_item: Callable[..., Item]) -> None:
    both = [sources["small"], sources["large"]]
    for build, show_ in ((exclusive_solves.build, "exclusive_solves"), (pass_at_k.build, "pass_at_k")):
        table = build(both, make_item(show_))
        assert set(column(table, "source")) == {"small", "large"}
    drawn = drawer(pass_at_k_figure.draw)(both, make_item("pass_at_k", "figure", width="double"))
    assert [axis.get_title(loc="left") for axis in drawn.figure.axes] == ["small", "large"]
