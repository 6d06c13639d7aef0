"""`--log`: metrics and scores of a run also go to TensorBoard, W&B, MLflow or trackio, each in a module of its name.

The run directory stays the record; what a service holds is a copy of metrics.jsonl, timing.jsonl and evaluation.json.
No setting of a service is part of a specification: the libraries' own environment variables apply.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from harness.sinks.base import Sink

# name = what is imported -> what is installed
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow-skinny", "trackio": "trackio"}

EPILOG = """

--log sends every step's metrics and timing (train/..., timing/...) and every evaluation's scores (eval/SUITE/...,
ood/SUITE/...) to a service as well. Results do not depend on it, and --resume goes on in the same run there:
  tensorboard  RUN_DIR/tensorboard; look with: tensorboard --logdir results
  wandb        project = experiment, or WANDB_PROJECT; WANDB_MODE=offline writes to RUN_DIR/wandb, for `wandb sync`
  mlflow       MLFLOW_TRACKING_URI, else ./mlflow.db; experiment = experiment, or MLFLOW_EXPERIMENT_NAME
  trackio      project = experiment; TRACKIO_DIR, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say where
A service that fails is named once in the run's log and left out; `harness show RUN_DIR --log NAME` sends what it lacks,
for any run, now or later."""


def add_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """The option --log; `what` says of which runs."""
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=tuple(PACKAGES),
        help=f"send metrics and scores of {what} to this service as well; may be given several times",
    )


def load(name: str) -> Sink:
    """A sink that has not started. Imports no library."""
    return import_module(f"harness.sinks.{name}").Writer()


def check(names: Sequence[str]) -> None:
    """ValueError in one sentence if a sink's library is missing or its settings cannot work."""
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of this name is a namespace package
            package = PACKAGES[name]
            raise ValueError(
                f"--log {name} needs the package {package}: install it with pip install -c constraints.txt "
                f"-e '.[{name}]', or pip install {package}"
            )
        load(name).check()
