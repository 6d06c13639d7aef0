"""Rows of code problems that one file holds for several suites; the others are read beside their grader."""

from __future__ import annotations

from benchmarks.base import Problem
from benchmarks.graders.code import cruxeval_problems
from benchmarks.row_fields import Row


def cruxeval_o(row: Row) -> Problem:
    """CRUXEval, output prediction."""
    return cruxeval_problems(row)[0]


def cruxeval_i(row: Row) -> Problem:
    """CRUXEval, input prediction."""
    return cruxeval_problems(row)[1]


def flawed_program(problem: Problem, worked: str, variant: int) -> str:
    """The demonstration with its function defined anew: it returns nothing."""
    before, fence, _ = worked.rpartition("```")
    return f"{before}\n\ndef {dict(problem.params)['entry']}(*inputs):\n    return None\n{fence}"
