"""Settings that all unlearners share: when to stop, what may be spent, what was spent.

Plain frozen values; knows nothing of models.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from forgetnet.declared import check_declared
from forgetnet.errors import InvalidRecord

__all__ = ["Budget", "Cost", "Guarantee", "StopRule"]

Guarantee = Literal["exact", "certified", "approximate"]
"""What a method may claim: the retrained model, one within (epsilon, delta) of it, or neither."""


@dataclass(frozen=True)
class StopRule:
    """When to stop before the settings say so; on by default, so that ascent can't run away.

    Attributes:
        forget_loss: stop once the mean loss on the forget set reaches this, in nats; ``chance`` is
            the loss of guessing, as the task tells it; None never stops for it.
        retain_increase: stop, and take back the last steps, once the mean loss on a fixed part of
            the retain set has grown by more than this, in nats; None never stops for it.
        every: steps between two looks.
        probe: examples of each set that a look takes, the same ones every time.
    """

    forget_loss: float | Literal["chance"] | None = "chance"
    retain_increase: float | None = 0.5
    every: int = 4
    probe: int = 64

    def __post_init__(self) -> None:
        check_declared(self)
        if self.every < 1 or self.probe < 1:
            raise InvalidRecord("a stop rule looks at least at one example, every step or less")
        if isinstance(self.forget_loss, float) and math.isnan(self.forget_loss):
            raise InvalidRecord("forget_loss= is a number, and not NaN, which nothing ever reaches")
        if self.retain_increase is not None and not self.retain_increase >= 0.0:
            raise InvalidRecord("retain_increase= is at least 0: 0 allows no harm, None any")


@dataclass(frozen=True)
class Budget:
    """The most that may be spent; None is no bound. A step that would pass it isn't begun.

    Attributes:
        steps: of the optimiser.
        forwards, backwards: examples that pass through the model.
        seconds: of wall time.
    """

    steps: int | None = None
    forwards: int | None = None
    backwards: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        bounds = (self.steps, self.forwards, self.backwards, self.seconds)
        if not all(most is None or most >= 0 for most in bounds):
            raise InvalidRecord("a budget is at least 0, or None for no bound")

    def allows(self, cost: Cost) -> bool:
        """Tell whether a cost is within it."""
        bounds = {f.name: getattr(self, f.name) for f in fields(self)}
        return all(most is None or getattr(cost, n) <= most for n, most in bounds.items())


@dataclass(frozen=True)
class Cost:
    """What a run takes, predicted or counted.

    Attributes:
        steps: of the optimiser.
        forwards, backwards: examples that pass through the model.
        tokens: labelled tokens, or examples where there are no tokens, in forward passes.
        bytes: kept beside the model while it runs.
        seconds: of wall time; 0 in a prediction.
    """

    steps: int = 0
    forwards: int = 0
    backwards: int = 0
    tokens: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        mine, its = asdict(self), asdict(other)
        return Cost(**{name: mine[name] + its[name] for name in mine})

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def check_positive(**values: float) -> None:
    """Refuse settings that are not above 0 and finite."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise InvalidRecord(f"{name}= must be above 0 and finite, not {value}")
