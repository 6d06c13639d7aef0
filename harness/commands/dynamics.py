"""`harness dynamics`"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import terminal

if TYPE_CHECKING:
    from harness.dynamics import Arm, Report, Settings

EXAMPLE = """harness dynamics results/
  harness dynamics results/gac-ablations --thresholds 0.002,0.01 --json"""
ORDER = ("first", "mean", "last")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN_OR_DIR", help="runs, or directories of runs")
    parser.add_argument(
        "--thresholds",
        default="0.001,0.002,0.005,0.01",
        metavar="X,Y,...",
        help="count the moves of mu above each of these; default 0.001,0.002,0.005,0.01",
    )
    parser.add_argument(
        "--kl-target", type=float, default=0.02, metavar="KL", help="also the drift above it, nats; default 0.02"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, each run as well")


def run(options: argparse.Namespace) -> int:
    from harness import dynamics  # numpy and pandas take their time: --help does without

    settings = dynamics.Settings(_thresholds(options.thresholds), options.kl_target)
    report = dynamics.report(options.paths, settings)
    if options.json:
        print(json.dumps(_document(report, settings), indent=1))
    else:
        _tables(report, settings)
    for sentence in report.left_out:
        print(f"left out: {sentence}", file=sys.stderr)
    return 0


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise ValueError(f"--thresholds takes numbers with commas between them, as 0.001,0.01, not {text!r}") from None


def _document(report: Report, settings: Settings) -> dict[str, Any]:
    def seeds(arm: Arm) -> list[int]:
        return [run.spec["seed"] for run in arm.runs]

    return {
        "thresholds": list(settings.thresholds),
        "kl_target": settings.kl_target,
        "arms": [
            {"label": arm.label, "strategy": arm.runs[0].spec["strategy"], "seeds": seeds(arm), **arm.values}
            for arm in report.arms
        ],
        "runs": [
            {"run": str(run.path), "label": arm.label, "seed": run.spec["seed"], **run.values}
            for arm in report.arms
            for run in arm.runs
        ],
    }


def _tables(report: Report, settings: Settings) -> None:
    repeated = any(len(arm.runs) > 1 for arm in report.arms)
    arms = [(arm.label, str(len(arm.runs)), arm.values) for arm in report.arms]
    runs = [(arm.label, str(run.spec["seed"]), run.values) for arm in report.arms for run in arm.runs]
    terminal.heading("means over seeds" if repeated else "runs")
    _steering(arms if repeated else runs, "seeds" if repeated else "seed", settings)
    if repeated:
        terminal.heading("runs")
        _steering(runs, "seed", settings)
    probed = [(label, n, values["probe"]) for label, n, values in (arms if repeated else runs) if values.get("probe")]
    if probed:
        terminal.heading("estimates against exact gradients")
        _probes(probed, "seeds" if repeated else "seed")


def _steering(rows: list[tuple[str, str, dict[str, Any]]], counted: str, settings: Settings) -> None:
    bounds = [f"{bound:g}" for bound in settings.thresholds]
    headers = (
        "arm", counted, "steps", "control %", "KL area", f"> {settings.kl_target:g}", "moves of mu", "est. %", "weight",
        "mu", "SFT share",
    )  # fmt: skip
    lines = []
    for label, n, values in rows:
        share, events = values["controller_share"], values["events"]
        lines.append(
            [
                label,
                n,
                _number(values["steps"]),
                "-" if share is None else f"{100 * share:.3g}",
                _number(values["kl_drift_area"]),
                _number(values["kl_drift_above_target"]),
                " ".join(_number(events[bound]) for bound in bounds) if events else "-",
                terminal.percent(values["estimator_share"]),
                _number(values["mu_sensitivity"]),
                _course(values["mu"]),
                _course(values["effective_mix"]),
            ]
        )
    notes = [
        "control: the controller's share of the time of the steps, gradient probes not counted",
        f"KL area: KL to the start policy, nats x steps, and the part of it above {settings.kl_target:g} nats",
        f"moves of mu: steps at which it changed by more than {', '.join(bounds)}",
        "est.: steps at which the estimate pulls harder than the prior; weight: derivative of the applied mu by it",
        "mu, and SFT share of all coefficients: first, mean, last",
    ]
    terminal.show(
        terminal.Grid(headers, lines, frozenset(range(1, 9)), notes=notes, whole=frozenset(range(1, len(headers))))
    )


def _probes(rows: list[tuple[str, str, dict[str, Any]]], counted: str) -> None:
    lines = []
    for label, n, probe in rows:
        rest = [
            _number(probe["mu_optimal"]),
            _number(probe["mu_regret"]),
            _number(probe["error_optimal"]),
            _number(probe["cosine"]),
            f"{probe['seconds']:.3g}",
        ]
        for name, kinds in (probe["proxies"] or {"-": {}}).items():
            cells = [label, n, name]
            pairs = 0
            for kind in ("estimated", "smoothed"):
                found = kinds.get(kind, {})
                pairs = max(pairs, found.get("n", 0))
                cells += [_number(found.get("pearson")), _number(found.get("spearman"))]
            lines.append([*cells[:3], str(pairs), *cells[3:], *rest])
    headers = (
        "arm", counted, "estimate", "pairs", "Pearson", "Spearman", "smoothed P", "smoothed S", "best mu", "regret",
        "best error", "cosine", "probe s",
    )  # fmt: skip
    notes = [
        "correlation over steps of each estimate with its exact value: as estimated on the step, and as the controller "
        "smoothed it",
        "regret: mean squared error of the applied mu minus that of the best mu; cosine: of the RL and the SFT "
        "gradient; probe: seconds, not part of the controller's",
    ]
    terminal.show(terminal.Grid(headers, lines, frozenset(range(3, len(headers))), notes=notes))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _course(values: Mapping[str, float] | None) -> str:
    return "-" if not values else " ".join(f"{values[name]:.3f}" for name in ORDER)
