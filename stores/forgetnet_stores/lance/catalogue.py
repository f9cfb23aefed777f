"""The catalogue: which leaf's rows lie in which files, and who may write.

One JSON manifest names every piece and its digest; replacing it is the commit of a purge. Knows
nothing of rows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgetnet.errors import StoreCorrupt, StoreError, StoreLocked
from forgetnet.files import shred, shred_tree, write_durable

__all__ = ["FORMAT", "Leaf", "Lock", "Manifest", "Pulse", "remove_orphans"]

FORMAT = 1


@dataclass(slots=True)
class Leaf:
    """One leaf: the names and sizes of its files, and which rows are in it.

    Attributes:
        prefix: its bits in the shard map.
        name: random name shared by its piece and its tail.
        rows: rows in the piece, dead ones included; 0 when there is no piece yet.
        digest: SHA-256 of the piece's data.
        piece_bytes: size of the piece's data.
        tail_bytes: size of the tail's whole frames.
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
    members: dict[str, str] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)

    def join(self, record_id: str, key: str) -> None:
        """Count a record in."""
        self.members[record_id] = key
        self.keys[key] = self.keys.get(key, 0) + 1

    def leave(self, record_id: str) -> None:
        """Count a record out."""
        key = self.members.pop(record_id)
        self.keys[key] -= 1
        if not self.keys[key]:
            del self.keys[key]

    def same_files(self, other: Leaf) -> bool:
        """Tell whether another reading of this leaf found the same files of the same size."""
        return (self.name, self.tail_bytes) == (other.name, other.tail_bytes)


@dataclass(slots=True)
class Manifest:
    """The commit point: leaves by prefix, and the last batch known to be whole."""

    dim: int
    cap: int
    sequence: int = 0
    leaves: dict[str, Leaf] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Serialise in one way only."""
        body = {
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
                }
                for prefix, leaf in sorted(self.leaves.items())
            },
        }
        return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"

    def save(self, root: Path) -> None:
        """Commit: replace the manifest on disk, durably."""
        write_durable(root / "manifest.json", self.encode())

    @staticmethod
    def load(root: Path) -> Manifest:
        """Read the manifest of a store.

        Raises:
            StoreCorrupt: it isn't a manifest, or one of a newer format.
        """
        try:
            body: dict[str, Any] = json.loads((root / "manifest.json").read_bytes())
            found = body["format"]
            if isinstance(found, int) and found > FORMAT:
                raise StoreCorrupt(
                    f"the store {root} has format {found} and this version reads up to {FORMAT}; "
                    "install a newer forget-by-design"
                )
            manifest = Manifest(body["dim"], body["cap"], body["sequence"])
            for prefix, entry in body["leaves"].items():
                manifest.leaves[prefix] = Leaf(
                    prefix, entry["name"], entry["rows"], entry["digest"], entry["bytes"]
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreCorrupt(
                f"{root / 'manifest.json'} is not a manifest of ForgetNet; restore it from a backup"
            ) from error
        return manifest


def remove_orphans(root: Path, names: set[str]) -> int:
    """Shred pieces and tails that no leaf names: what a crash left behind."""
    removed = 0
    for folder, suffix in (("pieces", ".lance"), ("tails", ".tail")):
        for path in sorted((root / folder).iterdir()):
            if path.suffix == suffix and path.stem in names:
                continue
            removed += 1
            if path.is_dir():
                shred_tree(path)
            else:
                shred(path)
    for path in root.glob(".*.tmp"):
        shred(path)
        removed += 1
    return removed


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
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise StoreLocked(
                f"{path.parent} is being written by {holder or 'another process'}; close it "
                "there, or open it here with readonly=True"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def release(self) -> None:
        """Let another process write."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


class Pulse:
    """A counter in a file: the writer moves it after each commit, readers look before they answer."""

    def __init__(self, path: Path, *, writer: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT if writer else os.O_RDONLY
        self._fd = -1
        with contextlib.suppress(FileNotFoundError):
            self._fd = os.open(path, flags, 0o600)

    def read(self) -> bytes:
        """Return the present count, as bytes to compare."""
        return os.pread(self._fd, 8, 0) if self._fd >= 0 else b""

    def beat(self) -> None:
        """Move the count: something was committed."""
        now = int.from_bytes(self.read() or b"\0", "little")
        os.pwrite(self._fd, ((now + 1) % 2**64).to_bytes(8, "little"), 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
