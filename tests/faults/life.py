"""One random life of a memory, and what must be true of it after each acknowledgement.

Every verb first happens, and counts when it returns: so what is known here is what was
acknowledged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from forgetnet import Held, InvalidRecord, Memory, Receipt, Record, restore
from forgetnet.archive import read_archive
from forgetnet.audit.layout import check_layout
from forgetnet.ledger import Ledger

KEY = bytes(range(32))
OPTIONS = {"encoder": "hash:16", "key": KEY}
MANY = 30
"""So many go straight into pieces, in a store that takes 20 for many."""
SUBJECTS = ["ann", "bob", "cleo", "dov", "eve", "fay"]


@dataclass
class Life:
    """A memory in ``root / "kb"``, and what was acknowledged of it.

    Attributes:
        live: text by id.
        owner: subject by id.
        gone: texts that were forgotten.
        holds, restrictions: subject by name of the mark.
        owed: ids that a hold keeps from being forgotten.
        backups: files, each with the ids of then.
        erased: ids that were forgotten, by the number of backups there were.
        receipts: ids of receipts that were handed out.
    """

    root: Path
    chance: random.Random
    live: dict[str, str] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    holds: dict[str, str] = field(default_factory=dict)
    restrictions: dict[str, str] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    backups: list[tuple[Path, dict[str, str]]] = field(default_factory=list)
    erased: list[tuple[str, int]] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    number: int = 0

    def open(self) -> Memory:
        return Memory.open(self.root / "kb", suppress="refuse", **OPTIONS)

    def go_on(self, memory: Memory) -> Memory:
        """Do one thing at random; return the memory, which may have been reopened."""
        verbs = [self.add, self.add, self.add_many, self.update, self.delete, self.forget]
        verbs += [self.forget, self.forget_one, self.hold, self.restrict, self.lift, self.purge]
        verb: Callable[[Memory], None] = self.chance.choice([*verbs, self.backup])
        self.told.append(verb.__name__)
        verb(memory)
        if self.chance.random() < 0.1:
            self.told.append("reopen")
            memory.close()
            return self.open()
        return memory

    # -- verbs

    def _new(self, count: int) -> list[Record]:
        numbers = range(self.number, self.number + count)
        self.number += count
        return [
            Record(f"the secret thing number {n} and a half", id=f"id-{n}", subject=subject)
            for n in numbers
            for subject in [self.chance.choice(SUBJECTS)]
        ]

    def _add(self, memory: Memory, count: int) -> None:
        records = self._new(count)
        memory.add(records)
        self.live.update({r.id: r.text or "" for r in records})
        self.owner.update({r.id: r.subject or "" for r in records})

    def add(self, memory: Memory) -> None:
        self._add(memory, self.chance.randint(1, 5))

    def add_many(self, memory: Memory) -> None:
        self._add(memory, MANY)

    def _pick(self, memory: Memory) -> str:
        free = [i for i in self.live if self.owner[i] not in self.holds.values()]
        if not free:
            self._add(memory, 9)
            free = [i for i in self.live if self.owner[i] not in self.holds.values()] or [""]
        return self.chance.choice(free)

    def update(self, memory: Memory) -> None:
        if chosen := self._pick(memory):
            text = f"the secret thing {chosen}, told anew {self.chance.random()}"
            memory.update(chosen, text)
            self.live[chosen] = text

    def delete(self, memory: Memory) -> None:
        if chosen := self._pick(memory):
            memory.delete(chosen)
            del self.live[chosen]
            self._end_restrictions()

    def forget(self, memory: Memory) -> None:
        subject = self.chance.choice(SUBJECTS)
        ids = [i for i in self.live if self.owner[i] == subject]
        receipt = memory.forget(subject=subject)
        held = subject in self.holds.values()
        assert not ids or receipt.status == ("unsupported" if held else "erased")
        self._erased([] if held else ids, [receipt])
        self.owed |= set(ids if held else [])

    def _erased(self, ids: list[str], receipts: list[Receipt]) -> None:
        for i in ids:
            self.gone.add(self.live.pop(i))
            self.erased.append((i, len(self.backups)))
        self.receipts += [receipt.id for receipt in receipts]
        if receipts:
            self._end_restrictions()

    def _end_restrictions(self) -> None:
        """A subject's restriction ends with its last record."""
        there = {self.owner[i] for i in self.live}
        self.restrictions = {name: s for name, s in self.restrictions.items() if s in there}

    def forget_one(self, memory: Memory) -> None:
        if chosen := self._pick(memory):
            receipt = memory.forget(ids=chosen)
            assert receipt.status == "erased"
            self._erased([chosen], [receipt])

    def hold(self, memory: Memory) -> None:
        owners = sorted({self.owner[i] for i in self.live} - set(self.holds.values()))
        if owners:
            subject = self.chance.choice(owners)
            self.holds[memory.hold(subject=subject, reason="matter 12").name] = subject
            chosen = next(i for i in self.live if self.owner[i] == subject)
            with pytest.raises(Held):
                memory.delete(chosen)

    def restrict(self, memory: Memory) -> None:
        owners = sorted({self.owner[i] for i in self.live} - set(self.restrictions.values()))
        if owners:
            subject = self.chance.choice(owners)
            self.restrictions[memory.restrict(subject=subject).name] = subject

    def lift(self, memory: Memory) -> None:
        names = sorted(self.holds) + sorted(self.restrictions)
        if names:
            name = self.chance.choice(names)
            receipts = memory.lift(name)
            self.restrictions.pop(name, None)
            if subject := self.holds.pop(name, None):
                due = [i for i in self.owed if self.owner[i] == subject]
                assert bool(receipts) == bool(due)
                self.owed -= set(due)
                self._erased(due, receipts)

    def purge(self, memory: Memory) -> None:
        memory.purge()

    def backup(self, memory: Memory) -> None:
        made = memory.backup(self.root / "backups", progress=False)
        self.backups.append((made, dict(self.live)))

    # -- what must be true

    def check(self, memory: Memory) -> None:
        """All that was acknowledged is so, and nothing of what was forgotten is anywhere."""
        assert {r.id: r.text for r in memory.get_all()} == self.live
        assert {mark.name: mark.subject for mark in memory.holds()} == self.holds
        assert {m.name: m.subject for m in memory.restrictions()} == self.restrictions
        unseen = {i for i in self.live if self.owner[i] in self.restrictions.values()}
        found = {hit.id for hit in memory.search("the secret thing", k=len(self.live) + 1)}
        assert found == set(self.live) - unseen - self.owed
        kb = self.root / "kb"
        assert not check_layout(kb) and not list((kb / "journal").iterdir())
        for i, _ in self.erased[-2:]:
            with pytest.raises(InvalidRecord, match="forgotten"):
                memory.add("some other words", ids=i)
        ledger = Ledger(kb / "ledger.jsonl", read_only=True)
        for name in self.receipts:
            receipt = Receipt.load(kb / "receipts" / f"{name}.json")
            assert receipt.verify(memory.public_key).status == receipt.status
            assert ledger.find(receipt.entry) is not None
        data = b"\0".join(p.read_bytes() for p in kb.rglob("*") if p.is_file())
        left = [text for text in self.gone - set(self.live.values()) if text.encode() in data]
        assert not left, f"{len(left)} of {len(self.gone)} texts"

    def check_backups(self) -> None:
        """Every backup is whole, and one of them comes back without what was forgotten since."""
        for path, _ in self.backups:
            read_archive(path)
        if self.backups:
            at = self.chance.randrange(len(self.backups))
            path, then = self.backups[at]
            since = {i for i, before in self.erased if before > at}
            done = restore(path, self.root / "again", progress=False, **OPTIONS)
            with Memory.open(done.path, readonly=True, **OPTIONS) as again:
                found = {r.id: r.text for r in again.get_all()}
            assert found == {i: text for i, text in then.items() if i not in since}
