"""A log of keyed hashes: that a name was forgotten can be asked of it, and no name read from it.

One line of JSON each, appended durably; an end that a crash cut short doesn't count. Whoever
has the key can test a guess, and only they. Knows nothing of records.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

from forgetnet.errors import StoreCorrupt
from forgetnet.files import (
    append_durable,
    rewrite_durable,
    shred,
    truncate_durable,
    write_durable,
)

__all__ = ["HashLog", "keyed_hash", "read_hashes"]

_TAIL = 1 << 16  # bytes in which the end of a log is looked for


def keyed_hash(key: bytes, name: str) -> str:
    """Return the keyed hash of a name, in hexadecimal."""
    return hmac.digest(key, name.encode("utf-8", "surrogatepass"), "sha256").hex()


class HashLog:
    """A file of keyed hashes (HMAC-SHA256); it is kept only once it was started."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._key = key
        self._read = 0
        self._mirrored: dict[Path, int] = {}
        self._sure = False
        self._known: list[str] = []
        self._set: set[str] = set()

    def start(self) -> None:
        """Begin an empty log, durably, where there is none.

        Raises:
            OSError: it can't be written.
        """
        if not self.path.exists():
            write_durable(self.path, b"")

    @property
    def started(self) -> bool:
        """Whether there is a log."""
        return self.path.exists()

    def known(self) -> list[str]:
        """Return the hashes in their order; only what came since the last time is read."""
        if self.path.stat().st_size < self._read:
            self._read, self._known, self._set = 0, [], set()
        data = self._bytes(self._read)
        if whole := _whole(data):
            fresh = read_hashes(data[:whole], self.path.name)
            self._known += fresh
            self._set.update(fresh)
            self._read += whole
        return self._known

    def _bytes(self, start: int, end: int = -1) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(max(0, end - start) if end >= 0 else -1)

    def __len__(self) -> int:
        return len(self.known()) if self.started else 0

    def all(self) -> AbstractSet[str]:
        """Return the hashes, in no order."""
        if self.started:
            self.known()
        return self._set if self.started else frozenset()

    def has(self, name: str) -> bool:
        """Tell whether a name is in the log."""
        return keyed_hash(self._key, name) in self.all()

    def add(self, names: Iterable[str]) -> None:
        """Append the hashes of names, durably.

        Raises:
            OSError: nothing was appended.
        """
        self.add_hashes(keyed_hash(self._key, name) for name in names)

    def add_hashes(self, hashes: Iterable[str]) -> None:
        """Append hashes that were made elsewhere under the same key, durably.

        Raises:
            OSError: nothing was appended.
        """
        lines = "".join(json.dumps({"hash": one}) + "\n" for one in hashes)
        if lines:
            self._mend()
            append_durable(self.path, lines.encode())

    def _mend(self) -> int:
        """Cut off an end that a crash cut short; return the size."""
        size = self.path.stat().st_size
        start = max(0, size - _TAIL)
        if not (whole := _whole(self._bytes(start))):  # nothing but a torn end
            start, whole = 0, _whole(self._bytes(0))
        if start + whole < size:
            truncate_durable(self.path, start + whole)
        if not self._sure and start + whole:  # a kill may have come before an fsync
            rewrite_durable(self.path, 0)
        self._sure = True
        return start + whole

    def mirror(self, target: Path) -> None:
        """Bring a copy of this log up to date, durably.

        Raises:
            OSError: it can't be written.
            StoreCorrupt: what is there is no copy of this log.
        """
        size = self._mend()
        if not target.exists():
            for torn in target.parent.glob(f".{target.name}.*.tmp"):
                shred(torn)
            write_durable(target, self._bytes(0, size))
        else:
            there = target.stat().st_size
            if self._mirrored.get(target) != there:
                there = self._checked(target)
                rewrite_durable(target, 0)  # what is added must not be kept without this
            if there < size:
                append_durable(target, self._bytes(there, size))
        self._mirrored[target] = size

    def _checked(self, target: Path) -> int:
        """Compare a copy with this log, and cut off its torn end; return the size."""
        data = target.read_bytes()
        whole = _whole(data)
        if data[:whole] != self._bytes(0, whole):
            raise StoreCorrupt(f"{target.name} is not a copy of this memory's tombstones")
        if whole < len(data):
            truncate_durable(target, whole)
        return whole


def _whole(data: bytes) -> int:
    """Return the size of the whole lines; a crash may leave part of one, or zeros, behind them."""
    return data.rfind(b"\n", 0, len(data.rstrip(b"\0"))) + 1


def read_hashes(data: bytes, name: str) -> list[str]:
    """Read the whole lines of a log.

    Raises:
        StoreCorrupt: a line is none.
    """
    try:
        found = [json.loads(line)["hash"] for line in data[: _whole(data)].splitlines()]
    except (ValueError, KeyError, TypeError):
        found = [None]
    if not all(isinstance(one, str) and len(one) == 64 for one in found):
        raise StoreCorrupt(f"{name} can't be read, so what was forgotten isn't known; restore it")
    return found
