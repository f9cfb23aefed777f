"""The verb ``forget`` as users call it: one signature for whatever can forget.

Turns arguments into a scope; knows nothing of what is done with it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

from forgetnet.errors import InvalidScope
from forgetnet.filters import Filter
from forgetnet.forget.plan import Plan, Scope
from forgetnet.forget.proposal import Proposes
from forgetnet.forget.receipt import Receipt
from forgetnet.given import check_switches, names_of, text_of

__all__ = ["Forgets", "reason_of", "scope_of"]


def scope_of(
    ids: str | Sequence[str] | None,
    subject: str | None,
    filter: Filter | None,
    topic: str | None,
    *,
    mentions: bool,
    proposed: object = None,
) -> Scope:
    """Return the scope that some arguments of a forget name.

    Raises:
        InvalidScope: an argument is of another type than it can be, or a proposal isn't confirmed
            or doesn't stand alone.
    """
    check_switches(InvalidScope, mentions=mentions)
    if filter is not None and not isinstance(filter, Mapping):
        raise InvalidScope("filter= must be a dict of conditions, as {'subject': 'ann'}")
    wanted = None if ids is None else names_of(ids, "ids", InvalidScope)
    scope = Scope(wanted, subject, filter, topic, None, mentions)
    return scope if proposed is None else replace(scope, **_frozen(proposed, scope))


def reason_of(reason: object) -> str:
    """Return a reason as a string.

    Raises:
        InvalidScope: it isn't one.
    """
    return "" if reason is None else text_of(reason, "reason=", InvalidScope)


def _frozen(scope: object, beside: Scope) -> dict[str, Any]:
    """Return the ids of a confirmed proposal, and what is known of it.

    Raises:
        InvalidScope: it is none, isn't confirmed, or another scope is given beside it.
    """
    if not isinstance(scope, Proposes) or isinstance(scope, type):
        raise InvalidScope(
            "scope= takes what scope() proposed and confirm() froze; name records with ids="
        )
    if beside != Scope(mentions=beside.mentions):
        raise InvalidScope("scope= names the records by itself; leave out the other scopes")
    ids, frozen = scope.frozen()
    return {"ids": tuple(ids), "frozen": frozen}


class Forgets:
    """Something that can forget."""

    @abstractmethod
    def _planned(self, scope: Scope) -> Plan:
        """Return what a forget would take; change nothing."""

    @abstractmethod
    def _erased(self, scope: Scope, *, reason: str, level: str) -> Receipt:
        """Erase what a scope names, and return the receipt."""

    @overload
    def forget(
        self,
        *,
        ids: str | Sequence[str] | None = ...,
        subject: str | None = ...,
        filter: Filter | None = ...,
        topic: str | None = ...,
        mentions: bool = ...,
        scope: Proposes | None = ...,
        dry_run: Literal[False] = ...,
        reason: str | None = ...,
        verify: Literal["auto", "touched", "full"] = ...,
    ) -> Receipt: ...

    @overload
    def forget(
        self,
        *,
        ids: str | Sequence[str] | None = ...,
        subject: str | None = ...,
        filter: Filter | None = ...,
        topic: str | None = ...,
        mentions: bool = ...,
        scope: Proposes | None = ...,
        dry_run: Literal[True],
        reason: str | None = ...,
        verify: Literal["auto", "touched", "full"] = ...,
    ) -> Plan: ...

    def forget(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        subject: str | None = None,
        filter: Filter | None = None,
        topic: str | None = None,
        mentions: bool = True,
        scope: Proposes | None = None,
        dry_run: bool = False,
        reason: str | None = None,
        verify: Literal["auto", "touched", "full"] = "auto",
    ) -> Receipt | Plan:
        """Erase records, look for what is left, and return a signed receipt.

        Give exactly one scope; what is derived from its records goes too. Afterwards every answer
        equals that of a memory, or a model, that never had the records, and no byte of them is in
        the files; the receipt says how that was checked.

        Args:
            ids: records by id.
            subject: everything whose subject this is, and what mentions it.
            filter: everything that matches.
            topic: everything filed under this path; the path and the cone must agree.
            mentions: with a subject, also the others' records that mention it.
            scope: what ``scope`` proposed, once it is confirmed; exactly its ids, as it saw them.
            dry_run: change nothing and return the plan.
            reason: kept as a salted commitment only.
            verify: ``touched`` reads the files that the purge touched, ``full`` all of them and
                the store reopened, and what was learnt from is learnt from once more; ``auto`` is
                ``full`` up to 64 MiB.

        Raises:
            InvalidScope: the scope is empty or malformed, its witnesses disagree, or it is a
                proposal that isn't confirmed or is out of date; nothing was deleted.
            ForgetIncomplete: it stopped midway; the next change or opening finishes it first.
        """
        wanted = scope_of(ids, subject, filter, topic, mentions=mentions, proposed=scope)
        told = reason_of(reason)
        check_switches(InvalidScope, dry_run=dry_run)
        text_of(verify, "verify=", InvalidScope)
        if dry_run:
            return self._planned(wanted)
        return self._erased(wanted, reason=told, level=verify)
