"""The trials of a tuning in Optuna's storage, so that several workers share them and no trial is done twice.

A study of Optuna for every strategy and study of the tuning; its name ends with a digest of all that decides the
trials, so that a file that was changed begins anew. A slot is the place of a trial in its study.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.tune import Outcome, TrialCell, Tuning, common_spec, plan, planned, slots, trial_cell
from harness.tune_locks import Claims, JournalLock
from harness.tune_space import library

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

SLOT, FLOPS, SAVED, FAULT = "slot", "flops", "saved_flops", "fault"  # attributes of a trial
PERCENT = 100  # steps of a pruner are per cent of the budget


@dataclass(eq=False)
class Taken:
    """A trial that this process has taken on."""

    cell: TrialCell
    trial: Trial


def open_storage(text: str | None, tuning: Tuning, results: Path, claims: Claims) -> Any:
    """Optuna's storage: None = SQLite beside the re-runs, "journal" or a path ending in .journal, or a database's URL.

    ValueError if there is no driver for the database, or it cannot be reached.
    """
    optuna = library()
    folder = results / tuning.name
    folder.mkdir(parents=True, exist_ok=True)
    if text is not None and (text == "journal" or text.endswith(".journal")):
        path = folder / f"{tuning.name}.tuning.journal" if text == "journal" else Path(text)
        path.parent.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(path), JournalLock(path))
        return optuna.storages.JournalStorage(backend)
    if text is not None and "://" not in text:
        raise ValueError(f"--storage must be journal, a file that ends in .journal, or a database's URL, not {text!r}")
    from sqlalchemy.exc import SQLAlchemyError

    url = text or f"sqlite:///{(folder / f'{tuning.name}.tuning.db').resolve()}"
    patience: dict[str, Any] = {"connect_args": {"timeout": 60.0}} if url.startswith("sqlite") else {}
    try:
        with claims.alone():  # tables are made once
            return optuna.storages.RDBStorage(url, engine_kwargs=patience)
    except ImportError:
        kind = url.partition("://")[0]
        raise ValueError(f"--storage: the Python package for {kind} databases is not installed: install it") from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as problem:
        why = str(problem.__cause__ or problem).splitlines()[0]
        raise ValueError(f"--storage {masked(url)} cannot be used: {masked(why)}") from None


def masked(url: str) -> str:
    """A database's URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


class Store:
    """The slots of a tuning, and what became of their trials."""

    def __init__(self, tuning: Tuning, storage: Any, claims: Claims, retry: bool = False) -> None:
        """`retry`: trials that have failed so far are tried once more by this process."""
        self.tuning = tuning
        self.claims = claims
        self.optuna = library()
        self.slots = slots(tuning)
        self.plans: dict[tuple[str, int], list[Any]] = {}
        self.studies: dict[tuple[str, int], Study] = {}
        self.known: dict[tuple[str, int, int], TrialCell] = {}
        pruner = self._pruner()
        with claims.alone():
            for strategy, study in dict.fromkeys((name, s) for name, s, _ in self.slots):
                self.plans[strategy, study] = plan(tuning, strategy, study)
                self.studies[strategy, study] = self.optuna.create_study(
                    storage=storage, study_name=f"{tuning.name}/{strategy}/{study}/{digest(tuning, strategy)}",
                    direction="maximize", pruner=pruner, load_if_exists=True,
                )  # fmt: skip
        self.again = {o.cell.slot for o in self.outcomes() if o.state == "failed"} if retry else set()

    def _pruner(self) -> Any:
        search = self.tuning.search
        if search.pruner == "none":
            return self.optuna.pruners.NopPruner()
        assert search.warmup_trials is not None and search.warmup_fraction is not None
        return self.optuna.pruners.MedianPruner(
            n_startup_trials=search.warmup_trials, n_warmup_steps=round(PERCENT * search.warmup_fraction)
        )

    # ---- taking a trial on

    def take(self) -> Taken | None:
        """The next trial that nobody has done or is doing; None if there is none at this moment.

        A trial that was begun by a process that is no more comes first.
        """
        with self.claims.alone():
            for strategy, study, slot in self.slots:
                if self._over(strategy, study, slot) or not self.claims.take(claim(strategy, study, slot)):
                    continue
                if self._over(strategy, study, slot):  # it came to its end, and was let go, between the two
                    self.claims.release(claim(strategy, study, slot))
                    continue
                found = self._found(strategy, study).get(slot)
                if found is None or found.state.is_finished():
                    self._begin(strategy, study, slot, found)
                    self.again.discard((strategy, study, slot))
                begun = self._found(strategy, study)[slot]
                trial = self.optuna.trial.Trial(self.studies[strategy, study], begun._trial_id)
                return Taken(self._cell(strategy, study, slot, begun), trial)
        return None

    def _over(self, strategy: str, study: int, slot: int) -> bool:
        """Whether there is nothing more to do for a slot."""
        found = self._found(strategy, study).get(slot)
        if found is None or not found.state.is_finished():
            return False
        return found.state.name != "FAIL" or (strategy, study, slot) not in self.again

    def _begin(self, strategy: str, study: int, slot: int, failed: FrozenTrial | None) -> None:
        """Enters a trial: with settings known beforehand, those of one that failed, or the sampler's."""
        held = self.studies[strategy, study]
        wanted = {parameter.key: parameter.distribution() for parameter in self.tuning.spaces[strategy]}
        if slot < planned(self.tuning.search) or failed is not None:
            values = dict(self._cell(strategy, study, slot, failed).parameters)
            state = self.optuna.trial.TrialState.RUNNING
            held.add_trial(
                self.optuna.trial.create_trial(
                    state=state, params=values, distributions=wanted, user_attrs={SLOT: slot}
                )
            )
            return
        held.sampler = self._sampler(study, slot)
        # a trial without a slot, left by a process that ended here, counts for nothing
        held.ask(wanted).set_user_attr(SLOT, slot)

    def _sampler(self, study: int, slot: int) -> Any:
        """TPE with a seed of this slot, so that a tuning that was interrupted goes on as it would have."""
        text = f"{self.tuning.search.seed + study}/{slot}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        return self.optuna.samplers.TPESampler(n_startup_trials=1, seed=seed)

    # ---- what became of a trial

    def tell(self, taken: Taken, outcome: Outcome) -> None:
        """Records a trial's end and lets it go."""
        states = self.optuna.trial.TrialState
        state = {"done": states.COMPLETE, "failed": states.FAIL, "pruned": states.PRUNED}[outcome.state]
        for key, value in ((FLOPS, outcome.flops), (SAVED, outcome.saved), (FAULT, outcome.fault)):
            taken.trial.set_user_attr(key, value)
        cell = taken.cell
        held = self.studies[cell.strategy, cell.study]
        held.tell(taken.trial, outcome.score if outcome.state == "done" else None, state=state)
        self.claims.release(claim(cell.strategy, cell.study, cell.trial))

    def report(self, taken: Taken, scores: dict[float, float | None]) -> bool:
        """Hands the scores on the way, by share of the budget, to the pruner; whether it would end the trial now."""
        if self.tuning.search.pruner == "none":
            return False
        trials = self.studies[taken.cell.strategy, taken.cell.study].get_trials(deepcopy=False)
        reported = trials[taken.trial.number].intermediate_values
        for share, score in scores.items():
            step = round(PERCENT * share)
            if 0 < share < 1 and score is not None and step not in reported:
                taken.trial.report(score, step)
                if taken.trial.should_prune():
                    return True
        return False

    # ---- reading

    def outcomes(self) -> list[Outcome]:
        """Of every slot, in the order in which they begin; trials that are not known yet are left out."""
        found = []
        for strategy, study, slot in self.slots:
            trial = self._found(strategy, study).get(slot)
            if trial is None and slot >= planned(self.tuning.search):
                continue
            cell = self._cell(strategy, study, slot, trial)
            found.append(Outcome(cell, "waiting") if trial is None else _read(cell, trial))
        return found

    @property
    def left(self) -> int:
        """Trials that have not come to their end, in this process or in others."""
        found = self.outcomes()
        again = sum(o.state == "failed" and o.cell.slot in self.again for o in found)
        return len(self.slots) - sum(o.state != "waiting" for o in found) + again

    def _found(self, strategy: str, study: int) -> dict[int, FrozenTrial]:
        """Slot -> its newest trial."""
        trials = self.studies[strategy, study].get_trials(deepcopy=False)
        return {trial.user_attrs[SLOT]: trial for trial in trials if SLOT in trial.user_attrs}

    def _cell(self, strategy: str, study: int, slot: int, trial: FrozenTrial | None) -> TrialCell:
        key = (strategy, study, slot)
        if key not in self.known:
            own = self.plans[strategy, study]
            if slot < len(own):
                values = own[slot]
            else:
                assert trial is not None
                space = self.tuning.spaces[strategy]
                values = {parameter.key: parameter.rounded(trial.params[parameter.key]) for parameter in space}
            self.known[key] = trial_cell(self.tuning, *key, values)
        return self.known[key]


def _read(cell: TrialCell, trial: FrozenTrial) -> Outcome:
    states: dict[str, Any] = {"COMPLETE": "done", "FAIL": "failed", "PRUNED": "pruned"}
    state = states.get(trial.state.name, "waiting")
    score = trial.value if state == "done" else None
    attributes = trial.user_attrs
    return Outcome(
        cell, state, score, attributes.get(FLOPS, 0.0), attributes.get(SAVED, 0.0), attributes.get(FAULT, "")
    )


def claim(strategy: str, study: int, slot: int) -> str:
    """The name of a slot's lock."""
    return f"{strategy}.{study}.{slot}"


def digest(tuning: Tuning, strategy: str) -> str:
    """8 hex digits over all that decides the trials of a strategy."""
    search = asdict(tuning.search)
    del search["allow_unequal"]
    if tuning.search.sampler == "qmc":
        del search["trials"]  # more trials begin with the same ones
    space = {parameter.key: parameter.as_dict() for parameter in tuning.spaces[strategy]}
    content = [search, space, common_spec(tuning, strategy).hash()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


__all__ = ["Store", "Taken", "digest", "masked", "open_storage"]
