"""Forgetting what has expired: by hand, or in the background every so many seconds.

Knows nothing of what expires; it asks, and what it asks for goes the path of every forget.
"""

from __future__ import annotations

import logging
import threading
import weakref
from abc import abstractmethod
from types import TracebackType

from forgetnet.errors import StoreError
from forgetnet.forget.held import allowed
from forgetnet.forget.office import Office
from forgetnet.forget.plan import Scope, resolve
from forgetnet.forget.receipt import Receipt

__all__ = ["Sweeper", "Sweeps", "check_every", "expired", "is_due"]

_log = logging.getLogger("forgetnet")


def expired(office: Office) -> Scope:
    """Name what has expired by now."""
    return Scope(expired={"expires_at": {"$lte": office.clock()}})


def is_due(office: Office) -> bool:
    """Tell whether anything has expired that a sweep would erase, or finish erasing.

    What is held isn't.
    """
    if not office.readonly and office.owes[0] and office.journal.pending():
        return True  # one that was cut short: nothing of it is there to be counted any more
    scope = expired(office)
    if not office.store.count(scope.expired):
        return False
    return bool(allowed(office, resolve(office.store, scope, office.salt), scope).ids)


def check_every(every: object) -> float | None:
    """Return the seconds between two sweeps.

    Raises:
        StoreError: it is no positive number.
    """
    if every is None:
        return None
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0 < every < 1e7:
        raise StoreError("sweep_every= is a number of seconds above 0, or None for no sweeps")
    return float(every)


class Sweeps:
    """Something whose records expire."""

    @abstractmethod
    def sweep(self) -> Receipt:
        """Forget every record that has expired."""

    @abstractmethod
    def overdue(self) -> bool:
        """Tell whether a sweep would erase anything."""


class Sweeper:
    """A thread that sweeps at once and then every so many seconds, until it is stopped.

    It keeps nothing alive: it ends when what it sweeps is gone. A sweep that fails, by whatever
    error, is logged by the kind of that error alone, and the next one goes on from there.
    """

    def __init__(self, owner: Sweeps, every: float) -> None:
        self._owner = weakref.ref(owner)
        self._every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forgetnet-sweeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            owner = self._owner()
            if owner is None:
                return
            with _Turn(self._stopped):
                if owner.overdue():
                    owner.sweep()
            del owner
            self._stopped.wait(self._every)

    def ask(self) -> None:
        """Have no further sweep begin."""
        self._stopped.set()

    def stop(self) -> None:
        """End the thread, after the sweep that it is at, however long that takes."""
        self.ask()
        if self._thread is not threading.current_thread():
            self._thread.join()


class _Turn:
    """One turn of a sweeper: what goes wrong in it is logged, and doesn't end the thread.

    An error of others, as of an encoder or of an expert, may quote what it was about, so that
    only its kind is told.
    """

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Log an error; what ends a process or a thread on purpose passes."""
        if kind is None or not issubclass(kind, Exception):
            return False
        if not self._stopped.is_set():
            _log.warning("a sweep failed (%s) and is tried again", kind.__name__)
        return True
