"""What a forget works with, and one that is under way: plain values that the path of it shares.

Knows nothing of how a record is erased.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forgetnet.audit import layout
from forgetnet.component import Component as Part
from forgetnet.errors import StoreError
from forgetnet.files import is_full
from forgetnet.forget.backups import Backups
from forgetnet.forget.journal import Entry, Journal
from forgetnet.forget.marks import Marks
from forgetnet.forget.receipt import Openings
from forgetnet.forget.suppression import Suppression
from forgetnet.forget.verify import Look, Reopen
from forgetnet.ledger import Ledger
from forgetnet.store import Store

__all__ = ["Accepted", "Office", "check_folder", "roomy"]

P = ParamSpec("P")
R = TypeVar("R")


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
        components: what else holds influence, beside the store; more may come.
        remarks: further sentences on what no receipt of this memory covers.
        lock: held while the store or the ledger is used.
        backups: where backups of the memory are, and what was forgotten since.
        suppression: what was forgotten and may not come again, if that was asked for.
        marks: what is held, restricted, or to be forgotten later.
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
    components: list[Part] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    backups: Backups = field(default_factory=lambda: Backups(None, b""))
    suppression: Suppression = field(default_factory=lambda: Suppression(None, b""))
    marks: Marks = field(default_factory=lambda: Marks(None))
    owes: list[bool] = field(default_factory=lambda: [True])

    @property
    def journal(self) -> Journal:
        """The open entries of this memory."""
        return Journal(None if self.root is None else self.root / "journal")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A forget that nothing answers with any more, and that is still to be finished.

    Attributes:
        entry: what the journal holds.
        look: the look that was taken before.
        openings: of the commitments; None after a crash.
    """

    entry: Entry
    look: Look
    openings: Openings | None = None


def check_folder(office: Office) -> None:
    """Refuse to forget where something lies in the memory's folder that is none of its own.

    The look afterwards could not tell what is in it, and the receipt would say ``failed``.

    Raises:
        StoreError: with the names of what to move away; nothing was deleted.
    """
    strays = [] if office.root is None else layout.strays(office.root)
    if strays:
        shown = ", ".join(repr(name[:80]) for name in strays[:5])
        raise StoreError(
            f"{len(strays)} things in {office.root} are not the memory's ({shown}), and no receipt "
            "could say what is in them; move them away. Nothing was deleted"
        )


def roomy(office: Office, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do a step that may be done twice; on a full disk, again with the room that was set aside."""
    try:
        return step(*args, **kwargs)
    except (StoreError, OSError) as error:
        if not is_full(error) or not office.store.spare():
            raise
    return step(*args, **kwargs)
