"""Rows of tables as unit vectors, by constants alone: nothing here learns from the rows.

A row's text is its canonical JSON, so a memory stores, exports and forgets it like any other
text. Knows nothing of records or labels; how a table is read is ``forgetnet.encode.tables``.

Each column has a block of the vector, of one and the same norm whatever its value, so that the
whole is a unit vector and normalising takes nothing away:

- a number is sines and cosines at octaves (Rahimi and Recht, "Random features for large-scale
  kernel machines", 2007, with fixed frequencies): of (x - low) / (high - low) at pi/4, pi/2 and pi
  where a range is declared; else of asinh(x) at 1/2, 1, ..., 64 radians, the power of octave j
  falling as 2^(-3j/4), which tells values apart from hundredths to billions;
- a category is 32 signs: the first bits of SHA-256 over column and value (a signed hash as in
  Weinberger et al., "Feature hashing for large scale multitask learning", 2009; dense, so that two
  values rarely collide). A value that was never seen is one more code;
- a missing value is such a code, too, in either kind of column.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.encode.contract import check_texts, progress_bar
from forgetnet.encode.tables import category, number, read_table
from forgetnet.encode.vectors import Floats, check_vectors
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.record import canonical_json

__all__ = ["TableEncoder"]

_KIND = "rows:"
_RULE = "forgetnet table encoder 1"
_SIGNS = 32
_FREE = (0.5, 8, 0.75)  # first frequency in radians, octaves, fall of power by octave
_RANGED = (math.pi / 4.0, 3, 0.0)
_ROWS = 1024
_WIDE = 0.1
_FAR = 1e15  # a sine takes no infinity

Range = tuple[float, float] | None
_Block = npt.NDArray[np.float64]


GUESSED = "which columns hold numbers, by a look at the first rows that were learnt"
"""What a receipt says where the columns of a table weren't declared."""


class TableEncoder:
    """Encode rows of declared columns; it is frozen, for it is made of constants.

    Args:
        numeric: columns of numbers: names, or a mapping from names to (low, high), a range that
            is known beforehand, or to None. Values outside of a range are fine, and told apart
            from those within up to three widths away.
        categorical: columns of strings, booleans or numbers that only name something.
        source: the public data that the ranges come from, if they do.

    Raises:
        InvalidRecord: there are no columns, a name comes twice, or a range makes no sense.
    """

    def __init__(
        self,
        numeric: Mapping[str, Sequence[float] | None] | Sequence[str] = (),
        categorical: Sequence[str] = (),
        *,
        source: str = "",
    ) -> None:
        if isinstance(numeric, str) or isinstance(categorical, str):
            raise InvalidRecord("numeric= and categorical= are lists of names; put it in a list")
        ranges = numeric if isinstance(numeric, Mapping) else dict.fromkeys(numeric)
        self.numeric: dict[str, Range] = {n: _range(n, ranges[n]) for n in sorted(ranges)}
        self.categorical: tuple[str, ...] = tuple(sorted(categorical))
        self.source = source
        names = [*numeric, *categorical]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InvalidRecord("a table encoder needs columns, each with a name")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidRecord(f"column {twice[0][:80]!r} is declared twice")
        spec = {"categorical": self.categorical, "numeric": self.numeric, "source": source}
        self.name = _KIND + canonical_json(spec)
        self.digest = hashlib.sha256(f"{_RULE}, {self.name}".encode()).hexdigest()
        self._free = [name for name, span in self.numeric.items() if span is None]
        self._ranged = {name: span for name, span in self.numeric.items() if span is not None}
        self._norm = 1.0 / math.sqrt(len(names))
        free, ranged = 2 * _FREE[1] * len(self._free), 2 * _RANGED[1] * len(self._ranged)
        self.dim = free + ranged + _SIGNS * len(self.categorical)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.numeric)} numeric, {len(self.categorical)} others)"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(sorted([*self.numeric, *self.categorical]))

    @classmethod
    def from_name(cls, name: str) -> TableEncoder:
        """Make the encoder that says of itself ``rows:`` and the JSON of its columns.

        Raises:
            Unsupported: it is no such name.
        """
        try:
            spec = json.loads(name.removeprefix(_KIND))
            return cls(spec["numeric"], spec["categorical"], source=spec["source"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unsupported(
                "what follows rows: isn't the JSON of a table encoder's columns; give a "
                "TableEncoder(numeric=..., categorical=...)"
            ) from error

    @classmethod
    def from_public(cls, rows: Any, source: str) -> TableEncoder:
        """Declare columns as they are in public data, with the ranges of the numbers there.

        A column of numbers has a range unless nine tenths of them lie within a tenth of it: such
        a long tail is better told apart on the scale of asinh.

        Args:
            rows: a table as :meth:`to_texts` takes it; data that nobody can ask to have forgotten.
            source: name, version and licence, which the encoder's name keeps.

        Raises:
            InvalidRecord: no source, or a column without a value or of values that are no cells.
        """
        if not source.strip():
            raise InvalidRecord("say where the public data comes from: from_public(rows, source)")
        numeric: dict[str, Range] = {}
        categorical = []
        for name, values in read_table(rows).items():
            told = [v for v in (category(value, name) for value in values) if v is not None]
            if not told:
                raise InvalidRecord(f"column {name[:80]!r} has no values to tell its kind from")
            if all(isinstance(v, int | float) and not isinstance(v, bool) for v in told):
                numeric[name] = _span(np.array(told, np.float64))
            else:
                categorical.append(name)
        return cls(numeric, categorical, source=source)

    def to_texts(self, X: Any) -> list[str]:
        """Return each row as its canonical JSON; numbers keep every bit, NaN and None are null.

        Args:
            X: mappings from columns to values, one such mapping, a mapping from columns to n
                values, a data frame, an Arrow table, or an (n, c) array of columns x0, x1, ...

        Raises:
            InvalidRecord: it is none of these, a column is missing or isn't declared, or a value
                is no number where one must be; the message names the column, never the value.
        """
        if isinstance(X, Sequence) and not len(X):
            return []
        table = read_table(X)
        self._check(table)
        read = {name: number if name in self.numeric else category for name in self.columns}
        told = {n: [read[n](value, n) for value in table[n]] for n in self.columns}
        rows = zip(*told.values(), strict=True)
        return [canonical_json(dict(zip(told, row, strict=True))) for row in rows]

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        """Return unit float32 rows (n, dim); the bits of a row depend on its text alone.

        Raises:
            InvalidRecord: a text isn't the JSON of a row of these columns.
        """
        check_texts(texts)
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        with progress_bar(len(texts), shown=progress) as advance:
            for start in range(0, len(texts), _ROWS):
                some = texts[start : start + _ROWS]
                rows = [self._parsed(text, start + n) for n, text in enumerate(some)]
                out[start : start + len(rows)] = check_vectors(self._encoded(rows), self.dim)
                advance(len(rows))
        return out

    def _check(self, names: Mapping[str, object]) -> None:
        declared = {*self.numeric, *self.categorical}
        if unknown := sorted(set(names) - declared):
            raise InvalidRecord(
                f"column {unknown[0][:80]!r} isn't declared; leave it out, or declare it"
            )
        if lacking := sorted(declared - set(names)):
            raise InvalidRecord(
                f"column {lacking[0][:80]!r} is missing; give None where a value isn't known"
            )

    def _parsed(self, text: str, row: int) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InvalidRecord(
                f"text in row {row} isn't a row of a table: give mappings, or the JSON of one"
            )
        self._check(found)
        return found

    def _encoded(self, rows: Sequence[Mapping[str, Any]]) -> _Block:
        """Return (n, dim) blocks of all columns side by side."""
        spans = [(0.0, 1.0)] * len(self._free)
        free = _numbers(rows, self._free, spans, _FREE, squashed=True)
        names, known = list(self._ranged), list(self._ranged.values())
        ranged = _numbers(rows, names, known, _RANGED, squashed=False)
        codes: dict[tuple[str, Any], _Block] = {}  # of these rows only: a cache would remember
        signs = np.empty((len(rows), len(self.categorical), _SIGNS))
        for n, row in enumerate(rows):
            for m, name in enumerate(self.categorical):
                value = category(row[name], name)
                key = (name, (type(value), value))
                if key not in codes:
                    codes[key] = _code(name, value, _SIGNS)
                signs[n, m] = codes[key]
        shape = (len(rows), -1) if rows else (0, 0)
        return self._norm * np.concatenate([b.reshape(shape) for b in (free, ranged, signs)], 1)


def _range(name: str, span: Sequence[float] | None) -> Range:
    if span is None:
        return None
    ends = [float(end) for end in span]
    if len(ends) != 2 or not (ends[0] < ends[1] and math.isfinite(ends[1] - ends[0])):
        raise InvalidRecord(f"the range of column {str(name)[:80]!r} must be (low, high), finite")
    return ends[0], ends[1]


def _span(values: npt.NDArray[np.float64]) -> Range:
    low, high = float(values.min()), float(values.max())
    most = float(np.quantile(values, 0.95) - np.quantile(values, 0.05))
    return (low, high) if math.isfinite(high - low) and most > _WIDE * (high - low) else None


def _numbers(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    spans: Sequence[tuple[float, float]],
    ladder: tuple[float, int, float],
    *,
    squashed: bool,
) -> _Block:
    """Return (n, c, octaves, 2) sines and cosines of numbers, each block of norm 1.

    Only the first octave asks for a sine, a number at a time; the others double the angle, by
    products that every processor rounds alike, wherever in an array they stand.
    """
    first, octaves, fall = ladder
    power = 2.0 ** (-fall * np.arange(octaves))
    scale = np.sqrt(power / power.sum())
    sine, cosine = np.zeros((2, len(rows), len(names)))
    missing = []
    for n, row in enumerate(rows):
        for m, (name, (low, high)) in enumerate(zip(names, spans, strict=True)):
            value = number(row[name], name)
            if value is None:
                missing.append((n, m))
                continue
            place = math.asinh(value) if squashed else (value - low) / (high - low)
            place = min(max(place, -_FAR), _FAR)
            sine[n, m], cosine[n, m] = math.sin(first * place), math.cos(first * place)
    out = np.empty((len(rows), len(names), octaves, 2))
    for octave in range(octaves):
        out[:, :, octave, 0] = scale[octave] * sine
        out[:, :, octave, 1] = scale[octave] * cosine
        sine, cosine = 2.0 * sine * cosine, (cosine - sine) * (cosine + sine)
    for n, m in missing:
        out[n, m] = _code(names[m], None, 2 * octaves).reshape(octaves, 2)
    return out


def _code(column: str, value: Any, size: int) -> _Block:
    """Return ``size`` signs of norm 1: the first bits of SHA-256 over column and value."""
    body = canonical_json([column, value]).encode("utf-8", "surrogatepass")
    bits = np.unpackbits(np.frombuffer(hashlib.sha256(body).digest(), np.uint8))[:size]
    signs: _Block = (2.0 * bits.astype(np.float64) - 1.0) / math.sqrt(size)
    return signs
