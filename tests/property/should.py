"""What a memory should be after whatever was done to it, in plain Python; no memory is asked."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from forgetnet import Record

__all__ = ["Backup", "Mark", "Should", "known_by"]

_serial = itertools.count()


class Mark(NamedTuple):
    """A hold or a restriction: of some ids, or of a subject."""

    kind: str
    ids: frozenset[str]
    subject: str | None

    def order(self) -> tuple[object, ...]:
        return self.kind, sorted(self.ids), self.subject or ""

    def covers(self, record: Record) -> bool:
        if self.subject is not None:
            return record.subject == self.subject or self.subject in record.mentions
        return record.id in self.ids


def known_by(record: Record) -> set[str]:
    """Return what a suppressed record is known by again."""
    words = " ".join((record.text or "").casefold().split())
    return {f"id {record.id}", *([f"text {words}"] if words else [])}


def name_of(record: Record) -> str:
    """Return whose key a row is sealed with."""
    return f"id {record.id}" if record.subject is None else f"subject {record.subject}"


@dataclass
class Should:
    """What is stored, marked, owed and remembered.

    Attributes:
        live: records by id, expired ones included.
        marks: holds and restrictions.
        owed: ids that are to be forgotten when no hold is left.
        gone: ids in the order in which they were forgotten (True) or came to be owed (False).
        erased: texts that were forgotten.
        suppressed: what may not come again; None where nobody asked for that.
        keys: which key is whose, by numbers that are never used again.
        places: folders with backups.
        copied: keys as they lie beside the backups, by place and by the memory that wrote them.
        life: number of the memory, which a restore draws anew.
    """

    live: dict[str, Record] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    owed: set[str] = field(default_factory=set)
    gone: list[tuple[str, bool]] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)
    suppressed: set[str] | None = None
    keys: dict[str, int] = field(default_factory=dict)
    places: set[Path] = field(default_factory=set)
    copied: dict[tuple[Path, int], dict[str, int]] = field(default_factory=dict)
    life: int = field(default_factory=lambda: next(_serial))

    def copy(self) -> Should:
        return replace(self, **{name: copy.copy(value) for name, value in vars(self).items()})

    def told(self) -> tuple[object, ...]:
        """Say what there is, to be compared."""
        return self.live, sorted(self.marks, key=Mark.order), self.hidden()

    # -- questions

    def where(self, matches: Callable[[Record], object]) -> set[str]:
        return {i for i, record in self.live.items() if matches(record)}

    def marked(self, kind: str) -> set[str]:
        marks = [mark for mark in self.marks if mark.kind == kind]
        return self.where(lambda record: any(mark.covers(record) for mark in marks))

    def held(self) -> set[str]:
        return self.marked("hold")

    def hidden(self) -> set[str]:
        return self.marked("restriction") | (self.owed & self.live.keys())

    def refuses(self, record: Record, *, ids: bool = True) -> bool:
        names = known_by(record) - (set() if ids else {f"id {record.id}"})
        return bool(self.suppressed and names & self.suppressed)

    def with_derived(self, ids: set[str], asked: Iterable[str] = ()) -> set[str]:
        """Follow what goes, or went before, to what was derived from it."""
        found, size = {*ids, *asked}, -1
        while len(found) != size:
            size = len(found)
            found |= {i for i, record in self.live.items() if found & set(record.derived_from)}
        return found & self.live.keys() | ids

    # -- changes

    def put(self, records: Iterable[Record]) -> None:
        for record in records:
            self.live[record.id] = record
            self.keys.setdefault(name_of(record), next(_serial))
        self._release(set())

    def delete(self, i: str) -> bool:
        was = self.live.pop(i, None) is not None
        self._release({i} if was else set())
        return was

    def forget(
        self, direct: set[str], asked: Iterable[str] = (), *, again: bool = False
    ) -> tuple[set[str], set[str]]:
        """Forget some, and what was derived; return what matches, and what of it a hold keeps."""
        matched = self.with_derived(direct, asked)
        kept = (matched - direct if again else matched) & self.held()
        went = matched - kept
        for i in went:
            record = self.live.pop(i)
            self.erased.add(record.text or "")
            if self.suppressed is not None:
                self.suppressed = self.suppressed | known_by(record)
        self.gone = [*self.gone, *((i, True) for i in went), *((i, False) for i in kept)]
        self.owed = (self.owed | kept) - went
        self._release(went | (set(asked) - self.live.keys()))
        self.purge()
        for place in self.places:
            self.copied[place, self.life] = dict(self.keys)
        return matched, kept

    def _release(self, ids: set[str]) -> None:
        narrowed = [mark._replace(ids=mark.ids - ids) for mark in self.marks]
        self.marks = [
            mark
            for mark in narrowed
            if mark.ids or (mark.subject and (mark.kind == "hold" or self.where(mark.covers)))
        ]

    def purge(self) -> None:
        names = set(map(name_of, self.live.values()))
        self.keys = {name: key for name, key in self.keys.items() if name in names}

    def lift(self, mark: Mark) -> tuple[set[str], set[str]]:
        self.marks = [*self.marks]
        self.marks.remove(mark)
        due = self.owed - self.held()
        return self.forget(due) if due else (set(), set())

    def back_up(self, place: Path) -> None:
        self.places = self.places | {place}
        self.copied[place, self.life] = dict(self.keys)


@dataclass
class Backup:
    """A backup, and what the memory should have been when it was made."""

    path: Path
    then: Should

    def restored(self, now: Should, *, sealed: bool) -> tuple[Should, set[str]]:
        """Return what it should bring back, and what is forgotten again."""
        found, place = self.then.copy(), self.path.parent
        since = now.gone[len(found.gone) :]
        found.life, found.places = next(_serial), set()
        if sealed:
            there = now.copied[place, self.then.life]
            whose = {i: name_of(record) for i, record in found.live.items()}
            for i, name in whose.items():
                if there.get(name) != self.then.keys[name]:
                    del found.live[i]
            found.keys = dict(there)
            found.purge()
        found._release(self.then.live.keys() - found.live.keys())
        again = {i for i, gone in since if gone} & found.live.keys()
        for mark in [mark for mark in found.marks if mark.kind == "hold" and mark.subject]:
            if (on := set(found.where(mark.covers))) and on <= again:
                found.marks = [other for other in found.marks if other is not mark]
        matched, kept = found.forget(again, again=True) if again else (set(), set())
        owed = {i for i, gone in since if not gone} & found.live.keys()
        if free := owed - found.held():
            found.marks = [*found.marks, Mark("hold", frozenset(free), None)]
        found.owed |= owed
        found.gone, found.copied = list(now.gone), dict(now.copied)
        found.erased |= now.erased
        found.places = {place} | self.then.places
        return found, matched - kept
