"""Byte search: which of many patterns occur in a piece of data, at the speed of a lookup a word.

A pattern of length n >= 2w - 1 holds, wherever it lies, at least one word of w bytes at an address
divisible by w. So for each of the w phases one word of the pattern goes into a table, and the data
is looked through a word at a time; what the table knows is compared in full. Knows nothing of
records or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SHORTEST", "Matcher"]

SHORTEST = 7
"""Patterns under this length can't be searched."""

_LEAST_BITS, _MOST_BITS = 16, 26
_SPARE_BITS = 4  # a sixteenth of the table is taken, so that most words end there
_BLOCK = 1 << 20  # words looked up at a time
_SLICE = 4096  # patterns whose words are weighed at a time
_COUNT_BITS = 20
_UNIFORM = 1 << 40
_FEW, _THINNED = 16, 64  # places compared one by one; bytes after which a plain search is cheaper
_PAIRS = 1 << 16  # of a place and a pattern, that are compared by their ends at a time
_FACTORS = {8: np.uint64(0x9E3779B97F4A7C15), 4: np.uint32(0x9E3779B1)}

Words = npt.NDArray[Any]
"""uint64 or uint32."""


@dataclass(frozen=True, slots=True)
class _Anchors:
    """Words by which patterns are recognised, sorted, with their pattern and place in it.

    ``alike`` counts, from the first of equal words, how many these are. ``lengths``, ``heads`` and
    ``tails`` are of patterns: the last two are their first and last ``width`` bytes, as words.
    """

    width: int
    words: Words
    owners: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    alike: npt.NDArray[np.int64]
    table: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int64]
    heads: Words
    tails: Words


def _slots(words: Words, size: int) -> Words:
    """Spread words over a table whose size is a power of two: multiplicative hashing."""
    width = words.dtype.itemsize
    slots: Words = (words * _FACTORS[width]) >> words.dtype.type(8 * width + 1 - size.bit_length())
    return slots


def _windows(patterns: npt.NDArray[np.uint8], width: int) -> Words:
    """Return the words at every place of patterns (m, n), as (m, n - width + 1)."""
    windows = np.lib.stride_tricks.sliding_window_view(patterns, width, axis=1)
    return np.ascontiguousarray(windows).view(f"<u{width}")[..., 0]


def _blocks(
    patterns: Sequence[bytes], chosen: Sequence[int]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Sort patterns by length: yields positions (m,) and bytes (m, n)."""
    lengths: dict[int, list[int]] = {}
    for index in chosen:
        lengths.setdefault(len(patterns[index]), []).append(index)
    for length, group in lengths.items():
        for start in range(0, len(group), _SLICE):
            part = group[start : start + _SLICE]
            block = np.frombuffer(b"".join(patterns[i] for i in part), np.uint8)
            yield np.asarray(part, np.int64), block.reshape(-1, length)


def _pick(
    block: npt.NDArray[np.uint8], words: Words, common: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Pick one word for each phase: the least common among the patterns, not of one byte only."""
    width = words.dtype.itemsize
    changes = np.zeros(block.shape, np.int64)
    np.cumsum(block[:, 1:] != block[:, :-1], axis=1, out=changes[:, 1:])
    within = changes[:, width - 1 :] - changes[:, : 1 - width]
    cost = common[_slots(words, len(common))] * width - within + np.where(within < 2, _UNIFORM, 0)
    picked = [phase + width * cost[:, phase::width].argmin(axis=1) for phase in range(width)]
    return np.stack(picked, axis=1)


def _anchors(patterns: Sequence[bytes], chosen: Sequence[int], width: int) -> _Anchors | None:
    if not chosen:
        return None
    common = np.zeros(1 << _COUNT_BITS, np.int64)
    for _, block in _blocks(patterns, chosen):
        np.add.at(common, _slots(_windows(block, width), len(common)).ravel(), 1)
    words, owners, offsets = [], [], []
    lengths = np.fromiter(map(len, patterns), np.int64, len(patterns))
    heads, tails = (np.zeros(len(patterns), f"<u{width}") for _ in range(2))
    for part, block in _blocks(patterns, chosen):
        found = _windows(block, width)
        heads[part], tails[part] = found[:, 0], found[:, -1]
        places = _pick(block, found, common)
        words.append(np.take_along_axis(found, places, axis=1).ravel())
        offsets.append(places.ravel())
        owners.append(np.repeat(part, width))
    all_words = np.concatenate(words)
    order = np.argsort(all_words, kind="stable")
    all_words = all_words[order]
    alike = np.searchsorted(all_words, all_words, "right") - np.arange(len(all_words))
    bits = len(all_words).bit_length() + _SPARE_BITS
    table = np.zeros(1 << min(max(bits, _LEAST_BITS), _MOST_BITS), np.bool_)
    table[_slots(all_words, len(table))] = True
    return _Anchors(
        width,
        all_words,
        np.concatenate(owners)[order],
        np.concatenate(offsets)[order],
        alike,
        table,
        lengths,
        heads,
        tails,
    )


def _word_at(data: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64], width: int) -> Words:
    """Return the words that begin at some places, wherever these are."""
    rows = data[begins[:, None] + np.arange(width)]
    words: Words = rows.view(f"<u{width}")[:, 0]
    return words


def _stands(data: bytes, pattern: bytes, begins: npt.NDArray[np.int64]) -> bool:
    """Tell whether a pattern begins at one of the places."""
    begins = begins[(begins >= 0) & (begins + len(pattern) <= len(data))]
    held = np.frombuffer(data, np.uint8)
    # Many share a beginning and few an end, so the last bytes thin the places out soonest.
    for back in range(1, min(len(pattern), _THINNED) + 1):
        if len(begins) <= _FEW:
            return any(data.startswith(pattern, int(begin)) for begin in begins)
        begins = begins[held[begins + len(pattern) - back] == pattern[-back]]
    return pattern in data


class Matcher:
    """Searches many patterns at once.

    Args:
        patterns: distinct byte strings of at least ``SHORTEST`` bytes.
    """

    def __init__(self, patterns: Sequence[bytes]) -> None:
        self._patterns = list(patterns)
        self.longest = max(map(len, self._patterns), default=0)
        wide = [i for i, pattern in enumerate(self._patterns) if len(pattern) >= 15]
        narrow = [i for i, p in enumerate(self._patterns) if SHORTEST <= len(p) < 15]
        if len(wide) + len(narrow) < len(self._patterns):
            raise ValueError(f"a pattern is shorter than {SHORTEST} bytes")
        found = (_anchors(self._patterns, wide, 8), _anchors(self._patterns, narrow, 4))
        self._anchors = [anchors for anchors in found if anchors is not None]

    def __len__(self) -> int:
        return len(self._patterns)

    def find(self, data: bytes, known: Iterable[int] = ()) -> set[int]:
        """Return the positions (in the list given) of all patterns that occur in ``data``.

        ``known`` are patterns not worth looking for, which are left out.
        """
        found = np.zeros(len(self._patterns), np.bool_)
        found[list(known)] = True
        before = found.copy()
        for anchors in self._anchors:
            total = len(data) // anchors.width
            for start in range(0, total, _BLOCK):
                count = min(_BLOCK, total - start)
                self._look(data, anchors, start, count, found)
        return set(np.flatnonzero(found & ~before).tolist())

    def _look(
        self, data: bytes, anchors: _Anchors, start: int, count: int, found: npt.NDArray[np.bool_]
    ) -> None:
        width = anchors.width
        words = np.frombuffer(data, f"<u{width}", count, start * width)
        places = np.flatnonzero(anchors.table[_slots(words, len(anchors.table))])
        if not len(places):
            return
        low = np.searchsorted(anchors.words, words[places], "left")
        low = np.minimum(low, len(anchors.words) - 1)
        real = anchors.words[low] == words[places]
        places, low = (places[real] + start) * width, low[real]
        order = np.argsort(low, kind="stable")
        places, low = places[order], low[order]
        firsts, counts = np.unique(low, return_counts=True)
        floods = firsts[counts * anchors.alike[firsts] > _PAIRS]
        for first in floods.tolist():
            left, right = np.searchsorted(low, [first, first + 1]).tolist()
            self._compare(data, anchors, first, places[left:right], found)
        if len(floods):
            calm = ~np.isin(low, floods)
            places, low = places[calm], low[calm]
        ends = np.cumsum(anchors.alike[low])
        done = 0
        while done < len(low):
            before = int(ends[done - 1]) if done else 0
            upto = max(done + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
            self._pairs(data, anchors, places[done:upto], low[done:upto], found)
            done = upto

    def _pairs(
        self,
        data: bytes,
        anchors: _Anchors,
        places: npt.NDArray[np.int64],
        low: npt.NDArray[np.int64],
        found: npt.NDArray[np.bool_],
    ) -> None:
        """Compare the patterns of each place's word, by their ends first, then in full."""
        alike = anchors.alike[low]
        within = np.arange(int(alike.sum())) - np.repeat(np.cumsum(alike) - alike, alike)
        entries = np.repeat(low, alike) + within
        owners = anchors.owners[entries]
        begins = np.repeat(places, alike) - anchors.offsets[entries]
        ends = begins + anchors.lengths[owners]
        left = (begins >= 0) & (ends <= len(data)) & ~found[owners]
        owners, begins, ends = owners[left], begins[left], ends[left]
        held, width = np.frombuffer(data, np.uint8), anchors.width
        left = _word_at(held, ends - width, width) == anchors.tails[owners]
        owners, begins = owners[left], begins[left]
        left = _word_at(held, begins, width) == anchors.heads[owners]
        for owner, begin in zip(owners[left].tolist(), begins[left].tolist(), strict=True):
            if not found[owner] and data.startswith(self._patterns[owner], begin):
                found[owner] = True

    def _compare(
        self,
        data: bytes,
        anchors: _Anchors,
        first: int,
        places: npt.NDArray[np.int64],
        found: npt.NDArray[np.bool_],
    ) -> None:
        """Compare the patterns that share one word, one by one, where it stands all over."""
        for entry in range(first, first + int(anchors.alike[first])):
            owner, offset = int(anchors.owners[entry]), int(anchors.offsets[entry])
            if not found[owner] and _stands(data, self._patterns[owner], places - offset):
                found[owner] = True
