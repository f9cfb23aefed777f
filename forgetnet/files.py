"""Durable file operations: the one seam through which ForgetNet's own bytes reach a disk.

Knows nothing of records. A write is durable when the function returns: the file and the
directory entry are fsynced. ``shred`` overwrites before it unlinks, since unlinking alone leaves
the bytes in free blocks; what a copy-on-write file system or a flash drive keeps below that, no
file call can reach.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

__all__ = [
    "append_durable",
    "make_dir",
    "shred",
    "shred_tree",
    "sync_dir",
    "sync_inside",
    "truncate_durable",
    "write_durable",
]

_ZEROS = bytes(1 << 20)
_HEAD = 4096


def sync_dir(path: Path) -> None:
    """Make the entries of directory ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_dir(path: Path, mode: int = 0o777) -> None:
    """Make the folder ``path`` and those above it, durably; one that is there is fine.

    Its entry in the folder above is synced even so: who made it may have been cut short.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in missing:
        sync_dir(folder.parent)
    if not missing:
        with contextlib.suppress(PermissionError):
            sync_dir(path.parent)


def _write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_durable(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file ``path`` with ``data`` in one step: old or new after a crash, never between.

    Raises:
        OSError: the disk is full or read-only: ``path`` is unchanged and no temporary file stays;
            or its folder can't be synced: ``path`` is new, and old again after a power failure.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    replaced = False
    try:
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
        replaced = True
    finally:
        if not replaced:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    sync_dir(path.parent)


def append_durable(path: Path, data: bytes, mode: int = 0o600) -> int:
    """Append ``data`` to ``path`` durably and return the file's size before.

    Raises:
        OSError: the file is cut back to that size where the disk allows; what a torn end would
            mean is the caller's to know.
    """
    created = not path.exists()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
    try:
        before = os.fstat(fd).st_size
        try:
            _write_all(fd, data)
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, before)
                os.fsync(fd)
            raise
    finally:
        os.close(fd)
    if created:
        sync_dir(path.parent)
    return before


def truncate_durable(path: Path, size: int) -> None:
    """Zero what lies behind ``size`` in ``path``, then cut the file there, durably.

    The first bytes go first, so that a crash leaves either all of the end or one that begins with
    zeros.
    """
    fd = os.open(path, os.O_WRONLY)
    try:
        end = os.fstat(fd).st_size
        _zero(fd, size, min(size + _HEAD, end))
        _zero(fd, size + _HEAD, end)
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)


def _zero(fd: int, start: int, end: int) -> None:
    position = start
    while position < end:
        position += os.pwrite(fd, _ZEROS[: min(len(_ZEROS), end - position)], position)
    os.fsync(fd)


def shred(path: Path) -> None:
    """Overwrite the file ``path`` with zeros, fsync, unlink; a missing file is fine.

    A symbolic link is unlinked, and what it points to is left alone.
    """
    if _erase(path):
        sync_dir(path.parent)


def _erase(path: Path) -> bool:
    try:
        if not path.is_symlink():
            fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                _zero(fd, 0, os.fstat(fd).st_size)
            finally:
                os.close(fd)
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def shred_tree(root: Path) -> None:
    """Shred every file below ``root`` and remove the folders; a missing folder is fine.

    What a symbolic link points to is left alone.
    """
    if root.is_symlink() or not root.is_dir():
        shred(root)
        return
    for folder, folders, names in os.walk(root, topdown=False):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in names + links:
            _erase(Path(folder) / name)
        Path(folder).rmdir()
    sync_dir(root.parent)


def sync_inside(root: Path) -> None:
    """Fsync every file and folder below ``root``, and ``root``, but not the folder it lies in."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            fd = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_dir(Path(folder))
