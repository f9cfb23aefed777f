"""The journal of a forget: what is owed, durably, from the first deletion to the last look.

An entry holds ids, salted hashes and counts; never text, subjects or topics. It is written
before anything is deleted and shredded once the receipt is safe. A memory that opens with an open
entry finishes it first. Knows nothing of how the work is done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forgetnet.errors import StoreCorrupt
from forgetnet.files import shred, write_durable

__all__ = ["Entry", "Journal"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One forget that is under way.

    Attributes:
        name: random name of the operation.
        kind: kind of the scope.
        direct, mentions, derived, not_found: ids by reason.
        mentions_kept: records that stay though they mention the subject.
        look: what the verifier needs to look again: salted hashes, and what it found before.
        started: ISO time, UTC.
    """

    name: str
    kind: str
    direct: tuple[str, ...] = field(repr=False)
    mentions: tuple[str, ...] = field(default=(), repr=False)
    derived: tuple[str, ...] = field(default=(), repr=False)
    not_found: tuple[str, ...] = field(default=(), repr=False)
    mentions_kept: int = 0
    look: dict[str, Any] = field(default_factory=dict, repr=False)
    started: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """All the ids that are to go."""
        return (*self.direct, *self.mentions, *self.derived)


class Journal:
    """The open entries of one memory, in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{name}.json"

    def open(self, entry: Entry) -> None:
        """Make the intent durable, before the first deletion.

        Raises:
            OSError: it could not be written; nothing has been deleted.
        """
        path = self._path(entry.name)
        if path is not None:
            write_durable(path, json.dumps(asdict(entry)).encode())

    def close(self, name: str) -> None:
        """Shred an entry: its forget is done and its receipt is safe."""
        path = self._path(name)
        if path is not None:
            shred(path)

    def pending(self) -> list[Entry]:
        """Read the open entries, oldest name first; what a torn write left is removed.

        Raises:
            StoreCorrupt: an entry can't be read, so what is owed isn't known.
        """
        if self._folder is None or not self._folder.exists():
            return []
        for torn in self._folder.glob(".*.tmp"):
            shred(torn)
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                body: dict[str, Any] = json.loads(path.read_bytes())
                for name in ("direct", "mentions", "derived", "not_found"):
                    body[name] = tuple(body[name])
                found.append(Entry(**body))
            except (ValueError, KeyError, TypeError) as error:
                raise StoreCorrupt(
                    f"the journal entry {path.name} can't be read, so a forget that was under way "
                    "can't be finished; restore the file from a backup"
                ) from error
        return found
