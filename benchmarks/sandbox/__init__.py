"""Runs model-written Python functions on hidden inputs, in processes that never see the expected values."""

from __future__ import annotations

from benchmarks.sandbox.pool import VERSION, Job, Outcome, Sandbox
from benchmarks.sandbox.values import Opaque, matches

__all__ = ["VERSION", "Job", "Opaque", "Outcome", "Sandbox", "matches"]
