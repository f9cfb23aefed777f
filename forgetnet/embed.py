"""Embedding a batch: the vectors that records bring, and the encoder's for the others.

Knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        found = check_vectors(np.asarray(vectors, np.float32), encoder.dim)
        if len(found) != len(records):
            raise InvalidRecord(f"{len(records)} items came with {len(found)} vectors")
        return found
    content = np.zeros((len(records), encoder.dim), np.float32)
    own = [i for i, record in enumerate(records) if record.vector is not None]
    if own:
        rows = [np.asarray(records[i].vector, np.float32).ravel() for i in own]
        if any(len(row) != encoder.dim for row in rows):
            raise InvalidRecord(f"a vector's length isn't the {encoder.dim} of this memory")
        content[own] = check_vectors(np.stack(rows), encoder.dim)
    rest = [i for i, record in enumerate(records) if record.vector is None]
    if rest:
        content[rest] = encoder.encode([records[i].text or "" for i in rest], progress=progress)
    return content
