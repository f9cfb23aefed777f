"""The journal of a forget: what is owed, durably, from the first deletion to the last look.

An entry holds ids, salted hashes, commitments and counts; never text, subjects, topics or reasons,
nor the keys that open the commitments. It is written before anything is deleted and shredded once
the receipt is safe. A memory that opens with an open entry finishes it first. Beside the entries
lies, while records are filed anew, the word that a purge is owed: not of what, since the store
itself knows its replaced rows. Knows nothing of how the work is done.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgetnet.errors import ReceiptInvalid, StoreCorrupt
from forgetnet.files import shred, write_durable
from forgetnet.forget.openings import Commitments
from forgetnet.forget.plan import Plan
from forgetnet.forget.proposal import Proposal

__all__ = ["Entry", "Journal"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One forget that is under way.

    Attributes:
        name: random name of the operation.
        plan: the ids that are to go, by reason; its steps are not kept.
        commitments: what its receipt will say; made before anything is deleted.
        look: what the verifier needs to look again: salted hashes, and what it found before.
        started: ISO time, UTC.
        notes: what each component held of the records, and its note of what it was like then.
    """

    name: str
    plan: Plan
    commitments: Commitments
    look: dict[str, Any] = field(default_factory=dict, repr=False)
    started: str = ""
    notes: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def encode(self) -> bytes:
        """Return what its file holds, JSON."""
        plan = self.plan
        body = {
            "name": self.name,
            "kind": plan.kind,
            **{name: list(getattr(plan, name)) for name in _IDS},
            **{name: list(getattr(plan, name)) for name in _KEPT if plan.held},
            **({"proposal": plan.proposal.to_plain()} if plan.proposal is not None else {}),
            "mentions_kept": plan.mentions_kept,
            "commitments": self.commitments.to_plain(),
            "look": self.look,
            "started": self.started,
            "notes": self.notes,
        }
        return json.dumps(body).encode()


_IDS = ("direct", "mentions", "derived", "not_found")
"""The fields of a plan that hold ids, in its order."""
_KEPT = ("held", "holds")
"""Those that say what stays; only in entries of which something does."""
_PURGE = "purge"


class Journal:
    """The open entries of one memory, in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{name}.json"

    def open(self, entry: Entry) -> None:
        """Make the intent durable, before the first deletion, or put a later one in its place.

        Raises:
            OSError: it could not be written; nothing has been deleted, or the former one stands.
        """
        path = self._path(entry.name)
        if path is None:
            return
        old = None
        if path.exists():  # it names ids, so its blocks are overwritten, too
            old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            os.link(path, old)
        write_durable(path, entry.encode())
        if old is not None:
            shred(old)

    def close(self, name: str) -> None:
        """Shred an entry: its forget is done and its receipt is safe."""
        path = self._path(name)
        if path is not None:
            shred(path)

    def owe_purge(self) -> None:
        """Make it durable that replaced rows are to be purged, before any is replaced.

        Raises:
            OSError: it could not be written; nothing has been replaced.
        """
        if self._folder is not None:
            write_durable(self._folder / _PURGE, b"a purge is owed\n")

    @property
    def owes_purge(self) -> bool:
        """Whether replaced rows are to be purged."""
        return self._folder is not None and (self._folder / _PURGE).exists()

    def purged(self) -> None:
        """Say that no purge is owed any more."""
        if self._folder is not None:
            shred(self._folder / _PURGE)

    def pending(self) -> list[Entry]:
        """Read the open entries, oldest name first; what a torn write left is removed.

        Raises:
            StoreCorrupt: an entry can't be read, so what is owed isn't known.
        """
        if self._folder is None or not self._folder.exists():
            return []
        for torn in self._folder.glob(".*.tmp"):
            if torn.lstat().st_nlink > 1:  # the entry itself, that was about to be replaced
                torn.unlink()
            else:
                shred(torn)
        return [_read(path) for path in sorted(self._folder.glob("*.json")) if not _is_closed(path)]


def _is_closed(path: Path) -> bool:
    """Tell whether an entry was being shredded, and finish that: its receipt is safe."""
    with path.open("rb") as file:
        begun = file.read(1) in {b"\0", b""}
    if begun:
        shred(path)
    return begun


def _read(path: Path) -> Entry:
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        direct, mentions, derived, not_found = (tuple(body[name]) for name in _IDS)
        kept = body["mentions_kept"]
        held, holds = (tuple(body.get(name, ())) for name in _KEPT)
        told = body.get("proposal")
        plan = Plan(
            body["kind"],
            direct,
            mentions,
            derived,
            not_found,
            kept,
            held=held,
            holds=holds,
            proposal=None if told is None else Proposal.from_plain(told),
        )
        made = Commitments.from_plain(body["commitments"])
        return Entry(body["name"], plan, made, body["look"], body["started"], body["notes"])
    except (ValueError, KeyError, TypeError, ReceiptInvalid) as error:
        raise StoreCorrupt(
            f"the journal entry {path.name} can't be read, so a forget that was under way can't "
            "be finished; restore the file from a backup"
        ) from error
