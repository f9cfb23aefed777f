"""Which example is which: the digest of its tensors, so that no numbering has to be kept.

Equal examples have equal digests, and are the same example to whoever asks. Knows nothing of
models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from forgetnet.unlearn.task import Task

__all__ = ["digests", "joint_digest", "tensors_digest"]


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors with their names, types and shapes: equal for equal bits."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def digests(task: Task, data: Any) -> list[str]:
    """Return the digest of each example, in order; alone in its batch, so without padding."""
    here = torch.device("cpu")
    return [tensors_digest(task.batch(data, [place], here)) for place in range(task.size(data))]


def joint_digest(*parts: str) -> str:
    """Return one digest of several words, in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
