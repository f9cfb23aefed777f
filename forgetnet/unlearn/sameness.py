"""Whether two models are one: equal bits, equal parts and equal answers.

Weights alone don't answer; code does, too. Knows nothing of training.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from forgetnet.audit.equivalence import equal_bits
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.unlearn.collect import Collected
from forgetnet.unlearn.evidence import Seen
from forgetnet.unlearn.result import state_digest

__all__ = ["same_model"]


def same_model(model: nn.Module, seen: Seen, other: nn.Module, other_seen: Seen) -> Finding:
    """Say whether a model is a retrained one: ``PROVEN`` if bits, parts and answers are equal.

    Equal weights and buffers with other parts or answers are ``INCONSISTENT``: the code differs.

    Args:
        model: under audit.
        seen: what it said.
        other: the retrained model.
        other_seen: what that said of the same sets.
    """
    digests = [state_digest(m).encode() for m in (model, other)]
    found = equal_bits(*digests)
    if found.verdict is not Verdict.PROVEN:
        return found
    alike = _parts(model) == _parts(other) and all(
        _equal(seen[side], other_seen[side]) for side in seen
    )
    if alike:
        return Finding("equal bits", Verdict.PROVEN, 1, {}, ("bits, parts and answers are equal",))
    why = "weights and buffers are those of a retrained model, but parts or answers aren't"
    return Finding("equal bits", Verdict.INCONSISTENT, 1, {}, (why,))


def _parts(model: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in model.named_modules()]


def _equal(ours: Collected, theirs: Collected) -> bool:
    pairs = [(ours.nll, theirs.nll), *zip(ours.logprobs, theirs.logprobs, strict=True)]
    if ours.probabilities is not None and theirs.probabilities is not None:
        pairs.append((ours.probabilities, theirs.probabilities))
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
