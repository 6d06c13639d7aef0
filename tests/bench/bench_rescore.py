"""Rescore of stored mathematical answers, measured: numbers, fractions, surds, polynomials, intervals, right and wrong,
written in several ways. Prints one JSON object. Run: python tests/bench/bench_rescore.py"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import registry
from benchmarks.base import Problem, Suite, Verdict
from benchmarks.graders.mathematics import grade_mathematics
from harness import rescore
from harness.evaluate import data_hash
from harness.samples import problems_of, spec_of
from harness.scores import summarise, verdict_row
from harness.store import SCHEMA, RunDir, keep_lines, read_json, write_json

NAME = "bench_latex"
SAMPLES = 40  # of a problem
REASONING = "First we write down what is known. Then $a_{k+1} = a_k + \\frac{1}{k}$ gives the next value, and so on. "


def _number(a: int, b: int) -> list[str]:
    value = 1000 * a + b
    return [str(value), f"{value:,}", f"\\${value}", f"{value}.00", f"{value}\\text{{ apples}}"]


def _fraction(a: int, b: int) -> list[str]:
    return [rf"\frac{{{a}}}{{{b}}}", f"{a}/{b}", rf"\dfrac{{{2 * a}}}{{{2 * b}}}", rf"x=\frac{{{a}}}{{{b}}}"]


def _surd(a: int, b: int) -> list[str]:
    return [rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}", rf"\sqrt{{{b}}}\cdot {a}"]


def _polynomial(a: int, b: int) -> list[str]:
    return [f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"{a * b}+{a + b}x+x^{{2}}"]


def _interval(a: int, b: int) -> list[str]:
    return [f"[{a},{a + b})", rf"\left[{a}, {a + b}\right)"]


KINDS = (_number, _number, _number, _fraction, _fraction, _surd, _polynomial, _interval)


def _values(number: int) -> tuple[Any, int, int]:
    rng = random.Random(number)
    return KINDS[number % len(KINDS)], rng.randint(2, 30), rng.choice((3, 5, 7, 11, 13, 17, 19))


class LatexSuite(Suite):
    """Problems that are only there for their gold answers."""

    name, domain, summary = NAME, "math", "boxed answers"

    def problems(self, split: str, n: int, seed: int, levels: Sequence[int] | None = None) -> list[Problem]:
        if split != "eval":
            return []
        found = []
        for number in range(n):
            kind, a, b = _values(number)
            found.append(Problem(f"{NAME}-{number}", NAME, f"Question {number}", kind(a, b)[0], split="eval"))
        return found

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return grade_mathematics(problems, responses)


def response(number: int, sample: int) -> str:
    """Right or near it, about half and half, in some way of writing it; one of twenty without an answer."""
    rng = random.Random(1000 * number + sample)
    kind, a, b = _values(number)
    if rng.random() < 0.05:
        return REASONING * 8
    if rng.random() < 0.55:
        a = max(2, a + rng.choice((-3, -2, -1, 1, 2, 5, 10)))
    return f"{REASONING * 8}Therefore the answer is $\\boxed{{{rng.choice(kind(a, b))}}}$."


def make(path: Path, samples: int) -> RunDir:
    """An evaluation as `harness eval` leaves it, its verdicts those of an older grader that accepted nothing."""
    run = RunDir(path)
    evaluation = {"suites": [NAME], "problems": samples // SAMPLES, "k": SAMPLES}
    write_json(path / "manifest.json", {"schema": SCHEMA, "kind": "evaluation", "spec": {"eval": evaluation}})
    spec = spec_of(run)
    problems = problems_of(spec, registry.get(NAME))
    generations = [
        {"problem": problem, "sample": i, "seed": i, "text": response(n, i), "n_tokens": 200, "finish": "stop"}
        for n, problem in enumerate(problems)
        for i in range(SAMPLES)
    ]
    old = Verdict("fail", 0.0, "", "mathematics", "0")
    verdicts = [verdict_row(problems[row["problem"]], row, old) for row in generations]
    keep_lines(run.generations(NAME, 0.0), generations)
    keep_lines(run.verdicts(NAME, 0.0), verdicts)
    summary = {**summarise(verdicts, "eval", SAMPLES), "data_hash": data_hash(list(problems.values()))}
    write_json(run.evaluation, {"0.00": {NAME: summary}})
    run.finish()
    return run


def measure(samples: int) -> dict[str, Any]:
    registry.BUILT_IN[NAME] = f"{__name__}:LatexSuite"
    with tempfile.TemporaryDirectory() as scratch:
        run = make(Path(scratch) / "run", samples)
        begin = time.perf_counter()
        outcome = rescore.rescore(run)
        seconds = time.perf_counter() - begin
        summary = read_json(run.evaluation)["0.00"][NAME]
    (regraded,) = outcome.evaluations
    answers = {(row["problem"], row["extracted"]) for row in regraded.after}
    return {
        "samples": len(regraded.after),
        "different_answers": len(answers),
        "changed": len(regraded.changes),
        "seconds": round(seconds, 1),
        "samples_per_second": round(len(regraded.after) / seconds),
        "cores": os.cpu_count(),
        "statuses": summary["statuses"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    print(json.dumps(measure(parser.parse_args().samples)))
