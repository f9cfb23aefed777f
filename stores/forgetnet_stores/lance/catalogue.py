"""The catalogue: which leaf's rows lie in which files, and who may write.

One JSON manifest names every piece and its digest; replacing it is the commit of a purge. Knows
nothing of rows.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgetnet.errors import StoreCorrupt, StoreError, StoreLocked
from forgetnet.files import shred, shred_tree, sync_dir, write_durable

__all__ = [
    "FORMAT",
    "TEMPORARY",
    "Leaf",
    "Lock",
    "Manifest",
    "Pulse",
    "orphans",
    "prepare",
    "read_manifest",
    "remove",
]

FORMAT = 1
TEMPORARY = ".manifest.json.*.tmp"
_BITS = re.compile(r"[01]{0,64}")
_NAME = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"([0-9a-f]{64})?")


@dataclass(slots=True)
class Leaf:
    """One leaf: the names and sizes of its files, and which rows are in it.

    Attributes:
        prefix: its bits in the shard map.
        name: random name shared by its piece and its tail.
        rows: rows in the piece, dead ones included; 0 when there is no piece yet.
        digest: SHA-256 of the piece's files.
        piece_bytes: size of the piece's files.
        tail_bytes: size of the tail's whole frames.
        frames: how many these are.
        members: ids of its live records, each with its subject's key in the shard map.
        keys: live records by key.
        dead: keys of deleted rows whose bytes are still in its files.
    """

    prefix: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    rows: int = 0
    digest: str = ""
    piece_bytes: int = 0
    tail_bytes: int = 0
    frames: int = 0
    members: dict[str, str] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)

    def join(self, ids: Iterable[str], keys: Sequence[str]) -> None:
        """Count records in."""
        self.members.update(zip(ids, keys, strict=True))
        for key, n in Counter(keys).items():
            self.keys[key] = self.keys.get(key, 0) + n

    def leave(self, record_id: str) -> None:
        """Count a record out."""
        key = self.members.pop(record_id)
        self.keys[key] -= 1
        if not self.keys[key]:
            del self.keys[key]


@dataclass(slots=True)
class Manifest:
    """The commit point: leaves by prefix, and the last batch known to be whole."""

    dim: int
    cap: int
    sequence: int = 0
    leaves: dict[str, Leaf] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Serialise in one way only, with a hash of the rest as ``check``."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "dim": self.dim,
            "cap": self.cap,
            "sequence": self.sequence,
            "leaves": {
                prefix: {
                    "name": leaf.name,
                    "rows": leaf.rows,
                    "digest": leaf.digest,
                    "bytes": leaf.piece_bytes,
                    "tail": leaf.tail_bytes,
                }
                for prefix, leaf in sorted(self.leaves.items())
            },
        }
        body["check"] = _check(body)
        return _plain(body).encode() + b"\n"

    def save(self, root: Path) -> None:
        """Commit: replace the manifest on disk, durably.

        Raises:
            OSError: the old manifest stands.
            StoreError: nobody can tell which one stands after a power failure.
        """
        path, body = root / "manifest.json", self.encode()
        try:
            write_durable(path, body)
        except OSError as error:
            if path.exists() and path.read_bytes() == body:
                raise StoreError(
                    f"can't make {path} durable: {error.strerror}; close the store and reopen it"
                ) from error
            raise

    @staticmethod
    def load(root: Path) -> Manifest:
        """Read the manifest of a store.

        Raises:
            StoreCorrupt: it isn't a manifest, or one of a newer format.
        """
        return Manifest.decode(read_manifest(root), root)

    @staticmethod
    def decode(data: bytes, root: Path) -> Manifest:
        """Parse the manifest of the store at ``root``.

        Raises:
            StoreCorrupt: it isn't a manifest, or one of a newer format.
        """
        try:
            body: dict[str, Any] = json.loads(data)
            found = body["format"]
            if isinstance(found, int) and found > FORMAT:
                raise StoreCorrupt(
                    f"the store {root} has format {found} and this version reads up to {FORMAT}; "
                    "install a newer forget-by-design"
                )
            check = body.pop("check")
            manifest = Manifest(body["dim"], body["cap"], body["sequence"])
            for prefix, entry in body["leaves"].items():
                sizes = [entry[name] for name in ("rows", "bytes", "tail")]
                leaf = Leaf(prefix, entry["name"], sizes[0], entry["digest"], *sizes[1:])
                manifest.leaves[prefix] = leaf
            sound = found == FORMAT and check == _check(body) and manifest.is_sound()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise StoreCorrupt(
                f"{root / 'manifest.json'} is not a manifest of ForgetNet; restore it from a backup"
            )
        return manifest

    def is_sound(self) -> bool:
        """Tell whether numbers are numbers, names are names, and leaves don't overlap."""
        numbers = [self.dim - 1, self.cap - 1, self.sequence]
        for leaf in self.leaves.values():
            numbers += [leaf.rows, leaf.piece_bytes, leaf.tail_bytes]
        prefixes = sorted(self.leaves)
        return (
            all(type(n) is int and n >= 0 for n in numbers)
            and all(_BITS.fullmatch(prefix) for prefix in prefixes)
            and all(_NAME.fullmatch(leaf.name) for leaf in self.leaves.values())
            and all(_DIGEST.fullmatch(leaf.digest) for leaf in self.leaves.values())
            and len({leaf.name for leaf in self.leaves.values()}) == len(prefixes)
            and not any(b.startswith(a) for a, b in itertools.pairwise(prefixes))
        )


def _plain(body: Mapping[str, Any]) -> str:
    # Without indents: a million records have 350 leaves, and every purge writes them all.
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _check(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_plain(body).encode()).hexdigest()


def read_manifest(root: Path) -> bytes:
    """Read the bytes of a store's manifest.

    Raises:
        StoreCorrupt: there is none, so this is no store.
    """
    try:
        return (root / "manifest.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise StoreCorrupt(
            f"{root} is not a store of ForgetNet: it has no manifest; name the folder of a store"
        ) from error


def orphans(root: Path, names: set[str]) -> list[Path]:
    """List pieces and tails that no leaf names, and torn manifests: what a crash left behind."""
    found = [
        path
        for folder, suffix in (("pieces", ".lance"), ("tails", ".tail"))
        for path in sorted((root / folder).iterdir())
        if path.suffix != suffix or path.stem not in names
    ]
    return found + sorted(root.glob(TEMPORARY))


def remove(paths: Iterable[Path]) -> None:
    """Shred files and folders."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shred_tree(path)
        else:
            shred(path)


class Lock:
    """The writer's lock on a store: one process at a time, let go of when it ends."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"can't write to {path.parent}: {error.strerror}; open it with readonly=True, or "
                "make the folder writable"
            ) from error
        self._pid = os.getpid()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise StoreLocked(
                f"{path.parent} is open for writing in {holder or 'another process'}; close it "
                "there first (a memory, but no model, can be read beside it: readonly=True)"
            ) from None
        name = f"process {self._pid} on {socket.gethostname()}".encode()
        # The lock holds without the name too, should the disk be full.
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, name, 0)
            os.ftruncate(self._fd, len(name))

    def is_ours(self) -> bool:
        """Tell whether this process took the lock, and not the one it was forked from."""
        return self._pid == os.getpid()

    def release(self) -> None:
        """Let another process write."""
        if self.is_ours():
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)


class Pulse:
    """A counter in a file: the writer moves it after each commit; readers look at it first."""

    def __init__(self, path: Path, *, writer: bool) -> None:
        self._path = path
        self._fd = -1
        if not writer:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._fd = os.open(path, os.O_RDONLY)
            return
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if len(self.read()) < 8:  # so that no beat needs a new block of the disk
                os.pwrite(self._fd, bytes(8), 0)
        except OSError as error:
            self.close()
            raise StoreError(f"can't write to {path.parent}: {error.strerror}") from error

    def read(self) -> bytes:
        """Return the present count, as bytes to compare; none where there is no file."""
        return os.pread(self._fd, 8, 0) if self._fd >= 0 else b""

    def beat(self) -> None:
        """Move the count: something was committed.

        Raises:
            StoreError: readers can't be told; what was committed stands.
        """
        now = int.from_bytes(self.read(), "little")
        try:
            os.pwrite(self._fd, ((now + 1) % 2**64).to_bytes(8, "little"), 0)
        except OSError as error:
            raise StoreError(
                f"the change is stored, but readers can't be told: {self._path} can't be written: "
                f"{error.strerror}; close the store and reopen it"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def prepare(root: Path, dim: int, cap: int) -> Lock:
    """Make a new store's folders, or find those of an old one; take the writer's lock.

    Raises:
        OSError: the folder can't be made or written.
        StoreCorrupt: it holds something else.
        StoreLocked: another process writes to it.
    """
    manifest = root / "manifest.json"
    if not manifest.exists() and root.exists():
        known = {"pieces", "tails", "lock", "pulse", "keys", "reserve"}
        if not root.is_dir() or any(
            p.name not in known and not p.match(TEMPORARY) for p in root.iterdir()
        ):
            raise StoreCorrupt(
                f"{root} holds other things and is not a store of ForgetNet; name an empty or a "
                "new folder"
            )
    for folder in ("pieces", "tails"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lock = Lock(root / "lock")
    made = False
    try:
        if not manifest.exists():
            Manifest(dim, cap).save(root)
            sync_dir(root.parent)
        made = True
    finally:
        if not made:
            lock.release()
    return lock
