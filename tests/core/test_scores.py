"""Scores of evaluations against enumeration: votes in every order of the samples, pass@k over all subsets, errors."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, permutations
from statistics import mean, stdev
from typing import Any

import pytest

from benchmarks.base import Problem, Verdict
from harness.scores import by_family, by_problem, summarise, verdict_row, vote
from harness.stats import cons_at_k


def enumerated(answers: list[str | None], scores: dict[str, float]) -> float:
    """The mean over all orders of the samples, the first answer with the most votes being taken in each."""
    taken = []
    for order in permutations(answers):
        given = [answer for answer in order if answer is not None]
        taken.append(scores[Counter(given).most_common(1)[0][0]] if given else 0.0)
    return mean(taken)


def test_cons_is_the_mean_over_all_ways_of_breaking_ties() -> None:
    rng = random.Random(0)
    ties = 0
    for _ in range(150):
        answers = [rng.choice(("a", "b", "c", "d", None)) for _ in range(rng.randint(1, 6))]
        scores = {answer: rng.choice((0.0, 0.0, 1.0, 0.5)) for answer in "abcd"}
        found = cons_at_k(answers, [scores[answer] if answer else 0.0 for answer in answers])
        assert found == pytest.approx(enumerated(answers, scores))
        counts = Counter(answer for answer in answers if answer).most_common()
        ties += len(counts) > 1 and counts[0][1] == counts[1][1]
    assert ties > 40


def test_cons_of_known_votes() -> None:
    assert cons_at_k(["a", "b", "a"], [1, 0, 1]) == 1.0
    assert cons_at_k(["a", "b"], [1, 0]) == 0.5
    assert cons_at_k(["a", "b", "c", "c", "b"], [1, 0, 1, 1, 0]) == 0.5
    assert cons_at_k([None, None, "a"], [0, 0, 1]) == 1.0  # who has no answer does not vote
    assert cons_at_k([None], [0]) == 0.0
    assert cons_at_k(["a", "a"], [1, 0]) == 0.5  # the same program, timed out once
    with pytest.raises(ValueError, match="one score a sample"):
        cons_at_k([], [])
    with pytest.raises(ValueError, match="one score a sample"):
        cons_at_k(["a"], [])


def row(problem: str, sample: int, status: str, extracted: str, **more: Any) -> dict[str, Any]:
    score = None if status == "infra" else float(status == "pass")
    given = {"problem": problem, "sample": sample, "status": status, "score": score, "extracted": extracted}
    return {**given, "split": "eval", "truncated": False, "n_tokens": 5, "family": "f", "level": 1, **more}


def test_who_votes_for_the_same() -> None:
    assert vote(row("p", 0, "pass", "1/2")) == vote(row("p", 1, "pass", r"\frac12"))
    assert vote(row("p", 0, "fail", "0.50")) == vote(row("p", 1, "fail", " 0.5 "))
    assert vote(row("p", 0, "fail", "1,000")) == vote(row("p", 1, "fail", "1000")) != vote(row("p", 2, "fail", "100"))
    assert vote(row("p", 0, "fail", "x + 1")) == vote(row("p", 1, "timeout", "x+1"))
    assert vote(row("p", 0, "fail", "1/2")) != vote(row("p", 1, "pass", "1/2"))  # graded differently: two answers
    assert vote(row("p", 0, "no_answer", "")) is None
    # programs that pass the same hidden tests are still different answers
    programs = [vote(row("p", i, "pass", text, sandbox="full")) for i, text in enumerate(("a+b", "b+a", "a + b"))]
    assert programs[0] == programs[2] != programs[1]


def enumerated_pass(scores: list[float], k: int) -> float:
    return mean(any(score > 0.5 for score in chosen) for chosen in combinations(scores, k))


def test_summary_against_enumeration() -> None:
    rng = random.Random(1)
    rows = []
    for p in range(7):
        for sample in range(4):
            status = rng.choice(("pass", "pass", "fail", "fail", "no_answer", "timeout"))
            text = "" if status == "no_answer" else "7" if status == "pass" else rng.choice("123")
            more = {"truncated": rng.random() < 0.3, "n_tokens": rng.randint(1, 50)}
            rows.append(row(f"p{p}", sample, status, text, **more))
    harder = [row("q", sample, "pass", "1", split="ood", n_tokens=1000) for sample in range(4)]
    found = summarise(rows + harder, "eval", 4)
    groups = [rows[i : i + 4] for i in range(0, len(rows), 4)]
    means = [mean(r["score"] for r in group) for group in groups]
    assert (found["n"], found["k"], found["samples"]) == (7, 4, 28)
    assert found["avg_at_k"] == pytest.approx(mean(means))
    assert found["se"] == pytest.approx(stdev(means) / 7**0.5)
    for k in (1, 2, 4):
        values = [enumerated_pass([r["score"] for r in group], k) for group in groups]
        assert found["pass_at_k"][str(k)] == pytest.approx(mean(values))
        assert found["pass_se"][str(k)] == pytest.approx(stdev(values) / 7**0.5)
    votes = [
        enumerated([r["extracted"] or None for r in group], {"7": 1.0, "1": 0.0, "2": 0.0, "3": 0.0})
        for group in groups
    ]
    assert found["cons_at_k"] == pytest.approx(mean(votes))
    assert found["cons_se"] == pytest.approx(stdev(votes) / 7**0.5)
    assert 0 < found["cons_at_k"] < 1 and len(set(votes)) > 2
    assert found["truncated"] == mean(r["truncated"] for r in rows)
    assert found["no_answer"] == mean(r["status"] == "no_answer" for r in rows)
    assert found["mean_tokens"] == pytest.approx(mean(r["n_tokens"] for r in rows))
    assert found["statuses"] == dict(Counter(r["status"] for r in rows))
    assert summarise(rows + harder, "ood", 4)["mean_tokens"] == 1000


def test_unscored_samples_have_no_part_in_scores() -> None:
    """A failure of the machinery is neither right nor wrong, and its answer has no vote."""
    rows = [
        row("a", 0, "infra", "2"), row("a", 1, "infra", "2"), row("a", 2, "pass", "1"),
        row("b", 0, "fail", "2"), row("b", 1, "fail", "2"), row("b", 2, "pass", "1"),
        row("c", 0, "infra", "2"), row("c", 1, "infra", "2"), row("c", 2, "infra", "1"),
    ]  # fmt: skip
    found = summarise(rows, "eval", 3)
    assert found["avg_at_k"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["cons_at_k"] == 0.5
    assert found["pass_at_k"]["1"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["pass_at_k"]["2"] is None and found["pass_se"]["2"] is None  # a has one scored sample
    assert found["infra"] == pytest.approx(5 / 9)
    nothing = summarise(rows[-3:], "eval", 3)
    assert nothing["avg_at_k"] is nothing["cons_at_k"] is nothing["se"] is None


def test_verdicts_of_old_files_and_repeated_ones() -> None:
    old = [{"problem": "a", "sample": i, "status": "error", "score": 0.0, "extracted": "1"} for i in range(2)]
    found = summarise(old, "eval", 2)
    assert found["mean_tokens"] is None and found["truncated"] == 0 and found["statuses"] == {"error": 2}
    again = {**old[1], "status": "pass", "score": 1.0}
    (problem,) = by_problem([*old, again], "eval")
    assert (problem.samples, problem.avg, problem.statuses) == (2, 0.5, {"error": 1, "pass": 1})


def test_families_and_their_mean() -> None:
    rows = [
        row("a", 0, "pass", "1", family="x"), row("b", 0, "fail", "2", family="x"),
        row("c", 0, "pass", "1", family="y"), row("d", 0, "pass", "1", family="y"),
        row("e", 0, "fail", "2", family="y"),
    ]  # fmt: skip
    found = by_family(rows, "eval", macro=True)
    assert found["families"]["x"] == {"n": 2, "avg_at_k": 0.5, "se": pytest.approx(0.5)}
    assert found["families"]["y"]["avg_at_k"] == pytest.approx(2 / 3)
    assert found["macro"]["avg_at_k"] == pytest.approx((0.5 + 2 / 3) / 2)
    assert found["macro"]["se"] == pytest.approx((0.5**2 + (1 / 3) ** 2) ** 0.5 / 2)
    assert "macro" not in by_family(rows, "eval", macro=False)
    assert by_family(rows[:2], "eval", macro=True) == {}


def test_verdict_row_keeps_what_is_needed_later() -> None:
    problem = Problem("p", "s", "1+1", "2", family="add", level=2)
    generation = {"problem": "p", "sample": 3, "seed": 9, "text": "#2", "n_tokens": 2, "finish": "length"}
    assert verdict_row(problem, generation, Verdict("pass", 1.0, "2", "number", "1")) == {
        "problem": "p", "sample": 3, "status": "pass", "score": 1.0, "family": "add", "level": 2, "split": "eval",
        "truncated": True, "n_tokens": 2, "extracted": "2", "grader": "number", "grader_version": "1", "sandbox": "",
    }  # fmt: skip
