"""Every state that a power cut may leave: prefixes of what was written, and what of it was kept.

A recorder stands before the calls of ``os`` that change a disk. What isn't synced when the power
goes is lost, kept or torn, file by file and entry by entry, in any combination. What other code
writes (Lance, tarfile) is seen when it is synced. Knows nothing of memories.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Disk", "KilledError", "Op", "Recorder", "State", "states"]

_MOST = 48
"""Combinations of one prefix; of more, a sample is taken that holds the extremes."""


class KilledError(BaseException):
    """The process is gone; not an error that any handler may swallow."""


@dataclass(frozen=True, slots=True)
class Op:
    """One change: what it is, which file it is of, and its bytes or its other path."""

    kind: str
    path: str = ""
    file: int = 0
    at: int = 0
    data: bytes = b""
    to: str = ""


class Recorder:
    """Records what changes below a folder, in one order over all threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ops: list[Op] = []
        self.tree: dict[str, int] = {}  # 0 is a folder
        self.content: dict[int, bytes] = {}
        self.kill_at = 0
        self._fds: dict[int, str] = {}
        self._files = itertools.count(1)
        self._lock = threading.RLock()
        self._dead = False
        for path in sorted(root.rglob("*")):
            self._meet(path)
        self.first = (dict(self.tree), dict(self.content))

    def _meet(self, path: Path) -> int:
        name = path.relative_to(self.root).as_posix()
        if path.is_dir():
            self.tree[name] = 0
            return 0
        found = self.tree[name] = next(self._files)
        self.content[found] = path.read_bytes()
        return found

    def _name(self, path: Any) -> str | None:
        whole = Path(os.fspath(path)).absolute()
        return whole.relative_to(self.root).as_posix() if whole.is_relative_to(self.root) else None

    def told(self, word: str) -> None:
        """Take a word of the story into the record."""
        self.ops.append(Op(word))

    def revive(self) -> None:
        """Let a new process begin where one was killed."""
        self._dead, self.kill_at = False, 0

    def _log(self, op: Op) -> None:
        if self.kill_at and len(self.ops) >= self.kill_at:
            self._dead = True
        if self._dead:
            raise KilledError
        self.ops.append(op)

    def _folders(self, name: str) -> None:
        """Record the folders above a name that others made."""
        for above in reversed(Path(name).parents):
            if str(above) != "." and above.as_posix() not in self.tree:
                self._log(Op("mkdir", above.as_posix()))
                self.tree[above.as_posix()] = 0

    def _seen(self, name: str, data: bytes) -> int:
        """Record a file as others left it; return its number."""
        self._folders(name)
        file = self.tree.get(name)
        if file is None:
            file = self.tree[name] = next(self._files)
            self.content[file] = b""
            self._log(Op("create", name, file))
        if self.content[file] != data:
            self._log(Op("truncate", name, file, 0))
            self._log(Op("write", name, file, 0, data))
            self.content[file] = data
        return file

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Record inside of the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "close", "write", "pwrite", "ftruncate", "fsync", "replace",
                         "rename", "unlink", "rmdir", "mkdir", "link"):  # fmt: skip
                patch.setattr(os, name, self._wrapped(getattr(self, f"_{name}"), getattr(os, name)))
            yield

    def _wrapped(self, record: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            with self._lock:
                return record(real, *given, **more)

        return call

    # -- one for each call: the record first, so that a kill comes before the deed

    def _open(self, real: Any, path: Any, flags: int, *more: Any, **named: Any) -> int:
        name = None if isinstance(path, int) else self._name(path)
        if name is not None and flags & os.O_CREAT and not os.path.lexists(path):
            self._folders(name)
            file = next(self._files)
            self._log(Op("create", name, file))
            self.tree[name], self.content[file] = file, b""
        elif name is not None and flags & (os.O_WRONLY | os.O_RDWR):
            if self._dead:
                raise KilledError
            self._seen(name, Path(path).read_bytes())
        fd: int = real(path, flags, *more, **named)
        self._fds.pop(fd, None)
        if name is not None:
            self._fds[fd] = name
        return fd

    def _close(self, real: Any, fd: int) -> None:
        self._fds.pop(fd, None)
        real(fd)

    def _put(self, fd: int, at: int, data: bytes) -> None:
        name = self._fds[fd]
        file = self.tree[name]
        self._log(Op("write", name, file, at, data))
        old = self.content[file].ljust(at, b"\0")
        self.content[file] = old[:at] + data + old[at + len(data) :]

    def _write(self, real: Any, fd: int, data: Any) -> int:
        if fd in self._fds:
            at = os.fstat(fd).st_size if _appends(fd) else os.lseek(fd, 0, os.SEEK_CUR)
            self._put(fd, at, bytes(data))
        return int(real(fd, data))

    def _pwrite(self, real: Any, fd: int, data: Any, at: int) -> int:
        if fd in self._fds:
            self._put(fd, at, bytes(data))
        return int(real(fd, data, at))

    def _ftruncate(self, real: Any, fd: int, size: int) -> None:
        if fd in self._fds:
            file = self.tree[self._fds[fd]]
            self._log(Op("truncate", self._fds[fd], file, size))
            self.content[file] = self.content[file][:size].ljust(size, b"\0")
        real(fd, size)

    def _fsync(self, real: Any, fd: int) -> None:
        name = self._fds.get(fd)
        if name is not None:
            about = os.fstat(fd)
            if stat.S_ISDIR(about.st_mode):
                self._folders(name + "/x")
                self._log(Op("syncdir", name))
            elif about.st_nlink:
                data = (self.root / name).read_bytes()
                self._log(Op("sync", name, self._seen(name, data)))
        real(fd)

    def _rename(self, real: Any, path: Any, to: Any, **more: Any) -> None:
        name, new = self._name(path), self._name(to)
        if name is not None and new is not None:
            self._log(Op("rename", name, self.tree.get(name, 0), to=new))
            _rename(self.tree, name, new)
        real(path, to, **more)

    _replace = _rename

    def _link(self, real: Any, path: Any, to: Any, **more: Any) -> None:
        name, new = self._name(path), self._name(to)
        real(path, to, **more)
        if name is not None and new is not None:
            self._log(Op("create", new, self.tree[name]))
            self.tree[new] = self.tree[name]

    def _gone(self, kind: str, real: Any, path: Any, **more: Any) -> None:
        name = self._name(path) if "dir_fd" not in more else None
        if name is not None and os.path.lexists(path):  # of any path
            if kind == "unlink":
                self._seen(name, Path(path).read_bytes())
            self._log(Op(kind, name))
            self.tree.pop(name, None)
        real(path, **more)

    def _unlink(self, real: Any, path: Any, **more: Any) -> None:
        self._gone("unlink", real, path, **more)

    def _rmdir(self, real: Any, path: Any, **more: Any) -> None:
        self._gone("rmdir", real, path, **more)

    def _mkdir(self, real: Any, path: Any, *more: Any, **named: Any) -> None:
        name = self._name(path)
        if name is not None and not os.path.lexists(path):  # of any path
            self._log(Op("mkdir", name))
            self.tree[name] = 0
        real(path, *more, **named)


def _appends(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)


def _rename(tree: dict[str, int], name: str, new: str) -> None:
    moved = {p: f for p, f in tree.items() if p == name or p.startswith(name + "/")}
    for path in moved:
        del tree[path]
    tree |= {new + path[len(name) :]: file for path, file in moved.items()}


# -- what may be left


@dataclass(slots=True)
class State:
    """A folder as a power cut may leave it.

    Attributes:
        at: how many changes came before the cut.
        done: how many steps had been acknowledged.
        late: whether something was, in a second process.
        files: bytes by path; None is a folder.
        whole: whether every combination of this prefix was taken, not a sample.
    """

    at: int
    done: int
    files: dict[str, bytes | None] = field(repr=False)
    whole: bool = True
    late: bool = False

    def key(self) -> bytes:
        """Tell states apart that differ in what is there or in what was promised."""
        total = hashlib.sha256(b"%d %d" % (self.done, self.late))
        for path, data in sorted(self.files.items()):
            digest = b"folder" if data is None else hashlib.sha256(data).digest()
            total.update(path.encode() + b"\0" + digest)
        return total.digest()

    def lay_out(self, root: Path) -> None:
        """Make the folder."""
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for path, data in sorted(self.files.items()):
            if data is None:
                (root / path).mkdir()
            else:
                (root / path).write_bytes(data)


_FATES = ("lost", "kept", "torn", "zeroed")


def _folder(path: str) -> str:
    return Path(path).parent.as_posix()


class Disk:
    """What is durable, and what isn't yet: ``entries`` of folders, and ``writes`` to files."""

    def __init__(self, first: tuple[dict[str, int], dict[int, bytes]]) -> None:
        self.tree, self.content = dict(first[0]), dict(first[1])
        self.entries: list[Op] = []
        self.writes: list[Op] = []

    def take(self, op: Op) -> None:
        """Go on by one change."""
        if op.kind in {"write", "truncate"}:
            self.writes.append(op)
        elif op.kind == "sync":
            for write in [w for w in self.writes if w.file == op.file]:
                _write(self.content, write, "kept")
            self.writes = [w for w in self.writes if w.file != op.file]
        elif op.kind == "syncdir":
            mine = [e for e in self.entries if _folder(e.to or e.path) == op.path]
            for entry in mine:
                _enter(self.tree, entry)
            self.entries = [e for e in self.entries if e not in mine]
        else:
            self.entries.append(op)

    def after(self, entries: Sequence[bool], writes: Sequence[str]) -> dict[str, bytes | None]:
        tree, content = dict(self.tree), dict(self.content)
        for entry, kept in zip(self.entries, entries, strict=True):
            if kept:
                _enter(tree, entry)
        for write, fate in zip(self.writes, writes, strict=True):
            _write(content, write, fate)
        # What lies in a folder whose own entry was lost can't be reached.
        there = {p for p in tree if all(str(q) == "." or tree.get(q.as_posix()) == 0
                                        for q in Path(p).parents)}  # fmt: skip
        return {p: content.get(tree[p], b"") if tree[p] else None for p in there}

    def fates(self, chance: random.Random) -> tuple[bool, list[tuple[list[bool], list[str]]]]:
        """List combinations of what may be kept; tell whether these are all."""
        m, n = len(self.entries), len(self.writes)
        if 2**m * len(_FATES) ** n <= _MOST:
            found = [
                (list(entries), list(writes))
                for entries in itertools.product((False, True), repeat=m)
                for writes in itertools.product(_FATES, repeat=n)
            ]
            return True, found
        some = [([e] * m, [w] * n) for e in (False, True) for w in _FATES]
        for i in range(m):
            some += [([j != i for j in range(m)], ["kept"] * n)]
            some += [([j == i for j in range(m)], ["kept"] * n)]
        while len(some) < _MOST:
            some.append((chance.choices((False, True), k=m), chance.choices(_FATES, k=n)))
        return False, chance.sample(some, _MOST) if len(some) > 2 * _MOST else some


def _enter(tree: dict[str, int], entry: Op) -> None:
    if entry.kind == "rename":
        _rename(tree, entry.path, entry.to)
        if entry.file:  # its own creation was lost: the name goes to the file all the same
            tree[entry.to] = entry.file
    elif entry.kind in {"unlink", "rmdir"}:
        tree.pop(entry.path, None)
    else:
        tree[entry.path] = entry.file


def _write(content: dict[int, bytes], write: Op, fate: str) -> None:
    if fate == "lost":
        return
    old = content.get(write.file, b"")
    if write.kind == "truncate":
        content[write.file] = old[: write.at].ljust(write.at, b"\0")
        return
    data = write.data
    if fate == "torn":
        data = data[: len(data) // 2]
    elif fate == "zeroed":  # the length came to the disk, the bytes didn't; what was there stays
        stood = old[write.at : write.at + len(data)]
        data = stood + bytes(len(data) - len(stood))
    old = old.ljust(write.at, b"\0")
    content[write.file] = old[: write.at] + data + old[write.at + len(data) :]


def states(recorder: Recorder, seed: int = 1, start: int = 0) -> Iterator[State]:
    """Iterate over the different states that a cut may leave, after ``start`` changes or more."""
    chance = random.Random(seed)
    disk = Disk(recorder.first)
    begun, late, done, known = False, False, 0, set[bytes]()
    for at, op in enumerate([*recorder.ops, Op("end")]):
        if begun and at >= start:
            whole, fates = disk.fates(chance)
            for entries, writes in fates:
                state = State(at, done, disk.after(entries, writes), whole, late)
                if (key := state.key()) not in known:
                    known.add(key)
                    yield state
        begun = begun or op.kind == "begin"
        done += op.kind == "done"
        late = late or op.kind == "late"
        if op.path or op.kind == "syncdir":
            disk.take(op)
