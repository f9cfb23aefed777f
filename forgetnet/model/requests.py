"""Requests to a model to forget: accepted at once, finished in turn, in the background or now.

A request is durable and served without its records when it is accepted. One thread finishes what
was accepted, all that waits in one go, so that a leaf which several requests touch is trained
once. Killed at any point, the next opening goes on from the journal.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from forgetnet.errors import ForgetIncomplete, ForgetNetError, StoreError
from forgetnet.forget.execute import Accepted, accept, finish, purge
from forgetnet.forget.office import Office
from forgetnet.forget.plan import Plan, Scope
from forgetnet.forget.receipt import Receipt
from forgetnet.forget.sweeping import expired
from forgetnet.memory import Memory
from forgetnet.store import Floats

__all__ = ["ModelMemory", "Pending", "Queue"]


class ModelMemory(Memory):
    """The memory of a model, with the halves of a forget."""

    def plan_of(self, scope: Scope) -> Plan:
        """Return what a forget of a scope would take."""
        return self._planned(scope)

    def vector_of(self, query: str | Floats | Sequence[float]) -> Floats:
        """Return the unit vector of a query."""
        return self._query_vector(query)

    def expired(self) -> Scope:
        """Name what has expired by now."""
        return expired(self._office)

    def settle(self) -> None:
        """Finish every forget that was cut short."""
        self._catch_up()

    def keeping(self) -> AbstractContextManager[Office]:
        """Give out what a forget works with, with nothing under way and nothing else let in."""
        return self._keeping()

    def accept(self, scope: Scope, *, reason: str, level: str) -> Accepted:
        """Make a request durable, and stop answering with what it names."""
        with self._lock:
            return accept(self._office, scope, reason=reason, level=level)

    def begin(self, take: Callable[[], list[Accepted]]) -> list[Accepted]:
        """Purge what was accepted; nothing is accepted between its being taken and that."""
        with self._lock:
            return purge(self._office, take())

    def finish(
        self, batch: list[Accepted], handed: Callable[[Accepted, Receipt], None]
    ) -> None:
        """Finish what was purged; the lock is let go while experts learn."""
        finish(self._office, batch, handed)

    @property
    def lock(self) -> threading.RLock:
        """Held while the records change."""
        return self._lock


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
        self._waiting: list[Accepted] = []
        self._futures: dict[str, Future[Receipt]] = {}
        self._failed: list[Accepted] = []
        self._changed = threading.Condition()
        self._gate = threading.RLock()
        self._busy_for = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, scope: Scope, *, reason: str, level: str) -> Pending:
        """Accept a request, and return while it is being finished.

        What was accepted before and failed is tried again together with it.

        Raises:
            InvalidScope: nothing was deleted.
            StoreError: the model was closed.
        """
        future: Future[Receipt] = Future()
        with self._gate, self._memory.lock:
            self._open()
            accepted = self._memory.accept(scope, reason=reason, level=level)
            with self._changed:
                self._futures[accepted.entry.name] = future
                self._waiting.append(accepted)
                if self._thread is None:
                    self._start()
                self._changed.notify_all()
        return Pending(accepted.entry.plan.ids, future)

    def _start(self) -> None:
        _RUNNING.add(self)
        self._thread = threading.Thread(target=self._run, name="forgetnet", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        if self._closed:
            raise StoreError("the model was closed; open it again")

    def working(self) -> bool:
        """Tell whether anything is being learnt, or about to be."""
        return bool(self._waiting) or self._busy_for > 0

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Finish everything that was accepted, and accept nothing meanwhile.

        Raises:
            ForgetIncomplete: what was accepted before can't be finished.
            StoreError: the model was closed.
        """
        with self._gate:
            with self._changed:
                self._changed.wait_for(lambda: not self.working())
                self._open()
            with self._at_work():
                if self._failed:
                    self._work()
                yield

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._changed:
            self._busy_for += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy_for -= 1
                self._changed.notify_all()

    def close(self, *, wait: bool) -> None:
        """Finish what was accepted, or leave it to the next opening, and end the thread."""
        if not wait:
            self._closed = True
            self._stop(True)
        with self._gate, self._changed:
            self._changed.wait_for(lambda: not wait or self._closed or not self.working())
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        for future in self._futures.values():
            future.set_exception(_incomplete("the model was closed"))
        self._futures.clear()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:  # what waits counts as work until it is taken
                    if self._closed or not self._waiting:
                        return  # an idle thread would keep a model that nobody has any more
                with self._at_work(), contextlib.suppress(ForgetIncomplete):  # the future has it
                    self._work()
        finally:
            with self._changed:
                self._thread = None
                if self._waiting and not self._closed:
                    self._start()

    def _work(self) -> None:
        """Finish what waits; what can't be is kept, and tried again with what comes next.

        Raises:
            ForgetIncomplete: it stopped midway.
        """
        batch: list[Accepted] = []

        def take() -> list[Accepted]:
            with self._changed:
                batch.extend([*self._failed, *self._waiting])
                self._failed, self._waiting = [], []
            return list(batch)

        def handed(accepted: Accepted, receipt: Receipt) -> None:
            batch[:] = [other for other in batch if other.entry.name != accepted.entry.name]
            if future := self._futures.pop(accepted.entry.name, None):
                future.set_result(receipt)

        problem = _incomplete("something else than forgetting failed; see the error of its thread")
        self._busy(True)
        try:
            self._memory.finish(self._memory.begin(take), handed)
        except (ForgetNetError, OSError) as error:
            problem = error if isinstance(error, ForgetIncomplete) else _incomplete(str(error))
            raise problem from error
        finally:
            self._busy(False)
            with self._changed:
                self._failed += batch
            for accepted in batch:
                if future := self._futures.pop(accepted.entry.name, None):
                    future.set_exception(problem)


def _incomplete(why: str) -> ForgetIncomplete:
    return ForgetIncomplete(f"the forget stopped midway: {why}; the next change or opening goes on")


_RUNNING: weakref.WeakSet[Queue] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    """Stop what is being learnt when the process ends: a thread inside torch would abort it.

    What was accepted is durable, and the next opening goes on with it.
    """
    for queue in list(_RUNNING):
        queue.close(wait=False)
