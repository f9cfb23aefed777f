"""What a torch module is to learn from a leaf, and one step of learning it.

Everything that is estimated here, a mean, a spread, the count of a class, is the leaf's own. Knows
nothing of settings, stages or states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts.expert import Label, Task, View, class_order

__all__ = ["ClassWeight", "Lesson", "step_on"]

ClassWeight = Literal["balanced"] | Mapping[Label, float] | tuple[tuple[Label, float], ...] | None
"""How a class is weighed: by the leaf's own counts, by label (1 where it isn't named), or not."""


@dataclass(frozen=True)
class Lesson:
    """A view as tensors: what goes in, what should come out, and how a miss is weighed."""

    inputs: torch.Tensor
    targets: torch.Tensor
    outputs: int
    classes: tuple[Label, ...] = ()
    weight: torch.Tensor | None = None
    scaling: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, view: View, task: Task, class_weight: ClassWeight) -> Lesson:
        """Make a lesson of a view; numbers are scaled by their own mean and spread.

        Raises:
            InvalidRecord: no records, targets of another task, or that aren't finite.
        """
        if not len(view):
            raise InvalidRecord("there is nothing to learn from: the view has no records")
        inputs = torch.from_numpy(view.vectors)
        if task == "regression":
            values = view.values
            if not np.isfinite(values).all():
                raise InvalidRecord("a target isn't a finite number; leave its record out")
            shift = values.mean(axis=0)
            spread = values.std(axis=0)
            scale = np.where(spread > 0.0, spread, 1.0)
            wanted = torch.from_numpy(((values - shift) / scale).astype(np.float32))
            scaling = {"shift": shift, "scale": scale}
            return cls(inputs, wanted, values.shape[1], scaling=scaling)
        classes = class_order(view.labels)
        place = {label: i for i, label in enumerate(classes)}
        wanted = torch.from_numpy(np.array([place[label] for label in view.labels], np.int64))
        weight = _weights(class_weight, classes, wanted)
        return cls(inputs, wanted, len(classes), classes, weight)

    def loss(self, answer: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of answers to the chosen records."""
        wanted = self.targets[chosen]
        if self.classes:
            return nn.functional.cross_entropy(answer, wanted, weight=self.weight)
        return nn.functional.mse_loss(answer, wanted)


def _weights(
    asked: ClassWeight, classes: tuple[Label, ...], wanted: torch.Tensor
) -> torch.Tensor | None:
    if asked is None:
        return None
    if asked == "balanced":
        counts = np.bincount(wanted.numpy(), minlength=len(classes))
        return torch.from_numpy((len(wanted) / (len(classes) * counts)).astype(np.float32))
    told = dict(asked)
    return torch.from_numpy(np.array([told.get(n, 1.0) for n in classes], np.float32))


def step_on(
    module: nn.Module, optimiser: torch.optim.Optimizer, lesson: Lesson, chosen: torch.Tensor
) -> None:
    """Learn from one batch.

    Raises:
        InvalidRecord: the loss isn't a finite number.
        Unsupported: a kernel has no deterministic form.
    """
    optimiser.zero_grad()
    try:
        loss = lesson.loss(module(lesson.inputs[chosen]), chosen)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without annotations
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise Unsupported(f"the module can't be trained to the same bits twice: {error}") from error
    if not math.isfinite(loss.item()):
        raise InvalidRecord(
            "the loss of this leaf is no longer a finite number; lower lr=, or look at the module"
        )
    optimiser.step()
