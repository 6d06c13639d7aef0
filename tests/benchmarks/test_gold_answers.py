r"""Published gold answers pass their grader as a model would write them, and the gold answer of another row fails.

All rows of all files are graded. Known defects of the data are named where they matter.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.base import Problem, Verdict
from benchmarks.graders.choice import grade_choices, letter_of
from benchmarks.graders.comparison import Rules
from benchmarks.graders.labels import grade_labels
from benchmarks.graders.mathematics import check_gold, grade_mathematics
from benchmarks.graders.pool import Verifiers

Grade = Callable[[Sequence[Problem], Sequence[str]], list[Verdict]]


@pytest.fixture(scope="module")
def pool() -> Iterator[Verifiers]:
    with Verifiers(workers=2) as verifiers:
        yield verifiers


@pytest.fixture
def data(shared: Path) -> Path:
    return shared / "data"


def rows(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    if path.suffix == ".json" or path.name.endswith(".json.gz"):
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line]


def problem(number: int, prompt: str, gold: str) -> Problem:
    return Problem(f"row-{number}", "suite", prompt, gold)


def others(golds: Sequence[str], same: Callable[[str, str], bool] = str.__eq__) -> list[str]:
    """For every gold answer that of a later row which is not the same."""
    doubled = [*golds, *golds]
    return [
        next(other for other in doubled[i + 1 :] if not same(gold, other)) for i, gold in enumerate(golds)
    ]  # fmt: skip


def check(grade: Grade, problems: Sequence[Problem], right: Sequence[Sequence[str]], wrong: Sequence[str]) -> None:
    """All responses in `right` pass (several per problem), those in `wrong` fail."""
    asked = [(one, response) for one, responses in zip(problems, right, strict=True) for response in responses]
    verdicts = grade([one for one, _ in asked], [response for _, response in asked])
    missed = [
        (one.id, one.answer, response, verdict.status)
        for (one, response), verdict in zip(asked, verdicts, strict=True)
        if verdict.status != "pass"
    ]
    assert not missed, f"{len(missed)} of {len(asked)}, the first: {missed[:5]}"
    verdicts = grade(problems, wrong)
    passed = [
        (one.id, one.answer, response, verdict.status)
        for one, response, verdict in zip(problems, wrong, verdicts, strict=True)
        if verdict.status != "fail"
    ]
    assert not passed, f"{len(passed)} of {len(wrong)}, the first: {passed[:5]}"


def boxed(answer: str) -> str:
    return rf"Therefore the result is $\boxed{{{answer}}}$."


def test_gsm8k(data, pool):
    given = rows(data / "math/gsm8k/test.jsonl")
    assert len(given) == 1319
    golds = [row["answer"].rpartition("####")[2].strip() for row in given]
    problems = [problem(i, row["question"], gold) for i, (row, gold) in enumerate(zip(given, golds, strict=True))]
    plain = [gold.replace(",", "") for gold in golds]
    forms = ("{:,}", r"\${}", r"{} \text{{ apples}}", "x = {}.0")
    right = [
        [row["answer"], f"#### {p}", *(boxed(form.format(int(p))) for form in forms)]
        for row, p in zip(given, plain, strict=True)
    ]
    wrong = [boxed(other) for other in others(plain)]
    check(lambda p, r: grade_mathematics(p, r, rules=Rules(percent="points"), pool=pool), problems, right, wrong)
    verdicts = grade_mathematics(problems, [f"The answer is {p}." for p in plain], lenient=True, pool=pool)
    assert {v.status for v in verdicts} == {"pass"}


def olympiad_rules(row: dict[str, Any]) -> Rules:
    percent = "points" if row["unit"] == "%" else "value"
    unit = "" if row["unit"] in (None, "%") else row["unit"]
    separate = bool(row["is_multiple_answer"])
    return Rules(percent=percent, unit=unit, absolute=float(row["error"] or 0), separate=separate)


def test_olympiadbench(data, pool):
    """Rows 2045 ("t(0,4]", a sign is missing) and 1965 (prose) pass only as they are written."""
    given = rows(data / "math/olympiadbench/OE_TO_maths_en_COMP.json.gz")
    assert len(given) == 675 and all(len(row["final_answer"]) == 1 for row in given)
    golds = [row["final_answer"][0] for row in given]
    rules = [olympiad_rules(row) for row in given]
    for gold, rule in zip(golds, rules, strict=True):
        check_gold(gold, rule)
    problems = [problem(row["id"], row["question"], gold) for row, gold in zip(given, golds, strict=True)]
    right = []
    for row, gold in zip(given, golds, strict=True):
        bare = gold.replace("$", "")
        forms = [boxed(bare), f"#### {bare}"]
        if row["id"] != 1965:
            forms.append(boxed(bare.replace(r"\frac", r"\dfrac").replace(" ", "")))
        if row["unit"] and row["unit"] != "%":
            forms.append(boxed(rf"{bare} \text{{ {row['unit'].strip('$')}}}" if "^" not in row["unit"] else bare))
        if row["answer_type"] == "Numerical" and not row["is_multiple_answer"] and "=" not in bare:
            forms.append(boxed(f"N = {bare}"))
        right.append(forms)

    def grade(asked: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        by_id = {f"row-{row['id']}": rule for row, rule in zip(given, rules, strict=True)}
        return grade_mathematics(asked, responses, rules=[by_id[one.id] for one in asked], pool=pool)

    wrong = [boxed(other.replace("$", "")) for other in others(golds, lambda a, b: a.strip("$") == b.strip("$"))]
    check(grade, problems, right, wrong)


def test_olympiadbench_answers_in_other_forms(data, pool):
    """Decimals for fractions, other orders of lists, factored and expanded forms: written by hand for some rows."""
    given = {row["id"]: row for row in rows(data / "math/olympiadbench/OE_TO_maths_en_COMP.json.gz")}
    forms = {
        1610: r"\frac{1}{2(n+1)}", 1614: "2(n-1)", 1618: "(4,5,7), (1,8,19), (2,7,13)",
        1644: r"mn-\left\lfloor\frac{m}{2}\right\rfloor", 1659: "2x", 1664: "84, 69", 1716: "12.5", 1723: "2^{N-2}+1",
        1760: r"90^\circ, 90^\circ", 1818: r"\frac{n(2n+1)(n+1)}{6}", 1938: "f(x)=x+1, f(x)=-1", 1964: r"[2, \infty)",
        1970: r"\{1\} \cup (-\infty,0)", 1988: "2^n(n-2)+1", 2040: r"\frac{k(4k^2+k-1)}{2}", 2099: "60, 90",
        2152: r"4\cdot \frac{999^4}{27}", 2171: r"f(x) = \pm x", 2235: r"\{-2,-1,0,1,2,10,11,12,13,14\}",
        2255: r"\frac{5}{8}", 2282: r"\pm 1, \pm 7", 2287: r"2, -6-4\sqrt2",
        2298: r"(\sqrt{11},9) \cup (-\sqrt{11},-2)", 2326: r"\pm 1, \pm 2", 2375: r"1, \frac{3 \pm \sqrt{21}}{2}",
        2425: r"\frac{\sqrt5-1}{2}", 2461: r"\frac{1}{1-\log_2 3}", 2549: r"\pm 1, 3, 1 \pm \sqrt{2}",
        2574: r"2 \text{ and } -\log_{10} 250", 2592: r"4.25\%", 2640: r"\frac{2\sqrt{53}}{7}", 2701: r"\frac13",
        2745: r"6\sqrt{2} - 2", 2919: r"2(2-\sqrt3)", 2958: r"\sqrt[3]{500}", 3081: r"\frac{5\pi\sqrt{17}}{4}",
    }  # fmt: skip
    problems = [problem(i, "", given[i]["final_answer"][0]) for i in forms]
    rules = [olympiad_rules(given[i]) for i in forms]
    verdicts = grade_mathematics(problems, [boxed(form) for form in forms.values()], rules=rules, pool=pool)
    missed = [(p.id, p.answer, v.extracted) for p, v in zip(problems, verdicts, strict=True) if v.status != "pass"]
    assert not missed


def test_one_other_digit_is_wrong(data, pool):
    """Every gold answer of OlympiadBench and OlymMATH with one digit changed fails; row 1965 has none that counts."""
    rng = random.Random(0)
    given = [row for row in rows(data / "math/olympiadbench/OE_TO_maths_en_COMP.json.gz") if row["id"] != 1965]
    golds = [(row["final_answer"][0], olympiad_rules(row)) for row in given]
    for level in ("EASY", "HARD"):
        golds += [(row["answer"].strip(), Rules()) for row in rows(data / f"math/olymmath/OlymMATH-EN-{level}.jsonl")]
    problems, responses, rules = [], [], []
    for gold, rule in golds:
        bare = gold.replace("$", "")
        if digits := [i for i, character in enumerate(bare) if character.isdigit()]:
            i = rng.choice(digits)
            digit = (int(bare[i]) + rng.randrange(1, 10)) % 10
            problems.append(problem(len(problems), "", gold))
            responses.append(boxed(f"{bare[:i]}{digit}{bare[i + 1 :]}"))
            rules.append(replace(rule, absolute=0.0))
    assert len(problems) > 800
    verdicts = grade_mathematics(problems, responses, rules=rules, pool=pool)
    passed = [(p.answer, v.extracted) for p, v in zip(problems, verdicts, strict=True) if v.status != "fail"]
    assert not passed


@pytest.mark.parametrize("level", ["EASY", "HARD"])
def test_olymmath(data, pool, level):
    given = rows(data / f"math/olymmath/OlymMATH-EN-{level}.jsonl")
    assert len(given) == 100
    golds = [row["answer"].strip() for row in given]
    problems = [problem(i, row["problem"], gold) for i, (row, gold) in enumerate(zip(given, golds, strict=True))]
    loose = [gold.replace(r"\left", "").replace(r"\right", "").replace(r"\times", r"\cdot") for gold in golds]
    right = [[boxed(gold), f"#### {gold}", boxed(other)] for gold, other in zip(golds, loose, strict=True)]
    check(lambda p, r: grade_mathematics(p, r, pool=pool), problems, right, [boxed(other) for other in others(golds)])


def test_theoremqa(data, pool):
    """Without the 53 rows that need a picture. Floats within 4 %, lists in any order, as in its own evaluation."""
    given = [row for row in rows(data / "science/theoremqa/theoremqa_test.json") if row["Picture"] is None]
    assert len(given) == 747
    numbers = [row for row in given if row["Answer_type"] in ("integer", "float", "list of integer", "list of float")]
    floats = ["float" in row["Answer_type"] for row in numbers]
    rules = [
        Rules(relative=0.04 if decimal else 0.0, shape="bag" if isinstance(row["Answer"], list) else "auto")
        for row, decimal in zip(numbers, floats, strict=True)
    ]
    problems = [problem(i, row["Question"], str(row["Answer"])) for i, row in enumerate(numbers)]
    right, wrong = [], []
    for row, decimal in zip(numbers, floats, strict=True):
        value = row["Answer"]
        right.append([boxed(str(value)), boxed(f"x = {value}"), f"#### {value}"])
        if isinstance(value, list):
            bare = ", ".join(map(str, value))
            right[-1] += [boxed(bare), boxed(f"({bare})"), boxed(rf"\{{{', '.join(map(str, reversed(value)))}\}}")]
            wrong.append(boxed(str([*value[:-1], value[-1] * 1.05 if decimal else value[-1] + 1])))
        else:
            right[-1].append(boxed(f"{value:,}"))
            wrong.append(boxed(str(value * 1.05 or 0.01) if decimal else str(value + 1)))
    by_id = {one.id: rule for one, rule in zip(problems, rules, strict=True)}
    check(lambda p, r: grade_mathematics(p, r, rules=[by_id[one.id] for one in p], pool=pool), problems, right, wrong)
    truths = [row for row in given if row["Answer_type"] == "bool"]
    problems = [problem(i, row["Question"], str(row["Answer"])) for i, row in enumerate(truths)]
    right = [[boxed(p.answer), f"The answer is {p.answer}.", boxed(rf"\text{{{p.answer}}}")] for p in problems]
    wrong = [boxed(str(p.answer == "False")) for p in problems]
    check(lambda p, r: grade_labels(p, r, kind="true_false"), problems, right, wrong)
    options = [row for row in given if row["Answer_type"] == "option"]
    problems = [problem(i, row["Question"], row["Answer"]) for i, row in enumerate(options)]
    right = [[f"The answer is {p.answer}.", boxed(p.answer), boxed(p.answer.strip("()").upper())] for p in problems]
    check(grade_choices, problems, right, [boxed(other) for other in others([p.answer for p in problems])])
    assert len(numbers) + len(truths) + len(options) == len(given)


def check_choices(golds: Sequence[str | int], texts: Sequence[Sequence[str]], numeric: bool = False) -> None:
    letters = [letter_of(gold) for gold in golds]
    problems = [problem(i, "question", letter) for i, letter in enumerate(letters)]
    right = [
        [f"The answer is ({letter}).", boxed(letter), boxed(rf"\text{{({letter})}}"), f"**Answer:** {letter}",
         f"The answer is {letter}) {options['ABCDEFGHIJ'.index(letter)]}"]
        for letter, options in zip(letters, texts, strict=True)
    ]  # fmt: skip
    wrong = [f"The answer is ({'ABCDEFGHIJ'[('ABCDEFGHIJ'.index(letter) + 1) % len(options)]})."
             for letter, options in zip(letters, texts, strict=True)]  # fmt: skip
    by_id = {one.id: options for one, options in zip(problems, texts, strict=True)}
    check(lambda p, r: grade_choices(p, r, options=[by_id[one.id] for one in p]), problems, right, wrong)
    # the text of an option is its letter where no other option has the same text
    single = [i for i, options in enumerate(texts) if len({o.strip(" .").casefold() for o in options}) == len(options)]
    asked = [problems[i] for i in single]
    said = [boxed(texts[i]["ABCDEFGHIJ".index(letters[i])]) for i in single]
    verdicts = grade_choices(asked, said, options=[texts[i] for i in single])
    lost = [(said[i], v.status, texts[single[i]]) for i, v in enumerate(verdicts) if v.status != "pass"]
    assert len(lost) <= 0.01 * len(asked), lost[:5]  # texts with braces that do not close, or that are other labels


@pytest.mark.parametrize("split", ["test", "validation"])
def test_arc(data, split):
    """Four rows of the validation split have the labels 1 to 4 instead of letters."""
    given = rows(data / f"science/arc_challenge/{split}.jsonl")
    check_choices([row["answerKey"] for row in given], [row["choices"]["text"] for row in given])
    numeric = [row for row in given if row["answerKey"].isdigit()]
    assert len(numeric) == (4 if split == "validation" else 0)
    for row in numeric:
        one, key = problem(0, row["question"], row["answerKey"]), row["answerKey"]
        other = next(label for label in row["choices"]["label"] if label != key)
        responses = [f"The answer is ({key}).", boxed(key), f"The answer is ({other})."]
        verdicts = grade_choices([one] * 3, responses, options=[row["choices"]["text"]] * 3, numeric=True)
        assert [v.status for v in verdicts] == ["pass", "pass", "fail"]


def test_mmlu(data):
    given = rows(data / "science/mmlu/mmlu_stem_test.jsonl.gz")
    assert len(given) == 3018
    check_choices([row["answer"] for row in given], [row["choices"] for row in given])


def test_mmlu_pro(data):
    """The letter counts: row 3983 has another index. Row 8584 has an option twice."""
    given = rows(data / "science/mmlu_pro/test_stem.jsonl.gz")
    assert len(given) == 5878
    check_choices([row["answer"] for row in given], [row["options"] for row in given])


BBH_KINDS = {
    "boolean_expressions": "true_false", "causal_judgement": "yes_no", "dyck_languages": "brackets",
    "formal_fallacies": "validity", "multistep_arithmetic_two": "number", "navigate": "yes_no",
    "object_counting": "number", "sports_understanding": "yes_no", "web_of_lies": "yes_no", "word_sorting": "words",
}  # fmt: skip
# targets that are a text where all others of the task are letters: their options were cut at commas
BBH_TEXTS = {("movie_recommendation", 163), ("ruin_names", 99), ("ruin_names", 144)}


def test_big_bench_hard(data):
    """All 27 tasks. Rows 32/119 and 36/104 of causal_judgement contradict each other: each passes with its target."""
    files = sorted((data / "logic/bbh").glob("*.json"))
    assert len(files) == 27
    texts = set()
    for file in files:
        task, given = file.stem, json.loads(file.read_text(encoding="utf-8"))["examples"]
        targets = [row["target"] for row in given]
        problems = [problem(i, row["input"], row["target"]) for i, row in enumerate(given)]
        if task in BBH_KINDS:
            kind = BBH_KINDS[task]
            written = [t.replace("{", r"\{").replace("}", r"\}").replace("&", r"\&") for t in targets]
            right = [
                [f"So the answer is {t}.", boxed(w), boxed(rf"\text{{{w}}}"), f"#### {t}"]
                for t, w in zip(targets, written, strict=True)
            ]
            wrong = [f"So the answer is {other}." for other in others(targets)]
            check(lambda p, r, kind=kind: grade_labels(p, r, kind=kind), problems, right, wrong)
            continue
        letters = [i for i, target in enumerate(targets) if re.fullmatch(r"\([A-Z]\)", target)]
        texts |= {(task, i) for i in range(len(targets)) if i not in set(letters)}
        asked = [problems[i] for i in letters]
        golds = [targets[i] for i in letters]
        right = [[f"So the answer is {t}.", boxed(t), boxed(t.strip("()")), f"Answer: {t}"] for t in golds]
        check(grade_choices, asked, right, [f"So the answer is {other}." for other in others(golds)])
    assert texts == BBH_TEXTS
    for task, row in BBH_TEXTS:
        target = json.loads((data / f"logic/bbh/{task}.json").read_text(encoding="utf-8"))["examples"][row]["target"]
        with pytest.raises(ValueError, match="no label"):
            letter_of(target)
        right = [boxed(target.replace("&", r"\&")), boxed(target[:-1])]
        verdicts = grade_labels([problem(row, "q", target)] * 2, right, kind="text")
        assert [v.status for v in verdicts] == ["pass", "fail"]


def test_folio(data):
    """The validation split says Uncertain where the train split says Unknown: both are one label."""
    for split, number in (("validation", 204), ("train", 1004)):
        given = rows(data / f"logic/folio/folio-{split}.jsonl")
        assert len(given) == number
        problems = [problem(i, row["conclusion"], row["label"]) for i, row in enumerate(given)]
        both = {"Uncertain": ("Uncertain", "Unknown"), "Unknown": ("Unknown", "Uncertain")}
        right = [
            [form for label in both.get(p.answer, (p.answer,)) for form in (f"The answer is {label}.", boxed(label))]
            for p in problems
        ]
        wrong = [boxed(other) for other in others([p.answer for p in problems])]
        check(lambda p, r: grade_labels(p, r, kind="truth"), problems, right, wrong)


def test_zebra_puzzles(data):
    given = rows(data / "logic/zebra_puzzles/test.jsonl.gz")
    problems = [problem(i, row["question"], row["answer"]) for i, row in enumerate(given)]
    right = [[boxed(p.answer.title()), f"The answer is {p.answer}."] for p in problems]
    wrong = [boxed(other) for other in others([p.answer for p in problems])]
    check(lambda p, r: grade_labels(p, r, kind="text"), problems, right, wrong)
