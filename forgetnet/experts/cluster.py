"""Training of leaves on a Ray cluster, or on a Ray of this machine.

A leaf is one task of one processor; Ray begins it anew where its node is lost, to the same bits.
Records travel through Ray's object store, in the memory of the nodes; Ray may spill that to disk
where it is full, and what it spills is no file of ours: no receipt speaks of it. Knows nothing of
what a job does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from forgetnet.errors import InvalidRecord, StoreError, not_installed
from forgetnet.experts.train import Collected, Job, Progress, Trained, carry_out

__all__ = ["RayTrainer"]

_LOOK_S = 0.2


@dataclass(frozen=True)
class RayTrainer:
    """On the Ray that is running, or on one started for the call. Needs the extra ``ray``.

    The nodes need forgetnet in the same version, and processors of one kind.

    Attributes:
        address: of a cluster to connect to; None uses the present connection, or starts a Ray
            on this machine, without its usage statistics and its dashboard.
        workers: most leaves at a time; None is as many as the cluster has processors.
        retries: how often a leaf is begun anew when its worker or its node is lost.
    """

    address: str | None = None
    workers: int | None = None
    retries: int = 3

    def __post_init__(self) -> None:
        if (self.workers is not None and self.workers < 1) or self.retries < 0:
            raise InvalidRecord("workers is at least 1, retries at least 0")

    def run(
        self,
        jobs: Sequence[Job],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> list[Trained | None]:
        """Train leaves as tasks of Ray; see :meth:`Trainer.run`."""
        found = Collected(len(jobs), progress)
        if not jobs:
            return found.results
        with _connected(self.address) as ray:
            task = ray.remote(num_cpus=1, max_retries=self.retries)(carry_out)
            waiting = list(reversed(range(len(jobs))))
            running: dict[Any, int] = {}
            halted = False
            try:
                while running or (waiting and not halted):
                    halted = halted or (stop is not None and stop.is_set())
                    while waiting and not halted and len(running) < self._most(ray):
                        number = waiting.pop()
                        running[task.remote(jobs[number])] = number
                    for ref in ray.wait(list(running), timeout=_LOOK_S)[0] if running else ():
                        found.take(running.pop(ref), ray.get(ref))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise StoreError(
                    f"Ray lost the worker of a leaf {self.retries + 1} times or more "
                    f"({type(error).__name__}); look at the memory of its nodes"
                ) from error
            finally:
                for ref in running:
                    ray.cancel(ref, force=True)
        return found.results

    def _most(self, ray: Any) -> int:
        return self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Yield ray, connected; a Ray that was started here ends here."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise not_installed("ray", "ray") from error
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    ray.init(address=address or "local", **options)
    try:
        yield ray
    finally:
        ray.shutdown()
