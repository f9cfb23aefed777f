"""What is live: leaves on disk, and the table in memory that answers for them.

Opens, refreshes and groups; writes nothing but repairs. A writer opens once; a reader looks at
the pulse before every answer and reads what changed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import rewrite_durable, sync_dir
from forgetnet.heap import trim
from forgetnet.record import Record
from forgetnet.shards import find, internal, shard_key
from forgetnet.store import StoreConfig
from forgetnet.table import Table
from forgetnet_stores.lance.catalogue import (
    Leaf,
    Manifest,
    Pulse,
    orphans,
    read_manifest,
    remove,
)
from forgetnet_stores.lance.columns import Rows
from forgetnet_stores.lance.crew import Crew
from forgetnet_stores.lance.laying import lay_piece, lay_tail
from forgetnet_stores.lance.load import (
    Reading,
    cut_tails,
    last_whole,
    read_tail,
    settled,
    tail_path,
)
from forgetnet_stores.lance.ring import Ring, name_of

__all__ = ["Group", "State"]

_TRIES = 100
_FAULTS = 3


class Group(NamedTuple):
    """Records of one leaf: their positions in a list, and their keys in the shard map."""

    positions: list[int]
    keys: list[str]


class State:
    """The live set of one store, by leaf and by id.

    Attributes:
        table: live records and their vectors.
        shards: key in the shard map by live subject.
        manifest: leaves by prefix.
        inner: inner nodes of the shard map.
        crew: threads that write for this store.
        leftovers: names of pieces and tails that no leaf names and that are still to be shredded.
        ring: keys by subject; None where rows are stored as they are.
        leavers: whose keys may be nobody's any more.
    """

    def __init__(self, root: Path, config: StoreConfig, ring: Ring | None = None) -> None:
        self.root = root
        self.config = config
        self.ring = ring
        self.leftovers: list[str] = []
        self.leavers: set[str] = set()
        self.crew = Crew()
        self._held = False
        self._clear()

    def _clear(self) -> None:
        self.table = Table(self.config.dim, self.config.salt, filed=self.config.filed)
        self.shards: dict[str, str] = {}
        self.manifest = Manifest(self.config.dim, self.config.cap)
        self.inner: set[str] = set()
        self._seen = b""

    def open(self) -> int:
        """Read everything, as the only writer, and remove what a crash left half done.

        Returns the last batch that the manifest on disk knows of.

        Raises:
            StoreCorrupt: bytes on disk are not what was written, or not a store at all.
        """
        manifest = self._decode(read_manifest(self.root))
        sealed = manifest.sequence
        sizes = {leaf.name: leaf.tail_bytes for leaf in manifest.leaves.values()}
        readings = self._look(manifest)
        manifest.sequence = settled(self.root, manifest, readings)
        self._apply(manifest, readings)
        # Only now that all is known to be there may anything go.
        cut_tails(self.root, readings, manifest.sequence)
        sealed = self._make_sure(manifest, sizes, sealed)
        # A leaf whose first batch never came; the next manifest forgets it.
        empty = [p for p, leaf in manifest.leaves.items() if not leaf.rows and not leaf.tail_bytes]
        for prefix in empty:
            self.leftovers.append(manifest.leaves.pop(prefix).name)
        self.replace(manifest)
        if self.ring is not None:
            self.leavers = {name for name in self.ring.settle() if not self._lives(name)}
        trim()
        return sealed

    def _make_sure(self, manifest: Manifest, sizes: Mapping[str, int], sealed: int) -> int:
        """Make durable what counts from now on, then remove what doesn't.

        A crash may have come between a write and its fsync: what is read then is in memory alone,
        and a manifest that a power failure takes back needs the files of its own time.
        """
        sync_dir(self.root)
        grown = {leaf.name for leaf in manifest.leaves.values()
                 if leaf.tail_bytes > sizes[leaf.name]}  # fmt: skip
        for name in sorted(grown):
            rewrite_durable(tail_path(self.root, name), sizes[name])
        stale = orphans(self.root, {leaf.name for leaf in manifest.leaves.values()})
        if not stale and not grown:
            return sealed
        try:
            manifest.save(self.root)
        except OSError:  # no room: they are shredded with the next purge
            remove(path for path in stale if path.parent == self.root)
            self.leftovers += sorted({path.stem for path in stale if path.parent != self.root})
            return sealed
        remove(stale)
        return manifest.sequence

    def replace(self, manifest: Manifest) -> None:
        """Take another manifest for the present one."""
        self.manifest = manifest
        self.inner = internal(manifest.leaves)

    def _decode(self, data: bytes) -> Manifest:
        manifest = Manifest.decode(data, self.root)
        if manifest.dim != self.config.dim:
            raise StoreCorrupt(
                f"the store {self.root} keeps vectors of length {manifest.dim}, "
                f"not {self.config.dim}"
            )
        self.config = replace(self.config, dim=manifest.dim, cap=manifest.cap)
        return manifest

    def refresh(self, pulse: Pulse) -> None:
        """Bring a reader up to date: drop what was deleted, at the latest before it answers.

        Raises:
            StoreCorrupt: bytes on disk are not what was written.
            StoreError: the store changes faster than it can be read.
        """
        beat = pulse.read()
        if self._held or (beat and beat == self._seen):
            return
        faults = 0
        for _ in range(_TRIES):
            before = read_manifest(self.root)
            manifest = self._decode(before)
            try:
                readings = self._look(manifest)
                frames = [frame for reading in readings for frame in reading.frames]
                manifest.sequence = last_whole(
                    max(manifest.sequence, self.manifest.sequence), frames
                )
                if self.manifest.leaves:  # what is known stays as it is, should reading fail
                    for reading in readings:
                        reading.load(self.root, manifest.dim, manifest.sequence, self.ring)
                else:  # one leaf at a time, to spare memory
                    self._apply(manifest, readings)
                    trim()
            except (OSError, ValueError, StoreCorrupt) as error:
                # Files go while they are read, and a batch that failed is taken back.
                faults += read_manifest(self.root) == before
                if faults >= _FAULTS:
                    raise StoreCorrupt(f"can't read the store {self.root}: {error}") from error
                time.sleep(0.01)
                continue
            # What a manifest names stays untouched while that manifest stands.
            if read_manifest(self.root) == before:
                if self.manifest is not manifest:
                    self._apply(manifest, readings)
                self._seen = beat
                return
            if self.manifest is manifest:
                self._clear()
        raise StoreError(f"{self.root} changes faster than it can be read; try again")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let ``refresh`` look for nothing new until the end of the block."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def _look(self, manifest: Manifest) -> list[Reading]:
        """Read the leaves whose files changed: which are new, and what their tails gained."""
        found = []
        for prefix, leaf in manifest.leaves.items():
            known = self.manifest.leaves.get(prefix)
            if known is None or known.name != leaf.name:
                found.append(Reading(leaf, None, read_tail(self.root, leaf)))
                continue
            size = 0
            with contextlib.suppress(FileNotFoundError):
                size = tail_path(self.root, leaf.name).stat().st_size
            if size < known.tail_bytes:  # a batch was read whole that the writer then took back
                self._clear()
                return self._look(manifest)
            if size > known.tail_bytes:
                found.append(Reading(leaf, known, read_tail(self.root, leaf, known.tail_bytes)))
        return found

    def _apply(self, manifest: Manifest, readings: Sequence[Reading]) -> None:
        """Make memory what the files say: first what went, then what came.

        Readings that are not loaded yet are loaded one by one; nothing of them may be known.
        """
        done = False
        try:
            kept = {reading.leaf.prefix for reading in readings if reading.known is not None}
            fresh = {reading.leaf.prefix for reading in readings} - kept
            rewritten = False
            for prefix, known in self.manifest.leaves.items():
                if prefix in fresh or prefix not in manifest.leaves:
                    self.drop(known.members)
                    rewritten = True
                else:
                    known.tail_bytes = max(known.tail_bytes, manifest.leaves[prefix].tail_bytes)
                    manifest.leaves[prefix] = known
            for reading in readings:
                if reading.known is not None:
                    self._bury(reading.known, reading.dead)
            for reading in readings:
                rows = reading.load(self.root, manifest.dim, manifest.sequence, self.ring)
                leaf = manifest.leaves[reading.leaf.prefix]
                leaf.dead |= reading.dead
                self._take(leaf, rows)
                laid = reading.places
                lay_piece(self, leaf, [record.id for record in rows.records[: len(laid)]], laid)
                lay_tail(self, leaf, reading.frames)
                reading.let_go()
            if rewritten:
                self.table.purge()
            if self.ring is not None and self.config.readonly:
                self.ring.let_go(name for name in self.leavers if not self._lives(name))
                self.leavers = set()
            self.replace(manifest)
            done = True
        finally:
            if not done:
                self._clear()

    def _bury(self, leaf: Leaf, dead: set[int]) -> None:
        members = list(leaf.members)
        ids = dict(zip(self.table.tags(members).tolist(), members, strict=True))
        gone = [ids[key] for key in dead if key in ids]
        for i in gone:
            leaf.leave(i)
        self.drop(gone)

    def _take(self, leaf: Leaf, rows: Rows) -> None:
        ids = [record.id for record in rows.records]
        if len(set(ids)) < len(ids) or not self.table.records.keys().isdisjoint(ids):
            raise StoreCorrupt(
                f"leaf {leaf.name} holds an id that is live already; restore the store from a "
                "backup"
            )
        found: dict[str, str] = {}
        keys = []
        for record in rows.records:
            name = record.id if record.subject is None else record.subject
            key = found.get(name)
            if key is None:
                key = found[name] = shard_key(self.config.salt, name)
            keys.append(key)
        if not all(key.startswith(leaf.prefix) for key in found.values()):
            raise StoreCorrupt(
                f"leaf {leaf.name} holds records of another place in the shard map; open the store "
                "with the salt it was made with"
            )
        self.add(rows)
        self._join(leaf, rows.records, keys)

    def add(self, rows: Rows) -> None:
        """Put rows into memory that their leaves count."""
        self.table.add(rows.records, rows.content, rows.place, rows.keys)

    def drop(self, ids: Iterable[str]) -> None:
        """Remove records from the table; their leaves are the caller's to mend."""
        gone = self.table.remove(ids)
        self.note_leavers(gone)
        for record in gone:
            if record.subject is not None and not self.table.has("subject", record.subject):
                self.shards.pop(record.subject, None)

    def group(self, records: Sequence[Record]) -> dict[str, Group]:
        """Sort records by leaf, present or still to come."""
        known: dict[str, tuple[str, Group]] = {}
        groups: dict[str, Group] = {}
        for i, record in enumerate(records):
            name = record.id if record.subject is None else record.subject
            found = known.get(name)
            if found is None:
                key = self.shards.get(name) or shard_key(self.config.salt, name)
                prefix = find(self.inner, key)
                found = known[name] = (key, groups.setdefault(prefix, Group([], [])))
            key, group = found
            group.positions.append(i)
            group.keys.append(key)
        return groups

    def join(self, rows: Rows, groups: Mapping[str, Group]) -> None:
        """Take in rows, grouped, whose leaves are there."""
        self.count_in(rows.records, groups)
        self.add(rows)

    def count_in(self, records: Sequence[Record], groups: Mapping[str, Group]) -> None:
        """Count rows, grouped, into their leaves, which are there."""
        for prefix, group in groups.items():
            mine = [records[i] for i in group.positions]
            self._join(self.manifest.leaves[prefix], mine, group.keys)

    def _join(self, leaf: Leaf, records: Sequence[Record], keys: Sequence[str]) -> None:
        leaf.join([record.id for record in records], keys)
        pairs = zip(records, keys, strict=True)
        self.shards.update({r.subject: key for r, key in pairs if r.subject is not None})

    def leave(self, ids: Sequence[str]) -> None:
        """Let live rows go."""
        for prefix, group in self.group([self.table.records[i] for i in ids]).items():
            for i in group.positions:
                self.manifest.leaves[prefix].leave(ids[i])
        self.drop(ids)

    def end_keys(self) -> None:
        """Zero the keys of whom nothing is stored any more; nothing dead may be in any file.

        Only those who may be such are looked at: whose rows went, or never came to be stored.
        """
        if self.ring is not None:
            self.ring.end([name for name in self.leavers if not self._lives(name)])
            self.leavers = set()

    def _lives(self, name: str) -> bool:
        kind, _, told = name.partition(" ")
        if kind == "subject":
            return self.table.has("subject", told)
        record = self.table.records.get(told)
        return record is not None and record.subject is None

    def note_leavers(self, records: Iterable[Record]) -> None:
        """Note whose keys are to be looked at when keys are next ended."""
        if self.ring is not None:
            self.leavers.update(name_of(r.id, r.subject) for r in records)
