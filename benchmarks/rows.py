"""How rows of published data become problems, and responses verdicts: named functions, imported when they are used.

A format takes one row as it is published and gives a problem without suite and split, or None for a row that is left
out; what it leaves out or repairs stands in the notes of the suite's definition. It raises ValueError without a subject
("has no field ...") for a row of another form. A flaw makes a wrong demonstration from a right one:
(problem, demonstration, variant) -> text.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

FORMATS = {
    "gsm8k": "benchmarks.rows_math:gsm8k",
    "math": "benchmarks.rows_math:plain",
    "olympiadbench": "benchmarks.rows_math:olympiadbench",
    "theoremqa": "benchmarks.rows_math:theoremqa",
    "scibench": "benchmarks.rows_math:scibench",
    "arc": "benchmarks.rows_choice:arc",
    "mmlu": "benchmarks.rows_choice:mmlu",
    "mmlu_pro": "benchmarks.rows_choice:mmlu_pro",
    "gpqa": "benchmarks.rows_choice:gpqa",
    "bbh_choice": "benchmarks.rows_choice:bbh",
    "bbh_text": "benchmarks.rows_logic:bbh",
    "bbh_logic": "benchmarks.rows_choice:bbh_any",
    "folio": "benchmarks.rows_logic:folio",
    "knights_knaves": "benchmarks.rows_logic:knights_knaves",
    "zebra": "benchmarks.rows_logic:zebra",
    "humaneval": "benchmarks.graders.code:humaneval_problem",
    "mbpp": "benchmarks.graders.code:mbpp_problem",
    "evalplus": "benchmarks.graders.code:evalplus_problem",
    "cruxeval_i": "benchmarks.rows_code:cruxeval_i",
    "cruxeval_o": "benchmarks.rows_code:cruxeval_o",
}
FLAWS = {
    "gsm8k": "benchmarks.rows_math:flawed_number",
    "knights_knaves": "benchmarks.rows_logic:flawed_roles",
    "mbpp": "benchmarks.rows_code:flawed_program",
}


def named(table: dict[str, str], name: str, what: str) -> Callable[..., Any]:
    """The function of this name; ValueError naming the others if there is none."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}: choose from {', '.join(table)}")
    module, _, function = table[name].partition(":")
    return getattr(import_module(module), function)
