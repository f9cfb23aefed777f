"""How a model is trained from scratch: the settings, and one stretch of steps.

All draws come from a seed and a counter, so that a stretch which goes on from a checkpoint of the
one before has the bits of going through. Knows nothing of forgetting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from forgetnet.declared import check_declared
from forgetnet.experts.pinned import drawn, mix
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.reach import backward
from forgetnet.unlearn.task import Batch, Task

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Settings of training.

    Attributes:
        lr: learning rate.
        epochs: passes over all data.
        batch_size: examples of a step.
        optimizer: ``adamw`` or ``sgd``.
        momentum: of ``sgd``.
        weight_decay: of either.
        grad_clip: largest norm of a gradient; None for no bound.
    """

    lr: float = 1e-3
    epochs: float = 10.0
    batch_size: int = 16
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.0
    weight_decay: float = 0.0
    grad_clip: float | None = 1.0

    def __post_init__(self) -> None:
        check_declared(self)
        check_positive(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return an optimiser of what in a model wants gradients."""
        weights = [p for p in model.parameters() if p.requires_grad]
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                weights, self.lr, momentum=self.momentum, weight_decay=self.weight_decay
            )
        return torch.optim.AdamW(weights, self.lr, weight_decay=self.weight_decay)

    def steps(self, size: int, epochs: float) -> int:
        """Return how many steps some passes over so many examples take."""
        return math.ceil(epochs * -(-size // self.batch_size))

    def train(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        task: Task,
        data: Any,
        positions: Sequence[int],
        *,
        epochs: float,
        seed: int,
        device: torch.device,
        meter: Callable[[Batch], None],
    ) -> None:
        """Train on the examples at some positions, in an order of the seed's.

        Args:
            model: in training mode or not, as it is.
            optimiser: of :meth:`optimiser`, with moments or without.
            task: knows data and losses.
            data: all of it.
            positions: which examples, in canonical order.
            epochs: passes over them.
            seed: of order and dropout.
            device: where to compute.
            meter: told of each batch before its pass.
        """
        each = -(-len(positions) // self.batch_size)
        order: list[int] = []
        for step in range(self.steps(len(positions), epochs)):
            epoch, slot = divmod(step, each)
            if not slot:
                draw = torch.Generator().manual_seed(mix(seed, "order", epoch))
                order = torch.randperm(len(positions), generator=draw).tolist()
            chosen = order[slot * self.batch_size : (slot + 1) * self.batch_size]
            batch = task.batch(data, [positions[place] for place in chosen], device)
            meter(batch)
            optimiser.zero_grad(set_to_none=True)
            with drawn(mix(seed, "step", step)):
                loss = task.loss(model, batch).mean()
                backward(loss)
            if self.grad_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.grad_clip)
            optimiser.step()
