"""Requests to a model to forget: accepted at once, finished in turn, in the background or now.

A request is durable and served without its records when it is accepted. One thread finishes what
was accepted, all that waits in one go, so that a leaf which several requests touch is trained
once. Killed at any point, the next opening goes on from the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from forgetnet.errors import ForgetIncomplete, ForgetNetError, StoreError
from forgetnet.forget.execute import Accepted, accept, finish, settle
from forgetnet.forget.plan import Scope
from forgetnet.forget.receipt import Receipt
from forgetnet.memory import Memory

__all__ = ["ModelMemory", "Pending", "Queue"]


class ModelMemory(Memory):
    """The memory of a model, with the halves of a forget."""

    def settle(self) -> list[Receipt]:
        """Finish every forget that was cut short."""
        with self._lock:
            return settle(self._office)

    def accept(self, scope: Scope, *, reason: str, level: str) -> Accepted:
        """Make a request durable, and stop answering with what it names."""
        with self._lock:
            return accept(self._office, scope, reason=reason, level=level)

    def finish(self, batch: list[Accepted]) -> list[Receipt]:
        """Finish what was accepted; the lock is let go while experts learn."""
        return finish(self._office, batch)


@dataclass(frozen=True)
class Pending:
    """A forget that was accepted: durable, and nothing answers with its records any more."""

    ids: tuple[str, ...] = field(repr=False)
    _future: Future[Receipt] = field(repr=False)

    def done(self) -> bool:
        """Tell whether the receipt is there, or what stopped it."""
        return self._future.done()

    def receipt(self, timeout: float | None = None) -> Receipt:
        """Wait for the receipt, at most so many seconds.

        Raises:
            ForgetIncomplete: it stopped midway; the next change or opening goes on.
            TimeoutError: it isn't there yet.
        """
        return self._future.result(timeout)


class Queue:
    """What was accepted and waits to be finished, and the thread that does it.

    Args:
        memory: of the model.
        busy: told whether others wait for answers while work goes on.
        stop: makes training end after the leaf that it is at.
    """

    def __init__(
        self, memory: ModelMemory, busy: Callable[[bool], None], stop: Callable[[bool], None]
    ) -> None:
        self._memory = memory
        self._busy = busy
        self._stop = stop
        self._waiting: list[tuple[Accepted, Future[Receipt]]] = []
        self._changed = threading.Condition()
        self._working = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, scope: Scope, *, reason: str, level: str) -> Pending:
        """Accept a request, and return while it is being finished.

        Raises:
            InvalidScope: nothing was deleted.
            StoreError: the model was closed, or what was accepted before it has failed.
        """
        with self._changed:
            if self._closed:
                raise StoreError("the model was closed; open it again")
            accepted = self._memory.accept(scope, reason=reason, level=level)
            future: Future[Receipt] = Future()
            self._waiting.append((accepted, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="forgetnet", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return Pending(accepted.entry.plan.ids, future)

    def drain(self) -> None:
        """Wait until everything that was accepted is finished."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._working)

    def close(self, *, wait: bool) -> None:
        """Finish what was accepted, or leave it to the next opening, and end the thread."""
        if wait:
            self.drain()
        with self._changed:
            self._closed = True
            self._stop(True)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
                if self._closed:
                    return
                batch, self._waiting = self._waiting, []
                self._working = True
            try:
                self._finish(batch)
            finally:
                with self._changed:
                    self._working = False
                    self._changed.notify_all()

    def _finish(self, batch: list[tuple[Accepted, Future[Receipt]]]) -> None:
        self._busy(True)
        try:
            receipts = self._memory.finish([accepted for accepted, _ in batch])
        except (ForgetNetError, OSError) as error:
            for _, future in batch:
                future.set_exception(_incomplete(error))
        else:
            for (_, future), receipt in zip(batch, receipts, strict=True):
                future.set_result(receipt)
        finally:
            self._busy(False)


def _incomplete(error: Exception) -> ForgetIncomplete:
    if isinstance(error, ForgetIncomplete):
        return error
    return ForgetIncomplete(f"the forget stopped midway: {error}")
