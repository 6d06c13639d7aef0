"""Where a run comes from and how it was set: its manifest and its specification, as texts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import pack_load
from harness.compare_load import Run
from harness.settings import option_defaults
from harness.spec import SECTIONS, RunSpec
from harness.store import RunDir
from strategies import registry


def manifests(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The manifest of each run, from its directory or its pack; empty for a run that was loaded from neither."""
    packs: dict[Path, dict[str, Any]] = {}
    found = []
    for run in runs:
        if run.path is None:
            found.append({})
        elif pack_load.is_pack(run.path):
            if run.path not in packs:
                packs[run.path] = _packed(run.path)
            found.append(packs[run.path][run.run_id])
        else:
            found.append(RunDir(run.path).manifest)
    return found


def _packed(path: Path) -> dict[str, Any]:
    with gzip.open(path / pack_load.RUNS, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return {row["run"]: row["manifest"] for row in rows if "run" in row}


def origin(manifest: Mapping[str, Any]) -> list[list[str]]:
    """[name, text] of code, packages and machine."""
    made = manifest.get("provenance") or {}
    rows = []
    if made.get("commit"):
        rows.append(["git commit", made["commit"] + (" with local changes" if made.get("dirty") else "")])
    if made.get("python"):
        rows.append(["python", made["python"]])
    rows += [[name, version] for name, version in (made.get("packages") or {}).items()]
    return rows + [[name, str(made[name])] for name in ("processor", "cores", "machine", "system") if made.get(name)]


def attempts(manifest: Mapping[str, Any]) -> list[str]:
    """When each attempt began, in UTC."""
    return [
        datetime.fromtimestamp(attempt["started"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        for attempt in manifest.get("attempts") or ()
    ]


def defaults() -> dict[str, str]:
    """Dotted key -> default, for every key of a specification but the strategy's options."""
    return {key: spell(value) for key, value in _flat(RunSpec().as_dict()).items()}


def changes(run: Run) -> dict[str, str]:
    """Dotted key -> value, where it differs from the default or has none; options that the run sets are among them."""
    usual = _flat(RunSpec().as_dict())
    found = {key: value for key, value in _flat(run.spec).items() if key not in usual or value != usual[key]}
    found |= {f"options.{name}": value for name, value in (run.spec.get("options") or {}).items()}
    return {key: spell(value) for key, value in found.items()}


def option_texts(strategy: str) -> dict[str, str]:
    """The strategy's options, as `options.name`, with their defaults; empty for one that is not installed here."""
    if strategy not in registry.names():
        return {}
    return {f"options.{name}": spell(value) for name, value in option_defaults(strategy).items()}


def _flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in spec.items():
        if key in SECTIONS:
            found |= {f"{key}.{name}": item for name, item in value.items()}
        elif key != "options":
            found[key] = value
    return found


def spell(value: Any) -> str:
    """A plain value as a reader writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {spell(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(spell, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10**5 else str(value)
