"""Options of items: defaults, types, and messages that say what is known."""

from __future__ import annotations

import pytest

from harness.report.options import choice, read

DEFAULTS = {"split": "eval", "suites": [], "ks": [1], "target": 1.0, "bars": True, "n": 3, "any": None, "map": {}}


def test_defaults_and_given_values(make_item):
    item = make_item("scores", suites=["math"], target=1, n=5, any=[1, "x"], map={"a": 1})
    assert read(item, DEFAULTS) == {
        "split": "eval", "suites": ["math"], "ks": [1], "target": 1.0, "bars": True, "n": 5, "any": [1, "x"],
        "map": {"a": 1},
    }  # fmt: skip
    assert isinstance(read(item, DEFAULTS)["target"], float)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"splt": "ood"},
            r"table scores \(scores\) has no option 'splt' \(did you mean split\?\); it has: split, suite",
        ),
        ({"split": 3}, "option split must be a text, but is 3"),
        ({"suites": "math"}, "option suites must be a list, but is 'math'"),
        ({"suites": [True]}, "must be a list of texts or numbers, but holds True"),
        ({"ks": ["1"]}, "option ks must be an integer, but is '1'"),
        ({"n": True}, "option n must be an integer, but is True"),
        ({"n": 1.5}, "option n must be an integer, but is 1.5"),
        ({"bars": 1}, "option bars must be true or false, but is 1"),
        ({"map": []}, r"option map must be a table, but is \[\]"),
    ],
)
def test_bad_options_are_named(make_item, options, words):
    with pytest.raises(ValueError, match=words):
        read(make_item("scores", **options), DEFAULTS)


def test_a_type_stands_for_what_must_be_given(make_item):
    assert read(make_item("tuned", file="x.json"), {"file": str}) == {"file": "x.json"}
    with pytest.raises(ValueError, match=r"table tuned \(tuned\) needs the option file \(a text\)"):
        read(make_item("tuned"), {"file": str})


def test_choice_names_the_nearest(make_item):
    assert choice(make_item("x"), "show", "all", ("all", "shared")) == "all"
    with pytest.raises(ValueError, match=r"must be one of all, shared, not 'shard' \(did you mean shared\?\)"):
        choice(make_item("x"), "show", "shard", ("all", "shared"))
