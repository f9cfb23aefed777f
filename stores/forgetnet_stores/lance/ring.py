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

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import sync_dir
from forgetnet.store import StoreConfig
from forgetnet_stores.lance.catalogue import Manifest
from forgetnet_stores.lance.columns import schema

__all__ = ["KEYS", "SEALED", "Ring", "name_of", "ring_of"]

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
        StoreError: its rows are stored as they are, and they should be sealed.
    """
    path = root / KEYS
    if not path.exists():
        if not config.sealed:
            return None
        if Manifest.load(root).leaves:
            raise StoreError(
                f"the store {root} holds rows that aren't encrypted; export the memory and import "
                "it into a new one with encryption='subject'"
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
        self.lost: set[int] = set()
        self.forgiving = False
        if not readonly and not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            sync_dir(path.parent)
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
        fd = os.open(self._path, os.O_RDWR)
        try:
            for name in missing:
                if not self._free:
                    self._free.append(self._size)
                    self._size += 1
                number, key = self._free.pop(), os.urandom(_KEY)
                os.pwrite(fd, _seal(name, key), number * _SLOT)
                self._slots[name] = (number, key)
            os.fsync(fd)
        finally:
            os.close(fd)

    def keep(self, told: Iterable[str]) -> int:
        """Zero the keys of everybody else, in place and durably; return how many went."""
        kept = {self._name(name) for name in told}
        gone = [name for name in self._slots if name not in kept]
        ended = [*(self._slots[name][0] for name in gone), *self._torn]
        if ended:
            fd = os.open(self._path, os.O_RDWR)
            try:
                for number in ended:
                    os.pwrite(fd, _FREE, number * _SLOT)
                os.fsync(fd)
            finally:
                os.close(fd)
        for name in gone:
            del self._slots[name]
        self._free += ended
        self._torn = []
        return len(gone)

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
        return found.append_column(pa.field(SEALED, pa.binary(), nullable=False), [sealed])

    def unseal(self, table: pa.Table, dim: int) -> pa.Table:
        """Return a table of sealed rows as it was.

        Where ``forgiving``, rows whose key is gone are left out and their row keys put into
        ``lost``; so are those whose subject went and came again, with another key.

        Raises:
            StoreCorrupt: a key is gone, or a row's bytes were changed.
        """
        ids = table.column("id").to_pylist()
        sealed = table.column(SEALED).to_pylist()
        names = [data[:_NAME] for data in sealed]
        if not self._slots.keys() >= set(names):
            self.read()  # a writer may have made it since
        chosen = [row for row, data in enumerate(sealed) if self._has(data, ids[row])]
        if len(chosen) < len(names):
            table = self._without(table, chosen, len(names))
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


def _seal(name: bytes, key: bytes) -> bytes:
    return name + key + hashlib.sha256(name + key).digest()[: _SLOT - _NAME - _KEY]


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    parts = [np.asarray(c.flatten(), np.float32).reshape(-1, width) for c in column.chunks]
    return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
