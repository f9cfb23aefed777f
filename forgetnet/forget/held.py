"""What a forget leaves undone, by a legal hold or by an error, and how the receipt says so.

Pure functions; knows nothing of how records are erased.
"""

from __future__ import annotations

from dataclasses import replace

from forgetnet.forget.office import Office
from forgetnet.forget.plan import Plan, Scope
from forgetnet.forget.surfaces import Surface, judge

__all__ = ["allowed", "broken", "kept"]

_METHOD = "none: a legal hold forbids it"
_SHOWN = 8


def allowed(office: Office, plan: Plan, scope: Scope) -> Plan:
    """Return a plan that leaves alone what is under a legal hold."""
    # What was forgotten once already no hold keeps, but it keeps what was made from that.
    gone = frozenset(plan.direct if scope.again else ())
    held = office.marks.held(office.store.get([i for i in plan.matched if i not in gone]).values())
    if not held:
        return plan
    names = tuple(sorted({name for found in held.values() for name in found}))
    return replace(plan, held=tuple(i for i in plan.matched if i in held), holds=names)


def kept(plan: Plan) -> list[Surface]:
    """Say what stays, and under which holds."""
    if not plan.held:
        return []
    more = " and others" if len(plan.holds) > _SHOWN else ""
    named = ", ".join(plan.holds[:_SHOWN]) + more
    detail = f"kept under {named}, not searched, erased when that is lifted"
    count = len(plan.held)
    return [judge("legal hold", count=count, method=_METHOD, supported=False, detail=detail)]


def broken(plan: Plan) -> list[Surface]:
    """Say that a forget stopped midway."""
    return [
        judge(
            "rows",
            count=len(plan.ids),
            method="delete, then rewrite the pieces",
            broken=True,
            detail="stopped midway; opening the memory again finishes it",
        )
    ]
