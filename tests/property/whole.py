"""The machine with everything in it: engines, limits, readers, crashes, marks and backups.

Limits are so small that some ten records take every way that millions take. Texts hold a word that
comes nowhere else, by which the files and the words in memory are searched for what is gone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, multiple, precondition, rule

from forgetnet import Hit, Memory, Receipt, Record, restore
from forgetnet.audit.layout import check_layout
from forgetnet.forget.keys import derive_salt
from forgetnet.index import Index
from forgetnet.shards import leaves, shard_key
from forgetnet.table import Table
from forgetnet_stores.lance import LanceStore
from forgetnet_stores.lance.catalogue import Manifest
from tests.contract.kit import bytes_below, strays
from tests.faults.cuts import PowerCutError, failing
from tests.property.should import Backup, Mark, Should
from tests.property.small import SPLIT, holds_only_live_rows, leaves_of
from tests.property.twin import ENCODER, KEY, SUBJECTS, TEXTS, TOPICS, TwinMachine

__all__ = ["WholeMachine"]

T = TypeVar("T")
E = TypeVar("E")


def table(memory: Memory) -> Table:
    """Return what a memory answers from, brought up to date."""
    own: Any = memory._store
    found: Table = own._refresh().table if isinstance(own, LanceStore) else own._live()
    return found


def told(memory: Memory) -> tuple[object, ...]:
    """Return what there is, as :meth:`Should.told` says what should be."""
    live = {record.id: record for record in memory._store.scan()}
    marks = [
        Mark(str(mark.kind), frozenset(mark.ids), mark.subject)
        for mark in (*memory.holds(), *memory.restrictions())
    ]
    return live, sorted(marks, key=Mark.order), set(memory._marks.hidden(memory._store))


class WholeMachine(TwinMachine):
    """One memory of any engine, a reader beside it, and its backups in two places."""

    seen: ClassVar[Counter[str]] = Counter()
    """How often what is meant to happen did, over all histories."""
    only: ClassVar[str] = ""
    """The one engine to take; any where there is none."""

    @initialize(
        target=TwinMachine.ids,
        kind=st.sampled_from(["lance", "filed", "sealed", "memory"]),
        suppressing=st.booleans(),
        first=st.sampled_from([0, 4, SPLIT - 2, 2 * SPLIT]),
        cap=st.sampled_from([4, 12, 40]),
    )
    def begin(self, kind: str, suppressing: bool, first: int, cap: int):
        self.cap = cap
        leaves_of(cap)
        kind = self.only or kind
        self.sealed = kind == "sealed"
        self.url = "memory://" if kind == "memory" else str(self.path)
        kinds = {"sealed": {"encryption": "subject"}, "filed": {"vectors": "disk"}}
        self.options: dict[str, Any] = kinds.get(kind, {})
        self.now.suppressed = set() if suppressing else None
        self.words: set[str] = set()
        self.backups: list[Backup] = []
        self.cut: tuple[int, bool] | None = None
        self.blind = 0
        self.torn = False
        self.tier, self.pivots = "flat", set[str]()
        self.memory = self.reopened()
        self.reader = self.beside()
        self.seen[kind] += 1
        return multiple(*self.put(self.many(first, [None, *SUBJECTS])))

    def reopened(self) -> Memory:
        suppress = None if self.now.suppressed is None else "refuse"
        return self.open(self.url, suppress=suppress, **self.options)

    def beside(self) -> Memory | None:
        return self.open(self.url, readonly=True) if self.on_disk else None

    @property
    def on_disk(self) -> bool:
        return hasattr(self, "url") and self.url != "memory://"

    def teardown(self) -> None:
        self.seen["histories"] += 1
        self.seen["steps"] += self.seed
        if hasattr(self, "reader") and self.reader is not None:
            self.reader.close()
        super().teardown()

    def say(self, text: str) -> str:
        if text in {"", "ok"}:  # these are shared
            return text
        self.serial += 1
        word = hashlib.sha256(b"%d" % self.serial).hexdigest()[:24]
        self.words.add(word)
        return f"{text} {word}"

    # -- verbs that a crash may cut short

    def change(self, verb: Callable[[], T], follow: Callable[[Should], E]) -> tuple[T | None, E]:
        if self.cut is None:
            return super().change(verb, follow)
        (at, after), self.cut = self.cut, None
        later = self.now.copy()
        expected = follow(later)
        try:
            with failing(at, PowerCutError, after=after):
                came = verb()
        except PowerCutError:
            self.seen["crashes"] += 1
            self.torn = True  # a leaf that was to be split waits for its next change
            self.abandon()
            found = told(self.memory)
            assert found in (self.now.told(), later.told())
            if found == later.told():
                self.now = later
            # A backup that was cut short may have been noted, or not.
            self.now.places = set(self.memory._office.backups.places)
            if self.sealed:  # whose keys have ended is known again from the next forget on
                self.forget(lambda: self.memory.forget(ids="nobody"), set(), {"nobody"})
            return None, expected
        self.now = later
        return came, expected

    def abandon(self) -> None:
        """Let the process end, as far as its files can tell, and begin anew."""
        open_: Any = self.memory._store
        open_._state.crew.dismiss()
        open_._pulse.close()
        open_._lock.release()
        self.memory = self.reopened()

    @precondition(lambda self: self.on_disk)
    @rule(at=st.integers(1, 14), after=st.booleans())
    def crash_next(self, at: int, after: bool) -> None:
        self.cut = at, after

    @precondition(lambda self: self.on_disk)
    @rule(copied=st.booleans())
    def crash(self, copied: bool) -> None:
        """End without closing; perhaps go on with a copy of the folder, on another disk."""
        if copied:
            other = self.path.with_name(self.path.name + "c")
            shutil.copytree(self.path, other)
            self.move_to(other)
        else:
            self.abandon()

    def move_to(self, path: Path) -> None:
        """Go on with the memory in another folder; the old one is gone."""
        self.reader.close()
        old, self.path, self.url = self.path, path, str(path)
        self.abandon()
        self.reader = self.beside()
        shutil.rmtree(old)

    @precondition(lambda self: self.on_disk)
    @rule(filed=st.booleans())
    def reopen(self, filed: bool) -> None:
        self.memory.close()
        self.options |= {} if self.sealed else {"vectors": "disk" if filed else "ram"}
        self.memory = self.reopened()

    @precondition(lambda self: self.on_disk)
    @rule()
    def reopen_reader(self) -> None:
        self.reader.close()
        self.reader = self.beside()

    @rule(steps=st.integers(1, 3))
    def look_away(self, steps: int) -> None:
        """Let changes pile up before anything is asked."""
        self.blind = steps

    @rule(
        target=TwinMachine.ids,
        n=st.integers(5, 12),
        owners=st.lists(st.sampled_from([None, *SUBJECTS]), min_size=1, max_size=4),
        again=st.booleans(),
    )
    def add_many(self, n: int, owners: list[str | None], again: bool):
        records = self.many(n, owners)
        gone = [i for i, _ in self.now.gone if i not in self.now.live]
        if again and gone:
            records[0] = replace(records[0], id=gone[-1])
        return multiple(*self.put(records))

    def many(self, n: int, owners: list[str | None]) -> list[Record]:
        return [
            Record(
                self.say("peanuts and tea"),
                id=f"m{self.serial}",
                subject=owners[number % len(owners)],
                topic=TOPICS[self.serial % len(TOPICS)],
                metadata={"n": number % 3},
            )
            for number in range(n)
        ]

    @precondition(lambda self: hasattr(self, "memory") and self.now.live)
    @rule(update=st.booleans(), text=TEXTS)
    def think_again(self, update: bool, text: str) -> None:
        """Change or delete what came last, which may lie in no piece yet."""
        last = next(reversed(self.now.live))
        if update:
            self.update(last, text, "bob", "health")
        else:
            self.delete(last)

    @rule()
    def purge(self) -> None:
        pieces, _ = self.change(self.memory.purge, Should.purge)
        if pieces is not None:
            self.nothing_left()

    # -- marks

    @precondition(lambda self: hasattr(self, "memory") and self.now.live)
    @rule(
        kind=st.sampled_from(["hold", "restrict"]), by=st.integers(0, 3), which=st.integers(0, 99)
    )
    def mark(self, kind: str, by: int, which: int) -> None:
        record = self.now.live[sorted(self.now.live)[which % len(self.now.live)]]
        ids, subject = {record.id}, None
        scope: dict[str, Any] = {"ids": record.id}
        if by == 1 and record.subject:
            ids, subject, scope = set(), record.subject, {"subject": record.subject}
        if by == 2 and record.topic:
            scope = {"topic": record.topic}
            above = record.topic + "/"
            ids = self.now.where(lambda r: r.topic and (r.topic + "/").startswith(above))
        if by == 3:
            scope = {"filter": {"text": record.text}}
            ids = self.now.where(lambda r: r.text == record.text)
        verb = self.memory.hold if kind == "hold" else self.memory.restrict
        made = Mark("hold" if kind == "hold" else "restriction", frozenset(ids), subject)
        self.change(lambda: verb(**scope, reason="matter 12"), lambda now: now.marks.append(made))
        self.seen[kind] += 1

    @precondition(lambda self: hasattr(self, "memory") and self.now.live)
    @rule(which=st.integers(0, 99), most=st.integers(1, 3), held=st.booleans())
    def forget_some(self, which: int, most: int, held: bool) -> None:
        """Forget a few by id, some of which may have just been put under a hold."""
        if held:
            self.mark("hold", which % 4, which)
        some = sorted(self.now.live)
        chosen = {some[(which + n) % len(some)] for n in range(most)}
        self.forget(lambda: self.memory.forget(ids=sorted(chosen)), chosen, chosen)

    @precondition(lambda self: hasattr(self, "memory") and self.now.live)
    @rule(which=st.integers(0, 99))
    def lift(self, which: int) -> None:
        if not self.now.marks:
            self.mark("hold", which % 4, which)
        if not self.now.marks:  # a crash came first
            return
        mark = sorted(self.now.marks, key=Mark.order)[which % len(self.now.marks)]
        name = next(
            one.name
            for one in (*self.memory.holds(), *self.memory.restrictions())
            if (one.kind, frozenset(one.ids), one.subject) == mark
        )
        receipts, (matched, kept) = self.change(
            lambda: self.memory.lift(name), lambda now: now.lift(mark)
        )
        if receipts is not None:
            self.seen["late forgets"] += bool(receipts)
            assert bool(receipts) is bool(matched)
            assert {str(r.status) for r in receipts} <= {"erased", "unsupported" if kept else ""}
            if receipts:
                self.nothing_left()

    # -- backups

    @precondition(lambda self: self.on_disk)
    @rule(place=st.sampled_from(["p0", "p1"]))
    def backup(self, place: str) -> None:
        where = self.root / place
        then = self.now.copy()
        made, _ = self.change(
            lambda: self.memory.backup(where, progress=False), lambda now: now.back_up(where)
        )
        if made is not None:
            then.back_up(where)
            self.backups.append(Backup(made, then))

    @precondition(lambda self: self.on_disk)
    @rule(which=st.integers(0, 99), stay=st.booleans())
    def restore(self, which: int, stay: bool) -> None:
        """Restore a backup, compare, and perhaps go on with it in place of the memory."""
        if not self.backups:
            self.backup("p0")
            return
        backup = self.backups[which % len(self.backups)]
        should, again = backup.restored(self.now, sealed=self.sealed)
        target = self.path.with_name(self.path.name + "r")
        options = {"encoder": ENCODER, "key": KEY, "clock": self.clock}
        places = [place for name in ("p0", "p1") if (place := self.root / name).exists()]
        done = restore(backup.path, target, tombstones=places, progress=False, **options)
        assert done.records == len(should.live)
        assert (done.receipt is not None) is bool(again)
        self.seen["restored"] += 1
        self.seen["forgotten again"] += bool(again)
        self.seen["lost their keys"] += len(should.live) + len(again) < len(backup.then.live)
        with self.open(str(target), readonly=True) as back:
            assert told(back) == should.told()
            self.held_to([back], should)
        data = bytes_below(target)
        gone = {text[-24:] for text in self.now.erased} & self.words
        gone -= {record.text[-24:] for record in should.live.values()}
        assert not [word for word in gone if word.encode() in data]
        if stay:
            self.now = should
            self.move_to(target)
        else:
            shutil.rmtree(target)

    # -- what must be true

    def check(self, receipt: Receipt, matched: set[str], kept: set[str]) -> None:
        super().check(receipt, matched, kept)
        self.nothing_left()
        for place in self.now.places if self.sealed else ():
            keys = (self.path / "store" / "keys").read_bytes()
            assert keys in [copy.read_bytes() for copy in place.glob("keys-*.slots")]

    def nothing_left(self) -> None:
        """Nothing that isn't live is in any file, nor among the words in memory."""
        said = " ".join(record.text for record in self.now.live.values())
        gone = [word for word in self.words if word not in said]
        here = [word for word in self.words if word in said]
        words = table(self.memory)._words
        if words.stands:
            pages = words._index._run.__self__.serialize()
            assert not [word for word in gone if word[6:].encode() in pages]
        if not self.on_disk:
            return
        data = bytes_below(self.path)
        assert not [word for word in gone if word.encode() in data]
        assert sum(word.encode() in data for word in here) == (0 if self.sealed else len(here))
        if self.sealed:
            names = {record.subject or f" {record.id}" for record in self.now.live.values()}
            keys = (self.path / "store" / "keys").read_bytes()
            assert sum(any(keys[n : n + 64]) for n in range(0, len(keys), 64)) == len(names)
        assert not strays(self.path / "store")
        assert not check_layout(self.path)
        salt = derive_salt(KEY)
        counts = Counter(shard_key(salt, r.subject or r.id) for r in self.now.live.values())
        laid = sorted(Manifest.load(self.path / "store").leaves)
        assert self.torn or laid == leaves(counts, self.cap)

    @invariant()
    def equals_twin(self) -> None:
        if not hasattr(self, "memory"):
            return
        self.seed += 1
        if self.blind:
            self.blind -= 1
            return
        memories = [self.memory] if self.reader is None else [self.memory, self.reader]
        for memory in memories:
            assert told(memory) == self.now.told()
        self.held_to(memories, self.now)
        self.note(table(self.memory).flat)

    def compare(self, memory: Memory, twin: Memory, wanted: list[list[Hit]]) -> None:
        super().compare(memory, twin, wanted)
        index = table(memory).flat
        assert index.digest() == table(twin).flat.digest()
        self.seen["vectors on disk"] += holds_only_live_rows(index) < len(index)

    def note(self, index: Index) -> None:
        """Count the limits that were crossed, and the pivots that went."""
        chosen = set(index._coded._names) if index.tier == "pivots" and index._coded else set()
        if index.tier == self.tier == "pivots":
            self.seen["pivots gone"] += bool(self.pivots - chosen)
        if index.tier != self.tier:
            self.seen[f"{self.tier} to {index.tier}"] += 1
        self.tier, self.pivots = index.tier, chosen
