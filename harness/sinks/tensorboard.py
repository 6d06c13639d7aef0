"""TensorBoard: event files in RUN_DIR/tensorboard, as scalars of 32 bits; metrics.jsonl has every digit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.sinks.base import RunInfo

FLUSH = 5  # seconds after which a reader sees what was logged


class Writer:
    """Writes all of a run anew at every start, so that the files always say what the run's own files say."""

    errors: tuple[type[Exception], ...] = (OSError,)
    place = ""

    def check(self) -> None:
        """Nothing can be set."""

    def start(self, run: RunInfo, memory: dict[str, Any]) -> int:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.path / "tensorboard"
        old = sorted(folder.glob("events.out.tfevents.*"))
        # a TensorBoard that is open forgets what it has read
        self.writer = SummaryWriter(str(folder), purge_step=0, flush_secs=FLUSH)
        for path in old:
            path.unlink()
        text = json.dumps(dict(run.spec), indent=1)
        self.writer.add_text("specification", f"```json\n{text}\n```", 0, walltime=run.began)
        self.place = f"{folder} (tensorboard --logdir {run.path.parent})"
        return -1

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step, walltime=time)

    def close(self, done: bool) -> None:
        self.writer.close()
