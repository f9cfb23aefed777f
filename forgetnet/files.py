"""Durable file operations: the one seam through which ForgetNet's own bytes reach a disk.

Knows nothing of records. A write is durable when the function returns: the file and the
directory entry are fsynced. ``shred`` overwrites before it unlinks, since unlinking alone leaves
the bytes in free blocks; what a copy-on-write file system or a flash drive keeps below that, no
file call can reach.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from forgetnet.errors import StoreError

__all__ = [
    "append_durable",
    "check_trusted",
    "claim",
    "copy_slots",
    "doubts",
    "is_full",
    "make_dir",
    "put_slots",
    "reserve",
    "rewrite_durable",
    "shred",
    "shred_abandoned",
    "shred_tree",
    "sync_dir",
    "sync_inside",
    "truncate_durable",
    "trust",
    "write_durable",
]

_ZEROS = bytes(1 << 20)
_HEAD = 4096
# No room, no more quota, and a file as large as may be; Lance tells the number in words alone.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NUMBER = re.compile(r"\(os error (\d+)\)")
_doubtful: set[Path] = set()
"""What an fsync failed on in this process, until it is opened anew."""


def _sync(fd: int, path: Path) -> None:
    """Fsync, once: after a failure the kernel may take pages for clean that never were written.

    So a second fsync may succeed and mean nothing (Rebello et al. 2020, "Can applications recover
    from fsync failures?").
    """
    try:
        os.fsync(fd)
    except OSError:
        _doubtful.add(path.absolute())
        raise


def check_trusted(root: Path) -> None:
    """Refuse to go on where an fsync has failed on anything in the folder ``root``.

    Raises:
        StoreError: one has, and the folder wasn't opened anew since.
    """
    if doubts(root):
        raise StoreError(
            f"an fsync failed in {root}, so nobody knows what its disk holds; close it, and open "
            "it again"
        )


def doubts(root: Path) -> set[Path]:
    """Return what an fsync failed on in the folder ``root``."""
    return {path for path in set(_doubtful) if path.is_relative_to(root.absolute())}


def trust(paths: set[Path]) -> None:
    """Forget that an fsync failed on these: what they hold is being read, and written, anew."""
    _doubtful.difference_update(paths)


def sync_dir(path: Path) -> None:
    """Make the entries of directory ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(fd, path)
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
            _sync(fd, temporary)
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
        OSError: the file is cut back to that size where the disk allows, but left as it is after
            an fsync that failed; what a torn end would mean is the caller's to know.
    """
    created = not path.exists()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
    try:
        before = os.fstat(fd).st_size
        try:
            _write_all(fd, data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, before)
                _sync(fd, path)
            raise
        _sync(fd, path)
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
        _zero(fd, path, size, min(size + _HEAD, end))
        _zero(fd, path, size + _HEAD, end)
        os.ftruncate(fd, size)
        _sync(fd, path)
    finally:
        os.close(fd)


def rewrite_durable(path: Path, start: int) -> None:
    """Write what lies behind ``start`` in ``path`` once more, the same bytes, durably.

    A crash may have left them unsynced, and after an fsync that failed another one does nothing
    for pages that nobody wrote to since.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        position, end = start, os.fstat(fd).st_size
        while position < end:
            data = os.pread(fd, min(len(_ZEROS), end - position), position)
            position += os.pwrite(fd, data, position)
        _sync(fd, path)
    finally:
        os.close(fd)
    sync_dir(path.parent)


def _zero(fd: int, path: Path, start: int, end: int) -> None:
    position = start
    while position < end:
        position += os.pwrite(fd, _ZEROS[: min(len(_ZEROS), end - position)], position)
    _sync(fd, path)


def copy_slots(source: Path, target: Path, size: int = 64) -> None:
    """Make ``target`` what ``source`` is, slot by slot and in place, durably.

    So a slot that was zeroed is overwritten where it lies, and leaves no old block behind.

    Raises:
        OSError: it can't be written; some slots may be.
    """
    data, created = source.read_bytes(), not target.exists()
    there = b"" if created else target.read_bytes()
    slots = {}
    for start in range(0, max(len(data), len(there)), size):
        slot = data[start : start + size] or bytes(size)
        if there[start : start + size] != slot:
            slots[start // size] = slot
    put_slots(target, slots, size)
    if created:
        sync_dir(target.parent)


def put_slots(path: Path, slots: Mapping[int, bytes], size: int = 64) -> None:
    """Write slots of ``size`` bytes, by number, into ``path``, each in its place, durably.

    Raises:
        OSError: some may be there, and none is known to last.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for number, slot in sorted(slots.items()):
            done = 0
            while done < len(slot):
                done += os.pwrite(fd, slot[done:], number * size + done)
        _sync(fd, path)
    finally:
        os.close(fd)


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
                _zero(fd, path, 0, os.fstat(fd).st_size)
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


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error comes of a disk without room, as far as what it was raised from."""
    while error is not None:
        if isinstance(error, OSError):
            told = {error.errno, *map(int, _NUMBER.findall(str(error)))}
            if not told.isdisjoint(_FULL) or "No space left" in str(error):
                return True
        error = error.__cause__
    return False


def reserve(path: Path, size: int) -> None:
    """Have the file ``path`` hold ``size`` zeros or more, in blocks of the disk that are its own.

    Raises:
        OSError: there is no room; what the file held before, it holds.
    """
    if path.exists() and path.stat().st_size >= size:
        return
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    before = os.fstat(fd).st_size
    try:
        os.posix_fallocate(fd, before, size - before)
        _sync(fd, path)
    except OSError:
        os.ftruncate(fd, before)
        raise
    finally:
        os.close(fd)
    sync_dir(path.parent)


def claim(fd: int) -> None:
    """Mark the open file or folder ``fd`` as somebody's until it is closed, be it by a kill.

    Raises:
        BlockingIOError: it is somebody else's.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def shred_abandoned(paths: Iterable[Path]) -> None:
    """Shred files and folders whose makers claimed them and have ended since."""
    for path in paths:
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fd = os.open(path, os.O_RDONLY)
            try:
                claim(fd)
                shred_tree(path)
            finally:
                os.close(fd)


def sync_inside(root: Path) -> None:
    """Fsync every file and folder below ``root``, and ``root``, but not the folder it lies in."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            fd = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                _sync(fd, Path(folder) / name)
            finally:
                os.close(fd)
        sync_dir(Path(folder))
