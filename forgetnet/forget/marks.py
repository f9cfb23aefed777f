"""Marks on records that stay: legal holds, restrictions, and forgets that a hold puts off.

A mark is one small file, written durably, and shredded when it ends; so which files there are says
what holds. It names records by id, or all of a subject's and all that mention it, those
that are still to come included. Knows nothing of how records are stored, searched or erased.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import make_dir, shred, write_durable
from forgetnet.record import Record
from forgetnet.store import Store

__all__ = ["Kind", "Mark", "Marks"]

_FILE = re.compile(r"[0-9a-f]{16}\.json")


class Kind(StrEnum):
    """What a mark does to its records."""

    HOLD = "hold"
    """They may be neither erased nor changed."""
    RESTRICTION = "restriction"
    """They are kept and not searched."""
    OWED = "owed"
    """They were to be forgotten and are held: not searched, and erased when no hold is left."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A hold, a restriction, or a forget that is owed.

    Attributes:
        name: 16 random hexadecimal digits.
        kind: what it does.
        ids: the records that it names.
        subject: whose records it names, and what mentions them; then ``ids`` is empty.
        reason: the caller's own words, kept in plain as long as the mark.
        created: ISO time, UTC.
    """

    name: str
    kind: Kind
    ids: tuple[str, ...] = field(default=(), repr=False)
    subject: str | None = field(default=None, repr=False)
    reason: str = field(default="", repr=False)
    created: str = ""

    def covers(self, record: Record) -> bool:
        """Tell whether it is on a record."""
        if self.subject is not None:
            return record.subject == self.subject or self.subject in record.mentions
        return record.id in self.ids

    def on(self, store: Store) -> set[str]:
        """Return the ids of the live records that it is on."""
        if self.subject is None:
            return set(store.get(self.ids))
        found = {record.id for record in store.scan({"subject": self.subject})}
        return found | {r.id for r in store.scan({"mentions": {"$contains": self.subject}})}


class Marks:
    """The marks of one memory, in a folder; without a folder they end with the process."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Mark] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def all(self, *kinds: Kind) -> list[Mark]:
        """Return the marks of these kinds, or of all, oldest first.

        Raises:
            StoreCorrupt: one can't be read, so what is held isn't known.
        """
        self._refresh()
        found = [mark for mark in self._known.values() if not kinds or mark.kind in kinds]
        return sorted(found, key=lambda mark: (mark.created, mark.name))

    def _refresh(self) -> None:
        """Read what came, and drop what went: another process may have written it."""
        if self._folder is None:
            return
        there = _stamps(self._folder)
        same = {name for name, stamp in there.items() if self._seen.get(name) == stamp}
        self._known = {name: mark for name, mark in self._known.items() if name in same}
        for name in sorted(there.keys() - same):
            mark = _read(self._folder / f"{name}.json")
            if mark is not None:
                self._known[name] = mark
        self._seen = there

    def put(self, mark: Mark) -> Mark:
        """Make a mark durable; one without a name gets one.

        Raises:
            StoreError: the folder can't be written; the message says whether it may be marked.
        """
        mark = replace(mark, name=mark.name or secrets.token_hex(8))
        if self._folder is not None:
            path = self._folder / f"{mark.name}.json"
            try:
                make_dir(self._folder, 0o700)
                write_durable(path, _body(mark))
            except OSError as error:
                with contextlib.suppress(OSError):
                    self.end(mark.name)  # it may stand, if only its folder couldn't be synced
                what = "it may be marked" if path.exists() else "nothing was marked"
                raise StoreError(
                    f"can't write to {self._folder}: {error.strerror}; {what}"
                ) from error
        else:
            self._known[mark.name] = mark
        return mark

    def _narrow(self, mark: Mark) -> None:
        """Put a mark in the place of the one of its name, whose bytes are shredded."""
        if self._folder is None:
            self._known[mark.name] = mark
            return
        old = self._aside(mark.name)
        os.link(self._folder / f"{mark.name}.json", old)
        write_durable(self._folder / f"{mark.name}.json", _body(mark))
        shred(old)

    def _aside(self, name: str) -> Path:
        """Return a path for what is about to be shredded, which a sweep knows."""
        folder = self._folder or Path()
        return folder / f".{name}.json.{secrets.token_hex(4)}.tmp"

    def end(self, name: str) -> None:
        """Shred a mark; one that is gone already is fine.

        It ends in one step, before a byte of it is overwritten.

        Raises:
            OSError: it still stands, or it has ended and isn't shredded yet.
        """
        if self._folder is not None:
            old = self._aside(name)
            with contextlib.suppress(FileNotFoundError):
                (self._folder / f"{name}.json").rename(old)
            shred(old)
        else:
            self._known.pop(name, None)

    def sweep(self) -> None:
        """Remove what a crash left: torn files, and marks that were being shredded."""
        if self._folder is not None and self._folder.exists():
            for path in sorted(self._folder.iterdir()):
                if path.is_symlink() or not path.is_file():
                    continue  # not ours; the look says so
                if path.lstat().st_nlink > 1:  # the mark itself, that was about to be replaced
                    if path.name.endswith(".tmp"):
                        path.unlink()
                elif path.name.endswith(".tmp") or (_FILE.fullmatch(path.name) and _is_ended(path)):
                    shred(path)

    # -- what they are on

    def held(self, records: Iterable[Record]) -> dict[str, list[str]]:
        """Return the names of the holds on each of these records that has any, by id."""
        holds = self.all(Kind.HOLD)
        found = {r.id: [h.name for h in holds if h.covers(r)] for r in records} if holds else {}
        return {i: names for i, names in found.items() if names}

    def hidden(self, store: Store) -> frozenset[str]:
        """Return the ids of the live records that may not be searched."""
        marks = self.all(Kind.RESTRICTION, Kind.OWED)
        return frozenset().union(*(mark.on(store) for mark in marks)) if marks else frozenset()

    def subjects(self, store: Store) -> frozenset[str]:
        """Return the subjects that marks name and that have live records."""
        named = [mark for mark in self.all() if mark.subject is not None]
        return frozenset(mark.subject for mark in named if mark.subject and mark.on(store))

    # -- forgets that are put off, and those that are done

    def owe(self, name: str, ids: Collection[str], created: str) -> None:
        """Note durably that held records are to be forgotten when no hold is left.

        ``name`` is the forget's own, so that doing it twice does no harm.
        """
        known = {i for mark in self.all(Kind.OWED) if mark.name != name for i in mark.ids}
        due = tuple(sorted(set(ids) - known))
        if due and name not in self._known:
            self.put(Mark(name, Kind.OWED, due, created=created))

    def release(self, ids: Collection[str], store: Store) -> None:
        """Take records that are gone out of every mark; one that has none left ends.

        A subject's restriction ends with the last record that it is on, a subject's hold doesn't.
        Done again after an error, it shreds what the first time put aside.
        """
        self.sweep()
        gone = set(ids)
        for mark in self.all():
            if mark.subject is not None:
                if mark.kind is not Kind.HOLD and not mark.on(store):
                    self.end(mark.name)
            elif gone & set(mark.ids):
                rest = tuple(i for i in mark.ids if i not in gone)
                if rest:
                    self._narrow(replace(mark, ids=rest))
                else:
                    self.end(mark.name)

    def mend(self, store: Store) -> None:
        """Take out of every mark what isn't there: a crash may have come between it and a release.

        What was being shredded is shredded.
        """
        named = {i for mark in self.all() for i in mark.ids}
        self.release(named - store.get(sorted(named)).keys(), store)


def _body(mark: Mark) -> bytes:
    return json.dumps(asdict(mark)).encode()


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the names of the marks in a folder, with what changes when one is replaced."""
    found = {}
    try:
        names = [path.name for path in folder.iterdir() if _FILE.fullmatch(path.name)]
    except FileNotFoundError:
        return {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            stat = (folder / name).lstat()
            found[name.removesuffix(".json")] = (stat.st_ino, stat.st_mtime_ns)
    return found


def _is_ended(path: Path) -> bool:
    """Tell whether a mark was being shredded: it begins with zeros, or is empty."""
    with path.open("rb") as file:
        return file.read(1) in {b"\0", b""}


def _read(path: Path) -> Mark | None:
    try:
        data = path.read_bytes()
        if data[:1] in {b"\0", b""}:  # being shredded
            return None
        body: dict[str, Any] = json.loads(data)
        ids: Sequence[str] = body.pop("ids")
        return Mark(kind=Kind(body.pop("kind")), ids=tuple(ids), **body)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorrupt(
            f"the mark {path.name} can't be read, so what is held or restricted isn't known; "
            "restore the file from a backup"
        ) from error
