"""Embedding a batch: the vectors that records bring, and the encoder's for the others.

Knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from forgetnet.encode import Encoder, check_vectors
from forgetnet.errors import InvalidRecord
from forgetnet.record import Record
from forgetnet.store import Floats

__all__ = ["embed"]


def embed(
    encoder: Encoder,
    records: Sequence[Record],
    vectors: Floats | Sequence[Sequence[float]] | None,
    *,
    progress: bool,
) -> Floats:
    """Return (n, d) unit vectors for n records.

    Args:
        encoder: embeds the texts of records without a vector.
        records: the batch.
        vectors: (n, d), to use for all of them.
        progress: show a bar when the output is a terminal.

    Raises:
        InvalidRecord: a vector has another length than the encoder's, or isn't finite.
    """
    if vectors is not None:
        found = check_vectors(_numbers(vectors), encoder.dim)
        if len(found) != len(records):
            raise InvalidRecord(f"{len(records)} items came with {len(found)} vectors")
        return found
    brought = [record.vector for record in records if record.vector is not None]
    found = check_vectors(_stack(brought, encoder.dim), encoder.dim)
    if len(found) == len(records):
        return found
    has = np.array([record.vector is not None for record in records])
    texts = [record.text or "" for record in records if record.vector is None]
    content = np.empty((len(records), encoder.dim), np.float32)
    content[has] = found
    content[~has] = encoder.encode(texts, progress=progress)
    return content


def _numbers(values: Any) -> Floats:
    """Return numbers as float32; one that is too large for it is infinite, and refused later."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InvalidRecord("vectors must be rows of numbers, each as long as the others") from None


def _stack(vectors: Sequence[Floats], dim: int) -> Floats:
    """Return vectors as (n, dim) float32."""
    if set(map(type, vectors)) == {np.ndarray} and {v.shape for v in vectors} == {(dim,)}:
        flat = np.concatenate(vectors)
        if flat.dtype == np.float32:
            return flat.reshape(-1, dim)
    rows = [_numbers(vector).ravel() for vector in vectors]
    if any(len(row) != dim for row in rows):
        raise InvalidRecord(f"a vector's length isn't the {dim} of this memory")
    return np.stack(rows) if rows else np.zeros((0, dim), np.float32)
