"""Measures, in a process of its own, the rates on which estimates of time rest: `python -m harness.matrix_trial`.

Reads the plain values of a specification as JSON from standard input, writes `trial.Rates` as the last line of its
output. A dry run of a matrix needs no torch by itself.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from harness import spec as specification
from harness.estimate import _assumed_lengths
from harness.models import ladder, published
from harness.run import preflight
from harness.trial import TRIAL_WEIGHTS, Rates, roofline, try_out


def measure(values: Mapping[str, Any]) -> Rates:
    """Rates of a specification, as for `harness run --dry-run`. RuntimeError with the last line if it fails."""
    command = [sys.executable, "-m", "harness.matrix_trial"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1])
    return Rates(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    spec = specification.build(json.load(sys.stdin))
    ref = preflight(spec)
    config = published.config(ref)
    if config is None:
        raise ValueError(f"the configuration of {ref.location} is not on this machine")
    if ref.kind != "hub" and ladder.parameters(config) <= TRIAL_WEIGHTS:
        rates = try_out(spec, ref)
    else:
        rates = roofline(spec, config, *_assumed_lengths(spec))
    print(json.dumps(dataclasses.asdict(rates)))


if __name__ == "__main__":
    main()
