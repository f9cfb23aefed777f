"""What the forgetting of shared weights is worth, in words that receipts may say.

Knows nothing of weights.
"""

from __future__ import annotations

from forgetnet.component import Standing
from forgetnet.fallback.ladder import Attempt

__all__ = ["DROPPED", "TRAINED", "WITHHELD", "standing_after"]

_FRESH = ("retrain", "shard_retrain")
TRAINED = Standing("exact", "trained anew without the records")
DROPPED = Standing("exact", "dropped the weights")
WITHHELD = Standing(
    "audited",
    "parametric unlearning",
    "no method on its ladder passed; its weights still hold the records, and answer nothing",
    withheld=True,
)
_AUDITED = "its weights were changed by a method that proves nothing; an attack found no more"
_PRIVATE = "its weights learnt from the records privately, within the epsilon that was agreed"
_CERTIFIED = "its weights are within a certified distance of the retrained ones, not equal to them"
_TELLS_NOTHING = "its weights learnt from the records, and an attack could not tell them apart"


def standing_after(last: Attempt, before: Standing) -> Standing:
    """Return what a forget is worth that ended well."""
    if last.method in _FRESH and last.guarantee == "exact":
        return TRAINED
    if last.guarantee == "exact" and before.guarantee == "exact":
        return Standing("exact", f"unlearned exactly by {last.method}")
    if last.guarantee == "exact":  # of weights that were only audited or certified before
        return Standing(before.guarantee, f"unlearned exactly by {last.method}", before.remark)
    if last.method == "nothing" and last.guarantee == "certified":
        return Standing("certified", "left as they are", _PRIVATE)
    if last.guarantee == "certified" and before.guarantee != "audited":
        return Standing("certified", f"unlearned by {last.method}", _CERTIFIED)
    if last.method == "nothing":
        return Standing("audited", "left as they are", _TELLS_NOTHING)
    return Standing("audited", f"unlearned by {last.method}", _AUDITED)
