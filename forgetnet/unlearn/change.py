"""What an unlearner did to weights: how far they moved, and what is left of that after rounding.

Quantising a model to 8 or 4 bits can undo small changes, and with them what they were for (Zhang
et al. 2024, *Catastrophic Failure of LLM Unlearning via Quantization*). Knows nothing of methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Change", "changes", "survival"]


@dataclass(frozen=True)
class Change:
    """How one tensor changed.

    Attributes:
        name: of the parameter.
        norm: of the difference, Euclidean.
        relative: the same over the norm before; 0 of an unchanged tensor.
        changed: share of entries that differ.
        int8, int4: of those, the share that still differ after rounding both to so many bits.
    """

    name: str
    norm: float
    relative: float
    changed: float
    int8: float
    int4: float

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def _rounded(weights: Tensor, bits: int, scale: Tensor) -> Tensor:
    most = 2 ** (bits - 1) - 1
    return (weights / scale).round().clamp(-most - 1, most)


def survival(before: Tensor, after: Tensor, bits: int) -> float:
    """Return the share of changed entries that rounding to ``bits`` doesn't make equal again.

    Symmetric, with one scale a row of a matrix, each tensor by its own: as post-training
    quantisation does. 1 where nothing changed.
    """
    old, new = before.detach().double(), after.detach().double()
    moved = old != new
    if not bool(moved.any()):
        return 1.0

    def grid(weights: Tensor) -> Tensor:
        rows = weights.reshape(len(weights), -1) if weights.ndim > 1 else weights.reshape(1, -1)
        largest = rows.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        scale = torch.where(largest > 0, largest, torch.ones_like(largest))
        return (_rounded(rows, bits, scale) * scale).reshape(weights.shape)

    # Values, not codes, are compared: a row's scale may change with its largest entry alone.
    near = (grid(new) - grid(old)).abs()
    step = (new - old).abs()
    return float((near[moved] > 0.5 * step[moved]).double().mean())


def changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[Change, ...]:
    """Compare tensors of the same names and shapes."""
    found = []
    for name in sorted(before):
        old, new = before[name].detach().double().cpu(), after[name].detach().double().cpu()
        norm = float((new - old).norm())
        base = float(old.norm())
        found.append(
            Change(
                name,
                norm,
                norm / base if base else float(norm > 0),
                float((old != new).double().mean()) if old.numel() else 0.0,
                survival(old, new, 8),
                survival(old, new, 4),
            )
        )
    return tuple(found)
