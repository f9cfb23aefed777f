"""How to look at a model without changing it.

Knows nothing of what is looked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from forgetnet.declared import check_kind
from forgetnet.experts.pinned import drawn
from forgetnet.unlearn.run import device_of

__all__ = ["looking"]


@contextmanager
def looking(model: nn.Module, device: str | torch.device | None = None) -> Iterator[nn.Module]:
    """Give a model to look at, in evaluation mode and without gradients, and leave it as it was.

    Modes and the state of the CPU's generator are put back; a model that draws in evaluation mode
    draws the same each time. On another device than its own a copy is looked at.

    Raises:
        InvalidRecord: it is no module.
    """
    check_kind("model", model, nn.Module)
    where = device_of(model, None)
    wanted = where if device is None else torch.device(device)
    seen = model if wanted == where else copy.deepcopy(model).to(wanted)
    modes = [(module, module.training) for module in seen.modules()]
    seen.eval()
    try:
        with drawn(0), torch.no_grad():
            yield seen
    finally:
        for module, mode in modes:
            module.training = mode
