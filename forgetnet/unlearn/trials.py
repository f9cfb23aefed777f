"""What is done to a copy of a model to see whether its forgetting lasts: relearning, rounding.

Knows nothing of verdicts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from forgetnet.audit.robustness import round_trip, rounded
from forgetnet.declared import check_declared
from forgetnet.errors import InvalidRecord
from forgetnet.experts.pinned import drawn, mix
from forgetnet.unlearn.collect import Collected
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.run import device_of
from forgetnet.unlearn.task import Task

__all__ = ["Relearn", "Relearning", "Source", "kept_by_rounding", "quantised"]

Source = Literal["forget", "retain"]


@dataclass(frozen=True)
class Relearn:
    """How a model is trained again, to see how soon the forgotten comes back.

    Attributes:
        share: of the forget set that is trained on, the loss being looked at on the rest; of the
            retain set as many examples as ten times that, or all.
        seeds: runs a model; ten are the fewest that give a verdict.
        steps: most steps of a run.
        lr: of Adam.
        batch_size: most examples of a step.
        slack: how far from the original's loss, as a share of what the retrained models are away,
            counts as there.
        probe: most forgotten examples that are looked at after a step.
    """

    share: float = 0.05
    seeds: int = 10
    steps: int = 20
    lr: float = 1e-3
    batch_size: int = 16
    slack: float = 0.1
    probe: int = 256

    def __post_init__(self) -> None:
        check_declared(self)
        check_positive(steps=self.steps, lr=self.lr, batch_size=self.batch_size, probe=self.probe)
        if not 0 < self.share <= 0.05 or not 0 <= self.slack < 1 or self.seeds < 2:
            raise InvalidRecord("share= is at most 0.05, slack= below 1, and seeds= 2 or more")


@dataclass(frozen=True)
class Relearning:
    """One audit's relearning: same draws of examples for every model.

    Attributes:
        settings: how.
        task: of the data.
        forget, retain: the sets.
        original: what the original model said of the forget set.
        retrained: what retrained models said of it.
        seed: of every draw.
    """

    settings: Relearn
    task: Task
    forget: Any
    retain: Any
    original: Collected
    retrained: Sequence[Collected]
    seed: int

    @property
    def fewest(self) -> int:
        """Forgotten examples of which the share to train on is one."""
        return math.ceil(round(1 / self.settings.share, 9))

    def hindrance(self) -> str:
        """Say why relearning would show nothing; empty if it would."""
        if len(self.original) < self.fewest:
            return f"{self.fewest} forgotten examples are the fewest, of which one is trained on"
        if self.original.nll.mean() < np.mean([found.nll.mean() for found in self.retrained]):
            return ""
        return "the original knows the forgotten no better than the retrained models do"

    def steps(self, model: nn.Module, source: Source, run: int) -> int:
        """Return the steps until the original's loss is back; the most there are if it never is.

        From 1, which is also of a model that is there already. Trained in evaluation mode, on a
        copy.
        """
        told = self.settings
        trained, looked = self._parts(source, run)
        aim = self._aim(looked)
        learner = copy.deepcopy(model).eval()
        device = device_of(learner, None)
        weights = [p.requires_grad_() for p in learner.parameters() if p.is_floating_point()]
        optimiser = torch.optim.Adam(weights, told.lr)
        data = self.forget if source == "forget" else self.retain
        probes = [self.task.batch(self.forget, part, device) for part in _cut(looked, 64)]

        def there() -> bool:
            with drawn(0), torch.no_grad():
                losses = [self.task.loss(learner, probe).double().sum() for probe in probes]
            return float(torch.stack(losses).sum()) <= aim * len(looked)

        if there():
            return 1
        each = -(-len(trained) // told.batch_size)
        for step in range(1, told.steps):
            first = (step - 1) % each * told.batch_size
            batch = self.task.batch(data, trained[first : first + told.batch_size], device)
            with drawn(mix(self.seed, "relearn", run, step)), torch.enable_grad():
                optimiser.zero_grad()
                loss = self.task.loss(learner, batch).mean()
                loss.backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
                optimiser.step()
            if there():
                return step
        return told.steps

    def _parts(self, source: Source, run: int) -> tuple[list[int], list[int]]:
        """Return positions to train on, and of forgotten examples to look at, none of them both."""
        n = self.task.size(self.forget)
        count = int(round(self.settings.share * n, 9))
        draw = np.random.default_rng(mix(self.seed, "relearn", run))
        order = [int(i) for i in draw.permutation(n)]
        looked = sorted(order[count:][: self.settings.probe])
        if source == "forget":
            return order[:count], looked
        kept = draw.permutation(self.task.size(self.retain))[: 10 * count]
        return [int(i) for i in kept], looked

    def _aim(self, looked: list[int]) -> float:
        there = float(self.original.nll[looked].mean())
        away = float(np.mean([found.nll[looked].mean() for found in self.retrained]))
        return there + self.settings.slack * max(0.0, away - there)


def _cut(positions: list[int], size: int) -> list[list[int]]:
    return [positions[first : first + size] for first in range(0, len(positions), size)]


def _matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    return {n: p for n, p in model.named_parameters() if p.ndim > 1 and p.is_floating_point()}


def quantised(model: nn.Module, bits: int) -> nn.Module:
    """Return a copy whose matrices are rounded to a grid and back; vectors stay, as is usual.

    See ``audit.robustness.rounded`` for the grid.
    """
    found = copy.deepcopy(model)
    with torch.no_grad():
        for weight in _matrices(found).values():
            plain = rounded(weight.detach().cpu().double().numpy(), bits=bits)
            weight.copy_(torch.from_numpy(plain))
    return found


def kept_by_rounding(original: nn.Module, unlearned: nn.Module, bits: int) -> float:
    """Return what share of the change of matrices survives rounding; NaN if none can be compared.

    Weighted by the square of each change: 1 is all of it, 0 none.
    """
    before, after = _matrices(original), _matrices(unlearned)
    weight, kept = 0.0, 0.0
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.shape != old.shape:
            continue
        pair = [p.detach().cpu().double().numpy() for p in (old, new)]
        square = float(((pair[1] - pair[0]) ** 2).sum())
        if square:
            weight += square
            kept += square * round_trip(*pair, bits=bits).kept
    return kept / weight if weight else float("nan")
