r"""Mathematical answers: the last \boxed{} or `####`, compared as numbers, structures and expressions (Math-Verify).

Plain numbers and words are settled here; everything else in processes that can be killed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from importlib.metadata import version

from benchmarks.base import Problem, Verdict
from benchmarks.graders.comparison import Comparison, Rules, Undecided, gold_node, undecided, words
from benchmarks.graders.extract import LENIENT, STRICT, final_answer
from benchmarks.graders.extract import VERSION as EXTRACT_VERSION
from benchmarks.graders.notation import MAX_LENGTH, Malformed, plain, tidy
from benchmarks.graders.pool import Job, Verifiers, verifiers
from benchmarks.graders.quantity import number, quantity
from benchmarks.graders.shapes import read

VERSION = f"1+extract{EXTRACT_VERSION}+mathverify{version('math-verify')}+sympy{version('sympy')}"
GRADER = "mathematics"
LENIENT_GRADER = "mathematics-lenient"
MAX_SHOWN = 300  # characters of an answer in a verdict
_CACHE_SIZE = 20_000

_settled: dict[Job, str] = {}  # never holds infra
_lock = threading.Lock()


def check_gold(gold: str, rules: Rules = Rules()) -> None:  # noqa: B008 (frozen)
    """Raise ValueError for a gold answer that is missing, empty, unbalanced or too long: for loading data."""
    if not isinstance(gold, str):
        raise ValueError(f"gold answer {gold!r} is no text: correct or leave out the problem")
    gold_node(gold, rules)


def _quick(gold: str, answer: str, rules: Rules) -> str | None:
    """pass or fail if numbers and words are enough."""
    if len(answer) > MAX_LENGTH:
        return "fail"
    try:
        return "pass" if Comparison(rules, undecided).equal(gold, answer) else "fail"
    except Undecided:
        return None


def _settle(jobs: Sequence[Job], pool: Verifiers | None) -> dict[Job, str]:
    found: dict[Job, str] = {}
    for job in dict.fromkeys(jobs):
        status = _settled.get(job) or _quick(*job)
        if status:
            found[job] = status
    left = [job for job in dict.fromkeys(jobs) if job not in found]
    if left:
        found |= zip(left, (pool or verifiers()).run(left), strict=True)
        with _lock:
            _settled.update((job, found[job]) for job in left if found[job] != "infra")
            while len(_settled) > _CACHE_SIZE:
                del _settled[next(iter(_settled))]
    return found


def _squeezed(text: str) -> str:
    return re.sub(r"[\s${}]+|\\(?:left|right|displaystyle)(?![A-Za-z])", "", plain(text).replace(r"\dfrac", r"\frac"))


def echoes(problem: Problem, answer: str) -> bool:
    """Whether an answer only repeats an expression of the question that has to be worked out: no number, no word."""
    gold, _ = gold_node(problem.answer, Rules())
    try:
        node = read(tidy(answer))
    except Malformed:
        return False
    if node.kind == "chain":
        node = node.members[-1]
    text = quantity(node.text, words=True).value
    if node.kind != "scalar" or number(text) is not None or words(text) is not None:
        return False
    short = _squeezed(text)
    golds = {_squeezed(one.text) for one in (gold, *gold.members)}
    return len(short) > 2 and short not in golds and short in _squeezed(problem.prompt)


def grade_mathematics(
    problems: Sequence[Problem],
    responses: Sequence[str],
    *,
    lenient: bool = False,
    rules: Rules | Sequence[Rules] = Rules(),  # noqa: B008 (frozen)
    pool: Verifiers | None = None,
) -> list[Verdict]:
    r"""Whether the final answer of each response equals the gold answer of its problem.

    Strict, for rewards: the last \boxed{...} or `#### x` only. lenient: "answer is x" and the last line as well.
    rules: of all problems or one of each. pool: in place of the one of this process.

    Status timeout: the comparison used up its CPU time (score 0); infra: the machinery failed twice (score None).
    Raises ValueError for a gold answer that nothing can equal.
    """
    each = [rules] * len(problems) if isinstance(rules, Rules) else list(rules)
    grader, forms = (LENIENT_GRADER, LENIENT) if lenient else (GRADER, STRICT)
    answers = [final_answer(response, forms) for response in responses]
    asked = list(zip(problems, answers, each, strict=True))
    for problem, _, rule in asked:
        check_gold(problem.answer, rule)
    jobs = [(problem.answer, answer, rule) for problem, answer, rule in asked if answer is not None]
    statuses = _settle(jobs, pool)
    verdicts = []
    for problem, answer, rule in asked:
        if answer is None:
            verdicts.append(Verdict("no_answer", 0.0, "", grader, VERSION))
            continue
        status = statuses[problem.answer, answer, rule]
        if status == "pass" and echoes(problem, answer):
            status = "fail"
        score = None if status == "infra" else float(status == "pass")
        verdicts.append(Verdict(status, score, answer[:MAX_SHOWN], grader, VERSION))
    return verdicts
