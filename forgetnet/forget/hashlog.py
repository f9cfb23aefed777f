"""A log of keyed hashes: that a name was forgotten can be asked of it, and no name read from it.

One line of JSON each, appended durably; a last line that a crash cut short doesn't count. Whoever
has the key can test a guess, and only they. Knows nothing of records.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from pathlib import Path

from forgetnet.errors import StoreCorrupt
from forgetnet.files import append_durable, truncate_durable, write_durable

__all__ = ["HashLog", "keyed_hash", "read_hashes"]


def keyed_hash(key: bytes, name: str) -> str:
    """Return the keyed hash of a name, in hexadecimal."""
    return hmac.digest(key, name.encode("utf-8", "surrogatepass"), "sha256").hex()


class HashLog:
    """A file of keyed hashes (HMAC-SHA256); it is kept only once it was started."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._key = key
        self._read = 0
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
        """Return the hashes in their order."""
        size = self.path.stat().st_size
        if size != self._read:
            self._known = read_hashes(self.path.read_bytes(), self.path.name)
            self._set, self._read = set(self._known), size
        return self._known

    def __len__(self) -> int:
        return len(self.known()) if self.started else 0

    def has(self, name: str) -> bool:
        """Tell whether a name is in the log."""
        if not self.started:
            return False
        self.known()
        return keyed_hash(self._key, name) in self._set

    def add(self, names: Iterable[str]) -> None:
        """Append the hashes of names, durably.

        Raises:
            OSError: nothing was appended.
        """
        lines = "".join(json.dumps({"hash": keyed_hash(self._key, name)}) + "\n" for name in names)
        if lines:
            self._mend()
            append_durable(self.path, lines.encode())

    def _mend(self) -> None:
        """Cut off a last line that a crash cut short."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            truncate_durable(self.path, whole)

    def mirror(self, target: Path) -> None:
        """Bring a copy of this log up to date, durably.

        Raises:
            OSError: it can't be written.
            StoreCorrupt: what is there is no copy of this log.
        """
        data = self.path.read_bytes()
        data = data[: data.rfind(b"\n") + 1]
        there = target.read_bytes() if target.exists() else b""
        if not data.startswith(there):
            raise StoreCorrupt(f"{target.name} is not a copy of this memory's tombstones")
        if not target.exists():
            write_durable(target, data)
        elif len(there) < len(data):
            append_durable(target, data[len(there) :])


def read_hashes(data: bytes, name: str) -> list[str]:
    """Read the whole lines of a log.

    Raises:
        StoreCorrupt: a line is none.
    """
    try:
        found = [json.loads(line)["hash"] for line in data[: data.rfind(b"\n") + 1].splitlines()]
    except (ValueError, KeyError, TypeError):
        found = [None]
    if not all(isinstance(one, str) and len(one) == 64 for one in found):
        raise StoreCorrupt(f"{name} can't be read, so what was forgotten isn't known; restore it")
    return found
