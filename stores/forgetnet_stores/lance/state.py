"""What is live: leaves on disk, and the table in memory that answers for them.

Opens, refreshes and groups; writes nothing. A writer opens once; a reader looks at the pulse
before every answer and reads again the leaves whose files changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.record import Record
from forgetnet.shards import find, internal, shard_key
from forgetnet.store import StoreConfig
from forgetnet.table import Table
from forgetnet_stores.lance.catalogue import Leaf, Manifest, Pulse, remove_orphans
from forgetnet_stores.lance.columns import Rows
from forgetnet_stores.lance.load import load_leaf, repair_tails, tail_path

__all__ = ["State"]


class State:
    """The live set of one store, by leaf and by id.

    Attributes:
        table: live records and their vectors.
        keys: row key by live id.
        manifest: leaves by prefix.
        inner: inner nodes of the shard map.
    """

    def __init__(self, root: Path, config: StoreConfig) -> None:
        self.root = root
        self.config = config
        self.table = Table(config.dim)
        self.keys: dict[str, int] = {}
        self.manifest = Manifest(config.dim, config.cap)
        self.inner: set[str] = set()
        self._seen = b""

    def open(self) -> None:
        """Read everything, as the only writer: what a crash left half done is removed first."""
        manifest = self._load()
        remove_orphans(self.root, {leaf.name for leaf in manifest.leaves.values()})
        manifest.sequence = repair_tails(self.root, manifest)
        for leaf in manifest.leaves.values():
            self._take(leaf, load_leaf(self.root, leaf, self.config.dim))
        self.replace(manifest)

    def replace(self, manifest: Manifest) -> None:
        """Take another manifest for the present one."""
        self.manifest = manifest
        self.inner = internal(manifest.leaves)

    def _load(self) -> Manifest:
        if not (self.root / "manifest.json").exists():
            raise StoreCorrupt(f"{self.root} is not a store of ForgetNet: it has no manifest")
        manifest = Manifest.load(self.root)
        if manifest.dim != self.config.dim:
            raise StoreCorrupt(
                f"the store {self.root} keeps vectors of length {manifest.dim}, "
                f"not {self.config.dim}"
            )
        config = self.config
        self.config = StoreConfig(manifest.dim, config.salt, manifest.cap, config.readonly)
        return manifest

    def refresh(self, pulse: Pulse) -> None:
        """Bring a reader up to date: drop what was deleted, at the latest before it answers.

        Raises:
            StoreError: the store changes faster than it can be read.
        """
        beat = pulse.read()
        if beat and beat == self._seen:
            return
        for _ in range(50):
            # Files may go while they are read: then the manifest has changed as well.
            with contextlib.suppress(FileNotFoundError, StoreCorrupt, ValueError):
                self._reread()
                self._seen = beat
                return
            if pulse.read() == beat:
                break
            beat = pulse.read()
        self._reread()
        self._seen = beat

    def _reread(self) -> None:
        fresh = self._load()
        changed = {}
        for prefix, leaf in list(fresh.leaves.items()):
            tail = tail_path(self.root, leaf.name)
            leaf.tail_bytes = tail.stat().st_size if tail.exists() else 0
            known = self.manifest.leaves.get(prefix)
            if known is not None and known.same_files(leaf):
                fresh.leaves[prefix] = known
            else:
                changed[prefix] = (leaf, load_leaf(self.root, leaf, self.config.dim))
        for prefix, known in self.manifest.leaves.items():
            if fresh.leaves.get(prefix) is not known:
                self.drop(known.members)
        self.replace(fresh)
        for leaf, rows in changed.values():
            self._take(leaf, rows)

    def _take(self, leaf: Leaf, rows: Rows) -> None:
        self.table.add(rows.records, rows.content, rows.place)
        ids = [record.id for record in rows.records]
        self.keys.update(zip(ids, rows.keys.tolist(), strict=True))
        by_name: dict[str, str] = {}
        for record in rows.records:
            leaf.join(record.id, self._key(record, by_name))

    def _key(self, record: Record, cache: dict[str, str]) -> str:
        name = record.subject if record.subject is not None else record.id
        key = cache.get(name)
        if key is None:
            key = cache[name] = shard_key(self.config.salt, name)
        return key

    def drop(self, ids: Iterable[str]) -> None:
        """Remove records from the table; their leaves are the caller's to mend."""
        for record in self.table.remove(ids):
            del self.keys[record.id]

    def group(self, records: Sequence[Record]) -> dict[str, list[tuple[int, str]]]:
        """Sort records by leaf, present or still to come: (position, key in the map) pairs."""
        cache: dict[str, str] = {}
        prefixes: dict[str, str] = {}
        groups: dict[str, list[tuple[int, str]]] = {}
        for i, record in enumerate(records):
            key = self._key(record, cache)
            prefix = prefixes.get(key)
            if prefix is None:
                prefix = prefixes[key] = find(self.inner, key)
            groups.setdefault(prefix, []).append((i, key))
        return groups

    def join(self, rows: Rows) -> None:
        """Take in rows whose leaves are there."""
        self.table.add(rows.records, rows.content, rows.place)
        self.keys.update(zip((r.id for r in rows.records), rows.keys.tolist(), strict=True))
        for prefix, members in self.group(rows.records).items():
            leaf = self.manifest.leaves[prefix]
            for i, key in members:
                leaf.join(rows.records[i].id, key)

    def leave(self, ids: Sequence[str]) -> None:
        """Let live rows go."""
        for prefix, members in self.group([self.table.records[i] for i in ids]).items():
            for i, _ in members:
                self.manifest.leaves[prefix].leave(ids[i])
        self.drop(ids)
