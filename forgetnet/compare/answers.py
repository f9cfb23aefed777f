"""What a contestant knows of some examples: how likely it finds the right answers.

Knows nothing of contestants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from forgetnet.unlearn import Task
from forgetnet.unlearn.collect import collect
from forgetnet.unlearn.looking import looking
from forgetnet.unlearn.run import device_of

__all__ = ["Ask", "Known", "ask_module"]

_ROWS = 128


class Known(NamedTuple):
    """What is known of n examples.

    Attributes:
        nll: (n,) -log p of the right answer, the mean over its tokens where it has several; nats.
        correct: (n,) whether the right answer is the likeliest, in all of its tokens.
        tokens: (n,) of the right answers; 1 where there are none.
    """

    nll: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    tokens: npt.NDArray[np.int64]

    def likely(self) -> npt.NDArray[np.float64]:
        """Return (n,) probabilities of the whole right answers."""
        return np.exp(-self.nll * self.tokens)


Ask = Callable[[str], Known]
"""What is known of a side of the material, by its name."""


def ask_module(model: nn.Module, data: Any, task: Task) -> Known:
    """Ask a module about a data set; it is left as it was.

    Raises:
        InvalidRecord: the task's answers are no choices, so that none is right.
    """
    found = collect(model, data, task)
    correct = _nearest(model, data, task) if found.correct is None else found.correct
    return Known(found.nll, correct, found.tokens)


def _nearest(model: nn.Module, data: Any, task: Task) -> npt.NDArray[np.bool_]:
    """Return whether each input's own partner is the nearest of all that there are."""
    device, parts = device_of(model, None), []
    with looking(model), torch.no_grad():
        for first in range(0, task.size(data), _ROWS):
            batch = task.batch(data, range(first, min(first + _ROWS, task.size(data))), device)
            hits = task.logits(model, batch).argmax(dim=1) == task.targets(batch)
            parts.append(hits.cpu().numpy())
    return np.concatenate(parts)
