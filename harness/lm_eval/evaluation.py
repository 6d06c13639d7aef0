"""A task of lm-eval run on a model of ours: in a directory of its own that can be resumed request by request."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import provenance
from harness.engines import factory
from harness.evaluation_run import Guard, Report, Target, loaded, weights_state
from harness.lm_eval import tasks
from harness.lm_eval.answers import FRACTION, Answers, file_name
from harness.models import ladder
from harness.run import choose_device
from harness.store import SCHEMA, RunDir, keep_lines, read_json, write_json

if TYPE_CHECKING:
    from harness.lm_eval.model import HarnessLM

KIND = "lm_eval"
KEY = f"{FRACTION:.2f}"
BOOTSTRAP = 1000  # resamples behind the standard errors of metrics that are no means
_LEFT_OUT = ("samples", "config", "pretty_env_info", "git_hash", "upper_git_hash", "date")  # ours are in the manifest


@dataclass(frozen=True)
class Options:
    """What is asked for besides model and task. None: as the task says; `decoding`: instead of its own values.

    `limit`: documents of each task, the first ones. `include`: a folder with more task files.
    """

    limit: int | None = None
    shots: int | None = None
    chat: bool = False  # by the model's chat template; lm-eval's own default is without
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    include: Path | None = None

    @property
    def decoding(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self.max_tokens is not None:
            given["max_gen_toks"] = self.max_tokens
        if self.temperature is not None:
            given |= {"temperature": self.temperature, "do_sample": self.temperature > 0}
        if self.top_p is not None:
            given["top_p"] = self.top_p
        return given


def directory_for(chosen: Target, task: str, options: Options, results: Path) -> RunDir:
    """results/evaluations/<name>-<task>-<hash>: other weights, options, task files or lm-eval give another one."""
    from importlib.metadata import version

    content = {
        "model": chosen.ref.location,
        "files": weights_state(chosen),
        "task": task,
        "options": {**asdict(options), "include": tasks.folder_state(options.include)},
        "engine": chosen.spec.evaluation_engine,
        "seed": chosen.spec.eval.seed,
        "lm_eval": version("lm_eval"),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return RunDir(results / "evaluations" / f"{chosen.name}-{file_name(task)}-{digest}")


def run(
    chosen: Target,
    task: str,
    options: Options,
    results: Path,
    report: Report = lambda done, total, rate, left: None,
    guard: Guard = nullcontext,
) -> RunDir:
    """Runs lm-eval's `task`, a task, group or tag, on the model and returns the finished directory.

    It holds lm-eval's own results (lm_eval.json), the model's answers (generations/), lm-eval's records of each
    document (verdicts/), and a summary by task (evaluation.json). Answers are stored as they come, so that the same
    call goes on where it stopped. `guard` surrounds each piece of work that must not last for ever. ValueError in one
    sentence for unknown tasks, missing data, wrong options.
    """
    manager = tasks.manager(options.include, task)
    directory = directory_for(chosen, task, options, results)
    if directory.done:
        return directory
    ladder.check_reachable(chosen.ref)
    choose_device(chosen.spec.runtime.device)
    factory.check(chosen.spec)
    # what can be wrong is found before anything is written
    kinds = tasks.output_types(manager, task)
    if chosen.spec.evaluation_engine == factory.VLLM and kinds != {"generate_until"}:
        raise ValueError(
            f"the task {task} needs log-likelihoods, which vllm does not give: use the engine transformers"
        )
    with directory.writer():
        _begin(directory, chosen, task, options)
        import lm_eval

        with guard():
            model = _model(chosen, directory, report, guard)
        with closing(model.engine), tasks.quiet():
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=[task],
                task_manager=manager,
                num_fewshot=options.shots,
                limit=options.limit,
                gen_kwargs=options.decoding or None,
                apply_chat_template=options.chat,
                bootstrap_iters=BOOTSTRAP,
            )
        _store(directory, found)
        directory.finish()
    return directory


def _begin(directory: RunDir, chosen: Target, task: str, options: Options) -> None:
    path = directory.path / "manifest.json"
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": KIND,
        "target": chosen.name,
        "model": chosen.ref.location,
        "task": task,
        "options": {**asdict(options), "include": options.include and str(options.include)},
        "seed": chosen.spec.eval.seed,
        "attempts": [],
    }
    if path.exists():
        manifest = read_json(path)
    manifest["provenance"] = provenance.collect()
    number = len(manifest["attempts"]) + 1
    manifest["attempts"].append({"number": number, "started": time.time(), "pid": os.getpid()})
    write_json(path, manifest)


def _model(chosen: Target, directory: RunDir, report: Report, guard: Guard) -> HarnessLM:
    """The engine with the tokenizer, and for log-likelihoods the engine's own model if it is of transformers."""
    from harness.lm_eval.model import HarnessLM

    found = loaded(chosen)
    answers = Answers(directory)
    seed = chosen.spec.eval.seed
    return HarnessLM(
        found.engine, found.tokenizer, found.context, found.model, found.ends, seed, answers, report, guard
    )


def _store(directory: RunDir, found: Mapping[str, Any]) -> None:
    """lm-eval's results as they are, its records of documents, and the summary by task."""
    summary = {}
    for name, records in found["samples"].items():
        rows = [
            {
                "problem": record["doc_id"],
                "filter": record["filter"],
                "metrics": {metric: record[metric] for metric in record["metrics"]},
                "target": record["target"],
                "response": record["filtered_resps"],
                "doc_hash": record["doc_hash"],
                "prompt_hash": record["prompt_hash"],
                "target_hash": record["target_hash"],
            }
            for record in records
        ]
        keep_lines(directory.verdicts(file_name(name), FRACTION), plain(rows))
        summary[name] = {
            "n": found["n-samples"][name]["effective"],
            "shots": found["n-shot"].get(name),
            "version": found["versions"].get(name),
            "config_hash": tasks.config_hash(found["configs"][name]),
            "metrics": metrics(found["results"][name]),
        }
    for name, values in found.get("groups", {}).items():
        summary.setdefault(name, {"version": found["versions"].get(name), "metrics": metrics(values)})
    write_json(directory.path / "lm_eval.json", plain({k: v for k, v in found.items() if k not in _LEFT_OUT}))
    write_json(directory.evaluation, {KEY: plain(summary)})


def metrics(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """lm-eval's "metric,filter" entries as records with their standard errors."""
    found = []
    for key, value in values.items():
        metric, comma, kind = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            error = values.get(f"{metric}_stderr,{kind}")
            found.append({"metric": metric, "filter": kind, "value": value, "se": None if error == "N/A" else error})
    return found


def plain(value: Any) -> Any:
    """The value as JSON has it: NumPy's numbers as numbers, NaN and infinities as null, other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
