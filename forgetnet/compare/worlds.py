"""One seed of a setting: the data, the model that learnt all of it, and models that didn't.

The original and the retrained models differ in their seeds, too, as two trainings of anybody's
would. Knows nothing of unlearners.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forgetnet.compare.answers import Known, ask_module
from forgetnet.compare.settings import Material, Setting
from forgetnet.experts.pinned import mix, pinned
from forgetnet.unlearn import Recipe, Task, UpdateTrace
from forgetnet.unlearn.config import Cost
from forgetnet.unlearn.retrain import fresh_model
from forgetnet.unlearn.task import Batch, size_of

__all__ = ["Family", "World", "train"]

_CPU = torch.device("cpu")


class _Told:
    """A task that says which positions each batch of a training is made of."""

    def __init__(self, task: Task, told: Callable[[list[int]], None]) -> None:
        self._task, self._told = task, told

    def batch(self, data: Any, positions: Any, device: torch.device) -> Batch:
        """Return the task's batch, after telling."""
        self._told(list(positions))
        return self._task.batch(data, positions, device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the task's losses."""
        return self._task.loss(model, batch)


def train(
    build: Callable[[], nn.Module],
    task: Task,
    recipe: Recipe,
    data: Any,
    seed: int,
    *,
    sensitive: list[int] | None = None,
) -> tuple[nn.Module, Cost, UpdateTrace | None]:
    """Train a fresh model; return it, what it took, and the trace of the sensitive examples."""
    model = fresh_model(build, seed, _CPU).train()
    optimiser = recipe.optimiser(model)
    passes, trace, told = [0], None, task

    def meter(batch: Batch) -> None:
        passes[0] += size_of(batch)

    def go() -> None:
        places = list(range(task.size(data)))
        taught: Any = told
        recipe.train(
            model, optimiser, taught, data, places,
            epochs=recipe.epochs, seed=seed, device=_CPU, meter=meter,
        )  # fmt: skip

    began = time.process_time()
    with pinned():
        if sensitive is None:
            go()
        else:
            with UpdateTrace(model, optimiser, data, sensitive=sensitive, task=task) as trace:
                watched: Any = _Told(task, trace.batch)
                told = watched
                go()
    seconds = time.process_time() - began
    model.zero_grad(set_to_none=True)
    return model.eval(), Cost(forwards=passes[0], backwards=passes[0], seconds=seconds), trace


@dataclass(frozen=True)
class Family:
    """Models of one kind: before forgetting, and never having seen what is forgotten.

    Attributes:
        original: learnt everything.
        retrained: learnt the retain set, each with another seed; all but the first are references.
        cost: of training one of them.
    """

    original: nn.Module = field(repr=False)
    retrained: tuple[nn.Module, ...] = field(repr=False)
    cost: Cost

    @property
    def references(self) -> tuple[nn.Module, ...]:
        """The retrained models that others are held against; the first one is a control."""
        return self.retrained[1:] or self.retrained


class World:
    """A setting with the data of one seed, and its models.

    Args:
        setting: what is compared on.
        seed: of data and models.
        references: retrained models beside the one that is a control.
    """

    def __init__(self, setting: Setting, seed: int, references: int = 2) -> None:
        self.setting, self.seed = setting, seed
        self.material: Material = setting.draw(seed)
        retain, whole = self.material.sides["retain"], self.material.whole()
        task, recipe, build = setting.task, setting.recipe, setting.build
        kept = task.size(retain)
        gone = list(range(kept, task.size(whole)))
        sensitive = gone if setting.traced else None
        original, _, self.trace = train(
            build, task, recipe, whole, mix(seed, "original"), sensitive=sensitive
        )
        again = [
            train(build, task, recipe, retain, mix(seed, "retrained", number))
            for number in range(1 + references)
        ]
        cost = again[0][1]
        self.family = Family(original, tuple(model for model, _, _ in again), cost)
        self.relearnt: dict[int, npt.NDArray[np.float64]] = {}
        self.seconds = float(np.median([spent.seconds for _, spent, _ in again]))

    def ask(self, model: nn.Module, side: str) -> Known:
        """Ask a model a whole side."""
        return ask_module(model, self.material.sides[side], self.setting.task)

    @cached_property
    def difficulty(self) -> dict[str, Any]:
        """How hard examples are for models that never saw them: (n,) mean losses, by side."""
        found = {}
        for side in ("forget", "unseen"):
            told = [self.ask(model, side).nll for model in self.family.references]
            found[side] = np.mean(told, axis=0)
        return found
