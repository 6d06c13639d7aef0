"""Weights & Biases: online, or in RUN_DIR/wandb with WANDB_MODE=offline. WANDB_* variables apply."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from harness.sinks.base import RunInfo

FINISH = 120.0  # seconds to wait at the end for an upload; what is not sent stays in RUN_DIR/wandb, for `wandb sync`


class Writer:
    """Logs `step` as a value of its own: W&B drops what is logged to a step of its own before the newest one."""

    errors: tuple[type[Exception], ...] = (OSError,)
    place = ""

    def check(self) -> None:
        """Whether there is an API key is asked at the start, by the library."""

    def start(self, run: RunInfo, memory: dict[str, Any]) -> int | None:
        import wandb

        self.errors = (OSError, wandb.Error)
        # silent: no question on the terminal, where the run's own progress is; a missing key is an error
        settings: dict[str, Any] = {"silent": True, "console": "off"}
        if "WANDB_FINISH_TIMEOUT" not in os.environ:
            settings |= {"finish_timeout": FINISH, "finish_timeout_raises": True}
        identity = memory.setdefault("id", uuid.uuid4().hex[:16])
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", run.experiment),
                id=identity,
                name=run.run_id,
                config=dict(run.spec),
                dir=str(run.path),
                resume="allow",
                settings=wandb.Settings(**settings),
            )
        except wandb.errors.UsageError as problem:
            raise ValueError(f"--log wandb: {problem} Without an account, set WANDB_MODE=offline.") from None
        # its hooks report what is imported later, and make that import fail where its own process has ended
        unhook = getattr(self.run, "_unregister_telemetry_import_hooks", None)
        if unhook is not None:
            unhook(identity)
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")
        if self.run.offline:
            self.place = str(self.run.dir).removesuffix("/files")
            return None
        self.place = str(self.run.url)
        if not self.run.resumed:
            return -1
        return self.run.summary.get("step")

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        self.run.log({**values, "step": step})

    def close(self, done: bool) -> None:
        self.run.finish(exit_code=0 if done else 1)
