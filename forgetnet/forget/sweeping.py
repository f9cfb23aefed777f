"""Forgetting what has expired: by hand, or in the background every so many seconds.

Knows nothing of what expires; it asks, and what it asks for goes the path of every forget.
"""

from __future__ import annotations

import logging
import threading
import weakref
from abc import abstractmethod

from forgetnet.errors import ForgetNetError, StoreError
from forgetnet.forget.execute import planned
from forgetnet.forget.office import Office
from forgetnet.forget.plan import Scope
from forgetnet.forget.receipt import Receipt

__all__ = ["Sweeper", "Sweeps", "check_every", "expired", "is_due"]

_log = logging.getLogger("forgetnet")


def expired(office: Office) -> Scope:
    """Name what has expired by now."""
    return Scope(expired={"expires_at": {"$lte": office.clock()}})


def is_due(office: Office) -> bool:
    """Tell whether anything has expired that a sweep would erase; what is held isn't."""
    scope = expired(office)
    if not office.store.count(scope.expired):
        return False
    return bool(planned(office, scope).ids)


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

    It keeps nothing alive: it ends when what it sweeps is gone. A sweep that fails is logged, by
    the kind of its error, and the next one goes on from there.
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
            try:
                if owner.overdue():
                    owner.sweep()
            except (ForgetNetError, OSError) as error:
                if not self._stopped.is_set():
                    _log.warning("a sweep failed (%s) and is tried again", type(error).__name__)
            del owner
            self._stopped.wait(self._every)

    def stop(self) -> None:
        """End the thread, after the sweep that it is at."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
