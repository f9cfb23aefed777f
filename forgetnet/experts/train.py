"""Training of leaves, here, in other processes or on other machines, to the same bits.

A job is a pure function of its fields, so it may run anywhere, and again where a worker died; a
result is an input to nothing but the state of its leaf. What the bits depend on beside the job is
named in the result, and results of several kinds of machine are refused. Knows nothing of models
and files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts.expert import Expert, Stage, State, View
from forgetnet.experts.pinned import environment, pinned
from forgetnet.experts.slices import prefixes

__all__ = [
    "Collected",
    "Job",
    "Local",
    "Progress",
    "Sliced",
    "Trained",
    "Trainer",
    "carry_out",
    "run",
    "stages_of",
]


@runtime_checkable
class Sliced(Protocol):
    """An expert that can be trained in slices."""

    @property
    def slices(self) -> int:
        """How many slices a leaf has, at least one."""
        ...


def stages_of(expert: Expert) -> int:
    """Return how many checkpoints a leaf of this expert has."""
    return expert.slices if isinstance(expert, Sliced) else 1


@dataclass(frozen=True)
class Job:
    """One leaf to train.

    Attributes:
        expert: its kind and settings.
        view: all records of the leaf, at least one.
        seed: of the leaf.
        start_stage: the first stage to train.
        start: the checkpoint after the stage before; None where there is none.
    """

    expert: Expert
    view: View = field(repr=False)
    seed: int = field(repr=False)
    start_stage: int = 0
    start: State | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Trained:
    """What came of a job.

    Attributes:
        states: one a stage, from the job's first stage to the last; none where it was refused.
        environment: names what the bits depend on beside the job.
        refused: why the expert can't learn from these records; as much a function of the job as
            its states are.
    """

    states: tuple[State, ...] = field(repr=False)
    environment: str
    refused: str = ""


def run(job: Job) -> list[State]:
    """Train a leaf from its first stale stage on, and return a state for each stage.

    The state of a stage whose slices are all empty has no arrays and the count 0 in ``meta``.

    Raises:
        InvalidRecord: the leaf holds no records, or its first stage is none of the expert's.
    """
    count = stages_of(job.expert)
    if not len(job.view):
        raise InvalidRecord("there is nothing to learn from: the leaf has no records")
    if not 0 <= job.start_stage < count or (job.start is None) != (job.start_stage == 0):
        raise InvalidRecord(
            f"stage {job.start_stage} of {count} needs the checkpoint before it, stage 0 none"
        )
    states: list[State] = []
    last = job.start
    for index, prefix in enumerate(prefixes(job.view, count)):
        if index < job.start_stage:
            continue
        if not len(prefix):
            last = State({}, {"records": 0})
        else:
            known = None if last is None or last.meta.get("records") == 0 else last
            last = job.expert.fit(prefix, job.seed, known, Stage(index, count))
        states.append(last)
    return states


def carry_out(job: Job) -> Trained:
    """Run a job with everything pinned, and name the environment from the inside."""
    with pinned():
        try:
            return Trained(tuple(run(job)), environment())
        except InvalidRecord as error:
            return Trained((), environment(), str(error))


Progress = Callable[[int, Trained], None]
"""Told of each finished job, by its number, in the thread that waits for them."""


@runtime_checkable
class Trainer(Protocol):
    """A place to train many leaves."""

    def run(
        self,
        jobs: Sequence[Job],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> list[Trained | None]:
        """Train leaves and return the results in the order of the jobs.

        Args:
            jobs: in any order; none depends on another.
            progress: told of each as it ends, in no particular order.
            stop: set it from another thread, and no further job is begun; those have None.

        Raises:
            Unsupported: the results come from machines whose bits differ, or an extra is missing.
            StoreError: workers were lost again and again.
        """
        ...


class Collected:
    """The results so far: all of one environment."""

    def __init__(self, jobs: int, progress: Progress | None) -> None:
        self.results: list[Trained | None] = [None] * jobs
        self._progress = progress
        self._environment = ""

    def take(self, number: int, trained: Trained) -> None:
        """Keep the result of a job.

        Raises:
            Unsupported: it comes from another environment than those before.
        """
        self._environment = self._environment or trained.environment
        if trained.environment != self._environment:
            raise Unsupported(
                "leaves were trained in two environments, so that a retrained leaf would not have "
                f"the same bits: ({self._environment}) and ({trained.environment}); train on "
                "machines of one kind, or lower ATEN_CPU_CAPABILITY on all to what each has"
            )
        self.results[number] = trained
        if self._progress is not None:
            self._progress(number, trained)

    def open(self) -> list[int]:
        """Return the numbers of the jobs that have no result."""
        return [number for number, result in enumerate(self.results) if result is None]


@dataclass(frozen=True)
class Local:
    """In this process, one leaf after the other, on one thread."""

    def run(
        self,
        jobs: Sequence[Job],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> list[Trained | None]:
        """Train leaves here; see :meth:`Trainer.run`."""
        found = Collected(len(jobs), progress)
        for number, job in enumerate(jobs):
            if stop is not None and stop.is_set():
                break
            found.take(number, carry_out(job))
        return found.results
