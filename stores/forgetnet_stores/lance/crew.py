"""The threads that write for one store: most of a writer's time is waiting for the disk.

Knows nothing of what they write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

__all__ = ["WRITERS", "Crew"]

WRITERS = 4  # more than there are cores, since they wait
P = ParamSpec("P")
R = TypeVar("R")


class Crew:
    """Threads that start when there is work, and stay until ``dismiss``."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="forgetnet-writer")
        self._started: list[Future[object]] = []

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Wait at the end, come what may, until everything begun inside is over."""
        try:
            yield
        finally:
            started, self._started = self._started, []
            wait(started)

    def begin(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Begin a piece of work."""
        future = self._pool.submit(work, *args, **kwargs)
        self._started.append(future)  # type: ignore[arg-type] # only waited for
        return future

    def dismiss(self) -> None:
        """End the threads."""
        self._pool.shutdown()
