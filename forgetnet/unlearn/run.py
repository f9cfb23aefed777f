"""One run of an unlearner by gradients: its data in order, its meter, its looks, its way back.

Every draw comes from the seed, a purpose and a counter, so a run that goes on from a checkpoint
has the bits of one that went through. Knows nothing of objectives.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.declared import check_declared
from forgetnet.experts.pinned import mix
from forgetnet.unlearn.config import Budget, Cost, StopRule
from forgetnet.unlearn.result import Step
from forgetnet.unlearn.task import Batch, Task, size_of

__all__ = ["Run", "Side", "Spent", "device_of"]

Side = str
"""A set by name: ``forget``, ``retain``, ``holdout``, or one of a method's own."""


class Spent(Exception):
    """The budget doesn't allow the pass that was about to begin."""


def device_of(model: nn.Module, asked: str | None) -> torch.device:
    """Return the device to compute on: the one asked for, or where the model's first tensor is."""
    if asked is not None:
        return torch.device(asked)
    first = next(iter(model.parameters()), None)
    return torch.device("cpu") if first is None else first.device


@dataclass
class Run:
    """What the steps of one run share.

    Attributes:
        model: what is changed.
        task: knows data and losses.
        data: the sets that were given, by name.
        scope: the parameters that may change, by name.
        seed: of every draw.
        batch_size: most examples of a step, of each set.
        device: where to compute.
        stop: when to stop early.
        budget: the most that may be spent.
        cost: what was spent.
        history: looks so far.
        kept: what a method keeps from before the first step.
        carried: what a method learns on the way; checkpoints hold it, too.
        statistics: buffers that move with the weights, where the model is in training mode.
    """

    model: nn.Module
    task: Task
    data: Mapping[str, Any]
    scope: Mapping[str, nn.Parameter]
    seed: int
    batch_size: int
    device: torch.device
    stop: StopRule
    budget: Budget
    cost: Cost = field(default_factory=Cost)
    history: list[Step] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        check_declared(self)

    # -- data

    def size(self, side: Side) -> int:
        """Count the examples of a set; 0 where it wasn't given."""
        data = self.data.get(side)
        return 0 if data is None else self.task.size(data)

    def order(self, side: Side, epoch: int) -> list[int]:
        """Return the order of a set in one epoch."""
        draw = torch.Generator().manual_seed(mix(self.seed, "order", side, epoch))
        found: list[int] = torch.randperm(self.size(side), generator=draw).tolist()
        return found

    def positions(self, side: Side, step: int) -> list[int]:
        """Return the positions of a step's batch: each epoch goes through the whole set once."""
        each = -(-self.size(side) // self.batch_size)
        epoch, slot = divmod(step, each)
        return self.order(side, epoch)[slot * self.batch_size : (slot + 1) * self.batch_size]

    def batch(self, side: Side, step: int) -> Batch:
        """Return the batch of a step."""
        return self.take(side, self.positions(side, step))

    def take(self, side: Side, positions: list[int]) -> Batch:
        """Return the examples at some positions."""
        return self.task.batch(self.data[side], positions, self.device)

    def generator(self, purpose: str, step: int) -> torch.Generator:
        """Return a generator of its own for one purpose of one step."""
        return torch.Generator().manual_seed(mix(self.seed, purpose, step))

    # -- passes through the model, counted

    def count(self, batch: Batch, *, backward: bool = True, steps: int = 0) -> None:
        """Add one pass of a batch, and steps that go with it, to the cost before it begins.

        Raises:
            Spent: the budget doesn't allow it.
        """
        n = size_of(batch)
        back = n if backward and torch.is_grad_enabled() else 0
        self.spend(Cost(steps, n, back, self.task.tokens(batch)))

    def spend(self, cost: Cost) -> None:
        """Add what is about to be done to the cost.

        Raises:
            Spent: the budget doesn't allow it.
        """
        if not self.budget.allows(self.spent() + cost):
            raise Spent
        self.cost += cost

    def loss(self, batch: Batch) -> Tensor:
        """Return (n,) losses of the model."""
        self.count(batch)
        return self.task.loss(self.model, batch)

    def nll(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (n,) negative log-likelihoods of the model, and numbers of tokens."""
        self.count(batch)
        return self.task.nll(self.model, batch)

    def logits(self, batch: Batch) -> Tensor:
        """Return the model's (m, c) logits."""
        self.count(batch)
        return self.task.logits(self.model, batch)

    @cached_property
    def start(self) -> nn.Module:
        """The model as it was at the start: a frozen copy, made when first asked for."""
        kept = copy.deepcopy(self.model).eval().requires_grad_(False)
        size = sum(t.numel() * t.element_size() for t in kept.state_dict().values())
        self.cost += Cost(bytes=size)
        return kept

    def start_nll(self, side: Side) -> Tensor:
        """Return the start model's (n,) negative log-likelihoods of a whole set, on the CPU.

        Asked before the first step, it needs no copy of the model.
        """
        parts = []
        with torch.no_grad():
            for first in range(0, self.size(side), self.batch_size):
                last = min(first + self.batch_size, self.size(side))
                batch = self.take(side, list(range(first, last)))
                self.count(batch)
                parts.append(self.task.nll(self.model, batch)[0].cpu())
        return torch.cat(parts)

    def train(self) -> None:
        """Put the model into training mode, but for modules whose own state is outside of scope.

        The statistics that will move from now on go back and forth with the weights.
        """
        whole = len(self.scope) == sum(1 for _ in self.model.parameters())
        for name, module in self.model.named_modules():
            inner = f"{name}." if name else ""
            own = [f"{inner}{n}" for n, _ in module.named_parameters(recurse=False)]
            held = {f"{inner}{n}": b for n, b in module.named_buffers(recurse=False)}
            mine = any(n in self.scope for n in own)
            module.training = mine if own else (whole or not held)
            if module.training:
                self.statistics.update(held)

    # -- looking

    def probe(self, side: Side) -> float | None:
        """Return the mean loss on a fixed part of a set; None where it wasn't given."""
        if not self.size(side):
            return None
        chosen = sorted(self.order(side, -1)[: self.stop.probe])
        total = 0.0
        with self.looking():
            for first in range(0, len(chosen), self.batch_size):
                batch = self.take(side, chosen[first : first + self.batch_size])
                total += float(self.loss(batch).double().sum())
        return total / len(chosen)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Ask the model without gradients, dropout or a change of its running statistics."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def chance(self) -> float:
        """Return the loss of guessing on the forget set."""
        side = "forget" if self.size("forget") else "retain"
        chosen = sorted(self.order(side, -1)[: self.stop.probe])[: self.batch_size]
        batch = self.take(side, chosen)
        with self.looking():
            self.count(batch)
            return self.task.chance(self.model, batch)

    @cached_property
    def outputs(self) -> int:
        """The classes or tokens there are to choose from."""
        return round(math.exp(min(self.chance(), 30.0)))  # of numbers, it means nothing

    def spent(self) -> Cost:
        """Return the cost so far, with the time."""
        return replace(self.cost, seconds=time.monotonic() - self.began)

    def moving(self) -> dict[str, Tensor]:
        """Return the parameters in scope, and the statistics that move with them."""
        return {**self.scope, **self.statistics}

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all that moves."""
        return {name: p.detach().clone() for name, p in self.moving().items()}

    def put_back(self, weights: Mapping[str, Tensor]) -> None:
        """Give all that moves the values of a copy."""
        with torch.no_grad():
            for name, tensor in self.moving().items():
                tensor.copy_(weights[name])
