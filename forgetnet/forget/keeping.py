"""The verbs that keep records: legal holds, and restriction, by one signature for what can forget.

A held record is neither erased nor changed; a forget that names it says so in its receipt, keeps
it from being searched, and ends when the last hold on it is lifted. A restricted record is kept
and not searched. Knows nothing of how records are erased.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC

from forgetnet.errors import Held, InvalidScope, StoreError
from forgetnet.filters import Filter
from forgetnet.forget.execute import settle
from forgetnet.forget.marks import Kind, Mark
from forgetnet.forget.office import Office, check_folder
from forgetnet.forget.plan import Scope, resolve
from forgetnet.forget.receipt import Receipt
from forgetnet.forget.verbs import reason_of, scope_of
from forgetnet.given import text_of
from forgetnet.record import Record
from forgetnet.store import Floats

__all__ = ["Keeps", "check_free", "let_go", "put_anew"]


def check_free(office: Office, ids: Sequence[str], verb: str) -> None:
    """Refuse a verb on records that are under a legal hold.

    Raises:
        Held: with the ids and the names of the holds; nothing was changed.
    """
    found = office.marks.held(office.store.get(ids).values())
    if found:
        shown = ", ".join(repr(i[:80]) for i in sorted(found)[:5])
        holds = ", ".join(sorted({name for names in found.values() for name in names}))
        raise Held(
            f"can't {verb} {len(found)} records that are under the legal hold {holds} ({shown}); "
            "lift it first; nothing was changed"
        )


def let_go(office: Office, ids: Iterable[str]) -> None:
    """Take records that were deleted out of every mark.

    Raises:
        StoreError: a mark can't be changed; the next change, or opening, does it.
    """
    office.owes[0] = True
    try:
        office.marks.release(tuple(ids), office.store)
    except OSError as error:
        raise StoreError(
            f"it is done, but what is held or restricted can't be written: {error.strerror}; the "
            "next change does it"
        ) from error
    office.owes[0] = False


def put_anew(office: Office, record: Record, content: Floats, place: Floats) -> None:
    """Put a record in the place of the one of its id, and end what was on nobody else's.

    Raises:
        StoreError: as by :func:`let_go`, or it can't be written, and nothing was changed.
    """
    office.store.add([record], content, place, replace=True)
    let_go(office, ())


class Keeps:
    """Something that can be told to keep records."""

    @abstractmethod
    def _keeping(self) -> AbstractContextManager[Office]:
        """Give out the office, with nothing under way and nothing else let in."""

    def hold(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        subject: str | None = None,
        filter: Filter | None = None,
        topic: str | None = None,
        reason: str,
    ) -> Mark:
        """Put records under a legal hold: nothing erases or changes them until it is lifted.

        A forget that names one of them erases the rest, and its receipt says ``unsupported`` and
        names the hold. From then on the held ones aren't searched, and they are erased, with a
        receipt of their own, when the last hold on them is lifted. They go on being listed,
        exported and taught from.

        Args:
            ids: records by id.
            subject: everything whose subject this is or that mentions it, now and later.
            filter: everything that matches now.
            topic: everything filed under this path now.
            reason: the matter, not the person: it lies in plain in the memory's folder.

        Raises:
            InvalidScope: the scope is empty or malformed, or nothing of it is stored; or there is
                no reason, or it names the subject or a record.
            StoreError: the hold can't be made durable; nothing is held.
        """
        told = reason_of(reason)
        if not told.strip():
            raise InvalidScope("a legal hold needs a reason=, such as the name of the matter")
        return self._mark(Kind.HOLD, scope_of(ids, subject, filter, topic, mentions=True), told)

    def restrict(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        subject: str | None = None,
        filter: Filter | None = None,
        topic: str | None = None,
        reason: str | None = None,
    ) -> Mark:
        """Keep records and have no search return them (GDPR, article 18), until it is lifted.

        ``get``, ``get_all``, ``count`` and ``export`` go on showing them, and what experts learnt
        from them stays. A subject's restriction ends with its last record.

        Args:
            ids, subject, filter, topic: as in :meth:`hold`.
            reason: as in :meth:`hold`; may be left out.

        Raises:
            InvalidScope: as in :meth:`hold`.
            StoreError: it can't be made durable; nothing is restricted.
        """
        scope = scope_of(ids, subject, filter, topic, mentions=True)
        return self._mark(Kind.RESTRICTION, scope, reason_of(reason))

    def _mark(self, kind: Kind, scope: Scope, reason: str) -> Mark:
        with self._keeping() as office:
            settle(office)  # refuses where nothing may be written
            plan = resolve(office.store, scope, office.salt)
            found = plan.direct if scope.subject is None else (*plan.direct, *plan.mentions)
            if plan.not_found or not found:
                missing = ", ".join(repr(i[:80]) for i in plan.not_found[:5]) or "this scope"
                raise InvalidScope(f"nothing is stored of {missing}; nothing was marked")
            records = office.store.get(found).values()
            _check_reason(reason, [*found, *_subjects(records), *filter(None, [scope.subject])])
            ids = () if scope.subject is not None else tuple(found)
            made = office.clock().astimezone(UTC).isoformat()
            return office.marks.put(Mark("", kind, ids, scope.subject, reason, made))

    def lift(self, name: str) -> list[Receipt]:
        """End a hold or a restriction, and erase what was to be forgotten and is held no more.

        Args:
            name: of the hold or the restriction.

        Returns:
            A receipt for each forget that the hold had put off.

        Raises:
            InvalidScope: no hold or restriction has this name.
            ForgetIncomplete: it is lifted, and a forget stopped midway; the next change or opening
                finishes it.
            StoreError: it can't be ended, and stands, or something lies in the memory's folder
                that is none of its own; the message says so if it is lifted all the same.
        """
        text_of(name, "name", InvalidScope)
        with self._keeping() as office:
            settle(office)
            marks = office.marks.all(Kind.HOLD, Kind.RESTRICTION)
            if name not in {mark.name for mark in marks}:
                known = ", ".join(mark.name for mark in marks) or "none"
                raise InvalidScope(
                    f"no hold or restriction is called {str(name)[:80]!r}; there are: {known}"
                )
            check_folder(office)
            office.owes[0] = True
            try:
                office.marks.end(name)
            except OSError as error:
                stands = name in {mark.name for mark in office.marks.all()}
                what = "it still stands" if stands else "it is lifted, and a crash may undo that"
                raise StoreError(f"can't lift {name}: {error.strerror}; {what}") from error
            return settle(office)

    def holds(self) -> list[Mark]:
        """List the legal holds, oldest first."""
        with self._keeping() as office:
            return office.marks.all(Kind.HOLD)

    def restrictions(self) -> list[Mark]:
        """List the restrictions, oldest first."""
        with self._keeping() as office:
            return office.marks.all(Kind.RESTRICTION)


def _subjects(records: Iterable[Record]) -> set[str]:
    return {name for r in records for name in (r.subject, *r.mentions) if name is not None}


def _check_reason(reason: str, names: Iterable[str]) -> None:
    """Refuse a reason that names whom it is about: it would outlive the records.

    Raises:
        InvalidScope: it does; nothing was marked.
    """
    folded = reason.casefold()
    if any(len(name) > 2 and name.casefold() in folded for name in names):
        raise InvalidScope(
            "reason= names the subject or a record, and lies in plain in the memory's folder; "
            "name the matter instead; nothing was marked"
        )
