"""Doing something again and again until Ctrl-C, which cuts nothing short.

Knows nothing of what is done.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["until_interrupted"]

_ENDS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def until_interrupted() -> Iterator[threading.Event]:
    """Give out an event that Ctrl-C, or a polite end of the process, sets instead of raising.

    A second Ctrl-C does what it always did.
    """
    asked, before = threading.Event(), {number: signal.getsignal(number) for number in _ENDS}

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in _ENDS:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
