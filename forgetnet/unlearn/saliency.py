"""SalUn: another method, held to the weights that the forget set pulls at most.

Knows nothing of what that method minimises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.changing import Hook
from forgetnet.unlearn.config import Budget, Cost, check_positive
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.reach import backward
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.result import UnlearnResult
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import Callback, Unlearner

__all__ = ["Masked", "SaliencyMask"]


class Masked(Hook):
    """Lets only the most salient weights move: m = 1[|grad L(forget)| >= gamma].

    The absolute value is taken of the sum over the forget set, and the largest entries of all
    tensors in scope together are free. The others are written back after each step, so neither
    decay nor momentum moves them.

    Args:
        share: of the weights in scope that may move.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._free: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}

    def begin(self, run: Run) -> None:
        """Find the mask, at the start model."""
        run.model.zero_grad(set_to_none=True)
        size = run.size("forget")
        with torch.enable_grad():
            for first in range(0, size, run.batch_size):
                chosen = list(range(first, min(first + run.batch_size, size)))
                loss = run.loss(run.take("forget", chosen)).sum()
                backward(loss)
        pulls = {
            name: (torch.zeros_like(p) if p.grad is None else p.grad.detach().abs())
            for name, p in run.scope.items()
        }
        run.model.zero_grad(set_to_none=True)
        flat = torch.cat([pull.reshape(-1) for pull in pulls.values()])
        count = max(1, round(self._share * len(flat)))
        # By rank, not by value: weights of equal pull would make more of them free than asked for.
        salient = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
        salient[flat.argsort(descending=True, stable=True)[:count]] = True
        at = 0
        for name, pull in pulls.items():
            self._free[name] = salient[at : at + pull.numel()].reshape(pull.shape)
            self._start[name] = run.scope[name].detach().clone()
            at += pull.numel()

    def before_step(self, run: Run) -> None:
        """Take gradients away where the mask is shut."""
        for name, parameter in run.scope.items():
            if parameter.grad is not None:
                parameter.grad.mul_(self._free[name])

    def after_step(self, run: Run) -> None:
        """Write the start values back there, to the bit."""
        with torch.no_grad():
            for name, parameter in run.scope.items():
                parameter.copy_(torch.where(self._free[name], parameter, self._start[name]))

    def identity(self) -> Any:
        """Return the share."""
        return ["mask", self._share]


@register("saliency_mask")
@dataclass(frozen=True)
class SaliencyMask(Unlearner):
    """Run a method by gradients on the most salient weights alone (SalUn, Fan et al. 2024).

    ``params``, ``seed`` and ``device`` are given here, not to the inner method.

    Attributes:
        inner: the method; random labels in the paper.
        share: of the weights in scope that may move.
    """

    name: ClassVar[str] = "saliency_mask"
    reference: ClassVar[str] = "Fan et al. 2024, SalUn, weight saliency map"

    inner: Descent | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(share=self.share)
        if self.share > 1.0 or not isinstance(self.inner, Descent):
            raise InvalidRecord("saliency_mask needs inner=, a method by gradients, and share <= 1")
        plain = type(self.inner)
        if any(getattr(self.inner, n) != getattr(plain, n) for n in ("params", "seed", "device")):
            raise InvalidRecord("give params=, seed= and device= to saliency_mask, not to inner=")

    @property
    def _held(self) -> Descent:
        assert self.inner is not None  # noqa: S101 - __post_init__ has seen to it
        return self.inner.set_params(params=self.params, seed=self.seed, device=self.device)

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the inner method's cost, and one pass over the forget set for the mask."""
        found = self._held.estimate(model, forget, retain, task=task)
        size = self.check(forget, retain, task).size(forget)
        return found + Cost(forwards=size, backwards=size, tokens=size)

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
        result = self._held.unlearn(
            model,
            forget,
            retain,
            task=task,
            holdout=holdout,
            inplace=inplace,
            budget=budget,
            callbacks=callbacks,
            checkpoint=checkpoint,
            resume=resume,
            hooks=(Masked(self.share),),
        )
        result.method, result.settings = self.name, self.to_plain()
        return result
