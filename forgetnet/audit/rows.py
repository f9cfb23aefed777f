"""Decoded rows taken apart into cells, whatever the columns are called.

Knows nothing of files, nor of what is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgetnet.errors import StoreCorrupt

__all__ = ["Leaf", "cells", "columns", "integers", "plain", "raw_bytes", "vectors"]

Indices = npt.NDArray[np.int64]
Leaf = tuple[str, pa.Array, Indices]
"""A column's name, an array without lists around it, and the row of each of its elements."""

_NESTED = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_map)
_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)
_FLAT = (pa.types.is_primitive, pa.types.is_null, pa.types.is_decimal)


def _unwrapped(array: pa.Array) -> pa.Array:
    """Return an array without dictionary, views or extension around its values."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _unwrapped(array.storage)
    if pa.types.is_dictionary(kind):
        return _unwrapped(array.dictionary_decode())
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    return array


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose columns hold their values themselves."""
    arrays = [_unwrapped(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def columns(batch: pa.RecordBatch) -> Iterator[Leaf]:
    """Take a batch's columns apart, through lists and structs.

    Lists of fixed size of floats stay whole: they are vectors.

    Raises:
        StoreCorrupt: a column has a type that this verifier doesn't read.
    """
    todo: list[Leaf] = [
        (name, column, np.arange(batch.num_rows))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    while todo:
        name, array, rows = todo.pop()
        array = _unwrapped(array)
        kind = array.type
        if any(test(kind) for test in (*_TEXT, *_FLAT)) or _is_vector(kind):
            yield name, array, rows
        elif pa.types.is_struct(kind):
            todo += [(name, part, rows) for part in array.flatten()]
        elif any(test(kind) for test in _NESTED):
            if pa.types.is_map(kind):
                array = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
            parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
            todo.append((name, pc.list_flatten(array), rows[parents]))
        else:
            raise StoreCorrupt("a file has a column of a type that this verifier doesn't read")


def _is_vector(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type))


def cells(leaf: Leaf, name: Callable[[bytes], bytes | None]) -> Iterator[tuple[bytes, Indices]]:
    """Iterate over the distinct strings that have a name, each by it and the rows that hold it."""
    _, array, rows = leaf
    if not any(test(array.type) for test in _TEXT):
        return
    coded = array.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for code, value in enumerate(coded.dictionary.cast(pa.large_binary()).to_pylist()):
        if (found := name(value)) is not None:
            yield found, rows[codes == code]


def integers(leaf: Leaf) -> Iterator[tuple[int, int]]:
    """Iterate over the unsigned 64-bit numbers of a leaf, each with its row."""
    _, array, rows = leaf
    if pa.types.is_uint64(array.type):
        for value, row in zip(array.to_pylist(), rows.tolist(), strict=True):
            if value is not None:
                yield value, row


def vectors(
    leaf: Leaf, dim: int, firsts: npt.NDArray[np.uint64] | None = None
) -> Iterator[tuple[bytes, int]]:
    """Iterate over the vectors of length ``dim`` of a leaf as float32 bytes, each with its row.

    With ``firsts`` only over those whose first 8 bytes are one of these, sorted.
    """
    _, array, rows = leaf
    if not _is_vector(array.type) or array.type.list_size != dim or not len(array):
        return
    valid = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    values = array.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values.astype("<f4", copy=False)).reshape(-1, dim)
    chosen = np.arange(len(numbers)) if firsts is None else _beginning(numbers, firsts)
    for vector, row in zip(numbers[chosen], rows[valid][chosen].tolist(), strict=True):
        yield vector.tobytes(), row


def _beginning(numbers: npt.NDArray[np.float32], firsts: npt.NDArray[np.uint64]) -> Indices:
    begun = np.ascontiguousarray(numbers[:, :2]).view("<u8")[:, 0]
    if not len(firsts):
        return np.zeros(0, np.int64)
    # Not isin, which would sort all of firsts again for every few rows.
    near = np.minimum(np.searchsorted(firsts, begun), len(firsts) - 1)
    return np.flatnonzero(firsts[near] == begun)


def raw_bytes(batch: pa.RecordBatch, chosen: npt.NDArray[np.bool_]) -> Iterator[bytes]:
    """Iterate over the bytes that hold the chosen rows, column by column."""
    if not chosen.any():
        return
    picked: Any = batch.take(pa.array(np.flatnonzero(chosen)))
    for column in picked.columns:
        for buffer in column.buffers():
            if buffer is not None and buffer.size:
                yield buffer.to_pybytes()
