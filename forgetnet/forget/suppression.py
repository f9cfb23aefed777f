"""Whether what comes was forgotten before: a list of keyed hashes, for who wants one.

It breaks the rule that nothing is as if a record had never been, on purpose and only where it was
asked for: a memory with a list refuses, or reports, what its twin would take. Knows nothing of how
records are stored.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal

from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.files import shred
from forgetnet.forget.hashlog import HashLog, keyed_hash
from forgetnet.record import Record

__all__ = ["Suppress", "Suppression"]

Suppress = Literal["refuse", "warn", "off"]

_MODES = ("refuse", "warn", "off")
_log = logging.getLogger("forgetnet")


class Suppression:
    """The list of one memory; empty and without a file until it is turned on.

    Args:
        path: its file; None in memory.
        key: keys the hashes.
    """

    def __init__(self, path: Path | None, key: bytes) -> None:
        self._key = key
        self._log = None if path is None else HashLog(path, key)
        self._here: set[str] | None = None
        self._warns = False

    def turn(self, mode: Suppress | None) -> None:
        """Turn the list on or off; None leaves it as it is, and a list that is on refuses.

        Raises:
            StoreError: there is no such mode, or the file can't be written.
        """
        if mode is None:
            return
        if mode not in _MODES:
            raise StoreError(f"suppress= is one of {', '.join(_MODES)}, or None to leave it")
        self._warns = mode == "warn"
        try:
            if mode == "off":
                self._here = None
                if self._log is not None:
                    shred(self._log.path)
            elif self._log is None:
                self._here = self._here or set()
            else:
                self._log.start()
        except OSError as error:
            raise StoreError(f"can't write the list of what was forgotten: {error}") from error

    def take_over(self, other: Suppression) -> None:
        """Begin with what is on another list of the same key, if that is on.

        Raises:
            StoreError: the file can't be written.
        """
        if not other.on:
            return
        self.turn("refuse")
        known = other.hashes()
        try:
            if self._log is not None:
                self._log.add_hashes(sorted(known))
            else:
                self._here = set(known)
        except OSError as error:
            raise StoreError(f"can't write the list of what was forgotten: {error}") from error

    def hashes(self) -> AbstractSet[str]:
        """Return what is on the list."""
        return (self._here or frozenset()) if self._log is None else self._log.all()

    @property
    def on(self) -> bool:
        """Whether there is a list."""
        return self._here is not None or (self._log is not None and self._log.started)

    def note(self, records: Iterable[Record]) -> None:
        """Put records that are about to be forgotten on the list, durably; if it is on.

        Raises:
            OSError: they are not on it.
        """
        if not self.on:
            return
        names = [name for record in records for name in _names(record)]
        if self._log is not None:
            self._log.add(names)
        elif self._here is not None:
            self._here |= {keyed_hash(self._key, name) for name in names}

    def check_all(self, batches: Iterable[Iterable[Record]]) -> None:
        """Refuse as by :meth:`check`, all or none; where the list only reports, do nothing."""
        if self.on and not self._warns:
            for records in batches:
                self.check(records)

    def check(self, records: Iterable[Record], *, ids: bool = True) -> None:
        """Refuse records that were forgotten before, by id or text; or report them by id.

        Args:
            records: what comes.
            ids: whether ids count; those of records that are stored already don't.

        Raises:
            InvalidRecord: one was, and the list refuses.
        """
        if not self.on:
            return
        first, known = 0 if ids else 1, self.hashes()
        again = [
            r.id
            for r in records
            if any(keyed_hash(self._key, name) in known for name in _names(r)[first:])
        ]
        if not again:
            return
        shown = ", ".join(repr(i[:80]) for i in again[:5])
        if self._warns:
            _log.warning("%d records that were forgotten before came again: %s", len(again), shown)
            return
        raise InvalidRecord(
            f"{len(again)} records were forgotten before, by their id or their text ({shown}), and "
            "this memory suppresses those; leave them out. Nothing was stored"
        )


def _names(record: Record) -> list[str]:
    """Return what a record is known by again: its id, and its text whatever its case and spaces."""
    # Compatibility caseless matching: the Unicode Standard, section 3.13, D146.
    text = unicodedata.normalize("NFD", record.text or "")
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text.casefold())
    words = " ".join(text.split())
    return [f"id {record.id}", *([f"text {words}"] if words else [])]
