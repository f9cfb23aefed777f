"""Unlearners that change the weights they are given: the frame around all of them.

Scope, safety and the record of a run are here; what is done to the weights is for the method. What
fails midway leaves the model as it was. Knows nothing of objectives.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.declared import check_declared, check_kind
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.change import changes
from forgetnet.unlearn.config import Budget, Guarantee, StopRule
from forgetnet.unlearn.identity import digests, joint_digest
from forgetnet.unlearn.progress import Checkpoint
from forgetnet.unlearn.result import Step, UnlearnResult, state_digest
from forgetnet.unlearn.run import Run, Spent, device_of
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import Callback, Unlearner, scope_of, snapshot_of

__all__ = ["Changing", "Course", "Ending", "Hook", "harm", "left_as_it_was", "look", "write_state"]


class Hook:
    """Something that takes part in every step, as a mask does; does nothing by itself."""

    def begin(self, run: Run) -> None:
        """Prepare, before the first step and before a checkpoint is loaded."""

    def before_step(self, run: Run) -> None:
        """Change gradients, before the optimiser's step."""

    def after_step(self, run: Run) -> None:
        """Change weights, after it."""

    def identity(self) -> Any:
        """Return what tells it from others, as JSON: a checkpoint is of one run."""
        return type(self).__name__


@dataclass(frozen=True)
class Course:
    """How a run is gone through.

    Attributes:
        checkpoint: where it stands.
        callbacks: told of each look.
        resume: whether to go on from the checkpoint.
        hooks: take part in every step, after those of the method.
    """

    checkpoint: Checkpoint
    callbacks: Sequence[Callback]
    resume: bool
    hooks: Sequence[Hook]

    def __post_init__(self) -> None:
        check_declared(self)


@dataclass(frozen=True)
class Ending:
    """How a run ended, and what may be claimed of it; None claims what the method does."""

    stopped: str
    guarantee: Guarantee | None = None
    certificate: Mapping[str, Any] | None = None
    notes: tuple[str, ...] | None = None


def look(run: Run, course: Course, done: int) -> bool:
    """Look at the model and tell the callbacks; return whether one of them wants to stop."""
    run.history.append(Step(done, run.probe("forget"), run.probe("retain")))
    answers = [callback(run.history[-1], run.model) for callback in course.callbacks]
    return any(answers)


def harm(run: Run) -> str:
    """Say what is wrong at the last look: ``not_finite``, ``retain_loss``, or nothing."""
    first, last = run.history[0], run.history[-1]
    told = [value for value in (last.forget, last.retain) if value is not None]
    finite = all(bool(t.isfinite().all()) for t in run.scope.values())
    if not finite or not all(math.isfinite(value) for value in told):
        return "not_finite"
    bound = run.stop.retain_increase
    grown = 0.0 if last.retain is None else last.retain - (first.retain or 0.0)
    return "retain_loss" if bound is not None and grown > bound else ""


def write_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy parameters and buffers by name into a model, in place."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def _names_of(task: Task, data: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each set, whose order counts."""
    return {name: joint_digest(*digests(task, given)) for name, given in data.items()}


@contextmanager
def left_as_it_was(model: nn.Module, kept: Mapping[str, Tensor]) -> Iterator[None]:
    """Give back modes and wishes for gradients, and after an error the weights, too."""
    modes = {name: module.training for name, module in model.named_modules()}
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    finished = False
    try:
        yield
        finished = True
    finally:
        for name, module in model.named_modules():
            module.training = modes.get(name, module.training)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted.get(name, parameter.requires_grad))
            parameter.grad = None
        if not finished:
            write_state(model, kept)


@dataclass(frozen=True)
class Changing(Unlearner):
    """A method that changes weights in scope.

    Attributes:
        batch_size: most examples of one pass, of each set.
        stop: when to stop early, and how to look.
    """

    batch_size: int = 16
    stop: StopRule = field(default_factory=StopRule)

    @abstractmethod
    def carry_out(self, run: Run, course: Course) -> Ending:
        """Change ``run.model``, in evaluation mode and with gradients in scope alone."""

    def extra(self) -> Mapping[str, Any]:
        """Return data sets of the method's own by name, beside those that were given."""
        return {}

    def means(self) -> Mapping[str, Any]:
        """Return what ``needs`` may name that is no data set, such as a trace, by name."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what a result isn't."""
        return ("approximate: nothing is claimed about what is left; audit the result",)

    def unlearn(
        self,
        model: nn.Module,
        forget: Any,
        retain: Any = None,
        *,
        task: Task | None = None,
        holdout: Any = None,
        inplace: bool = False,
        budget: Budget | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | Path | None = None,
        resume: bool = False,
        hooks: Sequence[Hook] = (),
    ) -> UnlearnResult:
        """Make a model forget; see :meth:`Unlearner.unlearn`.

        Args:
            hooks: take part in every step of a method that has steps.
        """
        check_kind("model", model, nn.Module)
        if resume and checkpoint is None:
            raise InvalidRecord("resume=True needs checkpoint=, the folder of the earlier run")
        check_kind("checkpoint", checkpoint, str | Path | None)
        sets = {"forget": forget, "retain": retain, "holdout": holdout, **self.extra()}
        others = {name: data for name, data in sets.items() if name not in {"forget", "retain"}}
        chosen = self.check(forget, retain, task, **others, **self.means())
        scope_of(model, self.params)  # complains before anything is copied
        changed = model if inplace else copy.deepcopy(model)
        device = device_of(changed, self.device)
        changed.to(device)
        run = Run(
            changed,
            chosen,
            {name: data for name, data in sets.items() if data is not None},
            scope_of(changed, self.params),
            self.seed,
            self.batch_size,
            device,
            self.stop,
            Budget() if budget is None else budget,
        )
        kept, before = snapshot_of(changed), state_digest(changed)
        identity = {
            "method": self.name,
            "settings": self.to_plain(),
            "start": before,
            "task": chosen.name,
            "data": {} if checkpoint is None else _names_of(chosen, run.data),
            "hooks": [hook.identity() for hook in hooks],
        }
        course = Course(Checkpoint(checkpoint, identity), callbacks, resume, hooks)
        with left_as_it_was(changed, kept):
            changed.eval()
            for name, parameter in changed.named_parameters():
                parameter.requires_grad_(name in run.scope)
            try:
                ending = self.carry_out(run, course)
            except Spent:
                write_state(changed, kept)
                ending = Ending("budget", "approximate")
        course.checkpoint.clear()
        return self._result(run, ending, kept, before)

    def _result(
        self, run: Run, ending: Ending, kept: dict[str, Tensor], before: str
    ) -> UnlearnResult:
        old = {name: kept[name] for name in run.scope}
        return UnlearnResult(
            run.model,
            self.name,
            self.to_plain(),
            self.guarantee if ending.guarantee is None else ending.guarantee,
            ending.stopped,
            tuple(run.history),
            run.spent(),
            changes(old, run.weights()),
            before,
            state_digest(run.model),
            ending.certificate,
            self.notes() if ending.notes is None else ending.notes,
            _snapshot=kept,
        )
