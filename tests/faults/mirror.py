"""A reader in a process of its own, and what can be found in its memory.

Two ways to look: at every object that the reader holds on to, and at every byte of the process,
freed ones included, from outside.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from forgetnet import Memory

KEY = bytes(range(32))
OPTIONS: dict[str, Any] = {"encoder": "hash:64", "key": KEY}


def held(root: object) -> Iterator[object]:
    """Every object that can be reached from one, but for code."""
    seen, todo = set(), [root]
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, ModuleType | FunctionType | type):
            continue
        seen.add(id(found))
        yield found
        todo += gc.get_referents(found)
        if isinstance(found, np.ndarray) and found.base is not None:
            todo.append(found.base)


def count_held(root: object, rows: Iterable[bytes], texts: Iterable[str]) -> tuple[int, int]:
    """Count the vectors and the texts that an object holds on to."""
    arrays, strings = bytearray(), set()
    for found in held(root):
        if isinstance(found, np.ndarray) and found.dtype != object:
            arrays += np.ascontiguousarray(found).tobytes()
        elif isinstance(found, bytes | bytearray):
            arrays += found
        elif isinstance(found, str):
            strings.add(found)
    said = "\0".join(strings)
    return sum(row in arrays for row in rows), sum(text in said for text in texts)


def memory_of(pid: int) -> bytes:
    """Every page that a process has written to and that isn't zero, freed ones included."""
    found, page = [], os.sysconf("SC_PAGE_SIZE")
    smaps = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in smaps:
            first, *rest = line.split()
            if "-" in first:
                start, end, rights = *(int(word, 16) for word in first.split("-")), rest[0]
            elif first == "Rss:" and rest[0] != "0" and rights.startswith("rw"):
                memory.seek(start)
                with suppress(OSError):  # of a device
                    pages = np.frombuffer(memory.read(end - start), np.uint8).reshape(-1, page)
                    found.append(pages[pages.any(axis=1)].tobytes())
    return b"".join(found)


def _serve(path: Path, pipe: Connection) -> None:
    with Memory.open(path, readonly=True, **OPTIONS) as memory:
        pipe.send(memory.count())
        while asked := pipe.recv():
            if asked[0] == "count":
                pipe.send(memory.count())
            elif asked[0] == "search":
                pipe.send(len(memory.search(asked[1], k=1_000)))
            else:
                pipe.send(count_held(memory, *asked[1:]))


class Mirror:
    """A reader in another process."""

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._child = context.Process(target=_serve, args=(path, there))
        self._child.start()
        there.close()
        self.pid = self._child.pid or 0
        self.opened: int = self._pipe.recv()

    def do(self, *asked: Any) -> Any:
        self._pipe.send(asked)
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(())
        self._child.join(20)
        self._child.kill()


@contextmanager
def mirror(path: Path) -> Iterator[Mirror]:
    found = Mirror(path)
    try:
        yield found
    finally:
        found.close()
