"""Runs model-written Python functions on hidden inputs, in processes that never see the expected values."""

from __future__ import annotations

from benchmarks.sandbox.isolation import ISOLATED, LEVELS
from benchmarks.sandbox.pool import VERSION, Job, Sandbox, allow_weak
from benchmarks.sandbox.values import Opaque, matches
from benchmarks.sandbox.worker import Outcome

__all__ = ["ISOLATED", "LEVELS", "VERSION", "Job", "Opaque", "Outcome", "Sandbox", "allow_weak", "matches"]
