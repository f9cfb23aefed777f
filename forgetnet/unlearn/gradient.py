"""The plainest methods: ascend on what is to be forgotten, descend on what is to be kept.

Baselines that everything else is measured against. Ascent alone has no bottom; the stop rule is
what keeps it from ruining the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import Batch

__all__ = ["FineTune", "GradientAscent", "GradientDifference", "RandomLabel", "Retaining", "kl_to"]


def kl_to(start: Tensor, now: Tensor) -> Tensor:
    """Return the mean over rows of KL(start || now), of (m, c) logits, in nats."""
    there = functional.log_softmax(start, dim=-1)
    here = functional.log_softmax(now, dim=-1)
    return functional.kl_div(here, there, reduction="batchmean", log_target=True)


@register("gradient_ascent")
@dataclass(frozen=True)
class GradientAscent(Descent):
    """Ascend on the loss of the forget set (Jang et al. 2023): minimise -L(forget)."""

    name: ClassVar[str] = "gradient_ascent"
    reference: ClassVar[str] = "Jang et al. 2023, Knowledge Unlearning, the loss L_UL"

    def objective(self, run: Run, step: int) -> Tensor:
        """Return minus the mean loss of a forget batch."""
        return -run.loss(run.batch("forget", step)).mean()


@dataclass(frozen=True)
class Retaining(Descent):
    """A method that keeps up what is retained, beside what it does to the forget set.

    Attributes:
        forget_weight: of the forget term.
        retain_weight: of the retain term.
        retain: ``nll`` descends on the loss of the retain set; ``kl`` stays near the start model's
            answers there, at labelled positions only, and needs a frozen copy of it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Literal["nll", "kl"] = "nll"

    def begin(self, run: Run) -> None:
        """Make the frozen copy, where it is needed, of the start model."""
        if self.retain == "kl" and self.retain_weight:
            run.start  # noqa: B018 # a property that is made now, before the first step

    def retained(self, run: Run, step: int) -> Tensor:
        """Return the retain term of a step."""
        batch = run.batch("retain", step)
        if self.retain == "nll":
            return run.loss(batch).mean()
        with torch.no_grad():
            run.count(batch)
            start = run.task.logits(run.start, batch)
        return kl_to(start, run.logits(batch))

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return forward and backward passes: two each, and one forward more for ``kl``."""
        return 2.0 + (self.retain == "kl"), 2.0


@register("gradient_difference")
@dataclass(frozen=True)
class GradientDifference(Retaining):
    """Ascend on forget, descend on retain (Liu et al. 2022; NegGrad+ of Kurmanji et al. 2023)."""

    name: ClassVar[str] = "gradient_difference"
    reference: ClassVar[str] = "Liu et al. 2022, Continual Learning and Private Unlearning"

    def objective(self, run: Run, step: int) -> Tensor:
        """Return -w_f L(forget) + w_r R(retain)."""
        lost = run.loss(run.batch("forget", step)).mean()
        return self.retain_weight * self.retained(run, step) - self.forget_weight * lost


@register("fine_tune")
@dataclass(frozen=True)
class FineTune(Descent):
    """Go on training on the retain set alone, and count on forgetting by itself."""

    name: ClassVar[str] = "fine_tune"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Golatkar et al. 2020, Eternal Sunshine, baseline"
    paced_by: ClassVar[Side] = "retain"

    def objective(self, run: Run, step: int) -> Tensor:
        """Return the mean loss of a retain batch."""
        return run.loss(run.batch("retain", step)).mean()

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return one pass each."""
        return 1.0, 1.0


@register("random_label")
@dataclass(frozen=True)
class RandomLabel(Retaining):
    """Learn wrong labels for the forget set (Golatkar et al. 2020; the inner method of SalUn).

    A wrong label is never the true one, and is drawn anew at every step.
    """

    name: ClassVar[str] = "random_label"
    reference: ClassVar[str] = "Golatkar et al. 2020, Eternal Sunshine; Fan et al. 2024, SalUn"

    def _wrong(self, run: Run, step: int) -> Batch:
        batch = run.batch("forget", step)
        return run.task.relabel(batch, run.generator("label", step), run.outputs)

    def objective(self, run: Run, step: int) -> Tensor:
        """Return w_f L(forget, wrong labels) + w_r R(retain)."""
        wrong = run.loss(self._wrong(run, step)).mean()
        return self.forget_weight * wrong + self.retain_weight * self.retained(run, step)
