"""What a contestant knows of some examples: how likely it finds the right answers.

Knows nothing of contestants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import Task
from forgetnet.unlearn.collect import collect

__all__ = ["Ask", "Known", "ask_module"]


class Known(NamedTuple):
    """What is known of n examples.

    Attributes:
        nll: (n,) -log p of the right answer, the mean over its tokens where it has several; nats.
        correct: (n,) whether the right answer is the likeliest, in all of its tokens.
    """

    nll: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


Ask = Callable[[str], Known]
"""What is known of a side of the material, by its name."""


def ask_module(model: nn.Module, data: Any, task: Task) -> Known:
    """Ask a module about a data set; it is left as it was.

    Raises:
        InvalidRecord: the task's answers are no choices, so that none is right.
    """
    found = collect(model, data, task)
    if found.correct is None:
        raise InvalidRecord(f"a {task.name} has no right answers to count; compare on choices")
    return Known(found.nll, found.correct)
