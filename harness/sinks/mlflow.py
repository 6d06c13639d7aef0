"""MLflow: a server or a database, named by MLFLOW_TRACKING_URI; ./mlflow.db if it is not set."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from harness.sinks.base import RunInfo, flat

# a server that is away must not hold up training for the library's quarter of an hour
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
LONGEST_VALUE = 5000  # characters of a parameter; MLflow takes 6000
PARAMETERS = 100  # in one call


class Writer:
    """Metrics by step and training time, the specification as parameters."""

    errors: tuple[type[Exception], ...] = (OSError,)
    place = ""

    def check(self) -> None:
        """Makes the client, which creates the tables of a new local database: no two runs may do that at a time."""
        try:
            self._connect()
        except (ImportError, *self.errors) as problem:
            raise ValueError(f"--log mlflow: {str(problem).strip().splitlines()[0]}") from None

    def _connect(self) -> Any:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.errors = (OSError, MlflowException)
        try:
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError:  # only a database of our own needs it
            return MlflowClient()
        self.errors += (SQLAlchemyError,)
        return MlflowClient()

    def start(self, run: RunInfo, memory: dict[str, Any]) -> int:
        self.client = self._connect()
        held = self._resume(memory["id"]) if "id" in memory else None
        if held is None:
            self._create(run)
            memory["id"] = self.identity
            held = -1
        self.place = f"{self.client.tracking_uri}, run {self.identity}"
        return held

    def _resume(self, identity: str) -> int | None:
        """The last step of a run of ours; None if the service does not know the run."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(identity)
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        self.identity = identity
        self.client.update_run(identity, status="RUNNING")
        return int(found.data.metrics.get("step", -1))

    def _create(self, run: RunInfo) -> None:
        from mlflow.entities import Param

        tags = {name: str(run.spec[name]) for name in ("strategy", "model", "seed")}
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.experiment))
        created = self.client.create_run(
            experiment, start_time=int(1000 * run.began), run_name=run.run_id, tags={**tags, "directory": str(run.path)}
        )
        self.identity = created.info.run_id
        params = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in flat(run.spec).items()]
        for first in range(0, len(params), PARAMETERS):
            self.client.log_batch(self.identity, params=params[first : first + PARAMETERS])

    def _experiment(self, name: str) -> str:
        """Its id; created if need be."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        try:
            return self.client.create_experiment(name)
        except MlflowException:  # another run may have been faster
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        from mlflow.entities import Metric

        stamp = int(1000 * time)
        # names may hold no other characters
        named = {re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII): value for name, value in values.items()}
        named["step"] = float(step)
        self.client.log_batch(self.identity, metrics=[Metric(key, value, stamp, step) for key, value in named.items()])

    def close(self, done: bool) -> None:
        self.client.set_terminated(self.identity, "FINISHED" if done else "KILLED")
