"""The plug of a lossy disk: mounts it, and cuts the power."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_FORCED, _DETACHED = 1, 2  # of umount2(2): fail everything under way, and let go of the folder


class Plug:
    """A lossy disk, mounted; whatever had files open on it when it was cut gets errors."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        program = str(Path(__file__).with_name("lossy.py"))
        self._server = subprocess.Popen(
            [sys.executable, program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._wait()

    def _wait(self) -> None:
        assert self._server.stdout is not None
        if self._server.stdout.readline() != "mounted\n":
            raise OSError("the lossy disk can't be mounted")

    def _pull(self, line: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(self.path), _FORCED | _DETACHED):
            raise OSError(ctypes.get_errno(), f"can't unmount {self.path}")
        assert self._server.stdin is not None
        self._server.stdin.write(line)
        self._server.stdin.flush()

    def cut(self, chance: int | None = None) -> None:
        """Cut the power; by chance, some of what wasn't synced was on the disk already."""
        self._pull("cut\n" if chance is None else f"cut {chance}\n")
        self._wait()

    def renew(self) -> None:
        """Begin an empty disk."""
        self._pull("new\n")
        self._wait()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pull("")
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(20)
        self._server.stdout.close()


@contextlib.contextmanager
def plugged(path: Path) -> Iterator[Plug]:
    """Mount a lossy disk on a folder; skip where that isn't possible."""
    pytest.importorskip("mfusepy", reason="needs mfusepy and libfuse", exc_type=Exception)
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a file system of one's own is mounted by root, with /dev/fuse")
    try:
        plug = Plug(path)
    except OSError as error:
        pytest.skip(f"FUSE can't be mounted here: {error}")
    try:
        yield plug
    finally:
        plug.close()
