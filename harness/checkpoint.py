"""Checkpoints: tensors in safetensors, the rest in JSON, hashes in a manifest, the whole renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.store import sync_directory

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

MANIFEST = "manifest.json"


def _write(path: Path, data: bytes) -> str:
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return hashlib.sha256(data).hexdigest()


def save(
    root: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    state: dict[str, Any],
    keep: int,
    beside: Callable[[Path], None],
) -> None:
    """Writes `root/step_<step>` with one safetensors file per entry of `tensors`; older ones beyond `keep` go after.

    `beside` puts further files into the directory, before it gets its name.
    """
    from safetensors.torch import save as to_bytes

    root.mkdir(parents=True, exist_ok=True)
    final = root / f"step_{step:06d}"
    temporary = root / f".{final.name}.tmp"
    for stale in (temporary, final):
        if stale.exists():
            shutil.rmtree(stale)
    temporary.mkdir()
    hashes = {
        f"{name}.safetensors": _write(temporary / f"{name}.safetensors", to_bytes(group))
        for name, group in tensors.items()
    }
    hashes["state.json"] = _write(temporary / "state.json", json.dumps(state, allow_nan=False).encode())
    beside(temporary)
    _write(temporary / MANIFEST, json.dumps(hashes).encode())
    sync_directory(temporary)
    os.replace(temporary, final)
    sync_directory(root)
    tidy(root, step, keep)


def tidy(root: Path, step: int, keep: int) -> None:
    """Removes all but the `keep` newest checkpoints up to `step`, and unfinished ones.

    Those after `step` are of a run that has fallen back behind them: were they kept, they would pass for the newest.
    """
    for unfinished in root.glob(".step_*.tmp"):
        shutil.rmtree(unfinished)
    steps = list_steps(root)
    kept = [found for found in steps if found <= step][-keep:]
    for found in steps:
        if found not in kept:
            shutil.rmtree(root / f"step_{found:06d}")


def list_steps(root: Path) -> list[int]:
    """Steps that have a checkpoint, ascending."""
    return sorted(int(path.name[5:]) for path in root.glob("step_*") if path.name[5:].isdigit())


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        hashes = json.loads((path / MANIFEST).read_text())
        for name, expected in hashes.items():
            if hashlib.sha256((path / name).read_bytes()).hexdigest() != expected:
                return f"{path / name} does not match its hash"
    except (OSError, ValueError) as problem:
        return f"{path} is incomplete ({problem})"
    return None


def load(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by file, state) of a verified checkpoint."""
    from safetensors.torch import load_file

    tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    return tensors, json.loads((path / "state.json").read_text())


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors; its hyper-parameters come from the specification."""
    return {
        f"{index}.{name}": value.detach().contiguous()
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restores what `optimizer_tensors` saved."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    content = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": content["param_groups"]})
