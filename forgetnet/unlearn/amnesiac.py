"""Amnesiac unlearning: keep what each batch did to the weights, and take it away again.

What later batches made of those weights stays, and so do the moments of the optimiser and running
statistics. Knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.changing import Changing, Course, Ending, harm, look
from forgetnet.unlearn.config import Cost, StopRule
from forgetnet.unlearn.identity import digests
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Task, task_of
from forgetnet.unlearn.unlearner import unfit

__all__ = ["Amnesiac", "UpdateTrace"]


class UpdateTrace:
    """Records what the steps of an optimiser do to weights, while it is entered.

    Before each step, name the examples of its batch::

        with UpdateTrace(model, optimiser, data, sensitive=[3, 5]) as trace:
            for positions in batches:
                trace.batch(positions)
                ...  # forward, backward, optimiser.step()

    Args:
        model: that is trained.
        optimiser: that trains it.
        data: all that it is trained on.
        sensitive: positions of examples that may have to be forgotten; only their batches are kept,
            each at the size of the weights. None for all of them.
        task: what kind of data it is.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        data: Any,
        *,
        sensitive: Sequence[int] | None = None,
        task: Task | None = None,
    ) -> None:
        names = digests(task_of(data, task), data)
        chosen = range(len(names)) if sensitive is None else sensitive
        self._names = names
        self._model, self._optimiser = model, optimiser
        self._batch: list[str] | None = None
        self._before: dict[str, Tensor] | None = None
        self._handles: list[Any] = []
        self.sensitive = frozenset(names[place] for place in chosen)
        self.updates: list[tuple[frozenset[str], dict[str, Tensor]]] = []

    def __enter__(self) -> Self:
        self._handles = [
            self._optimiser.register_step_pre_hook(self._remember),
            self._optimiser.register_step_post_hook(self._record),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def bytes(self) -> int:
        """What it takes to keep."""
        tensors = (tensor for _, update in self.updates for tensor in update.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def batch(self, positions: Sequence[int]) -> None:
        """Name the examples of the step that comes next."""
        self._batch = [self._names[place] for place in positions]

    def _remember(self, *_: Any) -> None:
        if self._batch is None:
            raise InvalidRecord("name the batch before each step: trace.batch(positions)")
        if self.sensitive.intersection(self._batch):
            named = self._model.named_parameters()
            self._before = {name: p.detach().clone() for name, p in named if p.requires_grad}

    def _record(self, *_: Any) -> None:
        if self._before is not None and self._batch is not None:
            now = dict(self._model.named_parameters())
            moved = {name: now[name].detach() - old for name, old in self._before.items()}
            self.updates.append((frozenset(self._batch), moved))
        self._batch = self._before = None


@register("amnesiac")
@dataclass(frozen=True)
class Amnesiac(Changing):
    """Subtract the updates of all batches that held an example of the forget set.

    What others in those batches taught goes with it: train on the retain set afterwards
    (``FineTune``), as the paper does.

    Attributes:
        trace: of the training.
    """

    name: ClassVar[str] = "amnesiac"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "trace"})
    reference: ClassVar[str] = "Graves et al. 2021, Amnesiac Machine Learning, amnesiac unlearning"

    trace: UpdateTrace | None = field(default=None, repr=False)
    stop: StopRule = field(default_factory=lambda: StopRule(None, None))

    def means(self) -> dict[str, Any]:
        """Return the trace."""
        return {"trace": self.trace}

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what a result isn't."""
        return (
            *super().notes(),
            "what later steps made of the updates is still there",
            "the optimiser's moments and running statistics are as they were",
            "the trace still holds the updates; drop it when all is done",
        )

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict two looks; subtraction needs no pass."""
        chosen = self.check(forget, retain, task, **self.means())
        sizes = [chosen.size(data) for data in (forget, retain) if data is not None]
        looks = 2 * sum(min(self.stop.probe, size) for size in sizes)
        return Cost(0, looks, 0, looks, 0 if self.trace is None else self.trace.bytes)

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Subtract, and look."""
        trace = self.trace
        if trace is None:
            raise InvalidRecord("amnesiac needs trace=")
        wanted = frozenset(digests(run.task, run.data["forget"]))
        if unknown := len(wanted - trace.sensitive):
            raise InvalidRecord(
                f"{unknown} examples of the forget set weren't named sensitive when the model was "
                "trained, so what they did wasn't kept; retrain"
            )
        if look(run, course, 0) or harm(run):
            return Ending(harm(run) or "callback")
        start = run.weights()
        with torch.no_grad():
            for names, update in trace.updates:
                if not names & wanted:
                    continue
                for name, parameter in run.scope.items():
                    if name not in update or update[name].shape != parameter.shape:
                        raise unfit(self.name, "the trace is of another model")
                    parameter.sub_(update[name].to(parameter))
        stopping = look(run, course, 1)
        if wrong := harm(run):
            run.put_back(start)
            return Ending(wrong)
        return Ending("callback" if stopping else "done")
