"""Disks that run full and folders that can't be written, for real, as far as we may."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", str(path)], capture_output=True, check=True)


@cache
def may_mount() -> bool:
    """Tell whether this user may mount a disk in memory."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder):
            return False
        _unmount(Path(folder))
    return True


class SmallDisk:
    """A disk in memory, filled up by a file of ballast."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill_up(self) -> None:
        ballast = (self.path / "ballast").open("wb", buffering=0)
        with ballast, contextlib.suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        space = os.statvfs(self.path)
        assert not space.f_bavail

    def free(self) -> None:
        (self.path / "ballast").unlink()


class SmallFiles:
    """A limit on the size of the files that this process may write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, self._limits[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@contextmanager
def disk(kind: str, path: Path) -> Iterator[SmallDisk | SmallFiles]:
    """Offer a folder whose disk can be filled up."""
    path.mkdir()
    if kind == "limit":
        files = SmallFiles(path)
        try:
            yield files
        finally:
            files.free()
        return
    assert _mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _unmount(path)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make a folder read-only; root, whom permissions don't stop, mounts it over itself."""
    if os.geteuid() != 0:
        modes = {p: p.stat().st_mode for p in [path, *path.rglob("*")]}
        for p, mode in modes.items():
            p.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for p, mode in modes.items():
                p.chmod(mode)
        return
    assert _mount("--bind", str(path), str(path))
    try:
        assert _mount("-o", "remount,bind,ro", str(path))
        yield
    finally:
        _unmount(path)
