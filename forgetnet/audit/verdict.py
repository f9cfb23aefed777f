"""What an audit of behaviour may say, and how several findings make one.

Knows nothing of models, scores or tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

__all__ = ["Finding", "Verdict", "overall"]


class Verdict(StrEnum):
    """The five answers of an audit; none of them is a bare yes."""

    PROVEN = "proven"
    """By construction: equal bits. No statistic can say this."""
    CONSISTENT = "consistent"
    """Shown to lie within a stated margin of a model that never saw the data; of a claimed
    epsilon, which can't be shown: not refuted by an attack that could have refuted it."""
    INCONSISTENT = "inconsistent"
    """Shown to differ from a model that never saw the data."""
    UNDERPOWERED = "underpowered"
    """The data could have shown neither; more examples or models are needed."""
    NOT_CHECKED = "not checked"
    """There was no test, or its controls did not behave."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one test found.

    Attributes:
        name: of the test.
        verdict: what it says.
        n: how many examples, or models, it rests on: of the smaller side where there are two.
        numbers: what was computed, by name.
        reasons: why the verdict is what it is, in plain words; never a text of the data.
    """

    name: str
    verdict: Verdict
    n: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))


_WORST_FIRST = (
    Verdict.INCONSISTENT,
    Verdict.NOT_CHECKED,
    Verdict.UNDERPOWERED,
    Verdict.CONSISTENT,
)


def overall(findings: Sequence[Finding]) -> Verdict:
    """Join findings into one verdict: the worst of them, and ``NOT_CHECKED`` if there are none.

    It is "proven" only if each of them is. To show equivalence everywhere, every test must show it
    (intersection-union, Berger 1982): no correction is needed for that. Differences found by
    p-values need one, before they come here: ``equivalence.holm``.
    """
    verdicts = {finding.verdict for finding in findings}
    if not verdicts:
        return Verdict.NOT_CHECKED
    return next((verdict for verdict in _WORST_FIRST if verdict in verdicts), Verdict.PROVEN)
