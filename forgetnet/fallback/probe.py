"""Whether weights still tell forgotten records from ones that they never saw.

A membership attack by loss, its rank and its level, with its controls: the model as it was must be
caught, and one that never saw anything must not. Knows nothing of how weights were changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from forgetnet.audit.controls import Controlled, two_controls
from forgetnet.audit.equivalence import tost
from forgetnet.audit.membership import auc, judge_auc
from forgetnet.audit.scores import loss_scores
from forgetnet.audit.verdict import Finding, Verdict, overall
from forgetnet.unlearn.collect import collect
from forgetnet.unlearn.task import Task

__all__ = ["Probe", "Retrieval"]


@dataclass(frozen=True)
class Retrieval:
    """How well forgotten records are told, with the memory's help and without, in nats.

    The lower a loss, the more is known. What the deletion itself achieved is ``on`` against
    ``full``; what is left in weights is ``off`` against ``never``; and where ``on`` is well below
    ``off``, records that stayed tell it, such as near-duplicates.

    Attributes:
        full: mean loss before the deletion, with what the memory finds as context; None where a
            crash came between.
        on: the same after it.
        off: without any context: from weights alone.
        never: of a model that saw nothing, without context.
        near: ids of records that stay and are nearly the same as a forgotten one.
    """

    full: float | None
    on: float
    off: float
    never: float
    near: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        losses = {"full": self.full, "on": self.on, "off": self.off, "never": self.never}
        told = {k: None if v is None else round(v, 6) for k, v in losses.items()}
        return {**told, "near": list(self.near)}


class Probe:
    """The attack on one forget set.

    Args:
        forget: what is forgotten, as the task takes data.
        holdout: as many or more examples of the same kind that no model saw; None checks nothing.
        task: what kind of data it is.
        original: the model as it was.
        never: a model that saw nothing.
        margin: of the AUC around 0.5, and of mean probabilities of what is right, that counts as
            no difference.
    """

    def __init__(
        self,
        forget: Any,
        holdout: Any,
        *,
        task: Task | None,
        original: nn.Module,
        never: nn.Module,
        margin: float,
    ) -> None:
        self._forget, self._holdout, self._task = forget, holdout, task
        self._original, self._never = original, never
        self._margin = margin

    @property
    def can_look(self) -> bool:
        """Whether there is a forget set, and a holdout to compare it with."""
        return self._holdout is not None and self._forget is not None

    def judge_as_it_was(self) -> Controlled:
        """Attack the model before anything was done; the control is one that saw nothing.

        It has no control that must be caught: that there is power is for the finding to show.
        """
        if not self.can_look:
            return _blind()
        found, blank = self.attack(self._original), self.attack(self._never)
        told = found.verdict, found.reasons
        if blank.verdict is not Verdict.CONSISTENT:
            why = f"a model that saw nothing didn't pass (it is {blank.verdict.value})"
            told = Verdict.NOT_CHECKED, (why, *found.reasons)
        return Controlled(told[0], found, found, blank, found.n, told[1])

    def judge(self, model: nn.Module) -> Controlled:
        """Attack a model, and the two whose answer is known."""
        if not self.can_look:
            return _blind()
        return two_controls(
            self.attack, original=self._original, unlearned=model, retrained=self._never
        )

    def attack(self, model: nn.Module) -> Finding:
        """Say whether losses tell the forget set from the holdout, by rank or by level.

        Ranks alone don't see that one set is known well and the other in part; the level is the
        mean of exp(-loss), the probability of what is right.
        """
        losses = [
            loss_scores(collect(model, data, self._task).nll)
            for data in (self._forget, self._holdout)
        ]
        rank = judge_auc(auc(*losses), margin=self._margin)
        if min(map(len, losses)) < 2:
            return rank
        likely = [np.exp(-loss) for loss in losses]
        level = tost(*likely, margin=self._margin, paired=False).finding
        both = (rank, level)
        numbers = {f"{f.name} {n}": v for f in both for n, v in f.numbers.items()}
        reasons = tuple(reason for f in both for reason in f.reasons)
        return Finding("loss", overall(both), min(f.n for f in both), numbers, reasons)

    def losses(self, model: nn.Module, data: Any) -> list[float]:
        """Return the loss of each example, in nats."""
        return [float(value) for value in collect(model, data, self._task).nll]

    def loss(self, model: nn.Module, data: Any) -> float:
        """Return the mean loss of some examples, in nats."""
        return float(np.mean(collect(model, data, self._task).nll))

    def compare(self, full: float | None, on: Any, off: Any, near: Sequence[str]) -> Retrieval:
        """Compare the model as it was with and without what is left of the memory.

        Args:
            full: its mean loss with the whole memory; None where nobody looked in time.
            on: the forget set with what the memory finds after the deletion.
            off: the forget set without any context.
            near: ids of near-duplicates that stay.
        """
        with_memory, without = (self.loss(self._original, data) for data in (on, off))
        return Retrieval(full, with_memory, without, self.loss(self._never, off), tuple(near))


def _blind() -> Controlled:
    why = ("there was no holdout, or nothing left of the records, to attack with",)
    blind = Finding("auc", Verdict.NOT_CHECKED, 0, {}, why)
    return Controlled(Verdict.NOT_CHECKED, blind, blind, blind, 0, why)
