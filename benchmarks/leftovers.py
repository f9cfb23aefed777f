"""What a delete leaves in the files of any of the engines compared here.

Looks in every file below a folder: in its raw bytes, and where it is a Lance data file in its
decoded rows too, those that a deletion hides included. It is no part of ForgetNet and asks no
engine anything; what it finds before a delete is the control for what it finds after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lance.file
import numpy as np
import pyarrow as pa
from material import Floats, Material
from timing import folder_files

_RUN = 16  # consecutive numbers of a vector that are looked for in raw bytes


@dataclass
class Left:
    """Positions of the records whose text, or vector, is in the files."""

    texts: set[int] = field(default_factory=set)
    vectors: set[int] = field(default_factory=set)
    files: int = 0

    def __str__(self) -> str:
        return f"{len(self.texts)} texts, {len(self.vectors)} vectors"


def _runs(vector: Floats) -> list[bytes]:
    middle = len(vector) // 2
    return [vector[:_RUN].tobytes(), vector[middle : middle + _RUN].tobytes()]


def _decoded(path: Path) -> Iterator[pa.RecordBatch]:
    reader = lance.file.LanceFileReader(str(path))
    yield from reader.read_all(batch_size=4096).to_batches()


def _cells(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Give the strings, and the vectors as float32 bytes, of some rows."""
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            yield from (text.encode() for text in column.to_pylist() if text is not None)
        elif pa.types.is_fixed_size_list(column.type):
            rows = np.asarray(column.flatten(), np.float32).reshape(-1, column.type.list_size)
            yield from (row.tobytes() for row in rows)


def left(root: Path, wanted: Material) -> Left:
    """Look for texts and vectors of some records in every file below a folder."""
    found = Left()
    texts = {text.encode(): i for i, text in enumerate(wanted.texts)}
    vectors = {vector.tobytes(): i for i, vector in enumerate(wanted.vectors)}
    runs = [(i, run) for i, vector in enumerate(wanted.vectors) for run in _runs(vector)]
    for path in folder_files(root):
        found.files += 1
        data = path.read_bytes()
        found.texts |= {i for text, i in texts.items() if text in data}
        found.vectors |= {i for i, run in runs if run in data}
        if path.suffix == ".lance":
            for batch in _decoded(path):
                for cell in _cells(batch):
                    if cell in texts:
                        found.texts.add(texts[cell])
                    elif cell in vectors:
                        found.vectors.add(vectors[cell])
    return found
