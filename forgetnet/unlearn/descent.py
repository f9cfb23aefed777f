"""Unlearning by steps of an optimiser: the loop that every such method shares.

A method says what a step minimises; everything else is here: scope, order, safety, budget,
checkpoints, the way back.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from forgetnet.experts.pinned import drawn, mix
from forgetnet.unlearn.changing import Changing, Course, Ending, Hook
from forgetnet.unlearn.config import Cost, StopRule, check_positive
from forgetnet.unlearn.reach import backward, reached
from forgetnet.unlearn.result import Step
from forgetnet.unlearn.run import Run, Side, Spent
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import scope_of

__all__ = ["Descent", "Hook"]

LOOKED_AT: tuple[Side, ...] = ("forget", "retain")


@dataclass(frozen=True)
class Descent(Changing):
    """A method that minimises something step by step.

    Attributes:
        lr: learning rate.
        epochs: passes over the forget set; of the retain set, for a method that sees only that.
        max_steps: the most steps; None for all of the epochs.
        batch_size: examples of a step, of each set.
        optimizer: ``adamw`` or ``sgd``.
        momentum: of ``sgd``.
        weight_decay: of either.
        grad_clip: largest norm of a gradient; None for no bound.
        stop: when to stop early.
        mode: ``eval`` leaves dropout out and running statistics alone; ``train`` doesn't, but for
            statistics of modules outside of scope.
    """

    lr: float = 1e-4
    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 16
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.0
    weight_decay: float = 0.0
    grad_clip: float | None = 1.0
    stop: StopRule = field(default_factory=StopRule)
    mode: Literal["eval", "train"] = "eval"

    paced_by: ClassVar[Side] = "forget"
    """The set whose passes are the epochs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)

    # -- what a method says

    def begin(self, run: Run) -> None:
        """Prepare what steps need of the start model, and keep it in ``run.kept``."""

    def finish(self, run: Run) -> None:
        """Turn what was trained into the model that is given back, after the last step."""

    def release(self, run: Run) -> None:
        """Take away what :meth:`begin` put up; called whatever happened."""

    @abstractmethod
    def objective(self, run: Run, step: int) -> Tensor:
        """Return what a step minimises; gradients flow to the parameters in scope."""

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return forward and backward passes per example of the forget set in one step."""
        extra = 1.0 if retain and "retain" in self.needs else 0.0
        return 1.0 + extra, 1.0 + extra

    # -- the loop

    def length(self, sizes: Mapping[str, int]) -> int:
        """Return how many steps sets of some sizes take."""
        return self.steps(sizes[self.paced_by])

    def steps(self, size: int) -> int:
        """Return how many steps a paced set of some size takes."""
        wanted = math.ceil(self.epochs * -(-size // self.batch_size))
        return wanted if self.max_steps is None else min(wanted, self.max_steps)

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict steps and passes; looks are included, tokens are those of the forget set."""
        extra = self.extra()
        chosen = self.check(forget, retain, task, **extra, **self.means())
        given = {"forget": forget, "retain": retain, **extra}
        sizes = {name: chosen.size(data) for name, data in given.items() if data is not None}
        steps = self.length(sizes)
        each = min(self.batch_size, sizes[self.paced_by])
        ahead, back = self.passes(retain=retain is not None)
        probes = sum(min(self.stop.probe, sizes.get(side, 0)) for side in LOOKED_AT)
        looks = 1 - -steps // self.stop.every  # the first, and rounded up
        side = "forget" if "forget" in sizes else self.paced_by
        batch = chosen.batch(given[side], range(min(each, sizes[side])), torch.device("cpu"))
        return Cost(
            steps,
            int(steps * each * ahead) + looks * probes,
            int(steps * each * back),
            int(steps * ahead) * chosen.tokens(batch),
            sum(p.numel() * p.element_size() for p in scope_of(model, self.params).values()) * 4,
        )

    def hooks(self) -> Sequence[Hook]:
        """Return what takes part in every step."""
        return ()

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Do the steps."""
        if self.mode == "train":
            run.train()
        hooks = (*self.hooks(), *course.hooks)
        try:
            with drawn(mix(self.seed, "begin")):
                self.begin(run)
                for hook in hooks:
                    hook.begin(run)
            chance = run.chance()
            optimiser = self._optimiser(run)
            first = course.checkpoint.load(run, optimiser) if course.resume else 0
            stopped = self._loop(run, optimiser, hooks, course, first=first, chance=chance)
            self.finish(run)
            return Ending(stopped)
        finally:
            self.release(run)

    def _optimiser(self, run: Run) -> torch.optim.Optimizer:
        weights = list(run.scope.values())
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                weights, self.lr, momentum=self.momentum, weight_decay=self.weight_decay
            )
        return torch.optim.AdamW(weights, self.lr, weight_decay=self.weight_decay)

    def _loop(
        self,
        run: Run,
        optimiser: torch.optim.Optimizer,
        hooks: Sequence[Hook],
        course: Course,
        *,
        first: int,
        chance: float,
    ) -> str:
        total = self.length({name: run.size(name) for name in run.data})
        if not run.history:
            run.history.append(Step(0, run.probe("forget"), run.probe("retain")))
        good = run.weights()
        told: tuple[float, float] | None = None
        for step in range(first, total):
            if not self._affords(run):
                return (self._look(run, step, told, chance, good) if told else "") or "budget"
            try:
                with reached(run.model, run.scope) if step == first else nullcontext():
                    told = self._step(run, optimiser, hooks, step)
            except Spent:  # before the optimiser moved
                return "budget"
            if told is None:
                run.put_back(good)
                return "not_finite"
            if not self.looks(run, step + 1, total):
                continue
            if reason := self._look(run, step + 1, told, chance, good):
                return reason
            good, told = run.weights(), None
            self.observe(run, step + 1)
            course.checkpoint.save(run, optimiser, step + 1)
            answers = [callback(run.history[-1], run.model) for callback in course.callbacks]
            if any(answers):
                return "callback"
        return "done"

    def looks(self, run: Run, done: int, total: int) -> bool:
        """Tell whether to look after so many steps."""
        return not done % self.stop.every or done == total

    def observe(self, run: Run, done: int) -> None:
        """Note what the method wants to know of a look, in ``run.carried``."""

    def look_passes(self, run: Run) -> int:
        """Count the examples that one look takes."""
        return sum(min(self.stop.probe, run.size(side)) for side in LOOKED_AT)

    def _look(
        self,
        run: Run,
        done: int,
        told: tuple[float, float],
        chance: float,
        good: dict[str, Tensor],
    ) -> str:
        """Look, and say why to stop here; nothing where there is no reason."""
        look = Step(done, run.probe("forget"), run.probe("retain"), *told)
        run.history.append(look)
        reason = self._reason(run, look, chance)
        if reason and reason != "forget_loss":
            run.put_back(good)
        return reason

    def _affords(self, run: Run) -> bool:
        """Tell whether the budget allows one more step, and a look at what it did."""
        ahead, back = self.passes(retain="retain" in run.data)
        each = min(self.batch_size, max(run.size(name) for name in run.data))
        ahead = each * ahead + self.look_passes(run)
        next_ = Cost(steps=1, forwards=math.ceil(ahead), backwards=math.ceil(each * back))
        return run.budget.allows(run.spent() + next_)

    def _step(
        self, run: Run, optimiser: torch.optim.Optimizer, hooks: Sequence[Hook], step: int
    ) -> tuple[float, float] | None:
        """Do one step; return objective and norm of the gradient, None if one isn't finite."""
        optimiser.zero_grad(set_to_none=True)
        with drawn(mix(self.seed, "step", step)):
            loss = self.objective(run, step)
            backward(loss)
        weights = list(run.scope.values())
        bound = math.inf if self.grad_clip is None else self.grad_clip
        norm = float(torch.nn.utils.clip_grad_norm_(weights, bound))
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(norm):
            return None
        for hook in hooks:
            hook.before_step(run)
        optimiser.step()
        for hook in hooks:
            hook.after_step(run)
        run.cost += Cost(steps=1)
        return value, norm

    def _reason(self, run: Run, look: Step, chance: float) -> str:
        """Say why to stop here; nothing where there is no reason."""
        first, rule = run.history[0], self.stop
        told = [value for value in (look.forget, look.retain) if value is not None]
        if not all(math.isfinite(value) for value in told):
            return "not_finite"
        if rule.retain_increase is not None and look.retain is not None:
            if look.retain - (first.retain or 0.0) > rule.retain_increase:
                return "retain_loss"
        bound = chance if rule.forget_loss == "chance" else rule.forget_loss
        if bound is not None and look.forget is not None and look.forget >= float(bound):
            return "forget_loss"
        return ""
