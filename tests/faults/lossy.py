"""A disk that keeps only what it was told to sync, as a file system in user space.

Run as a program with the folder to mount it on. What is written stays in memory until ``fsync``:
of a file for its bytes and its size, of a folder for its entries, each alone, as strictly as POSIX
allows. When it is unmounted it reads a line: ``cut`` drops all the rest, ``cut N`` keeps or drops
or tears each of it by chance, ``new`` begins an empty disk; then it mounts itself again.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import stat
import sys
import time
from dataclasses import dataclass, field
from typing import Any

_BLOCK = 512


@dataclass
class Node:
    """A file or a folder: as programs see it, and as a cut of the power would leave it."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    entries: dict[str, int] = field(default_factory=dict)
    kept_data: bytes = b""
    kept_entries: dict[str, int] = field(default_factory=dict)
    when: int = field(default_factory=time.time_ns)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def sync(self) -> None:
        self.kept_data = bytes(self.data)
        self.kept_entries = dict(self.entries)


class Disk:
    """Nodes by number; 1 is the root."""

    def __init__(self) -> None:
        self.nodes = {1: Node(stat.S_IFDIR | 0o755)}
        self._numbers = itertools.count(2)

    def add(self, mode: int) -> int:
        number = next(self._numbers)
        self.nodes[number] = Node(mode)
        return number

    def number(self, path: str) -> int:
        found = 1
        for name in path.split("/"):
            if name:
                there = self.nodes[found].entries.get(name)
                if there is None:
                    raise OSError(errno.ENOENT, path)
                found = there
        return found

    def at(self, path: str) -> Node:
        return self.nodes[self.number(path)]

    def folder(self, path: str) -> tuple[Node, str]:
        above, _, name = path.rpartition("/")
        return self.at(above), name

    def links(self, number: int) -> int:
        return sum(list(node.entries.values()).count(number) for node in self.nodes.values())

    def cut(self, chance: random.Random | None) -> None:
        """Lose what was not synced: all of it, or by chance."""
        for node in self.nodes.values():
            if chance is not None:
                node.kept_data = _torn(chance, node.kept_data, bytes(node.data))
                for name in sorted(node.entries.keys() | node.kept_entries.keys()):
                    if chance.random() < 0.5:
                        _copy(name, node.entries, node.kept_entries)
            node.data = bytearray(node.kept_data)
            node.entries = dict(node.kept_entries)
        reached, todo = set(), [1]
        while todo:
            number = todo.pop()
            if number not in reached:
                reached.add(number)
                todo += self.nodes[number].entries.values()
        self.nodes = {number: self.nodes[number] for number in reached}


def _copy(name: str, source: dict[str, int], target: dict[str, int]) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)


def _torn(chance: random.Random, old: bytes, new: bytes) -> bytes:
    """Choose the old bytes, the new ones, or blocks of both."""
    if old == new or chance.random() < 0.3:
        return old
    if chance.random() < 0.4:
        return new
    size = chance.choice([len(old), len(new)])
    old, new = old.ljust(size, b"\0")[:size], new.ljust(size, b"\0")[:size]
    starts = range(0, size, _BLOCK)
    return b"".join(chance.choice([old, new])[i : i + _BLOCK] for i in starts)


class Lossy:
    """What the kernel asks of the disk; a handle is the number of a node."""

    use_ns = True

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def init(self, path: str) -> None:
        sys.stdout.write("mounted\n")
        sys.stdout.flush()

    def destroy(self, path: str) -> None:
        pass

    def _node(self, path: str | None, fh: int | None) -> Node:
        return self.disk.nodes[fh] if fh else self.disk.at(path or "/")

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, Any]:
        number = fh or self.disk.number(path or "/")
        node = self.disk.nodes[number]
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), node.when)
        size = len(node.data)
        return {
            "st_mode": node.mode,
            "st_ino": number,
            "st_nlink": 2 if node.is_folder else self.disk.links(number),
            "st_size": size,
            "st_blocks": -(-size // 512),
            **times,
        }

    def statfs(self, path: str) -> dict[str, int]:
        free = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree"), 1 << 20)
        return {"f_bsize": 4096, "f_frsize": 4096, "f_namemax": 255, **free}

    # -- folders

    def opendir(self, path: str) -> int:
        return self.disk.number(path)

    def readdir(self, path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        found = {".": fh, "..": fh, **self._node(path, fh).entries}
        nodes = self.disk.nodes
        return [(n, {"st_ino": i, "st_mode": nodes[i].mode}, 0) for n, i in found.items()]

    def releasedir(self, path: str | None, fh: int) -> int:
        return 0

    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        self._node(path, fh).sync()
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        folder, name = self.disk.folder(path)
        folder.entries[name] = self.disk.add(stat.S_IFDIR | mode)
        return 0

    def rmdir(self, path: str) -> int:
        if self.disk.at(path).entries:
            raise OSError(errno.ENOTEMPTY, path)
        return self.unlink(path)

    def unlink(self, path: str) -> int:
        folder, name = self.disk.folder(path)
        del folder.entries[name]
        return 0

    def rename(self, old: str, new: str) -> int:
        number = self.disk.number(old)
        source, before = self.disk.folder(old)
        target, after = self.disk.folder(new)
        there = target.entries.get(after)
        if there is not None and self.disk.nodes[there].entries:
            raise OSError(errno.ENOTEMPTY, new)
        if there != number:
            target.entries[after] = number
            del source.entries[before]
        return 0

    def link(self, target: str, source: str) -> int:
        folder, name = self.disk.folder(target)
        folder.entries[name] = self.disk.number(source)
        return 0

    # -- files

    def create(self, path: str, mode: int, flags: int = 0) -> int:
        folder, name = self.disk.folder(path)
        folder.entries[name] = number = self.disk.add(stat.S_IFREG | mode)
        return number

    def open(self, path: str, flags: int) -> int:
        number = self.disk.number(path)
        if flags & os.O_TRUNC:
            self.disk.nodes[number].data.clear()
        return number

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._node(path, fh).data[offset : offset + size])

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        node = self._node(path, fh)
        if offset > len(node.data):
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset : offset + len(data)] = data
        node.when = time.time_ns()
        return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        node = self._node(path, fh)
        del node.data[length:]
        node.data.extend(bytes(length - len(node.data)))
        node.when = time.time_ns()
        return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        self._node(path, fh).sync()
        return 0

    def flush(self, path: str | None, fh: int) -> int:
        return 0

    def release(self, path: str | None, fh: int) -> int:
        return 0

    def chmod(self, path: str, mode: int) -> int:
        node = self.disk.at(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self.disk.at(path).when = times[1] if times else time.time_ns()
        return 0


def main(folder: str) -> None:
    from mfusepy import FUSE

    disk = Disk()
    options = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    while True:
        FUSE(
            Lossy(disk), folder, foreground=True, nothreads=True, hard_remove=True, use_ino=True,
            **options,
        )  # fmt: skip
        told = sys.stdin.readline().split()
        if not told:
            return
        if told[0] == "new":
            disk = Disk()
        else:
            disk.cut(random.Random(int(told[1])) if len(told) > 1 else None)


if __name__ == "__main__":
    main(sys.argv[1])
