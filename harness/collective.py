"""Sums and gathers over the processes of a data-parallel run; identities in a single process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    return dist.get_rank() if _active() else 0


def world() -> int:
    return dist.get_world_size() if _active() else 1


def _active() -> bool:
    # libraries open groups of one process for themselves
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every parameter's gradient becomes the sum over all processes; one that a process lacks counts as zero."""
    if not _active():
        return
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    dist.all_reduce(flat)
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def sum_numbers(numbers: dict[str, float]) -> dict[str, float]:
    """The sum of each number over all processes; the keys must be the same everywhere."""
    if not _active():
        return numbers
    total = torch.tensor(list(numbers.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(numbers, total.tolist(), strict=True))


def gather(value: Any) -> list[Any]:
    """What every process holds, by rank."""
    if not _active():
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def gather_rows(parts: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """Per-row values of this process's `rows` (indices in the step) -> those of all rows, in row order, on the CPU."""
    found = gather((rows, {name: value.cpu() for name, value in parts.items()}))
    order = torch.tensor([row for mine, _ in found for row in mine]).argsort()
    # a process without rows has no values either
    names = next((list(values) for _, values in found if values), [])
    return {name: torch.cat([values[name] for _, values in found if values])[order] for name in names}
