"""Where rows come from: any layout of a local folder, the hub at a commit, and all that can be wrong with them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import definition, registry, sources
from benchmarks.published_suite import PublishedSuite

ALL = 10**9
ROWS = [
    {"question": f"What is {i}+1? \u2028", "answer": f"{i}+1=<<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}"} for i in range(5)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOML = """
name = "tiny"
domain = "math"
summary = "five sums"
licence = "none"
source = "made up"
rows = 5
format = "gsm8k"
answer = "number"
grader = "math_strict"
grader_version = "1"
instruction = 'Put it into \\boxed{{}}.'

[[files]]
path = "math/tiny/test.jsonl"
sha256 = "{sha}"
rows = 5

[hub]
dataset = "owner/tiny"
revision = "{commit}"

[[hub.files]]
path = "main/test-*.parquet"
rows = 5

[presets.paper]
k = 1
temperature = 0.6
top_p = 0.95
max_tokens = 64

[presets.quick]
k = 1
temperature = 0.0
top_p = 1.0
max_tokens = 16
n = 2
"""


def write(folder: Path, text: str = TOML, **changes: str) -> Path:
    sha = hashlib.sha256(LINES.encode()).hexdigest()
    file = folder / "tiny.toml"
    file.write_text(text.format(**{"sha": sha, "commit": COMMIT} | changes))
    return file


def parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.mkdir()
    return found


@pytest.mark.parametrize(
    "place",
    ["math/tiny/test.jsonl", "test.jsonl", "deep/er/test.jsonl", "tiny.jsonl", "tiny.jsonl.gz", "tiny.json",
     "tiny.csv", "tiny.parquet", "owner/tiny/main/test-0.parquet", "tiny/main/test-0.parquet"],
)  # fmt: skip
def test_the_same_problems_from_every_layout(place: str, folder: Path, tmp_path: Path) -> None:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(LINES.encode()))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"canary": "x", "examples": ROWS}))
    elif path.suffix == ".csv":
        with open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, ["question", "answer"])
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        path.write_text(LINES, encoding="utf-8")
    found = PublishedSuite(write(tmp_path), folder)
    problems = found.problems("eval", ALL, 0)
    assert [problem.answer for problem in problems] == ["1", "2", "3", "4", "5"]
    assert problems[0].instruction == "\n\nPut it into \\boxed{}."
    reference = [hashlib.sha256(problem.prompt.encode()).hexdigest() for problem in problems]
    assert reference == [hashlib.sha256(row["question"].strip().encode()).hexdigest() for row in ROWS]
    names = sources.index(folder)
    assert sources.state(found.definition, folder, names) == "here"
    # identities do not depend on where the rows were found
    assert [p.id for p in problems] == [p.id for p in PublishedSuite(write(tmp_path), folder).problems("eval", 5, 3)]


def test_real_files_in_another_layout(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("math/gsm8k/test.jsonl", "code/humaneval/HumanEval.jsonl.gz"):
        shutil.copy(data / name, flat / Path(name).name)
    (flat / "else").mkdir()
    shutil.copy(data / "science/arc_challenge/test.jsonl", flat / "else" / "test.jsonl")
    for name in ("gsm8k", "humaneval", "arc_challenge"):
        file = registry.published()[name]
        assert PublishedSuite(file, flat).problems("eval", ALL, 0) == PublishedSuite(file, data).problems(
            "eval", ALL, 0
        )


def one_sentence(error: pytest.ExceptionInfo[ValueError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message and len(message) < 700
    for part in parts:
        assert part in message, message


def test_another_hash_names_both(folder: Path, tmp_path: Path) -> None:
    path = folder / "math" / "tiny" / "test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(LINES.replace("1+1", "1+2"), encoding="utf-8")
    found = PublishedSuite(write(tmp_path), folder)
    with pytest.raises(ValueError) as error:
        found.problems("eval", ALL, 0)
    one_sentence(error, str(path), sources.sha256(path), found.sha256[0], "owner/tiny", COMMIT)
    assert sources.state(found.definition, folder, sources.index(folder)) == "other content"


def test_files_of_other_suites_with_the_same_name_are_none(folder: Path, tmp_path: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "test.jsonl").write_text('{"question": "x", "answer": "#### 1"}\n')
    found = PublishedSuite(write(tmp_path), folder)
    with pytest.raises(ValueError) as error:
        found.problems("eval", ALL, 0)
    one_sentence(error, "tiny", "no data in", "test.jsonl", "made up", "--data-dir")
    assert sources.state(found.definition, folder, sources.index(folder)) == "missing"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (LINES.encode()[:-30], "cannot be read"),
        ("\n".join(LINES.split("\n")[:4]).encode(), "4 problems instead of 5"),
        (b"\x1f\x8b\x08\x00broken", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[]", "no list of records"),
        (b"[1, 2]", "no list of records"),
        (b"", "cannot be read"),
        (b'{"text": "something else"}\n', "has no field answer"),
    ],
)
def test_broken_files(content: bytes, part: str, folder: Path, tmp_path: Path) -> None:
    (folder / "tiny.jsonl").write_bytes(content)
    with pytest.raises(ValueError) as error:
        PublishedSuite(write(tmp_path), folder).problems("eval", ALL, 0)
    one_sentence(error, part)


def test_a_truncated_hub_file_is_seen(folder: Path, tmp_path: Path) -> None:
    parquet(folder / "owner" / "tiny" / "main" / "test-0.parquet", ROWS[:3])
    with pytest.raises(ValueError) as error:
        PublishedSuite(write(tmp_path), folder).problems("eval", ALL, 0)
    one_sentence(error, "3 rows", "has 5")
    (folder / "owner" / "tiny" / "main" / "test-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read"):
        PublishedSuite(write(tmp_path), folder).problems("eval", ALL, 0)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        PublishedSuite(write(tmp_path), tmp_path / "nowhere").problems("eval", ALL, 0)
    with pytest.raises(ValueError, match="does not exist"):
        registry.set_data_dir(tmp_path / "nowhere")


class Hub:
    """Stands for huggingface_hub.snapshot_download."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, str, list[str]]] = []
        self.fault: type[Exception] = FileNotFoundError

    def __call__(self, repo: str, *, repo_type: str, revision: str, allow_patterns: list[str]) -> str:
        assert repo_type == "dataset"
        self.calls.append((repo, revision, allow_patterns))
        if not self.root.exists():
            raise self.fault("Cannot reach the hub.\nMore lines follow.")
        return str(self.root)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    import huggingface_hub

    fake = Hub(tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    return fake


def test_the_hub_is_read_at_the_commit(hub: Hub, tmp_path: Path, folder: Path) -> None:
    parquet(hub.root / "main" / "test-0.parquet")
    found = PublishedSuite(write(tmp_path))
    problems = found.problems("eval", ALL, 0)
    assert hub.calls == [("owner/tiny", COMMIT, ["main/test-*.parquet"])] and found.revision == COMMIT
    (folder / "test.jsonl").write_text(LINES, encoding="utf-8")
    assert problems == PublishedSuite(write(tmp_path), folder).problems("eval", ALL, 0)
    other = COMMIT[::-1]
    own = PublishedSuite(write(tmp_path), None, other)
    own.problems("eval", ALL, 0)
    assert hub.calls[-1][1] == other
    assert own.identity() != found.identity()


@pytest.mark.parametrize("fault", [FileNotFoundError, httpx.ConnectError])
def test_the_hub_out_of_reach(fault: type[Exception], hub: Hub, tmp_path: Path) -> None:
    hub.fault = fault
    with pytest.raises(ValueError) as error:
        PublishedSuite(write(tmp_path)).problems("eval", ALL, 0)
    one_sentence(error, "Cannot reach the hub", "owner/tiny", COMMIT, "main/test-*.parquet", "--data-dir")
    hub.root.mkdir()
    with pytest.raises(ValueError, match="is not complete"):
        PublishedSuite(write(tmp_path)).problems("eval", ALL, 0)


def test_without_a_known_commit_one_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    unpinned = TOML.replace('revision = "{commit}"\n', "")
    with pytest.raises(ValueError) as error:
        PublishedSuite(write(tmp_path, unpinned)).problems("eval", ALL, 0)
    one_sentence(error, "no commit of owner/tiny is known", "tiny@COMMIT")
    assert not hub.calls
    parquet(hub.root / "main" / "test-0.parquet")
    assert len(PublishedSuite(write(tmp_path, unpinned), None, COMMIT).problems("eval", ALL, 0)) == 5


def test_revisions_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="40 hex digits"):
        registry.get("gsm8k@main")
    with pytest.raises(ValueError, match="not read from the hub"):
        registry.get(f"folio@{COMMIT}")
    with pytest.raises(ValueError, match="leave out"):
        registry.get(f"gym_aiw@{COMMIT}")
    with pytest.raises(ValueError, match="unknown suite"):
        registry.get(f"math@{COMMIT}")
    assert registry.get(f"gsm8k@{COMMIT}").identity()["revision"] == COMMIT


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('licence = "none"', 'license = "none"', "license"),
        ('path = "math/tiny/test.jsonl"', 'path = "math/tiny/test.jsonl"\nsize = 3', "size"),
        ("n = 2", "n = 2\nseed = 1", "seed"),
        ("rows = 5\nformat", 'rows = "5"\nformat', "rows"),
        ('domain = "math"', 'domain = "maths"', "domain"),
        ('format = "gsm8k"', 'format = "gsm9k"', "gsm9k"),
        ('grader = "math_strict"', 'grader = "maths"', "maths"),
        ('revision = "{commit}"', 'revision = "main"', "revision"),
        ('sha256 = "{sha}"', 'sha256 = "abc"', "sha256"),
        ('path = "math/tiny/test.jsonl"', 'path = "../test.jsonl"', "below the data directory"),
        ("[presets.quick]", "[presets.fast]", "quick"),
        ("top_p = 1.0", "top_p = 1.5", "top_p"),
        ("max_tokens = 16", "max_tokens = 0", "max_tokens"),
        ('name = "tiny"', 'name = "small"', "small.toml"),
        ('name = "tiny"', "name = tiny", "not valid TOML"),
    ],
)
def test_definitions_are_read_strictly(old: str, new: str, part: str, tmp_path: Path) -> None:
    assert old in TOML
    with pytest.raises(ValueError) as error:
        PublishedSuite(write(tmp_path, TOML.replace(old, new, 1)))
    one_sentence(error, part)


def test_listing_reads_and_imports_little() -> None:
    code = (
        "import sys; from benchmarks import registry; names = registry.names(); "
        "assert len(names) > 50 and not {'pydantic', 'torch', 'datasets', 'huggingface_hub'} & set(sys.modules); "
        "[registry.get(name) for name in names]; "
        "assert not {'torch', 'datasets', 'huggingface_hub', 'pyarrow', 'reasoning_gym', 'sympy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_data_directory_of_the_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.DATA_DIR, "/elsewhere")
    registry.set_data_dir(folder)
    assert registry.data_dir() == folder.resolve()
    assert registry.get("gsm8k").data_dir == folder.resolve()
    registry.set_data_dir(None)
    assert registry.data_dir() is None and registry.get("gsm8k").data_dir is None


def test_generated_suites() -> None:
    pytest.importorskip("reasoning_gym", reason="the optional package reasoning-gym is not installed")
    suite = registry.get("gym_syllogism")
    evaluated, trained = suite.problems("eval", ALL, 0), suite.problems("train", 30, 0)
    assert len(evaluated) == suite.size and len(trained) == 30
    assert not {problem.prompt for problem in evaluated} & {problem.prompt for problem in trained}
    assert len({problem.id for problem in evaluated + trained}) == suite.size + 30
    few = evaluated[:20] + trained[:10]
    right = suite.grade(few, [f"It follows.\n\\boxed{{{problem.answer}}}" for problem in few])
    assert {verdict.status for verdict in right} == {"pass"}
    wrong = suite.grade(few, ["\\boxed{No}" if problem.answer == "Yes" else "\\boxed{Yes}" for problem in few])
    assert {verdict.status for verdict in wrong} == {"fail"}
    assert suite.grade(few[:1], [""])[0].status == "no_answer"
    assert suite.problems("ood", 5, 0) == []


def test_generated_suites_without_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    suite = type(registry.get("gym_aiw"))(registry.published()["gym_aiw"])
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ValueError, match="not installed: pip install reasoning-gym=="):
        suite.problems("eval", 1, 0)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1")
    with pytest.raises(ValueError, match="makes other problems"):
        suite.problems("eval", 1, 0)


def test_definition_files_are_all_read() -> None:
    assert {path.stem for path in definition.FOLDER.glob("*.toml")} == set(registry.published())
