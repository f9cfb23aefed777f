"""The path of a forget: plan, journal, delete, purge, look, receipt, ledger.

Every step may be done again, and the order is such that a crash leaves work to redo and never a
claim to take back: the journal is written before anything goes and shredded after the receipt is
safe. Knows nothing of how a look is done.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forgetnet.component import Influence
from forgetnet.errors import ForgetIncomplete, ForgetNetError, StoreError
from forgetnet.forget.journal import Entry, Journal
from forgetnet.forget.plan import Scope, resolve
from forgetnet.forget.receipt import (
    Component,
    Facts,
    Openings,
    Receipt,
    Surface,
    build,
    environment_pin,
    judge,
)
from forgetnet.forget.verify import RESUMED, Look, Reopen, vocabulary
from forgetnet.ledger import Ledger
from forgetnet.store import Store

__all__ = ["Office", "forget", "settle"]

_JOURNAL = "the journal entry of this forget, which is shredded after this receipt is stored"
_COMPONENTS = (
    Component("store", Influence.LOCAL, "exact"),
    Component("index", Influence.LOCAL, "exact"),
    Component("encoder", Influence.FROZEN, "exact"),
)


@dataclass(frozen=True, slots=True)
class Office:
    """What a forget works with.

    Attributes:
        store: the records.
        signer: signs the receipts.
        salt: keys the topic codes.
        ledger: the log of receipts.
        root: folder of the memory; None in memory.
        reopen: opens the store again, for reading.
        readonly: the memory was opened beside a writer, and nothing may be forgotten.
        encoder_digest: names the encoder.
        clock: returns the present time.
        owes: holds whether a forget may have been cut short and wants finishing first.
    """

    store: Store
    signer: Ed25519PrivateKey = field(repr=False)
    salt: bytes = field(repr=False)
    ledger: Ledger
    root: Path | None
    reopen: Reopen
    readonly: bool
    encoder_digest: str
    clock: Callable[[], datetime]
    owes: list[bool] = field(default_factory=lambda: [True])

    @property
    def journal(self) -> Journal:
        """The open entries of this memory."""
        return Journal(None if self.root is None else self.root / "journal")


def forget(office: Office, scope: Scope, *, reason: str, level: str) -> Receipt:
    """Erase what a scope names, and return the receipt.

    Raises:
        InvalidScope: nothing was deleted.
        ForgetIncomplete: it stopped midway; ``receipt`` says what is done. The next change to
            this memory, or its next opening, finishes it first.
    """
    settle(office)
    plan = resolve(office.store, scope, office.salt)
    started = office.clock().isoformat()
    # Drawn once: what this process may keep in spite of an error opens the receipt made later.
    told = (plan.ids, plan.not_found, scope.value, reason)
    openings = Openings.draw(secrets.token_hex(16), *told)
    draft = Entry(secrets.token_hex(8), plan, openings.commit(), {}, started)
    # Whatever could be wrong with a receipt shows before anything is deleted.
    sample = _receipt(office, draft, _broken(draft), openings)
    look = Look.before(
        office.store,
        office.root,
        office.reopen,
        plan=plan,
        scope=scope,
        salt=office.salt,
        level=level,
        words=vocabulary(sample.statement),
    )
    entry = replace(draft, look=look.to_plain())
    try:
        office.journal.open(entry)
    except OSError as error:
        office.journal.close(entry.name)
        raise StoreError(
            f"can't write the journal: {error.strerror}; nothing was deleted"
        ) from error
    return _carry_out(office, entry, look, openings)


def settle(office: Office) -> list[Receipt]:
    """Finish every forget that was cut short; their receipts are in the memory's folder.

    Raises:
        StoreError: the memory was opened for reading.
        ForgetIncomplete: it was cut short again.
    """
    if office.readonly:
        raise StoreError(f"{office.root} was opened with readonly=True; open it for writing")
    if not office.owes[0]:
        return []
    done = [
        _carry_out(office, entry, Look.resumed(office.store, office.root, office.reopen, entry))
        for entry in office.journal.pending()
    ]
    office.owes[0] = False
    return done


def _carry_out(
    office: Office, entry: Entry, look: Look, openings: Openings | None = None
) -> Receipt:
    """Delete, purge, look, sign and store; until that is done, this memory owes it."""
    office.owes[0] = True
    try:
        office.store.delete(entry.plan.ids)
        office.store.purge()
        surfaces = look.after()
        receipt = _receipt(office, entry, surfaces, openings)
    except (ForgetNetError, OSError) as error:
        raise ForgetIncomplete(
            f"the forget of {len(entry.plan.ids)} records stopped midway: {error}",
            _receipt(office, entry, _broken(entry), openings),
        ) from error
    try:
        if office.root is not None:
            receipt.save(office.root / "receipts" / f"{receipt.id}.json")
        office.ledger.append(receipt.entry)
        office.journal.close(entry.name)
    except (ForgetNetError, OSError) as error:
        raise ForgetIncomplete(
            f"the records are gone, but the receipt could not be stored: {error}; another is "
            "made when the memory is next changed or opened",
            receipt,
        ) from error
    office.owes[0] = False
    return receipt


def _broken(entry: Entry) -> list[Surface]:
    return [
        judge(
            "rows",
            count=len(entry.plan.ids),
            method="delete, then rewrite the pieces",
            broken=True,
            detail="stopped midway; opening the memory again finishes it",
        )
    ]


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
            components=_COMPONENTS,
            direct=entry.plan.direct,
            mentions=entry.plan.mentions,
            derived=entry.plan.derived,
            not_found=entry.plan.not_found,
            mentions_kept=entry.plan.mentions_kept,
            exclusions=(
                *((_JOURNAL,) if office.root is not None else ()),
                *(RESUMED if openings is None else ()),
            ),
        ),
        signer=office.signer,
        committed=openings or entry.commitments,
    )
