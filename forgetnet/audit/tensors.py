"""Reading a safetensors file by its format: the strings of its header, and rows of its arrays.

Written against the format's own description: eight bytes of length, a JSON header, the arrays one
behind the other with no gap. Knows nothing of experts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from forgetnet.audit.documents import Loose, document
from forgetnet.errors import StoreCorrupt

__all__ = ["tensors"]

_HEADER_LIMIT = 64 << 20
_META = "__metadata__"
_ROWS = 4096
_SHORTEST = 8
_WIDTHS = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2,
           "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip


def tensors(path: Path) -> Iterator[Loose]:
    """Iterate over what stands in a safetensors file: strings, then rows of 8 floats and more.

    Raises:
        StoreCorrupt, ValueError, KeyError: it isn't one, or holds bytes that no array explains.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _HEADER_LIMIT):
            raise StoreCorrupt("a file of arrays has no whole header")
        raw = file.read(length)
        yield document(raw)
        header: dict[str, Any] = json.loads(raw)
        header.pop(_META, None)
        position = 0
        for told in sorted(header.values(), key=lambda told: told["data_offsets"]):
            start, end = told["data_offsets"]
            count = int(np.prod(told["shape"], dtype=np.int64)) * _WIDTHS[told["dtype"]]
            if start != position or end - start != count:
                raise StoreCorrupt("a file of arrays holds bytes that no array explains")
            position = end
            if told["dtype"] in {"F32", "F64"} and len(told["shape"]) == 2:
                file.seek(8 + length + start)
                yield from _rows(file.read, told)
        if 8 + length + position != size:
            raise StoreCorrupt("a file of arrays is longer or shorter than its header says")


def _rows(read: Any, told: dict[str, Any]) -> Iterator[Loose]:
    rows, columns = told["shape"]
    kind = "<f4" if told["dtype"] == "F32" else "<f8"
    width = columns * np.dtype(kind).itemsize
    if columns < _SHORTEST:
        return
    for start in range(0, rows, _ROWS):
        some = min(_ROWS, rows - start)
        data = read(some * width)
        if len(data) != some * width:
            raise StoreCorrupt("a file of arrays ends early")
        with np.errstate(over="ignore", invalid="ignore"):
            block = np.frombuffer(data, kind).reshape(some, columns).astype("<f4")
        yield Loose(vectors=list(block))
