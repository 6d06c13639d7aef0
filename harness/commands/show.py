"""`harness show`"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from harness import catalog, run_report, settings, terminal
from harness.catalog import Entry
from harness.commands import show_log, show_samples
from harness.store import RunDir

EXAMPLE = """harness show latest
  harness show results/default/RUN --samples 10 --suite math
  harness show results/default/RUN --suite math --failed --status timeout --page 2
  harness show results/evaluations/NAME --suite math --problems --csv > problems.csv
  harness show results/default/RUN --log tensorboard"""
LONGEST_TEXT = 600  # characters of a sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN_DIR|latest", help="`latest` is the run that was started or resumed last")
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="of first and last evaluation; default 4")
    parser.add_argument("--suite", metavar="S", help="only samples of this suite")
    show_samples.add_arguments(parser)
    show_log.add_arguments(parser)
    parser.add_argument("--results", type=Path, default=Path("results"), help="where `latest` looks; default ./results")


def run(options: argparse.Namespace) -> int:
    if options.samples < 0:
        raise ValueError(f"--samples must be at least 0, not {options.samples}")
    directory = catalog.newest(options.results) if options.run == "latest" else RunDir(Path(options.run))
    if options.log:
        return show_log.run(directory.path, options)
    if show_samples.wanted(options):
        return show_samples.run(directory, options)
    manifest = directory.manifest
    if "strategy" not in manifest.get("spec", {}):
        raise ValueError(
            f"{directory.path} is no training run: name a directory that `harness run` made, or look at samples with "
            "--failed and at problems with --problems"
        )
    entry = catalog.entry(directory)
    if entry.state == "damaged":
        raise ValueError(f"{directory.path} is damaged: restore its files, or delete it and run again")
    _head(entry, manifest)
    _scores(run_report.scores(directory))
    _curves(directory)
    _cost(run_report.cost(directory))
    found = list(run_report.evaluations(directory))
    for key in dict.fromkeys(found[:1] + found[-1:]) if options.samples else ():
        terminal.heading(f"samples at {100 * float(key):.0f}% of the budget")
        for sample in run_report.samples(directory, key, options.samples, options.suite):
            _sample(sample)
    _figure(entry)
    return 0


def _head(entry: Entry, manifest: dict[str, Any]) -> None:
    spec, attempts = manifest["spec"], manifest["attempts"]
    terminal.heading(f"{spec['strategy']} on {spec['model']}, seed {spec['seed']}: {entry.state}")
    print(entry.run.path)
    if attempts:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(attempts[0]["started"]))
        print(f"started {began}, {len(attempts)} attempt{'s' if len(attempts) > 1 else ''}")
    made = manifest.get("provenance") or {}
    commit = made["commit"][:12] if made.get("commit") else "of an installed package"
    changes = " with local changes" if made.get("dirty") else ""
    print(f"code {commit}{changes}; {made.get('processor', 'unknown processor')}, {made.get('cores', '?')} cores")
    changed = settings.differences(spec)
    if not changed:
        print("specification: all defaults")
        return
    print("differs from the defaults in:")
    for key, (value, default) in changed.items():
        shown, usual = ("none" if v is None else settings.toml_value(v) for v in (value, default))
        print(f"  {key} = {shown}" + ("" if key == "options" else f"  (default {usual})"))


def _pair(value: float | None, error: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{100 * value:{sign}.1f}" + ("" if error is None else f" +- {100 * error:.1f}")


def _scores(rows: list[run_report.Score]) -> None:
    if not rows:
        print("\nnot evaluated yet")
        return
    lines, levels = [], []
    for split in ("eval", "ood"):
        mine = [row for row in rows if row.split == split]
        mean = run_report.overall(mine)
        for row in [*mine, *([mean] if mean else [])]:
            name = row.suite if split == "eval" else f"{row.suite} (ood)"
            texts = (_pair(row.first, row.first_se), _pair(row.last, row.last_se), _pair(row.gain, row.gain_se, "+"))
            lines.append((name, f"{row.n:,}", *texts))
            if split == "eval":
                levels.append((name, {level: _arrow(*pair) for level, pair in row.levels.items()}))
    terminal.heading("scores")
    notes = ["avg@k in percent +- standard error, clustered by problem; gain: paired by problem; ood: harder problems"]
    headers = ("suite", "problems", "first", "last", "gain")
    terminal.show(terminal.Grid(headers, lines, frozenset(range(1, 5)), notes=notes))
    known = sorted({level for _, found in levels for level in found})
    if len(known) > 1:
        print()
        table = [(name, *(found.get(level, "-") for level in known)) for name, found in levels]
        heads = ("suite", *(f"level {level}" for level in known))
        terminal.show(terminal.Grid(heads, table, frozenset(range(1, 1 + len(known)))))


def _arrow(first: float | None, last: float | None) -> str:
    return terminal.percent(first) + ("" if last is None else f" -> {terminal.percent(last)}")


def _curves(directory: RunDir) -> None:
    curves = run_report.curves(directory)
    if not curves:
        return
    terminal.heading("training")
    for name, (_, values) in curves.items():
        line = terminal.sparkline(values, 50)
        print(f"{name:16s} {values[0]:9.4g}  {line}  {values[-1]:.4g}")


def _cost(cost: dict[str, Any]) -> None:
    if not cost:
        return
    terminal.heading("cost, evaluation and probes not counted")
    other = cost["seconds"] - cost["rollout"] - cost["update"]
    phases = f"rollouts {terminal.duration(cost['rollout'])}, updates {terminal.duration(cost['update'])}"
    if other > 0.01 * cost["seconds"]:
        phases += f", other {terminal.duration(other)}"
    print(f"updates     {cost['updates']:,}, prompts {cost['prompts']:,}")
    print(
        f"tokens      generated {terminal.count(cost['generated_tokens'])}, trained "
        f"{terminal.count(cost['trained_tokens_rollout'])} of rollouts and "
        f"{terminal.count(cost['trained_tokens_demo'])} of demonstrations"
    )
    print(f"FLOPs       {cost['flops']:.2e}, of these generation {cost['flops_generate']:.2e}")
    print(f"time        {terminal.duration(cost['seconds'])}: {phases}")
    print(f"controller  {100 * cost['controller_share']:.2f}% of the time")
    device = "" if cost["device_memory_mb"] is None else f", device {terminal.size(cost['device_memory_mb'] * 2**20)}"
    print(f"memory      peak {terminal.size(cost['memory_mb'] * 2**20)}{device}")


def _sample(sample: run_report.Sample) -> None:
    verdict = sample.verdict
    said = f"level {verdict['level']}" + (f" {verdict['split']}" if verdict["split"] != "eval" else "")
    cut = ", cut off" if verdict["truncated"] else ""
    print(f"\n[{sample.suite}, {said}] {verdict['status']}{cut}")
    if sample.problem is not None:
        _indented("prompt", sample.problem.prompt)
    _indented("answer", sample.text)
    if sample.problem is not None:
        _indented("gold", sample.problem.answer)


def _indented(what: str, text: str) -> None:
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " [...]"
    # a model may write control characters, which a terminal would obey
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in shown)
    first, *rest = shown.split("\n")
    print("\n".join([f"  {what:7s} {first}", *(f"          {line}" for line in rest)]))


def _figure(entry: Entry) -> None:
    from harness import run_figure  # matplotlib takes a second to import

    spec = entry.spec
    try:
        path = run_figure.write(entry.run, f"{spec['strategy']} on {spec['model']}, seed {spec['seed']}")
    except OSError as problem:
        print(f"\nno figure: {problem}")
        return
    if path is not None:
        print(f"\nfigure: {path}")
