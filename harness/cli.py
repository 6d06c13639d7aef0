"""`harness`: the command line. Only the standard library is imported until a verb is chosen."""

from __future__ import annotations

import argparse
import errno
import sys
from importlib import import_module

from harness import __version__

# verb -> (module, one line)
VERBS = {
    "run": ("harness.commands.run", "train a model with a strategy and evaluate it"),
    "eval": ("harness.commands.evaluate", "evaluate a model or a run's checkpoint on suites"),
    "matrix": ("harness.commands.matrix", "run many cells of one TOML file: strategies x models x seeds x ..."),
    "tune": ("harness.commands.tune", "search every strategy's settings under the same rule, and re-run the best"),
    "compare": ("harness.commands.compare", "put finished runs into one table with intervals, and figures"),
    "report": ("harness.commands.report", "build tables, figures and a page from results and one TOML file"),
    "pack": ("harness.commands.pack", "write finished runs in compact form, without weights"),
    "testbed": ("harness.commands.testbed", "put mixing weights to the test where the best one is known"),
    "validate-statistics": ("harness.commands.validate", "measure by simulation how well the intervals cover"),
    "show": ("harness.commands.show", "look at one run: scores, curves, samples"),
    "rescore": ("harness.commands.rescore", "grade stored generations again with the graders of today"),
    "contamination": ("harness.commands.contamination", "look for evaluation problems in training data"),
    "dynamics": ("harness.commands.dynamics", "see how runs were steered: cost of control, KL drift, moves of mu"),
    "ls": ("harness.commands.ls", "list runs and their state"),
    "doctor": ("harness.commands.doctor", "check this machine: packages, device, sandbox, graders, models"),
    "models": ("harness.commands.models", "list models, their size and what they need"),
    "strategies": ("harness.commands.strategies", "list strategies and their options"),
    "suites": ("harness.commands.suites", "list suites and look at their problems"),
    "export": ("harness.commands.export", "write suites as tasks of lm-eval"),
    "pretrain": ("harness.commands.pretrain", "train an embedded model from scratch"),
}
EXAMPLE = "harness run --strategy gac --model 1m"
EXIT_FAILED, EXIT_USER, EXIT_INTERRUPT = 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and ends with code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USER)


def parser() -> argparse.ArgumentParser:
    """The top level, and every verb's name; a verb's own options come from its module."""
    verbs = "\n".join(f"  {name:20s}{line}" for name, (_, line) in VERBS.items())
    top = Parser(
        prog="harness",
        description="A neutral referee for methods that mix SFT and RL in LLM post-training.",
        epilog=f"verbs:\n{verbs}\n\nexample:\n  {EXAMPLE}\n\n`harness VERB --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="harness [--version] VERB ...",
    )
    top.add_argument("--version", action="version", version=f"harness {__version__}")
    top.add_argument("verb", metavar="VERB", help=argparse.SUPPRESS)
    top.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs a verb. 0 = done, 1 = failed, 2 = bad input, 130 = interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        parser().print_help()
        return 0
    chosen = parser().parse_args(given)
    if chosen.verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(chosen.verb, VERBS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(VERBS)}."
        print(f"harness: unknown verb {chosen.verb!r}: {hint}", file=sys.stderr)
        return EXIT_USER
    module_name, line = VERBS[chosen.verb]
    module = import_module(module_name)
    verb = Parser(
        prog=f"harness {chosen.verb}",
        description=line[0].upper() + line[1:] + ".",
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(verb)
    options = verb.parse_args(chosen.rest)
    try:
        return module.run(options)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away: nothing left to say
        return 0
    except OSError as problem:
        # a full disk is nobody's bug; what was written is intact
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f": {problem.filename}" if problem.filename else ""
        print(f"harness {chosen.verb}: {problem.strerror}{place}", file=sys.stderr)
        return EXIT_FAILED
    except ValueError as problem:
        # a user's error is one sentence; anything else is ours and keeps its traceback
        if not is_user_error(problem):
            raise
        print(f"harness {chosen.verb}: {problem}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return EXIT_INTERRUPT


def is_user_error(problem: ValueError) -> bool:
    """Whether our own code raised it: a ValueError from inside a library is a bug of ours, not the user's."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    name = str(trace.tb_frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in ("harness", "strategies", "benchmarks")


if __name__ == "__main__":
    raise SystemExit(main())
