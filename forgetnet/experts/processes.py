"""Training of leaves in other processes of this machine, by loky.

A worker that dies is replaced and its leaf begun anew, to the same bits. Workers end with the
call, so that none keeps records in its memory. Knows nothing of what a job does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from forgetnet.errors import InvalidRecord, StoreError, not_installed
from forgetnet.experts.train import Collected, Job, Progress, Trained, carry_out

__all__ = ["Processes"]

_LOOK_S = 0.2
_ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Processes:
    """In ``workers`` processes, one leaf each at a time.

    Jobs travel by cloudpickle, so modules defined in a notebook are fine. Needs the extra
    ``learn``.

    Attributes:
        workers: processes.
        retries: how often in a row workers may die without a job ending in between.
    """

    workers: int = 2
    retries: int = 3

    def __post_init__(self) -> None:
        if self.workers < 1 or self.retries < 0:
            raise InvalidRecord("workers is at least 1, retries at least 0")

    def run(
        self,
        jobs: Sequence[Job],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> list[Trained | None]:
        """Train leaves in the workers; see :meth:`Trainer.run`."""
        found = Collected(len(jobs), progress)
        died = 0
        while (left := found.open()) and not (stop is not None and stop.is_set()):
            before = len(left)
            if self._round(jobs, left, found, stop):
                break
            died = died + 1 if len(found.open()) == before else 0
            if died > self.retries:
                raise StoreError(
                    f"workers died {died} times in a row without ending a leaf; they may lack "
                    "memory: use fewer workers or smaller leaves"
                )
        return found.results

    def _round(
        self,
        jobs: Sequence[Job],
        left: Sequence[int],
        found: Collected,
        stop: threading.Event | None,
    ) -> bool:
        """Run jobs until all are done or a worker dies; return whether none died."""
        from concurrent.futures.process import BrokenProcessPool

        waiting = list(reversed(left))
        running: dict[Future[Trained], int] = {}
        with _pool(min(self.workers, len(left))) as pool:
            while running or (waiting and not (stop is not None and stop.is_set())):
                try:
                    while waiting and len(running) < self.workers:
                        if stop is not None and stop.is_set():
                            break
                        number = waiting.pop()
                        running[pool.submit(carry_out, jobs[number])] = number
                    for future in wait(running, _LOOK_S, FIRST_COMPLETED).done:
                        found.take(running.pop(future), future.result())
                except BrokenProcessPool:
                    return False
        return True


@contextmanager
def _pool(workers: int) -> Iterator[Any]:
    try:
        from joblib.externals import loky
    except ImportError as error:
        raise not_installed("joblib", "learn") from error
    pool = loky.ProcessPoolExecutor(workers, env=_ENV)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)
