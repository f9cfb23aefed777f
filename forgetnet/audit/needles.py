"""The plain bytes of forgotten records, for a search that needs no decoding.

They live in memory only, from the plan of a forget to its last look. Knows nothing of files.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from forgetnet.audit.match import SHORTEST, Matcher
from forgetnet.audit.trace import Hasher, Kind, Remembered, Traces, matrix

__all__ = ["LEAST_BYTES", "Label", "Needles", "spellings", "windows"]

LEAST_BYTES = 8
"""Shorter values are not searched for in raw bytes: they would be hit by chance."""

_WHOLE = 512  # characters up to which a text is one needle
_PART = 256  # characters of each of the three needles of a longer one
_MOST = 1 << 17  # patterns: half of them spell strings, half are runs of numbers
_FORMS = 14  # spellings of a string, at most
_RUN = 8  # any 16 consecutive numbers hold one of the runs 0-7, 8-15, ... whole
_AT_ONCE = 256  # vectors taken apart at a time
_VARIED = 4  # least distinct bytes of a string, or non-zero numbers of a run, worth a search

Floats = npt.NDArray[np.float32]


def _pieces(value: str) -> list[str]:
    if len(value) <= _WHOLE:
        return [value]
    middle = (len(value) - _PART) // 2
    return [value[:_PART], value[middle : middle + _PART], value[-_PART:]]


def _is_telling(piece: str) -> bool:
    """Tell whether a string is long and varied enough not to stand in a file by chance."""
    plain = piece.encode("utf-8", "surrogatepass")
    return len(plain) >= LEAST_BYTES and len(set(plain)) >= _VARIED


def spellings(value: str) -> set[bytes]:
    """Return the byte strings as which a string may stand in a file.

    UTF-8, UTF-16 of both orders, hexadecimal, Base64 at its three alignments in both alphabets,
    and as JSON escapes it.
    """
    plain = value.encode("utf-8", "surrogatepass")
    found = {
        plain,
        value.encode("utf-16-le", "surrogatepass"),
        value.encode("utf-16-be", "surrogatepass"),
        plain.hex().encode(),
        plain.hex().upper().encode(),
        json.dumps(value)[1:-1].encode(),
        json.dumps(value, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
    }
    for shift in range(3):
        # The first and last characters also depend on neighbouring bytes, so they are left out.
        start, stop = (0, 2, 3)[shift], (shift + len(plain)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(shift) + plain)[start:stop])
    return {spelling for spelling in found if len(spelling) >= SHORTEST}


def windows(vectors: Floats, spacing: int = 1) -> Iterator[set[bytes]]:
    """Iterate over byte strings one of which stands in any 16 consecutive numbers of a vector.

    As float32, float64 and float16; runs of few distinct numbers would be found everywhere and
    are left out. With a ``spacing`` of s, one stands in any 8 (s + 1) consecutive numbers.

    Args:
        vectors: (n, d); there is a set for each.
        spacing: one run in so many is kept.
    """
    for start in range(0, len(vectors), _AT_ONCE):
        numbers = np.asarray(vectors[start : start + _AT_ONCE], "<f4")
        found: list[set[bytes]] = [set() for _ in numbers]
        with np.errstate(over="ignore"):
            forms = [numbers, numbers.astype("<f8"), numbers.astype("<f2")]
        for form in forms:
            runs = form[:, : form.shape[1] // _RUN * _RUN].reshape(len(form), -1, _RUN)
            ordered = np.sort(runs, axis=2)
            fresh = np.ones(runs.shape, np.bool_)
            fresh[:, :, 1:] = ordered[:, :, 1:] != ordered[:, :, :-1]
            varied = (fresh & (ordered != 0)).sum(axis=2) >= _VARIED
            for row, kept, told in zip(runs, varied, found, strict=True):
                told.update(run.tobytes() for run in row[kept][::spacing])
        yield from found


def firsts_of(rows: Floats | None) -> npt.NDArray[np.uint64] | None:
    """Return the first 8 bytes of each of (n, d) rows as numbers, sorted; None where d is 1."""
    if rows is None or rows.shape[1] < 2:  # numbers of 4 bytes
        return None
    return np.unique(np.ascontiguousarray(rows[:, :2]).view("<u8"))


@dataclass(frozen=True, slots=True)
class Label:
    """What a pattern stands for; ``source`` is the string spelt, None for a vector."""

    kind: Kind
    digest: bytes
    source: bytes | None = field(repr=False)

    def at_least(self, count: int) -> bool:
        """Tell whether its string is so many bytes long; a run of numbers always is."""
        return self.source is None or len(self.source) >= count


class Needles:
    """The plain bytes of forgotten records, for a search in memory; never written anywhere.

    Args:
        records: n records.
        content: (n, d) content vectors, as stored.
        salt: that of the traces.

    Attributes:
        short: how many values are too short or too uniform for a raw search.
        spacing: 1, or more where there are too many records to keep every run of numbers; see
            ``windows``.
        spelt: whether strings are looked for in all spellings; of too many, as UTF-8 only.
        strings: the ids, texts and subjects, whole, as UTF-8.
        firsts: the first 8 bytes of each vector, as numbers, sorted; None for shorter vectors.
    """

    def __init__(
        self, records: Sequence[Remembered], content: Floats | None = None, *, salt: bytes
    ) -> None:
        hasher = Hasher(salt)
        owners: dict[bytes, tuple[int, ...]] = {}
        self._labels: list[Label] = []
        self.short = 0
        strings = {
            (kind, value)
            for record in records
            for kind, value in (
                (Kind.ID, record.id),
                (Kind.TEXT, record.text),
                (Kind.SUBJECT, record.subject),
            )
            if value
        }
        self.strings = frozenset(value.encode("utf-8", "surrogatepass") for _, value in strings)
        rows = matrix(records, content)
        self.firsts = firsts_of(rows)
        self._digests = {hasher.name(value) for _, value in strings}
        runs = 0 if rows is None else rows.size // _RUN * 3
        self.spacing = -(-2 * runs // _MOST) or 1
        self.spelt = 2 * _FORMS * len(strings) <= _MOST
        for kind, value in sorted(strings):
            pieces = [piece for piece in _pieces(value) if _is_telling(piece)]
            self.short += not pieces
            for piece in pieces:
                source = piece.encode("utf-8", "surrogatepass")
                forms = spellings(piece) if self.spelt else {source}
                self._own(owners, Label(kind, hasher.name(value), source), forms)
        found = () if rows is None else zip(rows, windows(rows, self.spacing), strict=True)
        for row, forms in found:
            self.short += not forms
            digest = hasher.of(row.tobytes())
            self._digests.add(digest)
            self._own(owners, Label(Kind.VECTOR, digest, None), forms)
        self._owners = list(owners.values())
        self._patterns = list(owners)

    @cached_property
    def matcher(self) -> Matcher:
        """What searches all the patterns; made when first asked for, since that takes a while."""
        return Matcher(self._patterns)

    def knows(self, traces: Traces) -> bool:
        """Tell whether these are the plain bytes of all that some traces are hashes of."""
        return all(d in self._digests for kind, d in traces.marks() if kind is not Kind.KEY)

    def _own(
        self, owners: dict[bytes, tuple[int, ...]], label: Label, patterns: set[bytes]
    ) -> None:
        number = (len(self._labels),)
        self._labels.append(label)
        for pattern in patterns:
            owners[pattern] = owners.get(pattern, ()) + number

    def labels(self, found: Iterable[int]) -> set[Label]:
        """Return what some patterns of the matcher stand for."""
        return {self._labels[i] for pattern in found for i in self._owners[pattern]}

    def __len__(self) -> int:
        return len(self._owners)

    def __repr__(self) -> str:
        return f"Needles({len(self)} patterns, {self.short} too short)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("needles are plain text of forgotten records and are never written")
