"""Published suites on the real files: every row becomes the right problem, and its gold answer passes."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import definition, grading, registry, rows, sources
from benchmarks.base import Problem
from benchmarks.published_suite import PublishedSuite

NAMES = sorted(registry.published())
ALL = 10**9


def defined(name: str) -> definition.Definition:
    return definition.read(registry.published()[name])


# suites whose files lie beside the repository have them below their domain
LOCAL = [
    name for name in NAMES if any(file.path.startswith(f"{defined(name).domain}/") for file in defined(name).files)
]


@pytest.fixture
def data(shared: Path) -> Path:
    return shared / "data"


def suite(name: str, folder: Path | None) -> PublishedSuite:
    return PublishedSuite(registry.published()[name], folder)


@pytest.mark.parametrize("name", NAMES)
def test_definitions_are_sound(name: str) -> None:
    found = defined(name)
    assert found.licence and found.source and found.summary and found.answer
    assert found.name == name
    assert registry.get(name).presets.keys() == {"paper", "quick"}
    quick = found.presets["quick"]
    assert quick.k * (quick.n or found.rows) <= 64  # minutes
    if found.generator is None:
        assert found.format in rows.FORMATS
        assert found.grader_version == grading.version(found.grader)
    for hub in [found.hub] if found.hub else []:
        assert hub.revision is None or re.fullmatch(r"[0-9a-f]{40}|main", hub.revision)


def test_protocols_of_the_papers() -> None:
    for name, k in (("aime24", 32), ("aime25", 32), ("amc", 8), ("amc83", 8), ("math500", 1), ("gsm8k", 1)):
        paper = defined(name).presets["paper"]
        assert (paper.k, paper.temperature, paper.top_p, paper.max_tokens, paper.n) == (k, 0.6, 0.95, 8192, None)
    for name in NAMES:
        found = defined(name)
        if found.domain == "code":
            assert (found.presets["paper"].temperature, found.presets["paper"].max_tokens) == (0.2, 1024)
        if name.startswith("bbh_"):
            assert (found.presets["paper"].temperature, found.presets["paper"].max_tokens) == (0.6, 4096)


def test_every_data_file_of_the_project_belongs_to_a_suite(data: Path) -> None:
    manifest = {entry["file"]: entry for entry in json.loads((data / "manifest.json").read_text())}
    used = {file.path: file for name in NAMES for file in defined(name).files}
    spare = {path for path in manifest if path not in used and "bbh_cot_prompts" not in path}
    # the training rows of ARC are of another form and have no ids; its validation rows are not scored
    assert spare == {"science/arc_challenge/train.json", "science/arc_challenge/validation.jsonl"}
    assert {name for name in NAMES if any(file.path in manifest for file in defined(name).files)} == set(LOCAL)
    for path in set(used) & set(manifest):
        assert used[path].sha256 == manifest[path]["sha256"] == sources.sha256(data / path)
        assert used[path].rows == manifest[path]["rows"]


@pytest.mark.parametrize("name", LOCAL)
def test_problems(name: str, data: Path) -> None:
    found = suite(name, data)
    problems = found.problems("eval", ALL, 0)
    assert len(problems) == found.definition.rows
    assert len({problem.id for problem in problems}) == len(problems)
    for problem in problems:
        assert problem.suite == name and problem.split == "eval" and problem.prompt.strip()
        assert problem.answer or found.definition.format == "cruxeval_i"  # a call may have no arguments
        assert problem.instruction is not None and found.instruction in problem.instruction
    train = found.problems("train", ALL, 0)
    assert bool(train) == ("train" in found.definition.splits)
    assert len({problem.id for problem in train}) == len(train)
    assert not {problem.id for problem in problems} & {problem.id for problem in train}


def gold_response(problem: Problem, grader: str) -> str:
    if grader == "roles":
        return f"Somebody lies.\n{problem.answer}"
    if grader in ("label:words", "label:brackets"):
        return f"One after the other.\nThe answer is {problem.answer}"
    return f"It follows that \\boxed{{{problem.answer}}}"


@pytest.mark.parametrize("name", [name for name in LOCAL if defined(name).domain != "code"])
def test_gold_answers_pass_and_others_do_not(name: str, data: Path) -> None:
    found = suite(name, data)
    problems = found.problems("eval", ALL, 0)[:: 1 if found.definition.rows < 900 else 7]
    grader = found.definition.grader
    verdicts = found.grade(problems, [gold_response(problem, grader) for problem in problems])
    assert [verdict.status for verdict in verdicts] == ["pass"] * len(problems)
    assert {verdict.status for verdict in found.grade(problems[:3], ["I do not know."] * 3)} <= {"no_answer", "fail"}
    # the answer to another problem, where it is not the same by chance
    chosen = [(a, b) for a, b in pairwise(problems) if a.answer.lower() != b.answer.lower()][:20]
    wrong = found.grade([a for a, _ in chosen], [gold_response(b, grader) for _, b in chosen])
    assert sum(verdict.status == "pass" for verdict in wrong) == 0


@pytest.mark.parametrize("name", ["gsm8k", "knights_knaves", "mbpp"])
def test_demonstrations_are_right_and_flawed_ones_wrong(name: str, data: Path) -> None:
    found = suite(name, data)
    problems = found.problems("train", 12, 0)
    assert len(problems) == 12
    right = found.grade(problems, [found.demonstration(problem) for problem in problems])
    wrong = found.grade(problems, [found.demonstration(problem, 0, wrong=True) for problem in problems])
    assert {verdict.status for verdict in right} == {"pass"}
    assert {verdict.status for verdict in wrong} == {"fail"}


def test_subsets_are_fixed_by_the_seed(data: Path) -> None:
    found = suite("gsm8k", data)
    whole = found.problems("eval", 1319, 0)
    few, more = found.problems("eval", 10, 0), found.problems("eval", 20, 0)
    assert few == more[:10] and few == suite("gsm8k", data).problems("eval", 10, 0)
    assert set(few) < set(whole) and few != whole[:10]
    assert found.problems("eval", 10, 1) != few
    assert found.problems("ood", 10, 0) == []
    with pytest.raises(ValueError, match="unknown split"):
        found.problems("test", 10, 0)


def test_known_rows(data: Path) -> None:
    """Single rows checked by eye against the files."""
    gsm = suite("gsm8k", data).problems("eval", ALL, 0)
    assert (gsm[0].answer, gsm[489].answer, gsm[1113].answer) == ("18", "-10", "-3")
    assert not any("," in problem.answer for problem in gsm)
    arc = suite("arc_challenge", data).problems("eval", ALL, 0)
    assert arc[0].answer == "C" and arc[0].prompt.endswith("(D) Planetary gravity will become stronger.")
    assert {len(dict(problem.params)["choices"]) for problem in arc} == {3, 4, 5}
    pro = {problem.id: problem for problem in suite("mmlu_pro", data).problems("eval", ALL, 0)}
    assert pro["mmlu_pro-3983"].answer == "C"
    folio = suite("folio", data)
    assert {p.answer for s in ("eval", "train") for p in folio.problems(s, ALL, 0)} == {"True", "False", "Uncertain"}
    kk = suite("knights_knaves", data).problems("eval", ALL, 0)
    assert kk[0].answer == "(1) Amelia is a knight\n(2) Penelope is a knight\n(3) Evelyn is a knave"
    assert [sum(p.family == f"{n} people" for p in kk) for n in range(3, 8)] == [100] * 5
    mbpp = suite("mbpp", data).problems("eval", ALL, 0)
    assert (mbpp[0].id, mbpp[-1].id) == ("mbpp-11", "mbpp-510")


def test_rows_that_are_left_out(data: Path) -> None:
    for name, rows_in_file in (("bbh_movie_recommendation", 250), ("bbh_ruin_names", 250), ("theoremqa", 800)):
        found = suite(name, data)
        assert found.definition.files[0].rows == rows_in_file
        assert len(found.problems("eval", ALL, 0)) == found.definition.rows < rows_in_file
    assert not any(
        "Minority Report, Shrek" in p.prompt for p in suite("bbh_movie_recommendation", data).problems("eval", ALL, 0)
    )


def test_group_has_the_families_of_the_paper(data: Path) -> None:
    found = suite("bbh_logic", data)
    families = [problem.family for problem in found.problems("eval", ALL, 0)]
    assert found.macro and {family: families.count(family) for family in families} == {
        "logical_deduction": 750,
        "object_counting": 250,
        "tracking_shuffled_objects": 750,
    }
