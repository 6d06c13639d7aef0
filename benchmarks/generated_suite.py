"""A suite of the package reasoning-gym: problems that its generators make and its own scorers grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import definition
from benchmarks.base import SPLITS, Problem, Suite, Verdict, digest
from benchmarks.graders.extract import LENIENT, final_answer

GRADER = "gym"
VERSION = "1"
PLACES = 100_000  # of a data set of the package; problems are made when they are asked for


@dataclass
class _Made:
    """What was generated of one split so far."""

    dataset: Any
    problems: list[Problem] = field(default_factory=list)
    prompts: set[str] = field(default_factory=set)
    place: int = 0  # the next one


class GeneratedSuite(Suite):
    """The suite that `file` defines. ValueError in one sentence where the package is missing or another version.

    eval: `rows` distinct problems of the definition's seed. train: as many distinct problems of the next seed as are
    asked for, without those of eval. The package is imported when problems are asked for.
    """

    def __init__(self, file: Path, data_dir: Path | None = None, revision: str | None = None) -> None:
        self.definition = definition.read(file)
        if self.definition.generator is None or self.definition.grader != GRADER:
            raise ValueError(f"{file} must name a generator and the grader {GRADER}")
        if revision is not None:
            raise ValueError(f"suite {self.definition.name} is generated: leave out @{revision}")
        self.generator = self.definition.generator
        self.name = self.definition.name
        self.domain = self.definition.domain
        self.summary = self.definition.summary
        self.presets = self.definition.presets
        self.instruction = self.definition.instruction
        self.size = self.definition.rows
        self._made: dict[str, _Made] = {}

    def identity(self) -> dict[str, Any]:
        """See `Suite.identity`."""
        return {
            "definition": self.definition.digest(),
            "package": f"{self.generator.package} {self.generator.version}",
            "grader": GRADER,
            "grader_version": VERSION,
        }

    def available(self) -> str:
        """Empty if the right version of the package is installed, else what to do."""
        from importlib.metadata import PackageNotFoundError, version

        wanted = f"{self.generator.package}=={self.generator.version}"
        try:
            found = version(self.generator.package)
        except PackageNotFoundError:
            return f"it is not installed: pip install {wanted}"
        return "" if found == self.generator.version else f"version {found} makes other problems: pip install {wanted}"

    def _dataset(self, split: str) -> Any:
        """The package's endless data set for `split`."""
        missing = self.available()
        if missing:
            raise ValueError(f"suite {self.name} needs the package {self.generator.package}, and {missing}")
        import reasoning_gym

        return reasoning_gym.create_dataset(
            self.generator.dataset,
            size=PLACES,
            seed=self.generator.seed + (split == "train"),
            **self.generator.options,
        )

    def _grow(self, split: str, n: int) -> list[Problem]:
        """At least `n` distinct problems of `split`, made in the order of the data set and kept."""
        if split not in self._made:
            self._made[split] = _Made(self._dataset(split))
        made = self._made[split]
        evaluated = {problem.prompt for problem in self._grow("eval", self.size)} if split == "train" else set()
        text = f"\n\n{self.instruction}" if self.instruction else ""
        while len(made.problems) < n:
            if made.place == PLACES:
                raise ValueError(f"suite {self.name} makes only {len(made.problems)} distinct {split} problems of {n}")
            entry = made.dataset[made.place]
            prompt, answer = str(entry["question"]).strip(), entry["answer"]
            if answer is not None and prompt not in made.prompts and prompt not in evaluated:
                made.prompts.add(prompt)
                made.problems.append(
                    Problem(
                        id=f"{self.name}-{digest(prompt):016x}",
                        suite=self.name,
                        prompt=prompt,
                        answer=str(answer),
                        split=split,
                        params=(("place", made.place),),
                        instruction=text,
                    )
                )
            made.place += 1
        return made.problems

    def problems(self, split: str, n: int, seed: int, levels: Sequence[int] | None = None) -> list[Problem]:
        """The first `n` of `split`, for eval the definition's number at most; there is no split ood.

        `seed` changes nothing: the definition's decides what is generated.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        if split == "ood":
            return []
        n = min(n, self.size) if split == "eval" else n
        return self._grow(split, n)[:n]

    def demonstration(self, problem: Problem, variant: int = 0, wrong: bool = False) -> str:
        raise ValueError(f"{problem.id} has no worked solution: train on it by reinforcement only")

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        """Full score of the package's scorer for the final answer: in a box, after "answer is", or the last line."""
        verdicts = []
        for problem, response in zip(problems, responses, strict=True):
            answer = final_answer(response, LENIENT)
            if answer is None:
                verdicts.append(Verdict("no_answer", 0.0, "", GRADER, VERSION))
                continue
            if problem.split not in self._made:
                self._made[problem.split] = _Made(self._dataset(problem.split))
            dataset = self._made[problem.split].dataset
            entry = dataset[dict(problem.params)["place"]]
            right = dataset.score_answer(answer=answer, entry=entry) == 1.0
            verdicts.append(Verdict("pass" if right else "fail", float(right), answer[:300], GRADER, VERSION))
        return verdicts
