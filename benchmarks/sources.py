"""Rows of published data: from a local directory or from the Hugging Face hub at a pinned commit, hashes checked."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.definition import DataFile, Definition

Row = Mapping[str, Any]
Index = Mapping[str, Sequence[Path]]
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def load(definition: Definition, split: str, data_dir: Path | None, revision: str | None) -> list[tuple[DataFile, Row]]:
    """Every row of `split` with the file it is from, in file order.

    From `data_dir` if one is given, else from the hub (its cache, then its server). `revision` replaces the
    definition's commit. ValueError in one sentence: data missing, another hash, or a file that cannot be read.
    """
    if data_dir is not None:
        if not data_dir.is_dir():
            raise ValueError(f"the data directory {data_dir} does not exist: name a folder with the data files")
        places = _local(definition, split, data_dir, index(data_dir))
        if places is None:
            raise ValueError(f"suite {definition.name} has no data in {data_dir}: {advice(definition, split)}")
    else:
        places = _hub(definition, split, revision)
    found = []
    for file, path in places:
        rows = read(path, definition.name, file.sha256)
        if file.rows is not None and len(rows) != file.rows:
            raise ValueError(
                f"{path} has {len(rows)} rows, but that file of suite {definition.name} has {file.rows}: "
                f"{advice(definition, split)}"
            )
        found += [(file, row) for row in rows]
    return found


def index(data_dir: Path) -> dict[str, list[Path]]:
    """The files below `data_dir` by their plain name; hidden folders are left out."""
    found: dict[str, list[Path]] = {}
    for folder, below, files in os.walk(data_dir):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            found.setdefault(name, []).append(Path(folder, name))
    return found


def _local(definition: Definition, split: str, data_dir: Path, names: Index) -> list[tuple[DataFile, Path]] | None:
    """Files of the definition by path or plain name, else <suite>.jsonl and the like, else the hub's own layout."""
    files = [file for file in definition.files if file.split == split]
    if files:
        places = [(file, _pick(definition, file, data_dir, names)) for file in files]
        if all(path is not None for _, path in places):
            return [(file, path) for file, path in places if path is not None]
    if split == "eval":
        for suffix in SUFFIXES:
            for name in (f"{definition.name}{suffix}", f"{definition.name}{suffix}.gz"):
                path = data_dir / name
                if path.is_file() and not any(Path(file.path).name == name for file in definition.files):
                    return [(DataFile(name), path)]
    return _hub_layout(definition, split, data_dir) if definition.hub else None


def _pick(definition: Definition, file: DataFile, data_dir: Path, names: Index) -> Path | None:
    """The file at its path, or one of its plain name; the right content decides where its hash is known.

    ValueError for another content at its path, or where its folder or the top of the data directory holds one.
    """
    exact = data_dir / file.path
    candidates = [exact] if exact.is_file() else []
    candidates += [path for path in names.get(exact.name, ()) if path != exact]
    if file.sha256 is None:
        return candidates[0] if candidates and (candidates[0] == exact or len(candidates) == 1) else None
    hashes = {}
    for path in candidates:
        hashes[path] = sha256(path)
        if hashes[path] == file.sha256:
            return path
    # files of other suites may have the same plain name
    meant = [path for path in hashes if path.parent == data_dir or path.parent.name == exact.parent.name]
    if meant:
        raise ValueError(
            f"{meant[0]} has sha256 {hashes[meant[0]]}, but suite {definition.name} needs {file.sha256}: "
            f"{advice(definition, file.split)}"
        )
    return None


def _hub_layout(definition: Definition, split: str, data_dir: Path) -> list[tuple[DataFile, Path]] | None:
    """Files of the hub's data set as `hf download --local-dir DIR/owner/name` (or DIR/name) leaves them."""
    assert definition.hub is not None
    for root in (data_dir / definition.hub.dataset, data_dir / definition.hub.dataset.split("/")[-1]):
        places = _matches(definition, split, root)
        if places is not None:
            return places
    return None


def _matches(definition: Definition, split: str, root: Path) -> list[tuple[DataFile, Path]] | None:
    """Every hub file of `split` below `root`; None if one is missing."""
    assert definition.hub is not None
    places = []
    for file in (file for file in definition.hub.files if file.split == split):
        found = sorted(path for path in root.glob(file.path) if path.is_file())
        if not found:
            return None
        places += [(file, path) for path in found]
    return places or None


def _hub(definition: Definition, split: str, revision: str | None) -> list[tuple[DataFile, Path]]:
    hub = definition.hub
    commit = revision or (hub.revision if hub else None)
    if hub is None or commit is None:
        raise ValueError(f"suite {definition.name} needs data: {advice(definition, split)}")
    try:
        from httpx import HTTPError
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"suite {definition.name} is read from the hub by the package huggingface_hub, which is not installed: "
            f"pip install huggingface_hub, or {advice(definition, split)}"
        ) from None
    wanted = [file.path for file in hub.files if file.split == split]
    try:
        root = snapshot_download(hub.dataset, repo_type="dataset", revision=commit, allow_patterns=wanted)
    except (OSError, ValueError, HTTPError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(".:")
        raise ValueError(
            f"{hub.dataset} at {commit} could not be loaded ({reason}): {advice(definition, split)}"
        ) from None
    places = _matches(definition, split, Path(root))
    if places is None:
        raise ValueError(
            f"{hub.dataset} at {commit} is not complete in {root}: go online once, or {advice(definition, split)}"
        )
    return places


def advice(definition: Definition, split: str = "eval") -> str:
    """What to download and where to put it."""
    local = [Path(file.path).name for file in definition.files if file.split == split]
    hub = definition.hub
    ways = []
    if hub is not None:
        files = " ".join(file.path for file in hub.files if file.split == split)
        gate = " (accept its terms there first)" if hub.gated else ""
        if hub.revision is None:
            ways.append(
                f"no commit of {hub.dataset} is known to hold the same rows, so name one as "
                f"{definition.name}@COMMIT{gate}"
            )
        else:
            ways.append(
                f"download {files} of the hub's data set {hub.dataset} at {hub.revision}{gate} to DIR/{hub.dataset}/ "
                "and give --data-dir DIR"
            )
    if local:
        shown = ", ".join(local[:3]) + (f" and {len(local) - 3} more" if len(local) > 3 else "")
        ways.append(f"put {shown} ({definition.source}) into a folder and name it with --data-dir")
    return ", or ".join(ways)


def state(definition: Definition, data_dir: Path | None, names: Index | None) -> str:
    """Whether the rows of split eval are on this machine: here, hub cache, other content or missing.

    `names` is the index of `data_dir`. No row is read; local files are hashed.
    """
    if data_dir is not None:
        try:
            return "here" if _local(definition, "eval", data_dir, names or {}) else "missing"
        except ValueError:
            return "other content"
    hub = definition.hub
    if hub is None or hub.revision is None:
        return "missing"
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    folder = cache / f"datasets--{hub.dataset.replace('/', '--')}"
    commit = hub.revision
    if commit == "main":
        reference = folder / "refs" / "main"
        commit = reference.read_text().strip() if reference.is_file() else commit
    return "hub cache" if _matches(definition, "eval", folder / "snapshots" / commit) else "missing"


def sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(path: Path, suite: str, expected: str | None = None) -> list[dict[str, Any]]:
    """Rows of a .json, .jsonl, .csv or .parquet file, the first three also as .gz. ValueError for anything else."""
    found = expected and sha256(path)
    if found != expected:
        raise ValueError(f"{path} has sha256 {found}, but suite {suite} needs {expected}: download it again")
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet":
        return _parquet(path, suite)
    if kind not in SUFFIXES:
        raise ValueError(f"{path} is no data file of suite {suite}: give json, jsonl, csv or parquet")
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text))) if kind == ".csv" else _json(text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as problem:
        raise ValueError(f"{path} cannot be read ({problem}): download it again") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} holds no list of records: it is not the file of suite {suite}")
    return rows


def _json(text: str) -> list[Any]:
    """One value (a list, or {"examples": list}), or one object a line, split at "\\n" alone."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        if problem.msg != "Extra data":
            raise
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    if isinstance(value, dict):
        value = value.get("examples", [value])
    return value if isinstance(value, list) else []


def _parquet(path: Path, suite: str) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"{path} of suite {suite} needs the package pyarrow: pip install pyarrow") from None
    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path} cannot be read ({problem}): download it again") from None
