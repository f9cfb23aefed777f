"""An append-only Merkle log of receipts, as in RFC 6962 section 2 and RFC 9162 section 2.1.

It knows 32-byte digests and nothing else: no text, no ids, no subjects, no times. What a
digest stands for (here the SHA-256 of a receipt's signed bytes) is its caller's business, and
so is keeping two processes from writing at once: the store's writer lock does that.

The pure functions take *leaf hashes*, as ``leaf_hash`` makes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError, StoreLocked
from forgetnet.files import append_durable, check_trusted, truncate_durable

__all__ = [
    "EMPTY_ROOT",
    "Inclusion",
    "Ledger",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "root",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves: the hash of no bytes (RFC 6962, 2.1)."""

_DIGEST = 32
_LINE = re.compile(rb'\{"entry":"([0-9a-f]{64})","root":"([0-9a-f]{64})"\}')


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf: ``SHA-256(0x00 || data)`` (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node: ``SHA-256(0x01 || left || right)`` (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes in order; ``EMPTY_ROOT`` if there are none."""
    peaks = _Peaks()
    for leaf in leaves:
        peaks.push(leaf)
    return peaks.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of one leaf, lowest sibling first (RFC 6962, 2.1.1).

    Raises ``StoreError`` if there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise StoreError(f"the ledger has {len(leaves)} entries, so there is no entry {index}")
    proof: list[bytes] = []
    low, high = 0, len(leaves)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(root(leaves[middle:high]))
            high = middle
        else:
            proof.append(root(leaves[low:middle]))
            low = middle
    return proof[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes
) -> bool:
    """Tell whether the path leads from this leaf hash to the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _all_digests([leaf, expected, *proof]):
        return False
    node, last, seen = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            seen = node_hash(sibling, seen)
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            seen = node_hash(seen, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and seen == expected


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the first ``old_size`` leaves are a prefix (RFC 6962, 2.1.2).

    The proof is empty for size 0 and for the whole tree. Raises ``StoreError`` if the old tree
    is larger than the new one.
    """
    if not 0 <= old_size <= len(leaves):
        raise StoreError(f"the ledger has {len(leaves)} entries, so it never had {old_size} first")
    if old_size in (0, len(leaves)):
        return []
    proof: list[bytes] = []
    low, high, whole = 0, len(leaves), True
    while old_size != high:
        middle = low + _split(high - low)
        if old_size <= middle:
            proof.append(root(leaves[middle:high]))
            high = middle
        else:
            proof.append(root(leaves[low:middle]))
            low, whole = middle, False
    if not whole:
        proof.append(root(leaves[low:high]))
    return proof[::-1]


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the new tree begins with the old one (RFC 9162, 2.1.4.2)."""
    if not 0 <= old_size <= new_size or not _all_digests([old_root, new_root, *proof]):
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


@dataclass(frozen=True)
class Inclusion:
    """Evidence that an entry stands at ``index`` in the ledger of ``size`` with this root."""

    index: int
    size: int
    path: tuple[bytes, ...]
    root: bytes

    def holds(self, entry: bytes) -> bool:
        """Tell whether this proof is about the given 32-byte entry."""
        return verify_inclusion(leaf_hash(entry), self.index, self.size, self.path, self.root)


class Ledger:
    """The log kept in one file, or in memory only if ``path`` is None.

    One JSON line per entry: the entry and the root after it, both in hex, so that a flipped
    byte anywhere is seen at the next opening (``StoreCorrupt``). What was written after the
    last newline was never acknowledged; it is cut off at opening, or only ignored if
    ``read_only``. A ledger cut back by whole lines looks like a younger ledger; the receipts,
    which cite size and root, show that it was.
    """

    def __init__(self, path: str | Path | None = None, *, read_only: bool = False) -> None:
        self._path = None if path is None else Path(path)
        self._read_only = read_only
        self._entries: list[bytes] = []
        self._index: dict[bytes, int] = {}
        self._peaks = _Peaks()
        self._bytes = 0
        self._doubtful = False
        if self._path is not None and self._path.exists():
            self._load(self._path)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def __repr__(self) -> str:
        """Show the size, and no entry."""
        return f"Ledger({str(self._path) if self._path else None!r}, size={self.size})"

    @property
    def size(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def entries(self) -> tuple[bytes, ...]:
        """Return the entries in order, 32 bytes each."""
        return tuple(self._entries)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree now, or when it had ``size`` entries."""
        if size is None or size == self.size:
            return self._peaks.root()
        if not 0 <= size < self.size:
            raise StoreError(f"the ledger has {self.size} entries, so it never had {size}")
        return root([leaf_hash(entry) for entry in self._entries[:size]])

    def find(self, entry: bytes) -> int | None:
        """Return the first index of this entry, or None."""
        return self._index.get(entry)

    def append(self, entry: bytes) -> int:
        """Add one 32-byte digest, durably, and return its index.

        Raises ``InvalidRecord`` for anything that isn't 32 bytes, ``StoreLocked`` if somebody
        else wrote to the file, and ``StoreError`` if it can't be written; after that nothing
        more is written until the ledger is opened again, since what the disk holds is unknown.
        """
        if len(entry) != _DIGEST:
            raise InvalidRecord("a ledger entry is a SHA-256 digest of 32 bytes")
        peaks = self._peaks.copy()
        peaks.push(leaf_hash(entry))
        if self._path is not None:
            self._write(self._path, _line(entry, peaks.root()))
        self._peaks = peaks
        self._remember(entry)
        return self.size - 1

    def prove(self, index: int) -> Inclusion:
        """Return the proof that an entry is in the tree as it is now.

        Raises ``StoreError`` if there is no such entry.
        """
        leaves = [leaf_hash(entry) for entry in self._entries]
        return Inclusion(index, self.size, tuple(inclusion_proof(leaves, index)), self.root())

    def prove_consistency(self, old_size: int) -> list[bytes]:
        """Return the proof that the ledger of ``old_size`` entries is how this one begins."""
        return consistency_proof([leaf_hash(entry) for entry in self._entries], old_size)

    def _remember(self, entry: bytes) -> None:
        self._index.setdefault(entry, len(self._entries))
        self._entries.append(entry)

    def _write(self, path: Path, line: bytes) -> None:
        if self._read_only:
            raise StoreError(f"the ledger {path} was opened for reading only")
        if self._doubtful:
            raise StoreError(f"writing the ledger {path} failed before; open it again first")
        if (path.stat().st_size if path.exists() else 0) != self._bytes:
            raise StoreLocked(f"somebody else wrote to the ledger {path}; open it again")
        self._doubtful = True
        try:
            append_durable(path, line)
        except OSError as error:
            with contextlib.suppress(OSError, StoreError):
                check_trusted(path)
                self._doubtful = path.stat().st_size != self._bytes  # taken back, on a full disk
            raise StoreError(f"the ledger {path} can't be written: {error.strerror}") from error
        self._doubtful = False
        self._bytes += len(line)

    def _load(self, path: Path) -> None:
        data = path.read_bytes()
        good = 0
        while (end := data.find(b"\n", good)) >= 0:
            line = data[good:end]
            if not self._accept(line):
                if b"\x00" in line and end + 1 == len(data):
                    break  # the last block of a torn write: length kept, content lost
                raise StoreCorrupt(
                    f"entry {self.size} of the ledger {path} is not what was written; "
                    "restore the file from a copy"
                )
            good = end + 1
        if good < len(data) and not self._read_only:
            truncate_durable(path, good)
        self._bytes = good

    def _accept(self, line: bytes) -> bool:
        match = _LINE.fullmatch(line)
        if match is None:
            return False
        entry = bytes.fromhex(match[1].decode("ascii"))
        self._peaks.push(leaf_hash(entry))
        if self._peaks.root() != bytes.fromhex(match[2].decode("ascii")):
            return False
        self._remember(entry)
        return True


class _Peaks:
    """Roots of the perfect subtrees from left to right: all that appending needs to know."""

    def __init__(self) -> None:
        self._hashes: list[bytes] = []
        self._size = 0

    def copy(self) -> _Peaks:
        twin = _Peaks()
        twin._hashes, twin._size = list(self._hashes), self._size
        return twin

    def push(self, leaf: bytes) -> None:
        carry = self._size
        while carry & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            carry >>= 1
        self._hashes.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        if not self._hashes:
            return EMPTY_ROOT
        seen = self._hashes[-1]
        for peak in reversed(self._hashes[:-1]):
            seen = node_hash(peak, seen)
        return seen


def _split(size: int) -> int:
    """Return the largest power of two below ``size`` (RFC 6962's k), for sizes above 1."""
    return 1 << ((size - 1).bit_length() - 1)


def _all_digests(values: Sequence[bytes]) -> bool:
    return all(len(value) == _DIGEST for value in values)


def _line(entry: bytes, root_after: bytes) -> bytes:
    return f'{{"entry":"{entry.hex()}","root":"{root_after.hex()}"}}\n'.encode("ascii")
