"""Pieces: the rows of one leaf as an immutable Lance table of a single version.

Knows nothing of leaves, tails or manifests. A piece is written once, in the canonical order of id
hashes, and never changed: so there are no deletion vectors, no old versions, and no transaction
that names what was deleted. LanceDB opens the folder of pieces as a database.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lance.file import LanceFileReader

from forgetnet.errors import StoreCorrupt
from forgetnet.files import sync_inside
from forgetnet_stores.lance.columns import Rows, from_arrow
from forgetnet_stores.lance.ring import Ring, opened

__all__ = ["piece_path", "read_piece", "spots", "write_piece"]


_SUFFIXES = {".lance", ".manifest", ".json", ".txn"}
_BATCH_ROWS = 8192
_BATCH_BYTES = 256 << 20


def piece_path(root: Path, name: str) -> Path:
    """Return the folder of a piece."""
    return root / "pieces" / f"{name}.lance"


def _files(path: Path) -> list[tuple[str, Path]]:
    found = (file for file in path.rglob("*") if not file.is_dir())
    return sorted((file.relative_to(path).as_posix(), file) for file in found)


def _digest(path: Path) -> str:
    """Hash every file of a piece, with its path and its size, in the order of the paths."""
    total = hashlib.sha256()
    for name, file in _files(path):
        total.update(f"{name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: total)
    return total.hexdigest()


def write_piece(path: Path, table: pa.Table) -> tuple[str, int]:
    """Write a table of rows, in canonical order, to a new piece; return its digest and its size.

    The piece is durable but for its entry in the folder of pieces.

    Raises:
        OSError: it can't be written whole.
    """
    lance.write_dataset(table, str(path), mode="create", max_rows_per_file=max(len(table), 1))
    _check_whole(path, len(table))
    sync_inside(path)
    return _digest(path), sum(file.stat().st_size for _, file in _files(path))


def _check_whole(path: Path, rows: int) -> None:
    """Compare what Lance says that it wrote with what is there.

    It says nothing of a write that fails in the background: the file is only too short then. Nor
    of a second name of a file that it couldn't remove.

    Raises:
        OSError: some of it is missing, or too much is there.
    """
    try:
        dataset = lance.dataset(str(path))
        files = [file for part in dataset.get_fragments() for file in part.data_files()]
        whole = dataset.count_rows() == rows and all(
            file.file_size_bytes == (path / "data" / file.path).stat().st_size for file in files
        )
        whole = whole and all(file.suffix in _SUFFIXES for _, file in _files(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise OSError(errno.EIO, f"a piece can't be read back: {error}", str(path)) from error
    if not whole:
        full = shutil.disk_usage(path).free < _BATCH_ROWS
        number = errno.ENOSPC if full else errno.EIO
        raise OSError(number, "a piece was not written whole", str(path))


def spots(path: Path, dim: int, rows: int) -> tuple[Path, npt.NDArray[np.int64]]:
    """Return the file of a piece, and at which byte the content vector of each row begins there.

    Lance says where the pages of a column lie; these hold the plain vectors, one by one. Whoever
    reads there checks what is found: where a column is laid out otherwise, no vector begins there.

    Raises:
        OSError: the file can't be read.
    """
    file, width = next((path / "data").iterdir()), 4 * dim
    try:
        columns = LanceFileReader(str(file)).metadata().columns
    except (ValueError, RuntimeError) as error:
        raise OSError(errno.EIO, f"a piece can't be read back: {error}", str(path)) from error
    for column in columns:
        pages = [page.buffers for page in column.pages]
        if all(len(page) == 1 and page[0].size % width == 0 for page in pages):
            starts = [np.arange(b.position, b.position + b.size, width) for (b,) in pages]
            if sum(map(len, starts)) == rows:
                return file, np.concatenate(starts)
    return file, np.zeros(rows, np.int64)


def read_piece(path: Path, dim: int, digest: str, ring: Ring | None) -> Rows:
    """Read a piece back, checking its digest first.

    Raises:
        StoreCorrupt: the bytes are not those that were written.
    """
    if not path.is_dir() or _digest(path) != digest:
        raise StoreCorrupt(
            f"piece {path.name} is missing or its bytes were changed; restore the store from a "
            "backup, or remove nothing by hand"
        )
    dataset = lance.dataset(str(path))
    # One array of strings ends at 2 GiB, so long texts are read some at a time.
    size = sum(file.stat().st_size for _, file in _files(path))
    rows = max(1, dataset.count_rows() * _BATCH_BYTES // max(1, size))
    batches = dataset.to_batches(batch_size=min(rows, _BATCH_ROWS))
    table = pa.Table.from_batches(batches, dataset.schema)
    if ring is not None:
        ring.meet(table)
    return from_arrow(opened(table, dim, ring), dim)
