"""Rows of logic problems whose answer is a word, a number or an assignment."""

from __future__ import annotations

from benchmarks.base import Problem, digest
from benchmarks.row_fields import Row, optional, text, texts

FOLIO_LABELS = {"True": "True", "False": "False", "Uncertain": "Uncertain", "Unknown": "Uncertain"}
ROLES = ("knave", "knight")


def bbh(row: Row) -> Problem:
    """BIG-Bench Hard with a free target: a label, a number or a list of symbols or words."""
    return Problem("", "", text(row, "input"), text(row, "target"))


def folio(row: Row) -> Problem:
    """FOLIO: premises, conclusion, label. The train split says Unknown where the validation split says Uncertain."""
    label = text(row, "label")
    if label not in FOLIO_LABELS:
        raise ValueError(f"has the label {label}, which is none of {', '.join(FOLIO_LABELS)}")
    premises = row.get("premises")
    given = premises.split("\n") if isinstance(premises, str) else texts(row, "premises")
    prompt = "Premises:\n" + "\n".join(line.strip() for line in given) + f"\n\nConclusion: {text(row, 'conclusion')}"
    asked = "Do the premises make the conclusion true, do they make it false, or is it uncertain?"
    return Problem(optional(row, "example_id"), "", f"{prompt}\n\n{asked}", FOLIO_LABELS[label])


def _roles(names: list[str], knights: list[bool]) -> str:
    lines = zip(names, knights, strict=True)
    return "\n".join(f"({i}) {name} is a {ROLES[knight]}" for i, (name, knight) in enumerate(lines, start=1))


def knights_knaves(row: Row) -> Problem:
    """Knights and knaves of Logic-RL: quiz, names, solution (true: a knight); worked steps where there are."""
    names, knights = texts(row, "names"), row.get("solution")
    if not isinstance(knights, list) or len(knights) != len(names) or not all(isinstance(k, bool) for k in knights):
        raise ValueError("has no list of true and false in the field solution, one for each name")
    answer = _roles(names, knights)
    worked = []
    if row.get("cot_repeat_steps"):
        steps = [optional(row, "cot_head"), *texts(row, "cot_repeat_steps"), optional(row, "cot_foot")]
        worked.append("\n".join(step for step in steps if step) + f"\n\nAnswer:\n{answer}")
    return Problem(
        id="",
        suite="",
        prompt=text(row, "quiz"),
        answer=answer,
        family=f"{len(names)} people",
        level=len(names),
        params=(("names", tuple(names)), ("knights", tuple(knights))),
        demonstrations=tuple(worked),
    )


def flawed_roles(problem: Problem, worked: str, variant: int) -> str:
    """The demonstration with one person's role exchanged in its answer: every puzzle has one solution only."""
    params = dict(problem.params)
    names, knights = list(params["names"]), list(params["knights"])
    who = digest("wrong", problem.id, variant) % len(names)
    knights[who] = not knights[who]
    before, _, _ = worked.rpartition(problem.answer)
    return before + _roles(names, knights)


def zebra(row: Row) -> Problem:
    """Zebra puzzles with one name as the answer; the question itself asks for a box."""
    kind = text(row, "data_source").removeprefix("zebra-").removesuffix("-test")
    return Problem(f"{kind}-{text(row, 'index')}", "", text(row, "question"), text(row, "answer"), kind)
