"""`harness strategies`"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from harness import settings, terminal
from harness.spec import RunSpec
from strategies import registry
from strategies.base import NEEDS, Sizes, Step, Strategy

EXAMPLE = """harness strategies
  harness strategies gac
  harness strategies --markdown"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show this strategy's definition and options")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown, with sources and parity")


def run(options: argparse.Namespace) -> int:
    if options.markdown:
        if options.name is not None:
            raise ValueError("--markdown prints the table of all strategies: leave the name out")
        print(markdown())
        return 0
    if options.name is None:
        rows = [(one.name, one.kind, one.summary, needs(one), one.parity) for one in _sorted()]
        note = "`harness strategies NAME` shows a strategy's definition, source and options"
        terminal.show(terminal.Grid(("name", "kind", "summary", "needs", "parity checked against"), rows, notes=[note]))
        return 0
    cls = registry.get(options.name)
    print(f"{cls.name} ({cls.kind}): {cls.summary}\nsource: {cls.source}\n")
    # a strategy's file says what it computes; its class may add to that
    own = inspect.getdoc(cls) if cls.__dict__.get("__doc__") else None
    print("\n\n".join(text for text in (inspect.getdoc(sys.modules[cls.__module__]), own) if text))
    defaults = settings.option_defaults(cls.name)
    hints, remarks = get_type_hints(cls.Config), _remarks(cls.Config)
    rows = [
        (f"options.{name}", type_name(hints[name]), _default(default), remarks.get(name, ""))
        for name, default in defaults.items()
    ]
    terminal.heading("options")
    if not rows:
        print("none")
        return 0
    note = f"set with: harness run --strategy {cls.name} --set options.NAME=VALUE"
    terminal.show(terminal.Grid(("option", "type", "default", ""), rows, notes=[note]))
    return 0


def _sorted() -> list[type[Strategy]]:
    """All strategies, kind by kind."""
    return sorted(
        (registry.get(name) for name in registry.names()), key=lambda c: (registry.KINDS.index(c.kind), c.name)
    )


def needs(cls: type[Strategy]) -> str:
    """What the strategy asks a trainer for with its default options, beyond rewards and its own log-probs."""
    train = RunSpec().train
    built = registry.build(cls.name, {}, Sizes(train.prompts, train.group, train.demos, RunSpec().rollout.max_tokens))
    plan = built.plan(Step(0))
    found = ["demonstrations of any prompt"] if plan.pool else []
    found += ["demonstrations of the prompts"] if plan.expert else []
    found += ["teacher responses"] if plan.teacher else []
    found += [text for need, text in NEEDS.items() if need in built.requires and need != "old_logp"]
    found += ["entropy bonus"] if built.entropy_coefficient else []
    return ", ".join(found) or "-"


def markdown() -> str:
    """The table of the README."""
    lines = ["| name | kind | what it does | source | needs | parity checked against |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.kind} | {one.summary} | {one.source} | {needs(one)} | {one.parity} |"
        for one in _sorted()
    ]
    return "\n".join(lines)


def _default(value: Any) -> str:
    return "none" if value is None else settings.toml_value(value)


def type_name(hint: Any) -> str:
    """A type as a user writes values of it."""
    origin = get_origin(hint)
    if hint is NoneType:
        return "none"
    if origin is Literal:
        return " | ".join(settings.toml_value(value) for value in get_args(hint))
    if origin in (Union, UnionType):
        return " | ".join(type_name(part) for part in get_args(hint))
    if origin is not None:
        inner = [type_name(part) for part in get_args(hint) if part is not Ellipsis]
        return f"{origin.__name__}[{', '.join(inner)}]"
    return {str: "text", bool: "true | false"}.get(hint, getattr(hint, "__name__", str(hint)))


def _remarks(config: type) -> dict[str, str]:
    """The comment behind each field in the source of an options class and its bases, where the source is at hand."""
    found = {}
    for cls in reversed(config.__mro__):
        if not is_dataclass(cls):
            continue
        try:
            lines = inspect.getsource(cls).splitlines()
        except (OSError, TypeError):
            continue  # an extension from elsewhere may come without its source
        names = {field.name for field in fields(cls)}
        for line in lines:
            match = re.match(r"\s+(\w+): [^#]*#\s*(.*)", line)
            if match and match[1] in names:
                found[match[1]] = match[2]
    return found
