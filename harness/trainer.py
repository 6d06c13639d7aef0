"""The loop of one run: plan, sample, grade, route, update, probe, evaluate, checkpoint, until the ledger is spent."""

from __future__ import annotations

import copy
import math
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from harness import checkpoint
from harness.collect import Collector
from harness.core import Learner
from harness.data import Renderer, TrainingData
from harness.engines.base import Engine
from harness.engines.policy import sampling
from harness.evaluate import Evaluator
from harness.gradient_probe import GradientProbe
from harness.ledger import Cost, Ledger
from harness.probe import Probe
from harness.progress import Progress
from harness.seeds import permutation, seed_for
from harness.spec import RunSpec
from harness.store import RunDir, append_lines, keep_lines, read_json, read_lines, write_json
from harness.watchdog import Watchdog
from strategies.base import START_POLICY, Role, Row, Step, Strategy

STATES = {"main": "optimizer", "second": "optimizer_second"}  # files of a checkpoint
LARGE_DMU = 0.005  # |mu_t - mu_{t-1}| above this counts as a large move; a proposal, the GAC paper names no threshold


class Trainer:
    """Runs one specification in one run directory; everything that the next step depends on is in its checkpoints."""

    def __init__(
        self,
        spec: RunSpec,
        directory: RunDir,
        model: PreTrainedModel,
        renderer: Renderer,
        strategy: Strategy,
        engines: tuple[Engine, Engine],
        progress: Progress,
        watchdog: Watchdog,
    ) -> None:
        self.spec = spec
        self.directory = directory
        self.model = model
        self.renderer = renderer
        self.strategy = strategy
        self.engine, self.evaluation_engine = engines
        self.progress = progress
        self.watchdog = watchdog
        self.data = TrainingData(spec, renderer, validation="validation_nll" in strategy.requires)
        for count, what in ((self.data.too_long, "prompts"), (self.data.demos_too_long, "demonstrations")):
            if count:
                progress.say(f"{count} training {what} are missing or do not fit the context and are left out")
        self.ledger = Ledger(spec.budget)
        self.cost = Cost.of(model.config.to_dict())
        self.collector = Collector(spec, self.data, strategy, self.engine, self.cost, self.ledger)
        needs_reference = spec.probe.every > 0 or bool(START_POLICY & strategy.requires)
        self.reference = copy.deepcopy(model).requires_grad_(False).eval() if needs_reference else None
        self.learner = Learner(model, strategy, spec, self.reference)
        self.probe = None
        if spec.probe.every:
            assert self.reference is not None
            self.probe = Probe(spec, self.collector, self.learner, self.reference)
        self.evaluator = Evaluator(spec, renderer, self.evaluation_engine, progress.say, watchdog.phase)
        self.batch = 0  # batches of rollouts drawn
        self.index = 0  # lines of metrics written: optimiser steps, skipped ones included
        self.saved: int | None = None  # index of the newest checkpoint
        self.track: dict[str, Any] = {
            "kl": None,
            "kl_index": 0,
            "validation_nll": None,
            "kl_drift_area": 0.0,
            "mu": None,
            "large_dmu_events": 0,
        }
        self.evaluated: dict[str, Any] = {}

    def close(self) -> None:
        """Gives the engines' memory back."""
        for engine in {id(engine): engine for engine in (self.engine, self.evaluation_engine)}.values():
            engine.close()

    # ---- the loop

    def run(self) -> None:
        """Trains until the budget is spent. Picks up the newest intact checkpoint of the directory."""
        self._restore()
        self.progress.restored()
        self._first_validation()
        self._evaluate_due()
        while self.ledger.fraction < 1.0:
            self._batch()
            self._evaluate_due()
            since = self.index - (self.saved or 0)
            if self.ledger.fraction >= 1.0 or since >= self.spec.runtime.checkpoint_every:
                self._save()
        self._evaluate_due()
        self.directory.finish()

    def step(self) -> Step:
        seed = seed_for("strategy", self.spec.seed, self.index)
        return Step(self.index, self.ledger.fraction, self.track["kl"], self.track["validation_nll"], seed)

    def _first_validation(self) -> None:
        """A strategy that watches held-out demonstrations knows the start policy's likelihood of them."""
        if self.data.validation and self.probe is not None and self.track["validation_nll"] is None:
            self.track["validation_nll"] = self.probe.nll(self.data.validation)

    def _batch(self) -> None:
        """One batch of rollouts and the optimiser steps on it."""
        step = self.step()
        before = dict(self.ledger.seconds)
        with self.watchdog.phase(), self.ledger.clock("rollout"), sampling(self.engine, self.model):
            rows, seen = self.collector.collect(step, self.batch)
        self.batch += 1
        if self.spec.train.minibatches > 1 and "given_logp" in self.strategy.requires:
            with self.watchdog.phase(), self.ledger.clock("update"):
                rows = self.learner.given(rows)
        parts = self._minibatches(rows)
        spent = {name: self.ledger.seconds.get(name, 0.0) - before.get(name, 0.0) for name in self.ledger.seconds}
        for part in parts:
            with self.watchdog.phase(), self.ledger.clock("update"):
                metrics = self._update(part, self.step())
            timing = {"rollout": spent.pop("rollout", 0.0), "update": metrics.pop("seconds_update", 0.0)}
            timing["controller"] = metrics.pop("seconds_controller", 0.0)
            if "seconds_gradient_probe" in metrics:
                timing["gradient_probe"] = metrics.pop("seconds_gradient_probe")
            self.index += 1
            self._record({**metrics, **seen, **self._probed()}, timing)
            if self.ledger.fraction >= 1.0:
                break

    def _probed(self) -> dict[str, float | None]:
        """The probe's metrics where it is due, and the KL-drift area by the trapezoid rule over optimiser steps."""
        if self.probe is None or self.index % self.spec.probe.every:
            return {}
        with self.watchdog.phase(), sampling(self.engine, self.model):
            measured = self.probe.measure(self.index)
        track, kl = self.track, measured["kl"] or 0.0
        # the policy starts at KL 0
        track["kl_drift_area"] += 0.5 * ((track["kl"] or 0.0) + kl) * (self.index - track["kl_index"])
        track["kl"], track["kl_index"] = kl, self.index
        track["validation_nll"] = measured.get("validation_nll")
        return measured

    def _minibatches(self, rows: list[Row]) -> list[list[Row]]:
        """Rows split into `minibatches` parts by group, so that a group is never torn apart."""
        n = self.spec.train.minibatches
        if n == 1 or not rows:
            return [rows]
        groups = sorted({row.group for row in rows})
        place = {group: i * n // len(groups) for i, group in enumerate(permuted(groups, self.spec.seed, self.batch))}
        parts: list[list[Row]] = [[] for _ in range(n)]
        for row in rows:
            parts[place[row.group]].append(row)
        return [part for part in parts if part]

    # ---- the optimiser step

    def _update(self, rows: list[Row], step: Step) -> dict[str, Any]:
        self.ledger.add(updates=1)
        if not rows:  # every group was dropped; the rollouts were paid for all the same
            self.strategy.observe({}, step)
            return {**self._extra(step), **self.strategy.metrics(), "skipped": 1.0}
        self._charge(rows)
        measured: dict[str, float] = {}
        probe = self._gradient_probe(rows, step)
        metrics = self.learner.update(rows, step, measure=None if probe is None else probe.measure)
        if probe is not None:
            measured = {**probe.result, "seconds_gradient_probe": probe.seconds}
        mismatch = metrics["mismatch"]
        if self.spec.train.minibatches == 1 and mismatch is not None and mismatch > self.spec.rollout.max_mismatch:
            raise RuntimeError(
                f"sampler and trainer disagree by {mismatch:.3g} nats a token (bound: rollout.max_mismatch="
                f"{self.spec.rollout.max_mismatch}): the rollouts do not come from the policy that is trained"
            )
        extra = self._extra(step)
        metrics["seconds_update"] += extra.pop("seconds_update", 0.0)
        return {**self.strategy.metrics(), **metrics, **measured, **extra}

    def _charge(self, rows: Sequence[Row]) -> None:
        """Puts the rows of an update on the ledger; a prefix is a part of a demonstration."""
        for row in rows:
            flops = self.cost.train(len(row.prompt), len(row.response))
            given = row.prefix if row.role == Role.ROLLOUT else len(row.response)
            self.ledger.add(
                trained_tokens_demo=given, trained_tokens_rollout=len(row.response) - given, flops_train=flops
            )
            # ref_logp and soft targets each take a forward pass of the start policy
            self.ledger.add(flops_reference=len(START_POLICY & self.strategy.requires) * (flops // 3))

    def _extra(self, step: Step) -> dict[str, Any]:
        """The second update of the step, if the strategy has one."""
        extra = self.strategy.extra_update(step)
        if extra is None:
            return {}
        self.ledger.add(updates=1)
        self._charge(extra.rows)
        metrics = self.learner.update(extra.rows, step, optimizer="second", grad_clip=extra.grad_clip)
        return {
            "second_loss": metrics["loss"],
            "second_grad_norm": metrics["grad_norm"],
            "second_rows": len(extra.rows),
            "seconds_update": metrics["seconds_update"],
        }

    def _gradient_probe(self, rows: Sequence[Row], step: Step) -> GradientProbe | None:
        every = self.spec.probe.gradients_every
        return GradientProbe(self.learner, rows, step) if every and step.index % every == 0 else None

    # ---- records

    def _record(self, metrics: dict[str, Any], timing: dict[str, float]) -> None:
        mu = metrics.get("mu")
        if mu is not None:
            previous = self.track["mu"]
            metrics["d_mu"] = 0.0 if previous is None else mu - previous
            self.track["large_dmu_events"] += abs(metrics["d_mu"]) > LARGE_DMU
            self.track["mu"] = mu
            metrics["large_dmu_events"] = self.track["large_dmu_events"]
        line = {
            "step": self.index,
            "fraction": self.ledger.fraction if self.spec.budget.kind != "seconds" else None,
            **metrics,
            "kl_drift_area": self.track["kl_drift_area"],
            **self.ledger.snapshot(),
        }
        append_lines(self.directory.metrics, [{k: _finite(v) for k, v in line.items()}])
        seconds = timing["rollout"] + timing["update"]
        record = {
            "step": self.index,
            "seconds": seconds,
            **timing,
            "cumulative_seconds": sum(self.ledger.seconds.values()),
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        if self.model.device.type == "cuda":
            record["device_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        append_lines(self.directory.timing, [record])
        self.progress.step(line, record)

    # ---- evaluation, checkpoints

    def _evaluate_due(self) -> None:
        """Evaluates at every planned fraction that the ledger has reached; the clock stands still."""
        fractions = sorted(set(self.spec.eval.fractions))
        for fraction in fractions:
            key = f"{fraction:.2f}"
            if key in self.evaluated or fraction > self.ledger.fraction + 1e-12:
                continue
            # the model is saved first: what was evaluated can be loaded again
            self._save()
            self.progress.say(f"evaluating at {100 * fraction:.0f}% of the budget")
            ood = fraction in (fractions[0], fractions[-1])
            with sampling(self.evaluation_engine, self.model):
                summaries = self.evaluator.run(self.directory, fraction, ood)
            at = {**self.ledger.snapshot(), "seconds": sum(self.ledger.seconds.values()), "step": self.index}
            self.evaluated[key] = {name: {**summary, "at": at} for name, summary in summaries.items()}
            write_json(self.directory.evaluation, self.evaluated)
            self.progress.evaluated(key, self.evaluated[key])

    def _save(self) -> None:
        if self.saved == self.index:
            return  # evaluation changes nothing
        state = {
            "batch": self.batch,
            "index": self.index,
            "track": self.track,
            "ledger": self.ledger.state_dict(),
            "data": self.data.state_dict(),
            "strategy": self.strategy.state_dict(),
            "spec_hash": self.spec.hash(),
        }
        # tied weights are stored once, under the name that the model's own loader expects
        parameters = {name: value.detach().contiguous() for name, value in self.model.named_parameters()}
        tensors = {"model": parameters}
        for name, optimizer in self.learner.optimizers.items():
            tensors[STATES[name]] = checkpoint.optimizer_tensors(optimizer)
        tensors = {name: group for name, group in tensors.items() if group}

        def beside(path: Path) -> None:
            self.model.config.save_pretrained(path)
            self.renderer.tokenizer.save_pretrained(path)
            GenerationConfig(eos_token_id=list(self.renderer.ends)).save_pretrained(path)

        keep = self.spec.runtime.keep_checkpoints
        checkpoint.save(self.directory.checkpoints, self.index, tensors, state, keep, beside)
        self.saved = self.index

    def _restore(self) -> None:
        damaged = False
        for step in reversed(checkpoint.list_steps(self.directory.checkpoints)):
            path = self.directory.checkpoints / f"step_{step:06d}"
            problem = checkpoint.verify(path)
            if problem is None:
                self._load(*checkpoint.load(path))
                break
            damaged = True
            self.progress.say(f"{problem}: falling back to the checkpoint before it")
        newest = -1 if self.saved is None else self.saved
        checkpoint.tidy(self.directory.checkpoints, newest, self.spec.runtime.keep_checkpoints)
        keep_lines(self.directory.metrics, [r for r in read_lines(self.directory.metrics) if r["step"] <= self.index])
        keep_lines(self.directory.timing, [r for r in read_lines(self.directory.timing) if r["step"] <= self.index])
        if self.directory.evaluation.exists():
            self.evaluated = {
                key: suites
                for key, suites in read_json(self.directory.evaluation).items()
                if all(summary["at"]["step"] <= self.index for summary in suites.values())
            }
        if damaged:
            self._forget()

    def _forget(self) -> None:
        """Removes samples of evaluations that will be redone: with seconds as budget, their weights may be others."""
        for fraction in self.spec.eval.fractions:
            if f"{fraction:.2f}" not in self.evaluated:
                for folder in ("generations", "verdicts"):
                    for path in (self.directory.path / folder).glob(f"*@{fraction:.2f}.jsonl"):
                        path.unlink()

    def _load(self, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
        if state["spec_hash"] != self.spec.hash():
            raise ValueError(
                f"the checkpoints in {self.directory.path} belong to another specification: use another directory"
            )
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors["model"][name])
        for name, optimizer in self.learner.optimizers.items():
            if STATES[name] in tensors:
                checkpoint.load_optimizer(optimizer, tensors[STATES[name]])
        self.ledger.load_state_dict(state["ledger"])
        self.data.load_state_dict(state["data"])
        self.strategy.load_state_dict(state["strategy"])
        self.batch, self.index, self.track = state["batch"], state["index"], state["track"]
        self.saved = self.index
        self.progress.say(f"resumed at step {self.index}")


def permuted(groups: Sequence[int], *names: object) -> list[int]:
    """`groups` in a random order fixed by `names`."""
    return [groups[i] for i in permutation(len(groups), "minibatches", *names)]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
