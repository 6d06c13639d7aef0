"""--log: every service is told once of what the run's files hold, and a run neither depends on it nor dies of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import cli, matrix_run, sinks, trainer
from harness.sinks import feed
from harness.store import RunDir
from tests.store.runs import content, lines

NAMES = tuple(sinks.PACKAGES)
SMALL = {
    "budget": {"limit": 6},
    "data": {"suites": ["math"]},
    "eval": {"problems": 4, "ood_problems": 2, "k": 1},
    "probe": {"every": 2, "prompts": 2},
}


class Down(OSError):
    """The service does not answer."""


class Service:
    """What a fake library was told: (step, values) in order, across the attempts of a run."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.opened: list[dict[str, Any]] = []
        self.closed: list[Any] = []
        self.fails_at: int | None = None
        self.fault: type[Exception] = Down

    def tell(self, step: int, values: dict[str, float]) -> None:
        if self.fails_at is not None and step >= self.fails_at:
            raise self.fault("no answer from https://me:secret@example.org/x")
        self.told.append((step, dict(values)))

    @property
    def last(self) -> int:
        return max((step for step, _ in self.told), default=-1)


def _tensorboard(service: Service) -> dict[str, ModuleType]:
    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int, flush_secs: int) -> None:
            service.opened.append({"folder": folder})
            service.told = [entry for entry in service.told if entry[0] < purge_step]

        def add_text(self, *arguments: Any, **options: Any) -> None:
            pass

        def add_scalar(self, name: str, value: float, step: int, walltime: float) -> None:
            # one call a value: those of a record are put together
            if name == "eval/fraction" or not service.told or service.told[-1][0] != step:
                service.tell(step, {name: value})
            else:
                service.told[-1][1][name] = value

        def close(self) -> None:
            service.closed.append(True)

    return {"tensorboard": _module("tensorboard"), "torch.utils.tensorboard": _module("t", SummaryWriter=SummaryWriter)}


def _wandb(service: Service, offline: bool = True) -> dict[str, ModuleType]:
    class Error(Exception):
        pass

    class UsageError(Error):
        pass

    def init(**options: Any) -> Any:
        if service.fails_at == -1:
            raise UsageError("No API key configured.")
        resumed = not offline and any(before["id"] == options["id"] for before in service.opened)
        service.opened.append(options)

        def log(values: dict[str, float]) -> None:
            service.tell(int(values["step"]), {key: value for key, value in values.items() if key != "step"})

        summary = {"step": service.last} if resumed and service.told else {}
        return SimpleNamespace(
            log=log, finish=lambda exit_code: service.closed.append(exit_code), define_metric=lambda *a, **o: None,
            offline=offline, resumed=resumed, summary=summary, dir="here/files", url="there",
        )  # fmt: skip

    errors = SimpleNamespace(UsageError=UsageError)
    return {"wandb": _module("wandb", Error=Error, errors=errors, Settings=lambda **o: o, init=init)}


def _mlflow(service: Service) -> dict[str, ModuleType]:
    class MlflowException(Exception):
        error_code = "RESOURCE_DOES_NOT_EXIST"

    class Client:
        tracking_uri = "http://me:secret@tracking"

        def get_experiment_by_name(self, name: str) -> Any:
            return SimpleNamespace(experiment_id="7")

        def create_run(self, experiment: str, **options: Any) -> Any:
            service.opened.append(options)
            return SimpleNamespace(info=SimpleNamespace(run_id="id"))

        def get_run(self, identity: str) -> Any:
            if not service.opened:
                raise MlflowException
            metrics = {"step": float(service.last)} if service.told else {}
            return SimpleNamespace(data=SimpleNamespace(metrics=metrics))

        def update_run(self, identity: str, status: str) -> None:
            assert (identity, status) == ("id", "RUNNING")

        def log_batch(self, identity: str, metrics: Any = (), params: Any = ()) -> None:
            assert len(metrics) <= 1000 and len(params) <= 100
            if metrics:
                (step,) = {entry[3] for entry in metrics}
                service.tell(step, {key: value for key, value, _, _ in metrics if key != "step"})

        def set_terminated(self, identity: str, status: str) -> None:
            service.closed.append(status)

    entities = _module("mlflow.entities", Metric=lambda *a: a, Param=lambda *a: a)
    return {
        "mlflow": _module("mlflow", MlflowClient=Client),
        "mlflow.entities": entities,
        "mlflow.exceptions": _module("mlflow.exceptions", MlflowException=MlflowException),
    }


def _trackio(service: Service) -> dict[str, ModuleType]:
    def init(**options: Any) -> Any:
        assert options["resume"] == ("allow" if service.opened else "never")
        service.opened.append(options)
        return SimpleNamespace(id="id", log=lambda values, step: service.tell(step, values))

    return {"trackio": _module("trackio", init=init, finish=lambda: service.closed.append(True))}


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, origin="made here")
    for key, value in members.items():
        setattr(made, key, value)
    return made


FAKES: dict[str, Callable[[Service], dict[str, ModuleType]]] = {
    "tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio,
}  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Service]:
    """(name) -> a service behind a library that is put in the place of the real one."""

    def install(name: str, make: Callable[..., dict[str, ModuleType]] | None = None) -> Service:
        service = Service()
        for module, made in (make or FAKES[name])(service).items():
            monkeypatch.setitem(sys.modules, module, made)
        return service

    return install


@pytest.fixture
def run(make_spec: Callable[..., Any], tmp_path: Path) -> Callable[..., RunDir]:
    """(sinks, nested changes) -> a finished run that was told to them, resumed where it had begun."""
    from harness.run import execute
    from tests.conftest import merged

    def call(*names: str, results: Path | None = None, **changes: Any) -> RunDir:
        spec = make_spec(**merged(SMALL, changes))
        return execute(spec, results or tmp_path / "results", resume=True, quiet=True, log=names)

    return call


def numbers(prefix: str, table: dict[str, Any]) -> dict[str, float]:
    """Names and values of a nested table, written apart from the program's."""
    found = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= numbers(f"{prefix}/{key}", value)
        elif isinstance(value, (int, float)) and key not in ("step", "n", "k", "samples"):
            found[f"{prefix}/{key}"] = float(value)
    return found


def expected(directory: RunDir) -> list[tuple[int, dict[str, float]]]:
    """What the files of a run say: its steps, and behind the step of each its evaluations."""
    steps = []
    for line, timing in zip(lines(directory.metrics), lines(directory.timing), strict=True):
        steps.append((line["step"], numbers("train", line) | numbers("timing", timing)))
    for key, suites in json.loads(directory.evaluation.read_text()).items():
        values = {"eval/fraction": float(key)}
        values["eval/avg_at_k"] = sum(summary["avg_at_k"] for summary in suites.values()) / len(suites)
        for suite, summary in suites.items():
            step = summary.pop("at")["step"]
            harder = summary.pop("ood", {})
            for split, part in (("eval", summary), ("ood", harder)):
                part.pop("statuses", None)
                values |= numbers(f"{split}/{suite}", part)
        steps.append((step, values))
    return sorted(steps, key=lambda entry: (entry[0], "eval/fraction" in entry[1]))


def log_of(directory: RunDir) -> str:
    return "".join(path.read_text() for path in sorted((directory.path / "logs").iterdir()))


@pytest.mark.parametrize("name", NAMES)
def test_a_service_is_told_what_the_files_say(name, fake, run):
    service = fake(name)
    directory = run(name)
    told = expected(directory)
    assert len(told) == 6 + 3 and {"train/reward", "timing/seconds", "train/flops"} <= told[1][1].keys()
    assert {"eval/math/avg_at_k", "eval/math/pass_at_k/1", "ood/math/avg_at_k"} <= told[0][1].keys()
    assert service.told == told
    assert len(service.opened) == len(service.closed) == 1
    assert f"log {name}: " in log_of(directory) and "secret" not in log_of(directory)


class Killed(BaseException):
    """Ends an attempt without any clean-up of the sinks."""


@pytest.mark.parametrize("clean", [True, False], ids=["interrupted", "killed"])
@pytest.mark.parametrize("place", ["step", "evaluation"])
@pytest.mark.parametrize("name", [*NAMES, "wandb online"])
def test_a_resumed_run_repeats_no_step(name, place, clean, fake, run, monkeypatch):
    online = lambda service: _wandb(service, offline=False)  # noqa: E731
    service = fake("wandb", online) if name == "wandb online" else fake(name)
    name = name.partition(" ")[0]
    with monkeypatch.context() as patch:
        if not clean:
            patch.setattr(feed.Feed, "close", lambda self, done: None)
        if place == "step":  # the newest checkpoint is of step 4: 5 is done and told twice
            patch.setattr(trainer, "append_lines", _ending(trainer.append_lines))
        else:  # step 3 is told, its evaluation is not
            patch.setattr(trainer.Evaluator, "run", _ending_evaluation(trainer.Evaluator.run))
        with pytest.raises(Killed):
            run(name)
    before = [step for step, _ in service.told]
    assert before == ([0, 1, 2, 3, 3, 4, 5] if place == "step" else [0, 1, 2, 3])
    directory = run(name)
    assert [step for step, _ in service.told] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    assert [without_time(values) for _, values in service.told] == [
        without_time(values) for _, values in expected(directory)
    ]
    assert len(service.opened) == (1 if name == "mlflow" else 2)
    if name == "wandb":
        assert len({options["id"] for options in service.opened}) == 1


def without_time(values: dict[str, float]) -> dict[str, float]:
    """Seconds and memory of a step differ from one attempt to the next."""
    return {key: value for key, value in values.items() if not key.startswith("timing/")}


def _ending(append: Callable[..., None]) -> Callable[..., None]:
    def call(path: Path, records: list[dict[str, Any]]) -> None:
        if path.name == "metrics.jsonl" and records[0]["step"] == 6:
            raise Killed
        append(path, records)

    return call


def _ending_evaluation(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, directory: RunDir, fraction: float, ood: bool) -> Any:
        if fraction == 0.5:
            raise Killed
        return evaluate(self, directory, fraction, ood)

    return call


@pytest.mark.parametrize("name", NAMES)
def test_a_service_that_fails_is_said_once_and_does_not_end_the_run(name, fake, run):
    service, other_name = fake(name), NAMES[NAMES.index(name) - 1]
    other = fake(other_name)
    service.fails_at = 3
    directory = run(name, other_name)
    assert directory.done and other.told == expected(directory)
    assert max(step for step, _ in service.told) == 2
    said = [line for line in log_of(directory).splitlines() if "warning" in line]
    assert len(said) == 1 and f"--log {name} failed and is left out from step 3 on (Down: no answer" in said[0]
    assert f"harness show {directory.path} --log {name}" in said[0] and "secret" not in said[0]
    # what it lacks is sent afterwards, and nothing twice
    service.fails_at = None
    assert cli.main(["show", str(directory.path), "--log", name]) == 0
    assert service.told == expected(directory)
    before = list(service.told)
    assert cli.main(["show", str(directory.path), "--log", name, "--log", other_name]) == 0
    assert service.told == before and other.told == before


def test_a_fault_of_ours_is_not_taken_for_one_of_the_service(fake, run):
    service = fake("mlflow")
    service.fails_at, service.fault = 2, TypeError
    with pytest.raises(TypeError):
        run("mlflow")


def test_results_do_not_depend_on_sinks(fake, run, tmp_path):
    plain = run(results=tmp_path / "plain")
    for name in NAMES:
        fake(name)
    told = run(*NAMES, results=tmp_path / "told")
    assert told.path.name == plain.path.name and told.manifest["spec"] == plain.manifest["spec"]
    assert content(told.path) == content(plain.path)
    assert (told.path / "sinks.json").exists() and not (plain.path / "sinks.json").exists()


def test_a_run_that_began_without_a_service_tells_it_everything(fake, run, tmp_path, capsys):
    directories = [run(seed=seed) for seed in (0, 1)]
    services = [fake(name) for name in ("wandb", "trackio")]
    # all runs of a folder; the fakes do not tell runs apart
    assert cli.main(["show", str(tmp_path / "results"), "--log", "wandb"]) == 0
    assert services[0].told == [entry for directory in sorted_by_path(directories) for entry in expected(directory)]
    assert [options["name"] for options in services[0].opened] == sorted(d.path.name for d in directories)
    assert services[0].closed == [0, 0] and "log wandb: here" in capsys.readouterr().out
    assert cli.main(["show", str(directories[1].path), "--log", "trackio"]) == 0
    assert services[1].told == expected(directories[1])


def sorted_by_path(directories: list[RunDir]) -> list[RunDir]:
    return sorted(directories, key=lambda directory: directory.path)


@pytest.mark.parametrize("verb", ["run", "matrix", "show"])
@pytest.mark.parametrize("name", NAMES)
def test_a_missing_library_is_one_sentence_before_anything_else(name, verb, tmp_path, monkeypatch, capsys, values):
    import_module(cli.VERBS[verb][0])  # with all that it needs, before nothing is found any more
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # a folder of that name is no library
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "m.toml").write_text(f"[base]\nmodel = {json.dumps(values()['model'])}\n[axes]\nseed = [0]\n")
    given = {"run": ["--strategy", "gac"], "matrix": ["m.toml"], "show": ["results"]}[verb]
    if verb == "show":
        (tmp_path / "results").mkdir()
    assert cli.main([verb, *given, "--log", name]) == 2
    said = capsys.readouterr().err.strip()
    assert f"--log {name} needs the package {sinks.PACKAGES[name]}: install it with pip install" in said
    assert "\n" not in said
    assert not list((tmp_path / "results").glob("*"))


def test_what_the_user_has_to_do_first_leaves_no_unfinished_run(fake, run, tmp_path):
    service = fake("wandb")
    service.fails_at = -1
    with pytest.raises(ValueError, match=r"--log wandb: No API key configured.*WANDB_MODE=offline"):
        run("wandb")
    assert not list(tmp_path.rglob("manifest.json"))
    service.fails_at = None
    assert run("wandb").done


def test_an_unknown_service_and_a_run_that_is_being_written(fake, run, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "--log", "nothing"])
    assert end.value.code == 2 and "choose from" in capsys.readouterr().err
    directory = run(budget={"limit": 1}, eval={"fractions": [0.0]})
    service = fake("trackio")
    with directory.writer():
        assert cli.main(["show", str(directory.path), "--log", "trackio"]) == 2
    assert "is being written by" in capsys.readouterr().err and not service.opened


def test_a_matrix_hands_the_option_on():
    job: Any = SimpleNamespace(spec_file=Path("/a/s.toml"), results=Path("/a"), sinks=("tensorboard", "wandb"))
    assert matrix_run.run_arguments(job)[-4:] == ["--log", "tensorboard", "--log", "wandb"]


# ---- the real libraries


@pytest.fixture
def interrupted(run: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], RunDir]:
    """(name) -> a run cut off at step 5, behind its newest checkpoint, and resumed; its results are as ever."""

    def call(name: str) -> RunDir:
        pytest.importorskip(name, reason=f"the package {sinks.PACKAGES[name]} is not installed")
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "append_lines", _ending(trainer.append_lines))
            with pytest.raises(Killed):
                run(name)
        directory = run(name)
        assert content(directory.path) == content(run(results=tmp_path / "plain").path)
        return directory

    return call


def check_by_name(found: dict[str, list[tuple[int, float]]], directory: RunDir) -> None:
    """Each name's steps and values are those of the files; steps told by the first attempt keep its timing."""
    wanted: dict[str, list[tuple[int, float]]] = {}
    for step, values in expected(directory):
        for name, value in values.items():
            wanted.setdefault(name, []).append((step, value))
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        if name.startswith("timing/"):
            assert [step for step, _ in found[name]] == [step for step, _ in points]
        else:
            assert found[name] == points, name


def test_tensorboard_reads_back_what_the_files_say(interrupted):
    directory = interrupted("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory.path / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]}
    wanted: dict[str, list[tuple[int, float]]] = {}
    for step, values in expected(directory):
        for name, value in values.items():
            wanted.setdefault(name, []).append((step, float(np.float32(value))))
    assert found == wanted  # timing too: the files are written anew
    began, timing = directory.manifest["attempts"][0]["started"], lines(directory.timing)
    times = [point.wall_time for point in events.Scalars("train/flops")]
    assert times == pytest.approx([began + line["cumulative_seconds"] for line in timing], abs=1e-3)
    assert len(list((directory.path / "tensorboard").iterdir())) == 1


def test_wandb_offline_holds_what_the_files_say(interrupted, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    directory = interrupted("wandb")
    found: dict[str, list[tuple[int, float]]] = {}
    parts = sorted((directory.path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(parts) == 2 and len({part.name for part in parts}) == 1
    for part in parts:
        for values in wandb_history(part):
            step = int(values.pop("step"))
            for name, value in values.items():
                if not name.startswith("_"):
                    found.setdefault(name, []).append((step, float(value)))
    check_by_name(found, directory)


def wandb_history(path: Path) -> Iterator[dict[str, Any]]:
    """The rows that W&B's own file holds, which is a log of LevelDB's format with a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:  # the rest of a block too short for a header
            place += room
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record.FromString(whole)
            whole = b""
            if record.HasField("history"):
                yield {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }


def test_mlflow_holds_what_the_files_say(interrupted, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    directory = interrupted("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "default")
    (stored,) = client.search_runs([experiment.experiment_id])
    assert stored.info.status == "FINISHED" and stored.info.run_name == directory.path.name
    assert stored.data.params["train.learning_rate"] == str(directory.manifest["spec"]["train"]["learning_rate"])
    found = {
        name: [(point.step, point.value) for point in client.get_metric_history(stored.info.run_id, name)]
        for name in stored.data.metrics
        if name != "step"
    }
    check_by_name(found, directory)


def test_trackio_holds_what_the_files_say(interrupted, monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    directory = interrupted("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    found: dict[str, list[tuple[int, float]]] = {}
    for row in SQLiteStorage.get_logs("default", directory.path.name):
        for name, value in row.items():
            if "/" in name:
                found.setdefault(name, []).append((row["step"], value))
    check_by_name(found, directory)
