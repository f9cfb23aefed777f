"""The rule of two controls: a test counts only if it fails the original and passes a retrain.

Knows nothing of the test, of models or of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from forgetnet.audit.verdict import Finding, Verdict

__all__ = ["Controlled", "two_controls"]

Model = TypeVar("Model")


@dataclass(frozen=True)
class Controlled:
    """A test with its two controls.

    Attributes:
        verdict: of the test if both controls behave, ``NOT_CHECKED`` otherwise.
        unlearned: what the test said of the model under audit, controls or not.
        original: of the model before unlearning; must be ``INCONSISTENT``.
        retrained: of a second retrained model; must be ``CONSISTENT`` or ``PROVEN``.
        n: of the finding under audit.
        reasons: in plain words.
    """

    verdict: Verdict
    unlearned: Finding
    original: Finding
    retrained: Finding
    n: int
    reasons: tuple[str, ...]


def two_controls(
    test: Callable[[Model], Finding], *, original: Model, unlearned: Model, retrained: Model
) -> Controlled:
    """Run a test on the unlearned model and on two whose answer is known.

    A test that doesn't fail the original has no power, and one that fails a retrained model raises
    false alarms: what either says of the unlearned model is worth nothing. A test that never says
    "consistent" can't be controlled this way.

    Args:
        test: what it takes of a model, such as an array of scores; it makes a finding.
        original: of the model before unlearning, which knows.
        unlearned: of the model under audit.
        retrained: of a model retrained without the data, and with another seed than those that
            the test itself compares with.
    """
    found = {
        "original": test(original),
        "unlearned": test(unlearned),
        "retrained": test(retrained),
    }
    broken = []
    if found["original"].verdict is not Verdict.INCONSISTENT:
        said = found["original"].verdict.value
        broken.append(f"the original model didn't fail (it is {said}): the test has no power here")
    if found["retrained"].verdict not in {Verdict.CONSISTENT, Verdict.PROVEN}:
        said = found["retrained"].verdict.value
        broken.append(f"a second retrained model didn't pass (it is {said})")
    ours = found["unlearned"]
    return Controlled(
        verdict=Verdict.NOT_CHECKED if broken else ours.verdict,
        unlearned=ours,
        original=found["original"],
        retrained=found["retrained"],
        n=ours.n,
        reasons=tuple(broken) or ours.reasons,
    )
