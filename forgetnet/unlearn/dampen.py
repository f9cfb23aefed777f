"""Methods without steps: dampen what matters to the forget set, or drown it in noise.

Know nothing of how importance is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.changing import Changing, Course, Ending, harm, look
from forgetnet.unlearn.config import Cost, StopRule, check_positive
from forgetnet.unlearn.importance import (
    By,
    Scores,
    importance,
    load_scores,
    save_scores,
    scores_key,
)
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import scope_of

__all__ = ["SSD", "Fisher"]

_LADDER = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


@register("ssd")
@dataclass(frozen=True)
class SSD(Changing):
    """Selective synaptic dampening (Foster et al. 2024): in one shot, without training.

    Where I_f > alpha I_D, a weight is multiplied by min(lambda I_D / I_f, 1). D is all that the
    model was trained on: retain and forget together.

    Attributes:
        alpha: None chooses it, as a percentile of I_f / I_D over the weights that matter to D: it
            begins at ``percentile`` and rises until the loss on retain has grown by no more than
            ``stop.retain_increase``. A fixed one can ruin a model.
        percentile: where the search begins, of 1.
        dampening: lambda.
        by: by what importance is measured; published settings belong to ``batch``.
        label_free: measure it without labels.
        cache: folder where the importance of D is kept for the next request to the same model. It
            has seen the forget set, so remove it when all is done.
    """

    name: ClassVar[str] = "ssd"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Foster et al. 2024, Selective Synaptic Dampening"

    alpha: float | None = None
    percentile: float = 0.9
    dampening: float = 1.0
    by: By = "example"
    label_free: bool = False
    cache: str | None = None
    stop: StopRule = field(default_factory=lambda: StopRule(forget_loss=None))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(dampening=self.dampening, percentile=self.percentile)
        if self.alpha is not None:
            check_positive(alpha=self.alpha)
        if self.percentile >= 1.0:
            raise InvalidRecord("percentile= is below 1")

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what a result isn't."""
        kept = ("the cache of importance has seen the forget set; remove it",)
        return super().notes() + (kept if self.cache else ())

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict one pass over both sets, and the looks of a search that ends at once."""
        chosen = self.check(forget, retain, task)
        sizes = [chosen.size(forget), chosen.size(retain)]
        looks = 2 * sum(min(self.stop.probe, size) for size in sizes)
        first = 0 if self.label_free else min(self.batch_size, sizes[0])
        held = sum(p.numel() * p.element_size() for p in scope_of(model, self.params).values())
        passes = sum(sizes) + first
        return Cost(0, passes + looks, passes, passes + looks, 3 * held)

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Measure, choose alpha, dampen."""
        if look(run, course, 0) or harm(run):
            return Ending(harm(run) or "callback")
        forget = importance(run, "forget", self.by, label_free=self.label_free)
        whole = self._whole(run, forget)
        start = run.weights()
        for number, alpha in enumerate(self._alphas(forget, whole), start=1):
            self._dampen(run, forget, whole, alpha)
            stopping = look(run, course, number)
            if not (wrong := harm(run)):
                told = (*self.notes(), f"alpha was {alpha:.6g}")
                return Ending("callback" if stopping else "done", notes=told)
            run.put_back(start)
            if wrong == "not_finite" or stopping:
                return Ending(wrong)
        return Ending("retain_loss")

    def _whole(self, run: Run, forget: Scores) -> Scores:
        """Return I_D, from the cache if it is there."""
        key = ""
        if self.cache is not None:
            settings = {"by": self.by, "free": self.label_free, "batch": self.batch_size}
            key = scores_key(run, ("forget", "retain"), **settings)
            if (found := load_scores(self.cache, key, run.device)) is not None:
                return found
        retain = importance(run, "retain", self.by, label_free=self.label_free)
        a, b = run.size("forget"), run.size("retain")
        whole = {name: (a * forget[name] + b * retain[name]) / (a + b) for name in forget}
        if self.cache is not None:
            save_scores(self.cache, key, whole)
        return whole

    def _alphas(self, forget: Scores, whole: Scores) -> list[float]:
        if self.alpha is not None:
            return [self.alpha]
        parts = [(forget[n] / whole[n])[whole[n] > 0].reshape(-1) for n in forget]
        ratios = torch.cat(parts).double().sort().values
        if not len(ratios):
            return [1.0]
        ladder = [self.percentile, *(p for p in _LADDER if p > self.percentile)]
        found = [float(ratios[min(len(ratios) - 1, int(p * len(ratios)))]) for p in ladder]
        return sorted(set(found))

    def _dampen(self, run: Run, forget: Scores, whole: Scores, alpha: float) -> None:
        with torch.no_grad():
            for name, parameter in run.scope.items():
                chosen = forget[name] > alpha * whole[name]
                factor = (self.dampening * whole[name] / forget[name]).clamp(max=1.0)
                parameter.copy_(torch.where(chosen, parameter * factor, parameter))


@register("fisher")
@dataclass(frozen=True)
class Fisher(Changing):
    """Add noise to all weights in scope, most where the retain set doesn't care.

    w + alpha^(1/4) F^(-1/4) n with n ~ N(0, I) and F the diagonal Fisher information of the retain
    set by single examples; alpha is lambda sigma_h^2 of the paper.

    Attributes:
        alpha: how much.
        most: largest standard deviation of the noise on a weight.
        by: ``example`` or ``loop``; by batches, it would be no Fisher information.
    """

    name: ClassVar[str] = "fisher"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    reference: ClassVar[str] = "Golatkar et al. 2020, Eternal Sunshine, Fisher forgetting"

    alpha: float = 1e-9
    most: float = 0.1
    by: By = "example"
    stop: StopRule = field(default_factory=lambda: StopRule(forget_loss=None))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(alpha=self.alpha, most=self.most)
        if self.by not in {"example", "loop"}:
            raise InvalidRecord("by= of fisher is 'example' or 'loop'")

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict one pass over the retain set, and two looks."""
        chosen = self.check(forget, retain, task)
        sizes = [chosen.size(forget), chosen.size(retain)]
        looks = 2 * sum(min(self.stop.probe, size) for size in sizes)
        held = sum(p.numel() * p.element_size() for p in scope_of(model, self.params).values())
        return Cost(0, sizes[1] + looks, sizes[1], sizes[1] + looks, 2 * held)

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Measure, add noise, look."""
        if look(run, course, 0) or harm(run):
            return Ending(harm(run) or "callback")
        scores, start = importance(run, "retain", self.by), run.weights()
        draw = run.generator("noise", 0)
        with torch.no_grad():
            for name, parameter in run.scope.items():
                noise: Tensor = torch.randn(parameter.shape, generator=draw).to(parameter)
                width = self.alpha**0.25 * scores[name].clamp(min=1e-30).pow(-0.25)
                parameter.add_(width.clamp(max=self.most) * noise)
        stopping = look(run, course, 1)
        if wrong := harm(run):
            run.put_back(start)
            return Ending(wrong)
        return Ending("callback" if stopping else "done")
