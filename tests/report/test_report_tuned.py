"""The table of a tuning, from the file that `harness tune` leaves."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from harness.report.tables import TABLES
from harness.statistics.family import holm_array
from harness.statistics.intervals import crossed_interval, paired_interval


def written(estimate):
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(estimate).items()}


@pytest.fixture
def tuning(tmp_path):
    """Three strategies: the default is best for the last, the second's best lies at an edge."""
    rng = np.random.default_rng(3)
    data = {name: [rng.uniform(size=(3, 20)) ** power for power in (2, 1.2)] for name in "abc"}
    strategies = {}
    for number, (name, (default, tuned)) in enumerate(data.items()):
        best_is_default = name == "c"
        trials = [
            {"study": 0, "trial": i, "default": i == 0, "seed": i, "parameters": {"train.learning_rate": 10.0 ** -i},
             "state": state, "score": score, "flops": 1e9, "saved_flops": 0.0, "fault": None, "run": f"x/{name}{i}"}
            for i, (state, score) in enumerate([("done", 0.3), ("done", 0.5), ("failed", None)])
        ]  # fmt: skip
        own = default if best_is_default else tuned
        strategies[name] = {
            "space": {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}} if number != 1 else
            {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "options.mu": {"choices": [0.1, None]}},
            "trials": trials, "score": 0.5, "study_scores": [0.5],
            "best": {"study": 0, "trial": 1, "default": best_is_default,
                     "parameters": {"train.learning_rate": 0.01, "options.mu": None},
                     "edges": {"train.learning_rate": "high"} if name == "b" else {}},
            "default": {"parameters": {"train.learning_rate": 0.0005}},
            "spread": {"best": 0.5, "median": 0.3, "worst": 0.0}, "flops": 3e9, "saved_flops": 0.0,
            "rerun": {
                "tuned": {"runs": ["x/1", "x/2"], "failed": ["x/2"] if name == "b" else [],
                          "score": None if name == "b" else written(crossed_interval([own]))},
                "default": {"runs": ["x/3", "x/4"], "failed": [], "score": written(crossed_interval([default]))},
                "difference": written(paired_interval([tuned], [default])) if name == "a" else None,
            },
        }  # fmt: skip
    content = {
        "schema": 1, "study": "small",
        "rule": {"trials": 3, "studies": 1, "sampler": "qmc", "seed": 0, "include_default": True,
                 "allow_unequal": True, "pruner": "none", "warmup_trials": 5, "warmup_fraction": 0.5,
                 "budget": {"kind": "flops", "limit": 8e11}, "eval_seed": 1},
        "final": {"seeds": [100, 101], "eval_seed": 0, "left_out": {"math": 3, "code": 0}},
        "strategies": strategies,
    }  # fmt: skip
    path = tmp_path / "small.tuning.json"
    path.write_text(json.dumps(content))
    return path, data


def test_default_and_tuned_stand_side_by_side(tuning, sources, make_item):
    path, data = tuning
    table = TABLES["tuned"]([sources["small"]], make_item("tuned", file=str(path)))
    keys = [one.key for one in table.columns]
    rows = {row[0].value: dict(zip(keys, row, strict=True)) for row in table.rows}
    default, tuned = data["a"]
    truth = paired_interval([tuned], [default])
    assert rows["a"]["default"].value == pytest.approx(default.mean())
    assert rows["a"]["tuned"].value == pytest.approx(tuned.mean())
    assert rows["a"]["difference"].interval == truth
    # a family of three that was declared; one of them was tested
    nan = float("nan")
    assert rows["a"]["difference"].p == pytest.approx(holm_array([truth.p_value, nan, nan])[0])
    assert rows["a"]["chosen"].value == "learning_rate 0.01, mu none"
    assert rows["b"]["chosen"].value.endswith("; learning_rate at the high edge") and rows["b"]["tuned"].value is None
    assert rows["c"]["chosen"].value.startswith("default (") and rows["c"]["difference"].value is None
    assert (rows["a"]["validation"].value, rows["a"]["median_trial"].value) == (0.5, 0.3)
    assert (rows["a"]["trials"].value, rows["a"]["failed"].value, rows["a"]["flops"].value) == (3.0, 1.0, 3e9)
    notes = "\n".join(table.notes)
    assert "UNEQUAL in their number of settings: a 1, b 2, c 1" in notes
    assert "b, tuned: 1 of 2 new runs failed." in notes and "(3 of math)" in notes
    short = TABLES["tuned"]([sources["small"]], make_item("tuned", file=str(path), trials=False))
    assert [one.key for one in short.columns] == keys[:6]


def test_files_that_are_none(tmp_path, sources, make_item):
    with pytest.raises(ValueError, match=r"there is no file .*gone.json; `harness tune` writes"):
        TABLES["tuned"]([sources["small"]], make_item("tuned", file=str(tmp_path / "gone.json")))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="is not what `harness tune` writes"):
        TABLES["tuned"]([sources["small"]], make_item("tuned", file=str(tmp_path / "x.json")))
    keys = {"study": "x", "rule": {}, "final": {}, "strategies": {}}
    (tmp_path / "x.json").write_text(json.dumps({"schema": 99, **keys}))
    with pytest.raises(ValueError, match="has schema 99, this version reads"):
        TABLES["tuned"]([sources["small"]], make_item("tuned", file=str(tmp_path / "x.json")))


def test_the_file_is_relative_to_the_specification(tuning, study):
    from harness.report.build import build

    path, _ = tuning
    spec = path.parent / "x.toml"
    spec.write_text(
        f'title = "x"\n[sources.main]\npath = "{study}/small"\n[[item]]\nkind = "table"\nshow = "tuned"\nname = "t"\n'
        'options = { file = "small.tuning.json" }\n'
    )
    assert [row[0].value for row in build(spec).blocks[0].table.rows] == ["a", "b", "c"]
