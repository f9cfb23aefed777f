"""How large files are and when they changed, which shows what a purge had no business with.

Knows nothing of what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from stat import S_ISDIR

__all__ = ["exceed", "is_other", "stamp"]


def stamp(path: Path) -> tuple[int, int]:
    """Return how large a file or a folder with all in it is, and when it last changed."""
    found = path.stat()
    size, newest = found.st_size, found.st_mtime_ns
    todo = [str(path)] if S_ISDIR(found.st_mode) else []
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                size, newest = size + found.st_size, max(newest, found.st_mtime_ns)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return size, newest


def is_other(path: Path, before: tuple[int, int]) -> bool:
    """Tell whether a file has gone, or another stamp than before."""
    try:
        return stamp(path) != before
    except FileNotFoundError:
        return True


def exceed(paths: Sequence[Path], size: int) -> bool:
    """Tell whether files are larger together; of many, only some are asked."""
    return any(total > size for total in accumulate(stamp(path)[0] for path in paths))
