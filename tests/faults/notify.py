"""Every mutating system call of a process, seen and decided on before the kernel does it.

A child asks the kernel (seccomp, user notification: Linux 5.5 or newer, no rights needed) to hold
each such call until its parent has said what becomes of it: done, failed with an error, or never,
as the parent kills the child. Calls are counted over all threads in the one order in which they
are let go. Knows nothing of memories.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["Call", "guarded", "may_hold"]

_PATH, _FD, _AT = "path", "fd", "at"
# Name, and where its target stands: a descriptor, a path, or a folder's descriptor and a path.
_CALLS = {
    1: ("write", _FD, 0), 18: ("pwrite64", _FD, 0), 20: ("writev", _FD, 0),
    296: ("pwritev", _FD, 0), 328: ("pwritev2", _FD, 0), 40: ("sendfile", _FD, 0),
    326: ("copy_file_range", _FD, 2), 285: ("fallocate", _FD, 0),
    74: ("fsync", _FD, 0), 75: ("fdatasync", _FD, 0), 77: ("ftruncate", _FD, 0),
    91: ("fchmod", _FD, 0), 90: ("chmod", _PATH, 0), 268: ("fchmodat", _AT, 0),
    76: ("truncate", _PATH, 0), 2: ("open", _PATH, 0), 257: ("openat", _AT, 0),
    85: ("creat", _PATH, 0), 82: ("rename", _PATH, 1), 264: ("renameat", _AT, 2),
    316: ("renameat2", _AT, 2), 87: ("unlink", _PATH, 0), 263: ("unlinkat", _AT, 0),
    84: ("rmdir", _PATH, 0), 83: ("mkdir", _PATH, 0), 258: ("mkdirat", _AT, 0),
    86: ("link", _PATH, 1), 265: ("linkat", _AT, 2), 88: ("symlink", _PATH, 1),
    266: ("symlinkat", _AT, 1),
}  # fmt: skip
_FLAGS = {"open": 1, "openat": 2}
_WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2"}
_NAMES = {"creat", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "rename"}
_OPENAT = 257
_SECCOMP, _NEW_LISTENER = 317, 8
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_REQUEST = struct.Struct("QIIiIQ6Q")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is waiting: its name, the file or folder, and whether it needs more room."""

    name: str
    target: Path
    grows: bool

    def may_fail(self, number: int) -> bool:
        """Tell whether a disk may answer this call with an error."""
        if number != errno.ENOSPC:
            return True
        return self.grows or self.name in {"fsync", "fdatasync", "rename", "renameat", "renameat2"}


Judge = Callable[[Call], int | None]
"""Says what becomes of a call: 0, an errno to fail with, or None for a kill."""


@cache
def may_hold() -> str:
    """Say why system calls can't be held here; an empty string if they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "system calls are held on Linux on x86-64 only"
    pid = os.fork()
    if not pid:
        try:
            os.close(_listen())
        except OSError:
            os._exit(1)
        os._exit(0)
    return "seccomp's user notification is refused here" if os.waitpid(pid, 0)[1] else ""


def _listen() -> int:
    """Have this process's calls held, for good; return the descriptor that tells of them."""
    others = [number for number in _CALLS if number != _OPENAT]
    lines = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # load the call's number
    for i, number in enumerate(others):
        lines.append(struct.pack("HBBI", 0x15, len(others) - i + 3, 0, number))
    lines += [
        struct.pack("HBBI", 0x15, 0, 2, _OPENAT),
        struct.pack("HBBI", 0x20, 0, 0, 32),  # load its flags: most files are opened to be read
        struct.pack("HBBI", 0x45, 1, 0, os.O_CREAT | os.O_TRUNC),
        struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000),
        struct.pack("HBBI", 0x06, 0, 0, 0x7FC00000),
    ]
    code = ctypes.create_string_buffer(b"".join(lines))
    program = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: what a user without rights must give up first
    found: int = libc.syscall(_SECCOMP, 1, _NEW_LISTENER, ctypes.create_string_buffer(program))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


@dataclass(slots=True)
class Held:
    """A child whose calls are held; ``status`` is that of its end, as ``os.waitpid`` gives it."""

    pid: int
    status: int = -1
    calls: list[Call] = field(default_factory=list)


def guarded(work: Callable[[], None], root: Path, judge: Judge) -> Held:
    """Run ``work`` in a child, and ask ``judge`` about each of its calls below ``root``."""
    here, there = socket.socketpair()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lance asks not to be forked; a parent never uses it
        pid = os.fork()
    if not pid:
        code = 1
        try:
            here.close()
            listener = _listen()
            socket.send_fds(there, [b"x"], [listener])
            os.close(listener)
            work()
            code = 0
        finally:
            os._exit(code)
    there.close()
    held = Held(pid)
    with here:
        _, (listener,), _, _ = socket.recv_fds(here, 1, 1)
    try:
        for answer, call in _asked(listener, root):
            verdict = judge(call)
            held.calls.append(call)
            if verdict is None:
                os.kill(pid, signal.SIGKILL)
                break
            answer(verdict)
    finally:
        held.status = os.waitpid(pid, 0)[1]
        os.close(listener)
    return held


def _asked(listener: int, root: Path) -> Iterator[tuple[Callable[[int], None], Call]]:
    """Iterate over the calls below a folder, each with the way to answer it."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        if any(event & select.POLLHUP for _, event in poll.poll()):
            return
        request = bytearray(_REQUEST.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
        except OSError:  # it ended before it was asked about
            continue
        cookie, pid, _, number, _, _, *words = _REQUEST.unpack(request)

        def answer(error: int, cookie: int = cookie) -> None:
            told = struct.pack("QqiI", cookie, 0, -error, 0 if error else 1)
            try:
                fcntl.ioctl(listener, _ANSWER, told)
            except OSError as gone:
                if gone.errno != errno.ENOENT:
                    raise

        call = _read(pid, number, words)
        if call is not None and call.target.is_relative_to(root):
            yield answer, call
        else:
            answer(0)


def _read(pid: int, number: int, words: list[int]) -> Call | None:
    name, how, at = _CALLS[number]
    try:
        if name in _FLAGS and not words[_FLAGS[name]] & (os.O_CREAT | os.O_TRUNC):
            return None
        if how == _FD:
            target = Path(f"/proc/{pid}/fd/{words[at]}").readlink()
        elif how == _PATH:
            target = _string(pid, words[at])
        else:
            folder = words[at] & 0xFFFFFFFF
            near = "cwd" if folder == 0xFFFFFF9C else f"fd/{folder}"
            target = Path(f"/proc/{pid}/{near}").readlink() / _string(pid, words[at + 1])
        return Call(name, target, _grows(pid, name, words, target))
    except OSError:
        return None


def _string(pid: int, address: int) -> Path:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 # no file's path
        memory.seek(address)
        return Path(os.fsdecode(memory.read(4096).partition(b"\0")[0]))


def _grows(pid: int, name: str, words: list[int], target: Path) -> bool:
    """Tell whether a call needs room that its file hasn't got yet."""
    if name in _FLAGS:
        return bool(words[_FLAGS[name]] & os.O_CREAT) and not target.exists()
    if name not in _WRITES:
        return name in _NAMES or name in {"fallocate", "copy_file_range", "sendfile"}
    size = os.stat(f"/proc/{pid}/fd/{words[0]}").st_size  # noqa: PTH116 # no file's path
    if name == "pwrite64":
        return words[3] + words[2] > size
    with open(f"/proc/{pid}/fdinfo/{words[0]}", encoding="ascii") as told:  # noqa: PTH123 # no file's path
        found = dict(line.split(":", 1) for line in told if ":" in line)
    if int(found["flags"], 8) & os.O_APPEND:
        return True
    return int(found["pos"]) + words[2] > size
