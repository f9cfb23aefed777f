"""What the forgetting of shared weights is worth, in words that receipts may say.

Knows nothing of weights.
"""

from __future__ import annotations

from forgetnet.audit.verdict import Verdict
from forgetnet.component import Standing
from forgetnet.fallback.ladder import Attempt

__all__ = ["DROPPED", "TRAINED", "WITHHELD", "standing_after"]

TRAINED = Standing("exact", "trained anew without the records")
DROPPED = Standing("exact", "dropped the weights")
WITHHELD = Standing(
    "audited",
    "parametric unlearning",
    "no method on its ladder passed; its weights still hold the records, and answer nothing",
    withheld=True,
)
_FRESH = ("retrain", "shard_retrain")
_CHANGED = "its weights were changed by a method that proves nothing"
_LEFT = "its weights learnt from the records and were left as they are"
_LOOKED = "an attack could not tell the records from ones never seen"
_UNSEEN = "and no audit could tell what they still hold"
_PRIVATE = "its weights learnt from the records privately, within the epsilon that was agreed"
_CERTIFIED = "its weights are within a certified distance of the retrained ones, not equal to them"


def standing_after(last: Attempt, before: Standing) -> Standing:
    """Return what a forget is worth that ended well.

    Weights that were less before stay so, unless they were trained anew.
    """
    if last.method in _FRESH and last.guarantee == "exact":
        return TRAINED
    left = last.method == "nothing"
    method = "left as they are" if left else f"unlearned by {last.method}"
    if last.guarantee != "approximate" and before.guarantee != "audited":
        return Standing("certified", method, _PRIVATE if left else _CERTIFIED)
    what = _LEFT if left else _CHANGED
    seen = last.verdict in {Verdict.CONSISTENT, Verdict.PROVEN}
    return Standing("audited", method, f"{what}; {_LOOKED}" if seen else f"{what}, {_UNSEEN}")
