"""The Lance engine: verbs over the live state, each made durable before it counts.

Every change is first in files, then in memory, then announced to readers. A batch is a set of
tail frames that count only together, or one replacement of the manifest. Knows nothing of
encoders, topics or receipts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import append_durable, check_trusted, doubts, truncate_durable, trust
from forgetnet.filters import Filter
from forgetnet.record import Record
from forgetnet.store import Capabilities, Cone, Floats, Purged, Query, StoreConfig, TextQuery
from forgetnet.table import Table, check_batch
from forgetnet_stores.lance.catalogue import Leaf, Manifest, Pulse, prepare
from forgetnet_stores.lance.columns import Rows, dead_batch
from forgetnet_stores.lance.fold import Batch, fold, needs_fold, overflows, sweep
from forgetnet_stores.lance.laying import lay_tail
from forgetnet_stores.lance.load import tail_path
from forgetnet_stores.lance.native import native_cone, native_search
from forgetnet_stores.lance.ring import ring_of
from forgetnet_stores.lance.room import files_of, fold_dirty, give_up, remedy, set_aside
from forgetnet_stores.lance.state import State
from forgetnet_stores.lance.swap import Swap
from forgetnet_stores.lance.tail import encode_frame, read_frames

__all__ = ["LanceStore"]

_LARGE = 256
_Answer = TypeVar("_Answer")


class _Undone(StoreError):
    """A change failed, and everything is as it was before."""


class LanceStore:
    """A durable store in a folder: pieces and tails by leaf, one writer, many readers."""

    def __init__(self, path: Path, config: StoreConfig) -> None:
        try:
            self._root = path.expanduser().resolve()
            self._lock = None if config.readonly else prepare(self._root, config.dim, config.cap)
        except (OSError, ValueError, RuntimeError) as error:
            raise StoreError(
                f"can't open a store at {str(path)[:200]!r}: "
                f"{getattr(error, 'strerror', None) or error}; name a folder that can be written"
            ) from error
        self._readonly = config.readonly
        self._state = State(self._root, config)
        self._pulse: Pulse | None = None
        self._broken, self._sealed = False, 0
        opened = False
        try:
            self._state.ring = ring_of(self._root, config)
            if not config.readonly:
                trust(doubts(self._root))
            self._pulse = Pulse(self._root / "pulse", writer=not config.readonly)
            if config.readonly:
                self._state.refresh(self._pulse)
            else:
                self._sealed = self._state.open()
                self._pulse.beat()  # a crash may have come between a commit and its announcement
            opened = True
        except OSError as error:
            raise StoreError(
                f"can't open the store {str(self._root)[:200]!r}: {error.strerror or error}; name "
                "a folder that can be read"
            ) from error
        finally:
            if not opened:
                self.close()

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do; LanceDB can't search what is sealed."""
        paths = ("flat", "lancedb") if self._state.ring is None else ("flat",)
        return Capabilities(durable=True, physical_purge=True, readers=True, search_paths=paths)

    def _refresh(self) -> State:
        if self._pulse is None:
            raise StoreError(f"the store {self._root} was closed; open it again")
        if self._broken:
            raise StoreError(
                f"an earlier write to {self._root} ended midway; close the store and reopen it"
            )
        if self._readonly:
            self._state.refresh(self._pulse)
        else:
            check_trusted(self._root)
        return self._state

    def _writable(self) -> State:
        if self._readonly:
            raise StoreError(f"{self._root} was opened with readonly=True; open it for writing")
        if self._lock is not None and not self._lock.is_ours():
            raise StoreError(f"{self._root} was opened by another process; open it in this one")
        return self._refresh()

    # -- writing

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Make a change and announce it; if it ends neither done nor undone, refuse all others."""
        self._broken = True
        try:
            yield
        except _Undone as undone:
            self._broken = False
            raise StoreError(str(undone)) from undone.__cause__
        if self._pulse is not None:
            self._pulse.beat()
        self._broken = False

    def add(
        self, records: Sequence[Record], content: Floats, place: Floats, *, replace: bool = False
    ) -> None:
        """Store records durably, all or none."""
        state = self._writable()
        content, place = np.asarray(content, np.float32), np.asarray(place, np.float32)
        dim = state.manifest.dim
        check_batch(records, content, place, state.table.records, dim=dim, replace=replace)
        if not records:
            return
        keys = np.frombuffer(os.urandom(8 * len(records)), np.uint64)
        rows, live = Rows(keys, records, content, place), state.table.records
        old = [record.id for record in records if record.id in live] if replace else []
        swap = self._read(lambda _: Swap(state, rows, old))
        with self._change():
            if self._is_large(swap):
                self._add_large(swap)
                return
            self._append(self._dead(swap.old), swap)
            cap = state.manifest.cap
            full = [p for p in swap.groups if needs_fold(state.manifest.leaves[p], cap)]
            if full:
                # The rows are durable in the tails already; a full disk only puts this off.
                with contextlib.suppress(OSError):
                    fold(state, full, self._commit)

    def _is_large(self, swap: Swap) -> bool:
        """Tell whether pieces at once write less than tails first, and pieces of full leaves then.

        They do if leaves are new, or if most of what lies in them would be written anew anyway.
        """
        manifest, spared = self._state.manifest, 0
        for prefix, group in swap.groups.items():
            leaf, come = manifest.leaves.get(prefix), len(group.positions)
            if leaf is not None:
                keys = len(leaf.keys.keys() | set(group.keys))
                if not overflows(leaf, manifest.cap, come, keys, 4 * come * manifest.dim):
                    spared += len(leaf.members) + come
        return len(swap.rows) >= _LARGE and 2 * spared <= len(swap.rows)

    def _dead(self, ids: Sequence[str]) -> dict[str, list[int]]:
        """Sort the row keys of live ids by leaf."""
        groups = self._state.group([self._state.table.records[i] for i in ids])
        keys = self._state.table.tags(ids).tolist()
        return {p: [keys[i] for i in group.positions] for p, group in groups.items()}

    def _append(self, dead: Mapping[str, Sequence[int]], swap: Swap | None = None) -> None:
        """Make one batch durable as frames in the tails of its leaves, then what counts."""
        manifest = self._state.manifest
        try:
            adds = {} if swap is None else swap.tables()
        except OSError as error:  # a key wasn't written, so memory is what it was
            raise _Undone(f"can't write to {self._root}: {error}; nothing was changed") from error
        tables = [*((p, dead_batch(keys)) for p, keys in dead.items()), *adds.items()]
        new = [prefix for prefix in adds if prefix not in manifest.leaves]
        manifest.leaves.update({prefix: Leaf(prefix) for prefix in new})
        sizes = {prefix: manifest.leaves[prefix].tail_bytes for prefix, _ in tables}
        try:
            if new:
                self._commit(manifest)
            grown = self._write_frames(tables, swap)
        except OSError as error:
            self._take_back(sizes)
            if swap is not None:
                swap.undo()
            self._state.leftovers += [manifest.leaves.pop(prefix).name for prefix in new]
            raise _Undone(f"can't write to {self._root}: {error}; nothing was changed") from error
        manifest.sequence += 1
        for (prefix, _), size in zip(tables, grown, strict=True):
            manifest.leaves[prefix].tail_bytes += size
            manifest.leaves[prefix].frames += 1
        for prefix, keys in dead.items():
            manifest.leaves[prefix].dead.update(keys)
        if new:
            self._state.replace(manifest)
        for leaf in map(manifest.leaves.__getitem__, adds):
            path = tail_path(self._root, leaf.name)
            lay_tail(self._state, leaf, read_frames(path, sizes[leaf.prefix]))

    def _write_frames(
        self, tables: Sequence[tuple[str, pa.Table]], swap: Swap | None
    ) -> Sequence[int]:
        """Append a batch's frames durably, and change memory while the disk is busy."""
        leaves, sequence = self._state.manifest.leaves, self._state.manifest.sequence + 1

        def write(part: int) -> int:
            prefix, table = tables[part]
            frame = encode_frame(table, sequence, part, len(tables))
            append_durable(tail_path(self._root, leaves[prefix].name), frame)
            return len(frame)

        if swap is None or len(swap.rows) < _LARGE:
            sizes = [write(part) for part in range(len(tables))]
            if swap is not None:
                swap.settle()
            return sizes
        crew = self._state.crew
        with crew.at_work():
            started = [crew.begin(write, part) for part in range(len(tables))]
            swap.settle()
            return [future.result() for future in started]

    def _take_back(self, sizes: Mapping[str, int]) -> None:
        """Cut tails back to what they were before a batch that failed."""
        check_trusted(self._root)  # or leave them as they are, for the next opening
        try:
            for prefix, size in sizes.items():
                path = tail_path(self._root, self._state.manifest.leaves[prefix].name)
                if path.exists() and path.stat().st_size > size:
                    truncate_durable(path, size)
        except OSError as error:
            raise StoreError(
                f"can't write to {self._root}: {error}; close the store and reopen it"
            ) from error

    def _commit(self, manifest: Manifest) -> None:
        manifest.save(self._root)
        self._sealed = manifest.sequence
        if self._pulse is not None:
            self._pulse.beat()  # before old files go: who misses one knows where to look anew

    def _add_large(self, swap: Swap) -> None:
        """Write a large batch straight into pieces, and into memory meanwhile; or undo both."""
        state = self._state
        present = dict(state.manifest.leaves)
        for prefix in swap.touched:
            state.manifest.leaves.setdefault(prefix, Leaf(prefix))
        swap.begin()
        try:
            fold(state, swap.touched, self._commit, Batch(swap.rows, swap.settle))
        except OSError as error:
            swap.undo()
            state.manifest.leaves = present
            raise _Undone(f"can't write to {self._root}: {error}; nothing was stored") from error

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Make records unreachable, durably: their row keys go into the tails as dead."""
        state = self._writable()
        live = [i for i in dict.fromkeys(ids) if i in state.table.records]
        if live:
            with self._change():
                self._append(self._dead(live))
                state.leave(live)
        return live

    def purge(self) -> Purged:
        """Write every leaf with dead rows anew and shred its old files."""
        state = self._writable()
        state.table.purge()
        dirty = [prefix for prefix, leaf in state.manifest.leaves.items() if leaf.dead]
        done = Purged()
        if not dirty and not state.leftovers and not state.leavers:
            return done
        with self._change():
            try:
                if dirty:
                    done = fold_dirty(state, dirty, self._commit)
                sweep(state)
                state.end_keys()
            except OSError as error:
                raise _Undone(
                    f"can't purge {self._root}: {error}; the records are unreachable, but their "
                    f"bytes are not gone yet; {remedy(error)}"
                ) from error
        return done

    def reserve(self, ids: Sequence[str], size: int) -> None:
        """Set room aside for the largest region that a purge without ``ids`` writes anew."""
        set_aside(self._writable(), ids, size)

    def spare(self) -> bool:
        """Give up the room that was set aside."""
        return not self._readonly and give_up(self._root)

    # -- reading

    def still(self) -> contextlib.AbstractContextManager[None]:
        """Answer from one state until the end of the block."""
        return self._refresh().hold()

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return live records by id."""
        records = self._refresh().table.records
        return {i: record for i in ids if (record := records.get(i)) is not None}

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Return content and place of live records."""
        return self._read(lambda table: table.vectors(ids))

    def scan(self, where: Filter | None = None) -> Iterator[Record]:
        """Iterate over the live records that match."""
        return self._refresh().table.scan(where)

    def count(self, where: Filter | None = None) -> int:
        """Count the live records that match."""
        return self._refresh().table.count(where)

    def search(self, query: Query, path: str = "") -> list[tuple[str, float]]:
        """Return the exact k nearest; path ``lancedb`` asks the files themselves."""
        if self.capabilities.pick(path) == "flat":
            return self._read(lambda table: table.search(query))
        return self._ask(lambda state: native_search(self._root, state.manifest, query))

    def words(self, query: TextQuery) -> list[tuple[str, float]]:
        """Return the k best by BM25, from memory."""
        return self._refresh().table.words(query)

    @property
    def worded(self) -> bool:
        """Whether an index of words stands."""
        return self._refresh().table.worded

    def cone(self, cone: Cone, path: str = "") -> set[str]:
        """Return the ids in a half-space; path ``lancedb`` asks the files themselves."""
        if self.capabilities.pick(path) == "flat":
            return self._refresh().table.cone(cone)
        return self._ask(lambda state: native_cone(self._root, state.manifest, cone))

    def _read(self, question: Callable[[Table], _Answer]) -> _Answer:
        """Ask memory for something that may need vectors, which may lie in files."""
        try:
            return question(self._refresh().table)
        except OSError as error:
            raise StoreCorrupt(
                f"can't read vectors in {self._root}: {error}; close the store and reopen it, or "
                "restore it from a backup"
            ) from error

    def _ask(self, question: Callable[[State], _Answer]) -> _Answer:
        """Ask the files; a reader asks anew when the writer changed them meanwhile."""
        while True:
            state = self._refresh()
            asked = state.manifest
            try:
                return question(state)
            except (OSError, ValueError, RuntimeError) as error:
                if not self._readonly or self._refresh().manifest is asked:
                    raise StoreCorrupt(
                        f"LanceDB can't read the store {self._root}: {error}; restore it from a "
                        "backup"
                    ) from error

    def digest(self) -> str:
        """Hash the live set."""
        return self._read(Table.digest)

    def state(self) -> str:
        """Hash the manifest, which names every piece and its digest."""
        return hashlib.sha256(self._refresh().manifest.encode()).hexdigest()

    def files(self, ids: Sequence[str] | None = None) -> list[Path]:
        """List the pieces and tails that hold any of ``ids``, or rows not purged yet."""
        return files_of(self._refresh(), ids)

    def close(self) -> None:
        """Let go of the lock and of every record in memory; a second time does nothing."""
        if self._sealable():
            # So that what is in the tails is known to be whole, and can't pass for torn.
            with contextlib.suppress(OSError, StoreError):
                check_trusted(self._root)
                self._commit(self._state.manifest)
        self._state.crew.dismiss()
        self._state = State(self._root, self._state.config)
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _sealable(self) -> bool:
        """Tell whether this is the writer of a sound store with batches since the manifest."""
        if self._pulse is None or self._broken or self._lock is None or not self._lock.is_ours():
            return False
        return self._state.manifest.sequence > self._sealed
