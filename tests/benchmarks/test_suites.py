"""Problems of the built-in suites: answers by independent code, splits, demonstrations."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from fractions import Fraction

import pytest

from benchmarks import registry
from benchmarks.base import Problem, ProceduralSuite
from benchmarks.corpus import stream as corpus_stream

SUITES = tuple(registry.BUILT_IN)
LEVELS = (1, 2, 3, 4)
PLACES = [("train", level) for level in LEVELS] + [("eval", 1), ("eval", 2), ("eval", 3), ("ood", 4)]


def drawn(suite: ProceduralSuite, split: str, level: int, n: int, seed: int = 0) -> list[Problem]:
    return list(itertools.islice(suite.stream(split, seed, (level,)), n))


def by_family(name: str, n: int) -> list[Problem]:
    """`n` problems of every family and level that it has."""
    suite = registry.get(name)
    found = []
    for split, level in [("eval", 1), ("eval", 2), ("eval", 3), ("ood", 4)]:
        wanted: Counter[str] = Counter()
        for problem in suite.stream(split, 11, (level,)):
            if wanted[problem.family] < n:
                wanted[problem.family] += 1
                found.append(problem)
            elif min(wanted[family.name] for family in suite.families) >= n:
                break
    return found


# ---- answers by other code than the suites'


def solve_add(prompt: str) -> str:
    return str(sum(map(int, prompt.split("+"))))


def solve_expr(prompt: str) -> str:
    return str(eval(prompt, {"__builtins__": {}}))


def solve_solve(prompt: str) -> str:
    """A linear equation: the root of left - right from its values at 0 and 1."""
    text = re.sub(r"(\d)([x(])", r"\1*\2", prompt)
    left, right = text.split("=")
    at = [eval(f"({left})-({right})", {"__builtins__": {}, "x": x}) for x in (0, 1)]
    return str(Fraction(-at[0], at[1] - at[0]))


def solve_mod(prompt: str) -> str:
    product, modulus = prompt.split("%")
    return str(eval(product, {"__builtins__": {}}) % int(modulus))


def solve_swap(prompt: str) -> str:
    row, *pairs = prompt.split()
    at = {i + 1: c for i, c in enumerate(row)}
    for i, j in pairs:
        at[int(i)], at[int(j)] = at[int(j)], at[int(i)]
    return "".join(at[i + 1] for i in range(len(row)))


def solve_order(prompt: str) -> str:
    facts = prompt.split()
    letters = sorted({c for fact in facts for c in fact if c != ">"})
    fits = [p for p in itertools.permutations(letters) if all(p.index(f[0]) < p.index(f[2]) for f in facts)]
    assert len(fits) == 1  # no other order is right
    return "".join(fits[0])


def solve_table(prompt: str) -> str:
    columns = []
    for i in range(4):
        row = re.sub(r"[01]{4}", lambda match, i=i: match[0][i], prompt)
        columns.append(eval(row.replace("~0", "1").replace("~1", "0"), {"__builtins__": {}}))
    return "".join(map(str, columns))


def given(text: str) -> dict[str, Fraction]:
    return {name: Fraction(value) for name, value in re.findall(r"(\w+)=(\d+)", text)}


def written(value: Fraction, unit: str) -> str:
    """A terminating decimal with its unit."""
    tenths = value * 10
    assert tenths.denominator == 1
    text = str(value) if value.denominator == 1 else f"{int(value)}.{int(tenths) % 10}"
    return text + unit


MECHANICS = {
    ("F", "am"): (lambda v: v["m"] * v["a"], "N"),
    ("p", "mv"): (lambda v: v["m"] * v["v"], "kgm/s"),
    ("W", "Fd"): (lambda v: v["F"] * v["d"], "J"),
    ("W", "adm"): (lambda v: v["m"] * v["a"] * v["d"], "J"),
    ("d", "tv"): (lambda v: v["v"] * v["t"], "m"),
    ("a", "Fm"): (lambda v: v["F"] / v["m"], "m/s2"),
    ("v", "dt"): (lambda v: v["d"] / v["t"], "m/s"),
    ("v", "atu"): (lambda v: v["u"] + v["a"] * v["t"], "m/s"),
    ("K", "mv"): (lambda v: v["m"] * v["v"] ** 2 / 2, "J"),
    ("w", "m"): (lambda v: v["m"] * Fraction(98, 10), "N"),
    ("E", "hm"): (lambda v: v["m"] * Fraction(98, 10) * v["h"], "J"),
    ("P", "Fdt"): (lambda v: v["F"] * v["d"] / v["t"], "W"),
    ("P", "adtm"): (lambda v: v["m"] * v["a"] * v["d"] / v["t"], "W"),
}


def solve_mech(prompt: str) -> str:
    values = given(prompt)
    key = "".join(sorted(values, key=lambda name: (name.lower(), name)))
    formula, unit = next(v for (asked, names), v in MECHANICS.items() if (asked, set(names)) == (prompt[0], set(key)))
    return written(formula(values), unit)


def solve_circuit(prompt: str) -> str:
    """Conductances add in parallel, resistances in series."""
    values = dict(re.findall(r"(\w)=([\d|+]+)", prompt))
    if "R" in values:
        total = Fraction(0)
        for part in values["R"].split("+"):
            total += 1 / sum(Fraction(1, int(r)) for r in part.split("|"))
    answers = {
        "V": lambda: written(int(values["I"]) * total, "V"),
        "I": lambda: written(int(values["V"]) / total, "A"),
        "R": lambda: written(Fraction(int(values["V"]), int(values["I"])), "ohm"),
    }
    return answers[prompt[0]]()


# standard atomic weights (IUPAC), rounded
WEIGHTS = {
    "H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998, "Na": 22.990, "Mg": 24.305, "Al": 26.982,
    "Si": 28.085, "P": 30.974, "S": 32.06, "K": 39.098, "Ca": 40.078, "Fe": 55.845,
}  # fmt: skip


def solve_chem(prompt: str) -> str:
    *_, formula = prompt.split()
    total = i = 0
    while i < len(formula):
        symbol = formula[i : i + 2] if formula[i : i + 2] in WEIGHTS else formula[i]
        i += len(symbol)
        count = ""
        while i < len(formula) and formula[i].isdigit():
            count += formula[i]
            i += 1
        total += round(WEIGHTS[symbol]) * int(count or 1)
    moles = re.match(r"m\? (\d+)mol", prompt)
    return f"{total * int(moles[1])}g" if moles else f"{total}g/mol"


def solve_units(prompt: str) -> str:
    if prompt.startswith("d?"):
        speed, seconds = (int(re.search(p, prompt)[1]) for p in (r"v=(\d+)km/h", r" t=(\d+)s"))
        start = re.search(r"d0=(\d+)m", prompt)
        return written(Fraction(speed * 1000, 3600) * seconds + (int(start[1]) if start else 0), "m")
    number, unit, target = re.fullmatch(r"(\d+)(\S+) in (\S+)", prompt).groups()
    if (unit, target) == ("C", "K"):
        return f"{(100 * int(number) + 27315) // 100}.15K"
    scale = {
        "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600), "m": Fraction(1), "km": Fraction(1000),
        "cm": Fraction(1, 100), "mm": Fraction(1, 1000), "m/s": Fraction(1), "km/h": Fraction(1000, 3600),
    }  # fmt: skip
    return written(int(number) * scale[unit] / scale[target], target)


SOLVERS = {name.removeprefix("solve_"): solver for name, solver in globals().items() if name.startswith("solve_")}


@pytest.mark.parametrize("name", [name for name in SUITES if name != "code"])
def test_answers_by_independent_code(name):
    checked: Counter[str] = Counter()
    for problem in by_family(name, 60):
        assert SOLVERS[problem.family](problem.prompt) == problem.answer, problem.prompt
        checked[problem.family] += 1
    assert set(checked) == {family.name for family in registry.get(name).families}
    assert min(checked.values()) == 240


def through(points: dict[int, int], x: int) -> Fraction:
    """The value at `x` of the polynomial of least degree through the points (Lagrange)."""
    total = Fraction(0)
    for a, y in points.items():
        term = Fraction(y)
        for b in points:
            if b != a:
                term *= Fraction(x - b, a - b)
        total += term
    return total


def text_operation(name: str, s: str) -> str:
    kind, count = re.fullmatch(r"([a-z]+)(\d?)", name).groups()
    n = int(count or 0)
    letters = list(s)
    if kind == "rev":
        letters.reverse()
    elif kind in ("up", "low", "swap"):
        upper = {"up": lambda c: True, "low": lambda c: False, "swap": str.islower}[kind]
        letters = [c.upper() if upper(c) else c.lower() for c in letters]
    elif kind in ("even", "odd"):
        letters = [c for i, c in enumerate(letters) if i % 2 == (kind == "odd")]
    elif kind == "twice":
        letters += letters
    else:
        del letters[{"first": slice(n, None), "drop": slice(0, n), "last": slice(0, max(len(s) - n, 0))}[kind]]
    return "".join(letters)


def list_pipeline(words: list[str], values: list[int]) -> object:
    conditions = {"even": lambda x: x % 2 == 0, "odd": lambda x: x % 2 == 1, "pos": lambda x: x > 0}
    conditions["neg"] = lambda x: x < 0
    changes = {"dosq": lambda x: x * x, "doabs": abs}
    *stages, reduction = words
    for stage in stages:
        if stage in conditions:
            values = [x for x in values if conditions[stage](x)]
        elif stage in changes:
            values = [changes[stage](x) for x in values]
        else:
            sign, k = stage[0], int(stage[1:])
            if sign in "<>":
                values = [x for x in values if (x < k if sign == "<" else x > k)]
            else:
                values = [{"+": x + k, "-": x - k, "*": x * k}[sign] for x in values]
    return {"sum": sum, "max": max, "min": min, "sorted": sorted}[reduction](values)


def test_hidden_tests_by_independent_code():
    checked: Counter[str] = Counter()
    for problem in by_family("code", 40):
        words = problem.prompt.split()
        for (value,), output in problem.tests:
            if problem.family == "poly":
                assert through({int(x): int(y) for x, y in (w.split(":") for w in words)}, value) == output
            elif problem.family == "text":
                expected = value
                for word in words[1:]:
                    expected = text_operation(word, expected)
                assert expected == output, problem.prompt
            else:
                assert list_pipeline(words[1:], value) == output, problem.prompt
        assert len(problem.tests) == 6
        checked[problem.family] += 1
    assert checked == {"poly": 160, "text": 160, "list": 160}


def test_programs_of_demonstrations_by_pythons_own_evaluation():
    suite = registry.get("code")
    names = {"__builtins__": {}, "abs": abs, "sum": sum, "max": max, "min": min, "sorted": sorted}
    argument = {"poly": "x", "text": "s", "list": "v"}
    for problem in by_family("code", 25):
        program = suite.demonstration(problem).rpartition("#")[2]
        for (value,), output in problem.tests:
            assert eval(program, {**names, argument[problem.family]: value}) == output


# ---- splits


@pytest.mark.parametrize("name", SUITES)
def test_no_held_out_problem_is_trained_on(name):
    """By id, by canonical key, and by prompt; thousands of draws, different seeds."""
    suite = registry.get(name)
    families = {family.name: family for family in suite.families}
    marks: dict[str, list[set]] = {"train": [set(), set(), set()], "held out": [set(), set(), set()]}
    for split, level in PLACES:
        for problem in drawn(suite, split, level, 800, seed=level):
            assert (problem.split, problem.level, problem.suite) == (split, level, name)
            seen = marks["train" if split == "train" else "held out"]
            seen[0].add(problem.id)
            seen[1].add((problem.family, families[problem.family].key(problem.params)))
            seen[2].add(problem.prompt)
    for trained, held_out in zip(marks["train"], marks["held out"], strict=True):
        assert len(trained) > 1000 and len(held_out) > 500
        assert not trained & held_out


@pytest.mark.parametrize("name", SUITES)
def test_evaluation_and_harder_problems_have_different_ids(name):
    suite = registry.get(name)
    easier = {p.id for level in (1, 2, 3) for p in drawn(suite, "eval", level, 500)}
    assert not easier & {p.id for p in drawn(suite, "ood", 4, 1000)}


@pytest.mark.parametrize("name", SUITES)
def test_the_corpus_has_no_held_out_problem(name):
    suite = registry.get(name)
    held_out = {p.prompt for split, level in PLACES[4:] for p in drawn(suite, split, level, 800)}
    seen = [p for p, _, _ in itertools.islice(corpus_stream(0), 6000) if p.suite == name]
    assert len(seen) > 1000
    assert {p.level for p in seen} == {1, 2, 3}
    assert not {p.prompt for p in seen} & held_out


@pytest.mark.parametrize("name", SUITES)
def test_problems_are_distinct_and_reproducible(name):
    suite = registry.get(name)
    for split in ("train", "eval", "ood"):
        first = suite.problems(split, 120, 3)
        assert first == suite.problems(split, 120, 3)
        assert first[:50] == suite.problems(split, 50, 3)
        assert len({p.id for p in first}) == 120
        assert first != suite.problems(split, 120, 4)
    assert {p.level for p in suite.problems("train", 120, 0)} == {1, 2, 3}
    assert {p.level for p in suite.problems("train", 60, 0, (2,))} == {2}
    shares = Counter(p.family for p in drawn(suite, "train", 2, 2000))
    assert min(shares.values()) > 2000 / len(suite.families) * 0.7


def test_too_many_problems_are_refused():
    with pytest.raises(ValueError, match="ask for fewer or add levels") as problem:
        registry.get("science").problems("eval", 100_000, 0, (1,))
    assert "\n" not in str(problem.value)
    with pytest.raises(ValueError, match="unknown split"):
        next(registry.get("math").stream("test", 0))


# ---- demonstrations


@pytest.mark.parametrize("name", SUITES)
def test_demonstrations_are_right_and_flawed_ones_wrong(name):
    """Every family, level and way of writing; programs in the sandbox."""
    suite = registry.get(name)
    problems = by_family(name, 12)
    assert len(problems) == 48 * len(suite.families)
    for variant in (0, 1, 5):
        right = [suite.demonstration(problem, variant) for problem in problems]
        assert [v.status for v in suite.grade(problems, right)] == ["pass"] * len(problems)
        wrong = [suite.demonstration(problem, variant, wrong=True) for problem in problems]
        verdicts = suite.grade(problems, wrong)
        assert [(p.prompt, w) for p, w, v in zip(problems, wrong, verdicts, strict=True) if v.score != 0.0] == []
        assert right == [suite.demonstration(problem, variant) for problem in problems]
        assert wrong == [suite.demonstration(problem, variant, wrong=True) for problem in problems]
    assert all("#" not in text.rpartition("#")[0] for text in right + wrong)


def test_near_misses_of_programs_that_are_right_are_not_passed_off_as_wrong():
    """A slip can give another program that does the same."""
    suite = registry.get("code")
    problems = [p for p in drawn(suite, "train", 4, 500) if p.family != "poly"]
    wrong = [suite.demonstration(problem, wrong=True) for problem in problems]
    assert all(verdict.score == 0.0 for verdict in suite.grade(problems, wrong))


@pytest.mark.parametrize("name", SUITES)
def test_ways_of_writing_differ_where_there_are_several(name):
    suite = registry.get(name)
    styles = {family.name: family.styles for family in suite.families}
    for problem in by_family(name, 5):
        texts = {suite.demonstration(problem, variant) for variant in range(4)}
        assert len(texts) <= styles[problem.family]
    several = [p for p in by_family(name, 5) if styles[p.family] > 1]
    assert all(len({suite.demonstration(p, v) for v in range(2)}) == 2 for p in several)
    assert bool(several) == any(n > 1 for n in styles.values())
