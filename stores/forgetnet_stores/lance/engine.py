"""The Lance engine: verbs over the live state, each made durable before it counts.

Every change is first in files, then in memory, then announced to readers. A batch is a set of
tail frames that count only together, or one replacement of the manifest. Knows nothing of
encoders, topics or receipts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import append_durable, truncate_durable
from forgetnet.filters import Filter, compile_filter
from forgetnet.record import Record
from forgetnet.shards import internal
from forgetnet.store import Capabilities, Cone, Floats, Purged, Query, StoreConfig
from forgetnet.table import check_batch
from forgetnet_stores.lance.catalogue import Leaf, Lock, Manifest, Pulse
from forgetnet_stores.lance.columns import Rows, dead_batch, to_arrow
from forgetnet_stores.lance.fold import fold
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.native import native_cone, native_search
from forgetnet_stores.lance.pieces import piece_path
from forgetnet_stores.lance.state import State
from forgetnet_stores.lance.tail import encode_frame

__all__ = ["LanceStore"]

_TAIL_BYTES = 1 << 20


class LanceStore:
    """A durable store in a folder: pieces and tails by leaf, one writer, many readers."""

    capabilities = Capabilities(
        durable=True, physical_purge=True, readers=True, search_paths=("flat", "lancedb")
    )

    def __init__(self, path: Path, config: StoreConfig) -> None:
        self._root = path.expanduser().resolve()
        self._readonly = config.readonly
        self._poisoned = False
        self._lock = None if config.readonly else _prepare(self._root, config)
        self._pulse = Pulse(self._root / "pulse", writer=not config.readonly)
        self._state = State(self._root, config)
        opened = False
        try:
            if config.readonly:
                self._state.refresh(self._pulse)
            else:
                self._state.open()
            opened = True
        finally:
            if not opened:
                self.close()

    def _refresh(self) -> State:
        if self._poisoned:
            raise StoreError(
                f"an earlier write to {self._root} failed midway; close the store and reopen it"
            )
        if self._readonly:
            self._state.refresh(self._pulse)
        return self._state

    def _writable(self) -> State:
        if self._readonly:
            raise StoreError(f"{self._root} was opened with readonly=True; open it for writing")
        return self._refresh()

    # -- writing

    def add(
        self, records: Sequence[Record], content: Floats, place: Floats, *, replace: bool = False
    ) -> None:
        """Store records durably, all or none."""
        state = self._writable()
        check_batch(records, content, place, state.table.records, replace=replace)
        if not records:
            return
        keys = np.frombuffer(os.urandom(8 * len(records)), np.uint64)
        rows = Rows(keys, records, np.asarray(content, np.float32), np.asarray(place, np.float32))
        old = [r.id for r in records if r.id in state.keys] if replace else []
        groups = state.group(records)
        held = sum(len(f.members) for p in groups if (f := state.manifest.leaves.get(p)))
        # Writing the touched pieces anew must cost at most three times the batch itself.
        if len(records) >= 256 and 2 * len(records) >= held:
            self._add_large(rows, old)
        else:
            parts = {p: rows.take([i for i, _ in members]) for p, members in groups.items()}
            self._append(parts, self._dead(old))
            state.leave(old)
            state.join(rows)
            self._fold_full(list(groups))
        self._pulse.beat()

    def _fold_full(self, prefixes: Sequence[str]) -> None:
        leaves = self._state.manifest.leaves
        full = [p for p in prefixes if _is_full(leaves[p], self._state.manifest.cap)]
        if full:
            # The rows are durable in the tails already; a full disk only puts the folding off.
            with contextlib.suppress(OSError):
                fold(self._state, full, self._commit)

    def _dead(self, ids: Sequence[str]) -> dict[str, list[int]]:
        """Sort the row keys of live ids by leaf."""
        groups = self._state.group([self._state.table.records[i] for i in ids])
        return {p: [self._state.keys[ids[i]] for i, _ in found] for p, found in groups.items()}

    def _append(self, adds: Mapping[str, Rows], dead: Mapping[str, Sequence[int]]) -> None:
        """Make one batch durable as frames in the tails of its leaves."""
        manifest = self._state.manifest
        if new := [prefix for prefix in adds if prefix not in manifest.leaves]:
            manifest.leaves.update({prefix: Leaf(prefix) for prefix in new})
            self._commit(manifest)
            self._state.inner = internal(manifest.leaves)
        tables = [(p, dead_batch(keys)) for p, keys in dead.items()]
        tables += [(p, to_arrow(rows)) for p, rows in adds.items()]
        written: list[tuple[Path, int]] = []
        try:
            for part, (prefix, table) in enumerate(tables):
                leaf = manifest.leaves[prefix]
                frame = encode_frame(table, manifest.sequence + 1, part, len(tables))
                path = tail_path(self._root, leaf.name)
                written.append((path, append_durable(path, frame)))
        except OSError as error:
            self._take_back(written)
            raise StoreError(
                f"can't write to {self._root}: {error.strerror}; nothing was changed"
            ) from error
        manifest.sequence += 1
        for prefix, _ in tables:
            leaf = manifest.leaves[prefix]
            leaf.tail_bytes = tail_path(self._root, leaf.name).stat().st_size
        for prefix, keys in dead.items():
            manifest.leaves[prefix].dead.update(keys)

    def _take_back(self, written: Sequence[tuple[Path, int]]) -> None:
        try:
            for path, size in reversed(written):
                truncate_durable(path, size)
        except OSError:
            self._poisoned = True

    def _commit(self, manifest: Manifest) -> None:
        try:
            manifest.save(self._root)
        except OSError as error:
            # Whether the new manifest counts is for the next opening to find out.
            self._poisoned = True
            raise StoreError(
                f"can't write to {self._root}: {error.strerror}; close the store and reopen it"
            ) from error

    def _add_large(self, rows: Rows, old: Sequence[str]) -> None:
        """Write a large batch straight into pieces: memory first, then one commit, or undo."""
        state = self._state
        before = [state.table.records[i] for i in old]
        content, place = state.table.vectors(old)
        keys = np.array([state.keys[i] for i in old], np.uint64)
        touched = [*state.group(rows.records), *state.group(before)]
        present = dict(state.manifest.leaves)
        for prefix in touched:
            state.manifest.leaves.setdefault(prefix, Leaf(prefix))
        state.leave(old)
        state.join(rows)
        done = False
        try:
            fold(state, touched, self._commit)
            done = True
        except OSError as error:
            raise StoreError(
                f"can't write to {self._root}: {error}; nothing was stored"
            ) from error
        finally:
            if not done and not self._poisoned:
                state.leave([r.id for r in rows.records])
                state.join(Rows(keys, before, content, place))
                state.manifest.leaves = present

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Make records unreachable, durably: their row keys go into the tails as dead."""
        state = self._writable()
        live = [i for i in dict.fromkeys(ids) if i in state.keys]
        if live:
            self._append({}, self._dead(live))
            state.leave(live)
            self._pulse.beat()
        return live

    def purge(self) -> Purged:
        """Write every leaf with dead rows anew and shred its old files."""
        state = self._writable()
        dirty = [prefix for prefix, leaf in state.manifest.leaves.items() if leaf.dead]
        if not dirty:
            return Purged()
        try:
            done = fold(state, dirty, self._commit)
        except OSError as error:
            raise StoreError(
                f"can't purge {self._root}: {error}; the records are unreachable, but their bytes "
                "are not gone yet; free some space and purge again"
            ) from error
        self._pulse.beat()
        return done

    # -- reading

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return live records by id."""
        records = self._refresh().table.records
        return {i: record for i in ids if (record := records.get(i)) is not None}

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return content and place of live records."""
        return self._refresh().table.vectors(ids)

    def scan(self, where: Filter | None = None) -> Iterator[Record]:
        """Iterate over the live records that match."""
        return self._refresh().table.scan(where)

    def count(self, where: Filter | None = None) -> int:
        """Count the live records that match."""
        table = self._refresh().table
        compile_filter(where)
        return len(table) if where is None else sum(1 for _ in table.scan(where))

    def search(self, query: Query, path: str = "") -> list[tuple[str, float]]:
        """Return the exact k nearest; path ``lancedb`` asks the files themselves."""
        state = self._refresh()
        if path == "lancedb":
            return native_search(self._root, state.manifest.leaves.values(), query)
        return state.table.search(query)

    def cone(self, cone: Cone, path: str = "") -> set[str]:
        """Return the ids in a half-space; path ``lancedb`` asks the files themselves."""
        state = self._refresh()
        if path == "lancedb":
            leaves = state.manifest.leaves.values()
            return native_cone(self._root, leaves, cone, state.manifest.dim)
        return state.table.cone(cone)

    def digest(self) -> str:
        """Hash the live set."""
        return self._refresh().table.digest()

    def state(self) -> str:
        """Hash the manifest, which names every piece and its digest."""
        return hashlib.sha256(self._refresh().manifest.encode()).hexdigest()

    def files(self, ids: Sequence[str] | None = None) -> list[Path]:
        """List the pieces and tails that hold any of ``ids``, or rows not purged yet."""
        state = self._refresh()
        leaves = state.manifest.leaves
        wanted = set(leaves)
        if ids is not None:
            records = [r for i in ids if (r := state.table.records.get(i)) is not None]
            wanted = {p for p, leaf in leaves.items() if leaf.dead} | set(state.group(records))
        names = [leaves[prefix].name for prefix in sorted(wanted)]
        paths = [p for n in names for p in (piece_path(self._root, n), tail_path(self._root, n))]
        return [path for path in paths if path.exists()]

    def close(self) -> None:
        """Let go of the lock and of every record in memory."""
        self._state = State(self._root, self._state.config)
        self._pulse.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._poisoned = True


def _is_full(leaf: Leaf, cap: int) -> bool:
    if leaf.tail_bytes > max(_TAIL_BYTES, leaf.piece_bytes // 2):
        return True
    return len(leaf.members) > cap and len(leaf.keys) > 1


def _prepare(root: Path, config: StoreConfig) -> Lock:
    """Make a new store's folders, or find those of an old one; take the writer's lock."""
    manifest = root / "manifest.json"
    if not manifest.exists() and root.exists():
        known = {"pieces", "tails", "lock", "pulse"}
        if not root.is_dir() or {p.name for p in root.iterdir()} - known:
            raise StoreCorrupt(
                f"{root} holds other things and is not a store of ForgetNet; name an empty or a "
                "new folder"
            )
    try:
        for folder in ("pieces", "tails"):
            (root / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"can't make a store at {root}: {error.strerror}; name a folder that can be written"
        ) from error
    lock = Lock(root / "lock")
    if not manifest.exists():
        try:
            Manifest(config.dim, config.cap).save(root)
        except OSError as error:
            lock.release()
            raise StoreError(f"can't make a store at {root}: {error.strerror}") from error
    return lock
