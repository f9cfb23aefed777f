"""The path of a forget: plan, journal, delete, purge, look, receipt, ledger.

Every step may be done again, and the order is such that a crash leaves work to redo and never a
claim to take back: the journal is written before anything goes and shredded after the receipt is
safe. Knows nothing of how a look is done.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from forgetnet.component import Component as Part
from forgetnet.component import Influence
from forgetnet.errors import ForgetIncomplete, ForgetNetError, StoreError
from forgetnet.files import check_trusted
from forgetnet.forget.held import allowed, broken, kept
from forgetnet.forget.journal import Entry
from forgetnet.forget.marks import Kind, Mark
from forgetnet.forget.office import Accepted, Office, check_folder, roomy
from forgetnet.forget.parts import surface_of
from forgetnet.forget.plan import Plan, Scope, Step, resolve
from forgetnet.forget.receipt import (
    Component,
    Facts,
    Openings,
    Receipt,
    Surface,
    build,
    environment_pin,
)
from forgetnet.forget.statement import vocabulary
from forgetnet.forget.verify import RESUMED, Look
from forgetnet.retrieve import near_duplicates, spread

__all__ = ["Accepted", "Office", "accept", "finish", "forget", "planned", "purge", "settle"]

_TURNS = 16
_ROOM = 8  # journal twice, receipt, ledger and marks, in sizes of the journal
_JOURNAL = "the journal entry of this forget, which is shredded after this receipt is stored"
_COMPONENTS = (
    Component("store", Influence.LOCAL, "exact"),
    Component("index", Influence.LOCAL, "exact"),
    Component("encoder", Influence.FROZEN, "exact"),
)


def planned(office: Office, scope: Scope) -> Plan:
    """Work out what a scope takes from the store and from every component, and what that costs.

    Raises:
        InvalidScope: the scope is empty or malformed, or its witnesses disagree.
    """
    plan = allowed(office, resolve(office.store, scope, office.salt), scope)
    costs = [(part, part.cost(plan.ids)) for part in office.components]
    more = tuple(Step.of(part.name, part.influence, cost) for part, cost in costs)
    content, _ = office.store.vectors(spread(plan.ids))
    unseen = office.marks.hidden(office.store).union(plan.ids)
    near, compared = near_duplicates(office.store, content, unseen, at=office.clock())
    return replace(plan, steps=(*plan.steps, *more), near=near, compared=compared)


def forget(office: Office, scope: Scope, *, reason: str, level: str) -> Receipt:
    """Erase what a scope names, and return the receipt.

    Raises:
        InvalidScope: nothing was deleted.
        ForgetIncomplete: it stopped midway; ``receipt`` says what is done. The next change to
            this memory, or its next opening, finishes it first.
    """
    settle(office)
    accepted = _begin(office, scope, reason, level, quick=False)
    office.owes[0] = True
    with _incomplete(office, [accepted]):
        _unserve(office, accepted)
    return finish(office, purge(office, [accepted]))[0]


def accept(office: Office, scope: Scope, *, reason: str, level: str) -> Accepted:
    """Make a request durable and stop answering with what it names.

    :func:`purge` and :func:`finish` do the rest.

    Quick, whatever the size of the store: files are read when it is finished.

    Raises:
        InvalidScope: nothing was deleted.
        ForgetIncomplete: it is durable, and the records may still be reachable; the next change
            or opening finishes it first.
    """
    accepted = _begin(office, scope, reason, level, quick=True)
    office.owes[0] = True
    with _incomplete(office, [accepted]):
        _unserve(office, accepted)
    return accepted


def _begin(office: Office, scope: Scope, reason: str, level: str, *, quick: bool) -> Accepted:
    """Plan, look, and write the journal; nothing has been deleted then."""
    check_folder(office)
    plan = allowed(office, resolve(office.store, scope, office.salt), scope)
    started = office.clock().isoformat()
    # Drawn once: what this process may keep in spite of an error opens the receipt made later.
    told = (plan.matched, plan.not_found, scope.value, reason)
    openings = Openings.draw(secrets.token_hex(16), *told)
    draft = Entry(secrets.token_hex(8), plan, openings.commit(), {}, started)
    # Whatever could be wrong with a receipt shows before anything is deleted.
    sample = _receipt(office, draft, broken(draft.plan), openings)
    look = Look.before(
        office.store,
        office.root,
        office.reopen,
        plan=plan,
        scope=scope,
        salt=office.salt,
        level=level,
        words=vocabulary(sample.statement),
        **({"probes": 1} if quick else {}),
    )
    notes = {
        part.name: {"held": part.holds(plan.ids), "note": part.before(plan.ids)}
        for part in office.components
    }
    entry = replace(draft, look=look.to_plain(), notes=notes)
    office.store.reserve(plan.ids, _ROOM * len(entry.encode()))
    try:
        office.journal.open(entry)
    except OSError as error:
        _withdraw(office, entry, error)
        raise StoreError(
            f"can't write the journal: {error.strerror}; nothing was deleted"
        ) from error
    return Accepted(entry, look, openings)


def _withdraw(office: Office, entry: Entry, why: OSError) -> None:
    """Remove an entry that could not be made durable.

    Raises:
        ForgetIncomplete: it can't be removed either, and is finished like any other.
    """
    try:
        office.journal.close(entry.name)
    except OSError as error:
        office.owes[0] = True
        raise ForgetIncomplete(
            f"the journal can't be written ({why.strerror}), nor what was written be removed: the "
            "records are still there, until the next change or opening finishes this forget"
        ) from error


def settle(office: Office) -> list[Receipt]:
    """Finish every forget that was cut short; their receipts are in the memory's folder.

    Raises:
        StoreError: the memory was opened for reading.
        ForgetIncomplete: it was cut short again.
    """
    if office.readonly:
        raise StoreError(f"{office.root} was opened with readonly=True; open it for writing")
    if office.root is not None:
        check_trusted(office.root)
    if not office.owes[0]:
        return []
    office.marks.mend(office.store)
    owed = [
        Accepted(entry, Look.resumed(office.store, office.root, office.reopen, entry))
        for entry in office.journal.pending()
    ]
    for accepted in owed:
        with _incomplete(office, [accepted]):
            _unserve(office, accepted)
    done = finish(office, purge(office, owed))
    _purge_owed(office)
    office.owes[0] = False
    due = office.marks.all(Kind.OWED)
    try:
        while due:
            done += _due(office, due[0])
            due.pop(0)
    finally:
        office.owes[0] |= bool(due)
    return done


def _purge_owed(office: Office) -> None:
    """Purge what was replaced when records were filed anew, if that was cut short."""
    if office.journal.owes_purge:
        roomy(office, office.store.purge)
        try:
            office.journal.purged()
        except OSError as error:
            raise StoreError(f"can't write the journal: {error.strerror}") from error


def _due(office: Office, mark: Mark) -> list[Receipt]:
    """Forget what a hold had put off and nothing holds any more."""
    live = office.store.get(mark.ids)
    held = office.marks.held(live.values())
    if free := tuple(i for i in mark.ids if i in live and i not in held):
        return [forget(office, Scope(free), reason="", level="auto")]
    if not held:
        office.marks.end(mark.name)
    return []


def _unserve(office: Office, accepted: Accepted) -> None:
    """Delete from the store, and have nothing answer with the records, held ones included."""
    entry = accepted.entry
    ids = entry.plan.ids
    if entry.plan.held:
        roomy(office, office.marks.owe, entry.name, entry.plan.held, entry.started)
    roomy(office, office.backups.note, ids, entry.plan.held)
    roomy(office, office.suppression.note, list(office.store.get(ids).values()))
    try:
        roomy(office, office.store.delete, ids)
        roomy(office, office.marks.release, (*ids, *entry.plan.not_found), office.store)
    finally:  # what can't be deleted yet teaches nobody
        for part in office.components:
            part.hide(ids)


def purge(office: Office, batch: Sequence[Accepted]) -> list[Accepted]:
    """Purge the store for a whole batch; every other deletion must be in one already.

    Raises:
        ForgetIncomplete: it stopped midway.
    """
    if not batch:
        return []
    found: list[Accepted] = []
    gone = [i for accepted in batch for i in accepted.entry.plan.ids]
    with _incomplete(office, batch), office.lock:
        for accepted in batch:
            if not accepted.look.scanned:
                accepted.look.scan(gone)
                entry = replace(accepted.entry, look=accepted.look.to_plain())
                roomy(office, office.journal.open, entry)
                accepted = replace(accepted, entry=entry)
            found.append(accepted)
        roomy(office, office.store.purge)
        office.backups.purged()
        for accepted in found:
            accepted.look.purged()
    return found


def finish(
    office: Office,
    batch: Sequence[Accepted],
    handed: Callable[[Accepted, Receipt], None] | None = None,
) -> list[Receipt]:
    """Bring every component in line, look, sign and store, once for a batch that was purged.

    The office's lock is held but while components learn.

    Args:
        office: what to work with.
        batch: what :func:`purge` returned.
        handed: told of each receipt as soon as it is stored.

    Raises:
        ForgetIncomplete: it stopped midway.
    """
    if not batch:
        return []
    gone = [i for accepted in batch for i in accepted.entry.plan.ids]
    with _incomplete(office, batch):
        drafts = _learnt(office, batch, gone)
    receipts = []
    with office.lock:
        for accepted, draft in zip(batch, drafts, strict=True):
            receipts.append(_hand_over(office, accepted, draft))
            if handed is not None:
                handed(accepted, draft)
    return receipts


def _learnt(office: Office, batch: Sequence[Accepted], gone: Sequence[str]) -> list[Receipt]:
    """Bring every component in line and look, at a moment at which nothing else is hidden."""
    for _ in range(_TURNS):
        for part in office.components:
            part.forget(gone)
            if any(accepted.look.full for accepted in batch):
                part.rehearse([_note(accepted, part)["note"] for accepted in batch])
        with office.lock:
            if not any(part.behind for part in office.components):
                return _drafts(office, batch)
    with office.lock:  # requests follow too closely on each other: keep them out
        for part in office.components:
            part.forget(gone)
        return _drafts(office, batch)


def _drafts(office: Office, batch: Sequence[Accepted]) -> list[Receipt]:
    done = {accepted.entry.name for accepted in batch}
    others = [entry for entry in office.journal.pending() if entry.name not in done]
    leaving = frozenset(i for entry in others for i in entry.plan.ids)
    return [_draft(office, accepted, leaving) for accepted in batch]


def _draft(office: Office, accepted: Accepted, leaving: frozenset[str]) -> Receipt:
    entry = accepted.entry
    named = office.marks.subjects(office.store)
    surfaces = [*accepted.look.after(leaving, named), *kept(entry.plan)]
    for part in office.components:
        told = _note(accepted, part)
        found = part.after(entry.plan.ids, told["note"], full=accepted.look.full)
        surfaces.append(surface_of(part, int(told["held"]), found, full=accepted.look.full))
    return _receipt(office, entry, surfaces, accepted.openings)


def _told(part: Part) -> Component:
    return Component(part.name, part.influence, part.standing.guarantee)


def _note(accepted: Accepted, part: Part) -> dict[str, Any]:
    """Return what a component noted before the records went."""
    return accepted.entry.notes.get(part.name, {"held": 0, "note": {"held": 0}})


def _hand_over(office: Office, accepted: Accepted, receipt: Receipt) -> Receipt:
    """Store a receipt, and let go of the journal's entry."""
    try:
        if office.root is not None:
            roomy(office, receipt.save, office.root / "receipts" / f"{receipt.id}.json")
        roomy(office, office.ledger.append, receipt.entry)
        office.journal.close(accepted.entry.name)
    except (ForgetNetError, OSError) as error:
        raise ForgetIncomplete(
            f"the records are gone, but the receipt could not be stored: {error}; another is "
            "made when the memory is next changed or opened",
            receipt,
        ) from error
    office.owes[0] = bool(office.journal.pending())
    with contextlib.suppress(StoreError):  # the next forget asks for it before it begins
        office.store.reserve((), 0)
    return receipt


@contextlib.contextmanager
def _incomplete(office: Office, batch: Sequence[Accepted]) -> Iterator[None]:
    """Turn what stops a forget midway into the error that carries the receipt so far."""
    try:
        yield
    except (ForgetNetError, OSError) as error:
        if isinstance(error, ForgetIncomplete) and error.receipt is not None:
            raise
        first = batch[0]
        raise ForgetIncomplete(
            f"the forget of {len(first.entry.plan.ids)} records stopped midway: {error}",
            _receipt(office, first.entry, broken(first.entry.plan), first.openings),
        ) from error


def _receipt(
    office: Office, entry: Entry, surfaces: list[Surface], openings: Openings | None
) -> Receipt:
    """Make the receipt; without openings, as after a crash, it says so."""
    state = "0" * 64
    with contextlib.suppress(StoreError):
        state = office.store.state()
    return build(
        facts=Facts(
            scope=entry.plan.kind,
            scope_value="" if openings is None else openings.scope[0],
            reason="" if openings is None else openings.reason[0],
            started=datetime.fromisoformat(entry.started),
            finished=office.clock(),
            surfaces=surfaces,
            state_digest=state,
            encoder_digest=office.encoder_digest,
            environment=environment_pin(),
            ledger_size=len(office.ledger),
            ledger_root=office.ledger.root(),
            components=(*_COMPONENTS, *map(_told, office.components)),
            direct=entry.plan.direct,
            mentions=entry.plan.mentions,
            derived=entry.plan.derived,
            not_found=entry.plan.not_found,
            mentions_kept=entry.plan.mentions_kept,
            proposal=entry.plan.proposal,
            exclusions=(
                *office.remarks,
                *office.backups.told(),
                *((_JOURNAL,) if office.root is not None else ()),
                *(RESUMED if openings is None else ()),
            ),
        ),
        signer=office.signer,
        committed=openings or entry.commitments,
    )
