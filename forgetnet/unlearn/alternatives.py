"""Other answers in place of those that are to be forgotten: refusals, or made-up facts.

The alternative at a position belongs to the forget example at the same position; batches draw
both alike, so no shuffle parts them. Alternatives are encoded by the caller, as the forget set is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.config import Cost, check_positive
from forgetnet.unlearn.gradient import Retaining
from forgetnet.unlearn.preference import npo, remember_start, started
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Task

__all__ = ["DPO", "Alternative", "IdkFineTune"]


@dataclass(frozen=True)
class Alternative(Retaining):
    """A method that is given an alternative for each example of the forget set.

    Attributes:
        alternatives: a data set like the forget set, as long and in the same order: the same
            questions with the answers that are wanted. It holds what is to be forgotten, so it is
            told of in results by its type alone.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain", "alternatives"})

    alternatives: Any = field(default=None, repr=False, compare=False)

    def extra(self) -> Mapping[str, Any]:
        """Return the alternatives."""
        return {} if self.alternatives is None else {"alternatives": self.alternatives}

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON values, without the alternatives' text."""
        return {**super().to_plain(), "alternatives": type(self.alternatives).__name__}

    def check(self, forget: Any, retain: Any, task: Task | None, **others: Any) -> Task:
        """Return the task, if there are as many alternatives as examples to forget.

        Raises:
            InvalidRecord: there aren't, or something else is missing.
        """
        chosen = super().check(forget, retain, task, **others)
        found, wanted = chosen.size(self.alternatives), chosen.size(forget)
        if found != wanted:
            raise InvalidRecord(
                f"{found} alternatives came for {wanted} examples to forget; give one for each"
            )
        return chosen


@register("idk")
@dataclass(frozen=True)
class IdkFineTune(Alternative):
    """Learn to say something else: descend on the alternatives (Maini et al. 2024, TOFU, IDK)."""

    name: ClassVar[str] = "idk"
    reference: ClassVar[str] = "Maini et al. 2024, TOFU, the baseline of IDK answers"

    def objective(self, run: Run, step: int) -> Tensor:
        """Return w_f L(alternatives) + w_r R(retain)."""
        other = run.take("alternatives", run.positions("forget", step))
        learnt = run.loss(other).mean()
        return self.forget_weight * learnt + self.retain_weight * self.retained(run, step)


@register("dpo")
@dataclass(frozen=True)
class DPO(Alternative):
    """Prefer the alternative to what is to be forgotten (Rafailov et al. 2023, eq. 7).

    Scaled by 2/beta, so that its weight means what it means in :class:`NPO`.

    Attributes:
        beta: how soon a pair that is told apart stops counting, per nat.
    """

    name: ClassVar[str] = "dpo"
    reference: ClassVar[str] = "Rafailov et al. 2023, Direct Preference Optimization, eq. 7"

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta)

    def begin(self, run: Run) -> None:
        """Compute the start model's likelihoods of both."""
        super().begin(run)
        remember_start(run, "forget", "alternatives")

    def objective(self, run: Run, step: int) -> Tensor:
        """Return -(2/b) w_f mean log sigmoid(b (gain of alternative - gain of original)) + w_r R.

        A gain is NLL_start - NLL, summed over labelled tokens.
        """
        positions = run.positions("forget", step)
        old, _ = run.nll(run.take("forget", positions))
        new, _ = run.nll(run.take("alternatives", positions))
        gained = started(run, "alternatives", positions) - new
        kept = started(run, "forget", positions) - old
        lost = npo(gained - kept, self.beta)
        return self.forget_weight * lost + self.retain_weight * self.retained(run, step)

    def passes(self, *, retain: bool) -> tuple[float, float]:
        """Return one forward and backward pass more than others: that of the alternative."""
        ahead, back = super().passes(retain=retain)
        return ahead + 1.0, back + 1.0

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the cost, with the start model's passes."""
        chosen = self.check(forget, retain, task, **self.extra())
        both = chosen.size(forget) + chosen.size(self.alternatives)
        return super().estimate(model, forget, retain, task=task) + Cost(forwards=both)
