"""What a look at a component came to, as a surface of the receipt.

Knows nothing of how components let go, nor of the store.
"""

from __future__ import annotations

from collections.abc import Sequence

from forgetnet.component import Component, Finding, Influence
from forgetnet.forget.surfaces import Check, Surface, judge

__all__ = ["METHODS", "surface_of"]

METHODS = {
    Influence.FROZEN: "nothing: it never saw the data",
    Influence.LOCAL: "remove the rows",
    Influence.ADDITIVE: "subtract the same integers that were added, solve again",
    Influence.ISOLATED: "drop the leaf's expert, train it without",
    Influence.ENTANGLED: "parametric unlearning",
}
"""How a part lets go that doesn't say otherwise, by its influence."""


def surface_of(
    part: Component, held: int, found: Sequence[Finding], *, full: bool
) -> Surface:
    """Return what the look at a component came to."""
    checks = [
        Check(
            check=one.check,
            hits=one.hits,
            control_expected=one.expected,
            control_found=one.found,
            opaque=one.opaque,
            files=one.files,
            bytes_read=one.bytes_read,
            scope="full" if full else "touched",
        )
        for one in found
    ]
    standing = part.standing
    return judge(
        part.name,
        count=held,
        method=standing.method or METHODS[part.influence],
        checks=checks,
        # What is only certified or audited isn't erased, whatever the looks say.
        supported=standing.guarantee == "exact" or not held,
        broken=standing.withheld and held > 0,
        detail=standing.remark if held else "",
    )
