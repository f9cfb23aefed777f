"""Unlearning by steps of an optimiser: the loop that every such method shares.

A method says what a step minimises; everything else is here: scope, order, safety, budget,
checkpoints, the way back.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.experts.pinned import drawn, mix
from forgetnet.unlearn.change import changes
from forgetnet.unlearn.config import Budget, Cost, StopRule, check_positive
from forgetnet.unlearn.progress import Checkpoint
from forgetnet.unlearn.result import Step, UnlearnResult, state_digest
from forgetnet.unlearn.run import Run, Side, device_of
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import Callback, Unlearner, scope_of, snapshot_of

__all__ = ["Descent", "Hook"]


class Hook:
    """Something that takes part in every step, as a mask does; does nothing by itself."""

    def begin(self, run: Run) -> None:
        """Prepare, before the first step and before a checkpoint is loaded."""

    def before_step(self, run: Run) -> None:
        """Change gradients, before the optimiser's step."""

    def after_step(self, run: Run) -> None:
        """Change weights, after it."""


@dataclass(frozen=True)
class Descent(Unlearner):
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
        mode: ``eval`` leaves dropout out and running statistics alone; ``train`` doesn't.
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
        check_positive(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)
        if self.optimizer not in {"adamw", "sgd"} or self.mode not in {"eval", "train"}:
            raise InvalidRecord("optimizer= is 'adamw' or 'sgd', mode= 'eval' or 'train'")

    # -- what a method says

    def begin(self, run: Run) -> None:
        """Prepare what steps need of the start model, and keep it in ``run.kept``."""

    def extra(self) -> Mapping[str, Any]:
        """Return data sets of the method's own by name, beside those that were given."""
        return {}

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

    def steps(self, size: int) -> int:
        """Return how many steps a forget set of some size takes."""
        wanted = math.ceil(self.epochs * -(-size // self.batch_size))
        return wanted if self.max_steps is None else min(wanted, self.max_steps)

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict steps and passes; looks are included, tokens are those of the forget set."""
        chosen = self.check(forget, retain, task, **self.extra())
        size = chosen.size(retain if self.paced_by == "retain" else forget)
        steps = self.steps(size)
        each = min(self.batch_size, size)
        ahead, back = self.passes(retain=retain is not None)
        probes = min(self.stop.probe, size)
        probes += 0 if retain is None else min(self.stop.probe, chosen.size(retain))
        looks = 2 + steps // self.stop.every
        some = list(range(min(each, chosen.size(forget))))
        batch = chosen.batch(forget, some, torch.device("cpu"))
        return Cost(
            steps,
            int(steps * each * ahead) + looks * probes,
            int(steps * each * back),
            int(steps * ahead) * chosen.tokens(batch),
            sum(p.numel() * p.element_size() for p in scope_of(model, self.params).values()) * 4,
        )

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
    ) -> UnlearnResult:
        """Make a model forget; see :meth:`Unlearner.unlearn`."""
        chosen = self.check(forget, retain, task, holdout=holdout, **self.extra())
        scope_of(model, self.params)  # complains before anything is copied
        changed = model if inplace else copy.deepcopy(model)
        device = device_of(changed, self.device)
        changed.to(device)
        sets = {"forget": forget, "retain": retain, "holdout": holdout, **self.extra()}
        run = Run(
            changed,
            chosen,
            {name: data for name, data in sets.items() if data is not None},
            scope_of(changed, self.params),
            self.seed,
            self.batch_size,
            device,
            self.stop,
            budget or Budget(),
        )
        kept, before = snapshot_of(changed), state_digest(changed)
        identity = {
            "method": self.name,
            "settings": self.to_plain(),
            "start": before,
            "sizes": {name: chosen.size(data) for name, data in run.data.items()},
        }
        stopped = self._carry_out(run, Checkpoint(checkpoint, identity), callbacks, resume=resume)
        old = {name: kept[name] for name in run.scope}
        return UnlearnResult(
            changed,
            self.name,
            self.to_plain(),
            self.guarantee,
            stopped,
            tuple(run.history),
            run.spent(),
            changes(old, run.weights()),
            before,
            state_digest(changed),
            notes=self.notes(),
            _snapshot=kept,
        )

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what a result isn't."""
        return ("approximate: nothing is claimed about what is left; audit the result",)

    def hooks(self) -> Sequence[Hook]:
        """Return what takes part in every step."""
        return ()

    def _carry_out(
        self, run: Run, checkpoint: Checkpoint, callbacks: Sequence[Callback], *, resume: bool
    ) -> str:
        modes = {name: module.training for name, module in run.model.named_modules()}
        wanted = {name: p.requires_grad for name, p in run.model.named_parameters()}
        hooks = self.hooks()
        try:
            run.model.train(self.mode == "train")
            for name, parameter in run.model.named_parameters():
                parameter.requires_grad_(name in run.scope)
            with drawn(mix(self.seed, "begin")):
                self.begin(run)
                for hook in hooks:
                    hook.begin(run)
            optimiser = self._optimiser(run)
            first = checkpoint.load(run, optimiser) if resume else 0
            stopped = self._loop(run, optimiser, hooks, checkpoint, callbacks, first=first)
            self.finish(run)
            checkpoint.clear()
            return stopped
        finally:
            self.release(run)
            for name, module in run.model.named_modules():
                module.training = modes[name]
            for name, parameter in run.model.named_parameters():
                parameter.requires_grad_(wanted[name])
                parameter.grad = None

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
        checkpoint: Checkpoint,
        callbacks: Sequence[Callback],
        *,
        first: int,
    ) -> str:
        total = self.steps(run.size(self.paced_by))
        chance = run.chance()
        if not run.history:
            run.history.append(Step(0, run.probe("forget"), run.probe("retain")))
        good = run.weights()
        told: tuple[float, float] | None = None
        for step in range(first, total):
            if not self._affords(run):
                return "budget"
            told = self._step(run, optimiser, hooks, step)
            if told is None:
                run.put_back(good)
                return "not_finite"
            if (step + 1) % self.stop.every and step + 1 < total:
                continue
            look = Step(step + 1, run.probe("forget"), run.probe("retain"), *told)
            run.history.append(look)
            if reason := self._reason(run, look, chance):
                if reason != "forget_loss":
                    run.put_back(good)
                return reason
            good = run.weights()
            checkpoint.save(run, optimiser, step + 1)
            answers = [callback(look, run.model) for callback in callbacks]
            if any(answers):
                return "callback"
        return "done"

    def _affords(self, run: Run) -> bool:
        """Tell whether the budget allows one more step."""
        ahead, back = self.passes(retain="retain" in run.data)
        each = min(self.batch_size, run.size(self.paced_by))
        next_ = Cost(steps=1, forwards=int(each * ahead), backwards=int(each * back))
        return run.budget.allows(run.spent() + next_)

    def _step(
        self, run: Run, optimiser: torch.optim.Optimizer, hooks: Sequence[Hook], step: int
    ) -> tuple[float, float] | None:
        """Do one step; return objective and norm of the gradient, None if one isn't finite."""
        optimiser.zero_grad(set_to_none=True)
        with drawn(mix(self.seed, "step", step)):
            loss = self.objective(run, step)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without annotations
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
        if look.forget is not None and not math.isfinite(look.forget):
            return "not_finite"
        if rule.retain_increase is not None and look.retain is not None:
            if not look.retain - (first.retain or 0.0) <= rule.retain_increase:
                return "retain_loss"
        bound = chance if rule.forget_loss == "chance" else rule.forget_loss
        if bound is not None and look.forget is not None and look.forget >= float(bound):
            return "forget_loss"
        return ""
