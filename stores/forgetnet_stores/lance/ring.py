"""Keys by subject: what a row says is sealed with its subject's key, and goes dark with it.

Text, metadata and vector of a row become one column, ``sealed``: the name of the key, a nonce, and
AES-256-GCM under the key of the row's subject, bound to the row's id. Keys lie in a file of slots
of 64 bytes: 16 of a keyed hash of the subject, the key, and 16 of a SHA-256 over both; a slot that
is free is zeros. A key is zeroed in place when its subject's last row has been purged. Knows
nothing of leaves or manifests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forgetnet.errors import StoreCorrupt, StoreError, Unsupported
from forgetnet.files import doubts, put_slots, rewrite_durable, sync_dir
from forgetnet.store import StoreConfig
from forgetnet_stores.lance.catalogue import Manifest
from forgetnet_stores.lance.columns import schema

__all__ = ["KEYS", "SEALED", "Ring", "name_of", "opened", "ring_of"]

KEYS = "keys"
SEALED = "sealed"
_HIDDEN = ("text", "metadata", "content")
_SLOT = 64
_NAME = 16
_KEY = 32
_NONCE = 12
_FREE = bytes(_SLOT)
_LENGTH = struct.Struct("<I")


def name_of(record_id: str, subject: str | None) -> str:
    """Return whose key a row is sealed with; a row of nobody has one of its own."""
    return f"id {record_id}" if subject is None else f"subject {subject}"


def ring_of(root: Path, config: StoreConfig) -> Ring | None:
    """Return the keys of a store whose rows are sealed; None where they aren't.

    Raises:
        StoreError: there are rows and no keys, and the rows should be sealed.
        Unsupported: vectors can't be read from the files of such a store.
    """
    path = root / KEYS
    if config.filed and (config.readonly or config.sealed or path.exists()):
        raise Unsupported(
            "vectors are read from files by a writer whose rows aren't encrypted; leave vectors= "
            "out to keep them in memory"
        )
    if not path.exists():
        if not config.sealed:
            return None
        if Manifest.load(root).leaves:
            raise StoreError(
                f"the store {root} holds rows and no keys: if they aren't encrypted, export the "
                "memory and import it into a new one with encryption='subject'; if they are, bring "
                f"back {path}"
            )
    ring = Ring(path, config.salt, readonly=config.readonly)
    ring.forgiving = (root / "restoring").exists()  # a backup, older than some of its keys' ends
    return ring


class Ring:
    """The keys of one store.

    Args:
        path: their file.
        salt: keys the names of the slots.
        readonly: never write.
    """

    def __init__(self, path: Path, salt: bytes, *, readonly: bool) -> None:
        self._path = path
        self._salt = salt
        self._readonly = readonly
        self._slots: dict[bytes, tuple[int, bytes]] = {}
        self._free: list[int] = []
        self._torn: list[int] = []
        self._size = 0
        self._lock = threading.Lock()
        self._met: set[str] | None = None if readonly else set()
        self.lost: set[int] = set()
        self.forgiving = False
        if not readonly and not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            sync_dir(path.parent)
        if not readonly and path.absolute() in doubts(path.parent):
            rewrite_durable(path, 0)  # zeros that an fsync failed on are in memory alone
        self.read()

    def __len__(self) -> int:
        return len(self._slots)

    def read(self) -> None:
        """Read the slots; a last one that a crash cut short is free."""
        data = self._path.read_bytes()
        self._slots, self._free, self._torn = {}, [], []
        self._size = -(-len(data) // _SLOT)
        for number in range(self._size):
            slot = data[number * _SLOT : (number + 1) * _SLOT]
            name, key = slot[:_NAME], slot[_NAME : _NAME + _KEY]
            if slot == _seal(name, key):
                self._slots[name] = (number, key)
            elif any(slot):
                self._torn.append(number)  # a write that was cut short
            else:
                self._free.append(number)

    def _name(self, told: str) -> bytes:
        data = told.encode("utf-8", "surrogatepass")
        return hmac.digest(self._salt, b"key of " + data, "sha256")[:_NAME]

    def _ensure(self, names: Collection[bytes]) -> None:
        """Make durable keys for names that have none."""
        with self._lock:
            if missing := sorted(set(names) - self._slots.keys()):
                self._make(missing)

    def _make(self, missing: Sequence[bytes]) -> None:
        # What a write that failed left behind goes with the next: a name must not stand twice.
        slots, torn = dict.fromkeys(self._torn, _FREE), list(self._torn)
        made: dict[bytes, tuple[int, bytes]] = {}
        for name in missing:
            number = (torn or self._free or [self._size]).pop()
            self._size = max(self._size, number + 1)
            made[name] = number, os.urandom(_KEY)
            slots[number] = _seal(name, made[name][1])
        self._torn = list(slots)
        put_slots(self._path, slots)
        self._torn = []
        self._free += torn
        self._slots.update(made)

    def end(self, told: Iterable[str]) -> None:
        """Zero the keys of these, in place and durably, and the slots that nobody's key is in."""
        with self._lock:
            self._end([name for one in told if (name := self._name(one)) in self._slots])

    def _end(self, gone: Sequence[bytes]) -> None:
        numbers = [*(self._slots[name][0] for name in gone), *self._torn]
        if numbers:
            put_slots(self._path, dict.fromkeys(numbers, _FREE))
        self._drop(gone)
        self._free += numbers
        self._torn = []

    def let_go(self, told: Iterable[str]) -> None:
        """Forget the keys of these in memory alone: whose file it is ends them there."""
        self._drop(map(self._name, told))

    def _drop(self, names: Iterable[bytes]) -> None:
        for name in names:
            self._slots.pop(name, None)

    def meet(self, table: pa.Table) -> None:
        """Note whose rows there are, before they are opened, until :meth:`settle`."""
        if self._met is not None:
            names = (table.column(name).to_pylist() for name in ("id", "subject"))
            self._met.update(map(name_of, *names))

    def settle(self) -> set[str]:
        """Zero keys that no row has, of those that were met; return whose rows these are.

        A crash may have come before the rows of a key, when it is in memory and not on the disk;
        or after the last of them had gone.
        """
        met, self._met = self._met or set(), None
        kept = set(map(self._name, met))
        with self._lock:
            self._end([name for name in self._slots if name not in kept])
        return met

    # -- rows

    def seal(self, table: pa.Table) -> pa.Table:
        """Return a table of rows with what they say sealed; keys are made durable first."""
        ids, subjects = (table.column(name).to_pylist() for name in ("id", "subject"))
        names = [self._name(name_of(i, s)) for i, s in zip(ids, subjects, strict=True)]
        self._ensure(names)
        texts, metadata = (table.column(name).to_pylist() for name in ("text", "metadata"))
        content = _matrix(table.column("content"))
        sealed = []
        for row, name in enumerate(names):
            told = json.dumps([texts[row], metadata[row]]).encode()
            plain = _LENGTH.pack(len(told)) + told + content[row].tobytes()
            nonce = os.urandom(_NONCE)
            bound = ids[row].encode("utf-8", "surrogatepass")
            key = AESGCM(self._slots[name][1])
            sealed.append(name + nonce + key.encrypt(nonce, plain, bound))
        found = table.drop_columns(list(_HIDDEN))
        # In several arrays, should one not hold so much.
        column = pa.array(sealed, pa.binary())
        return found.append_column(pa.field(SEALED, pa.binary(), nullable=False), column)

    def unseal(self, table: pa.Table, dim: int) -> pa.Table:
        """Return a table of sealed rows as it was.

        Where ``forgiving``, rows whose key is gone are left out and their row keys put into
        ``lost``; so are those whose subject went and came again, with another key.

        Raises:
            StoreCorrupt: a key is gone, or a row's bytes were changed.
        """
        try:
            return self._unsealed(table, dim)
        except StoreCorrupt:
            if not self._readonly:
                raise
        self.read()  # a writer may have made a key since, also for somebody who went before
        return self._unsealed(table, dim)

    def _unsealed(self, table: pa.Table, dim: int) -> pa.Table:
        ids = table.column("id").to_pylist()
        sealed = table.column(SEALED).to_pylist()
        chosen = [row for row, data in enumerate(sealed) if self._has(data, ids[row])]
        if len(chosen) < len(ids):
            table = self._without(table, chosen, len(ids))
            ids = [ids[row] for row in chosen]
        found = [
            self._open(data, ids[row], dim)
            for row, data in enumerate(table.column(SEALED).to_pylist())
        ]
        content = np.frombuffer(b"".join(vector for *_, vector in found), "<f4")
        plain = table.drop_columns([SEALED])
        columns = {name: plain.column(name) for name in plain.schema.names}
        columns["text"] = pa.array([text for text, *_ in found], pa.string())
        columns["metadata"] = pa.array([told for _, told, _ in found], pa.string())
        columns["content"] = pa.FixedSizeListArray.from_arrays(pa.array(content), dim)
        wanted = schema(dim)
        return pa.Table.from_arrays([columns[name] for name in wanted.names], schema=wanted)

    def _without(self, table: pa.Table, chosen: Sequence[int], rows: int) -> pa.Table:
        if not self.forgiving:
            raise StoreCorrupt(
                f"the keys of {rows - len(chosen)} rows are gone, so they can't be read; restore "
                f"{self._path} from where keys are kept"
            )
        gone = np.ones(rows, np.bool_)
        gone[list(chosen)] = False
        self.lost |= set(np.asarray(table.column("key"))[gone].tolist())
        return table.take(pa.array(list(chosen), pa.int64()))

    def _has(self, data: bytes, record_id: str) -> bool:
        """Tell whether a row's key is here, and not only a later one of the same name."""
        if data[:_NAME] not in self._slots:
            return False
        if self.forgiving:
            try:
                self._plain(data, record_id)
            except InvalidTag:
                return False
        return True

    def _plain(self, data: bytes, record_id: str) -> bytes:
        key = AESGCM(self._slots[data[:_NAME]][1])
        nonce, rest = data[_NAME : _NAME + _NONCE], data[_NAME + _NONCE :]
        return key.decrypt(nonce, rest, record_id.encode("utf-8", "surrogatepass"))

    def _open(self, data: bytes, record_id: str, dim: int) -> tuple[str, str, bytes]:
        try:
            plain = self._plain(data, record_id)
            (length,) = _LENGTH.unpack_from(plain)
            end = _LENGTH.size + length
            text, told = json.loads(plain[_LENGTH.size : end])
            if len(plain) - end != 4 * dim:
                raise ValueError
        except (InvalidTag, ValueError, struct.error) as error:
            raise StoreCorrupt(
                "a sealed row was changed, or is another store's; restore the store from a backup"
            ) from error
        return text, told, plain[end:]


def opened(table: pa.Table, dim: int, ring: Ring | None) -> pa.Table:
    """Return a table of rows as they were, sealed or not.

    Raises:
        StoreCorrupt: they are sealed and there are no keys, or the other way round.
    """
    if (SEALED in table.schema.names) != (ring is not None):
        how = "its rows are sealed, and it is missing" if ring is None else "its rows aren't sealed"
        raise StoreCorrupt(
            f"the store's file {KEYS!r} doesn't belong to its rows: {how}; bring the right one back"
        )
    return table if ring is None else ring.unseal(table, dim)


def _seal(name: bytes, key: bytes) -> bytes:
    return name + key + hashlib.sha256(name + key).digest()[: _SLOT - _NAME - _KEY]


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    parts = [np.asarray(c.flatten(), np.float32).reshape(-1, width) for c in column.chunks]
    return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
