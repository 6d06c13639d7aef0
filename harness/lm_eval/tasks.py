"""lm-eval's tasks by name: its own and those of a folder. What goes wrong with them is said in one sentence."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

MISSING = "lm-eval is not installed: pip install lm-eval, or this package with its extra eval"


def manager(include: Path | None, name: str) -> TaskManager:
    """What knows the task, group or tag `name`, reading lm-eval's own thousands only where the folder has it not.

    ValueError if lm-eval is not installed or nobody knows the name.
    """
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise ValueError(MISSING) from None
    if include is not None and not include.is_dir():
        raise ValueError(f"{include} is no folder: --lm-eval-include names one with lm-eval's task files")
    with quiet():
        kind = _manager()
        if include is not None:
            local = kind(include_path=str(include.resolve()), include_defaults=False)
            if name in local.all_subtasks:
                return local
        found = kind(include_path=None if include is None else str(include.resolve()))
    if name not in found.all_tasks:
        near = difflib.get_close_matches(name, found.all_tasks, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`lm_eval ls tasks` lists all."
        raise ValueError(f"lm-eval has no task {name!r}: {hint}")
    return found


def _manager() -> type[TaskManager]:
    from jinja2 import TemplateError
    from lm_eval.tasks import TaskManager

    class Manager(TaskManager):
        """Loads once, and refuses what cannot be run here in one sentence."""

        loaded: Any = None

        def load(self, task_list: list[str]) -> Any:
            (name,) = task_list
            if self.loaded is None:
                self.loaded = self._load(name)
            return self.loaded

        def _load(self, name: str) -> Any:
            try:
                loaded = super().load([name])
            except OSError as problem:
                raise ValueError(
                    f"the data of lm-eval's task {name} are not to be had ({_first(problem)}): download them on a "
                    "machine with network, or name a folder with a local copy of the task by --lm-eval-include"
                ) from None
            except ImportError as problem:
                raise ValueError(f"lm-eval's task {name} needs another package: {_first(problem)}") from None
            except (LookupError, ValueError, TypeError, AttributeError, TemplateError) as problem:
                raise ValueError(f"lm-eval cannot load the task {name}: {_first(problem)}") from problem
            for part, task in loaded["tasks"].items():
                if getattr(task, "UNSAFE_CODE", False) or task.get_config("unsafe_code"):
                    raise ValueError(
                        f"lm-eval's task {part} runs generated programs unprotected: use a suite of the domain code, "
                        "which runs them in the sandbox"
                    )
                if getattr(task, "MULTIMODAL", False):
                    raise ValueError(f"lm-eval's task {part} shows images or sounds, which these models do not take")
            return loaded

    return Manager


def _first(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0].strip("'\" ") if lines else type(problem).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing but errors in lm-eval's log."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def output_types(manager: TaskManager, name: str) -> set[str]:
    """What the tasks behind `name` ask of a model, once they are loaded: generate_until, loglikelihood and so on."""
    with quiet():
        return {task.OUTPUT_TYPE for task in manager.load([name])["tasks"].values()}


def config_hash(config: dict[str, Any]) -> str:
    """16 hex digits over a task's configuration as lm-eval reports it, functions by their source."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16]


def folder_state(include: Path | None) -> list[list[Any]]:
    """Name, size and time of every file of the folder: another state is another evaluation."""
    if include is None:
        return []
    files = sorted(path for path in include.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [[str(path.relative_to(include)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
