"""ForgetNet: a model of experts over a frozen encoder and a deletable memory, as one object.

Every verb that changes the model changes the memory first, durably, and brings the experts in
line with it; so whatever happens in between, the experts can be made again from the records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy.typing as npt

from forgetnet.atlas.mapping import Maps
from forgetnet.component import Attachable
from forgetnet.encode import Encoder
from forgetnet.errors import InvalidRecord, InvalidScope, StoreCorrupt, StoreError
from forgetnet.experts.expert import Expert, Task
from forgetnet.experts.neighbour import NeighbourExpert
from forgetnet.experts.router import Router
from forgetnet.experts.train import Local, Trainer
from forgetnet.filters import Filter
from forgetnet.forget.backing import Backs
from forgetnet.forget.journal import Journal
from forgetnet.forget.keeping import Keeps
from forgetnet.forget.keys import derive_salt
from forgetnet.forget.linked import Relates
from forgetnet.forget.office import Office
from forgetnet.forget.plan import Plan, Scope
from forgetnet.forget.proposal import Proposes
from forgetnet.forget.receipt import Receipt
from forgetnet.forget.suppression import Suppress
from forgetnet.forget.sweeping import Sweeper, Sweeps, check_every, is_due
from forgetnet.forget.verbs import reason_of, scope_of
from forgetnet.given import check_switches, path_of, root_of, text_of
from forgetnet.meaning import Scopes
from forgetnet.model.answering import Answering
from forgetnet.model.copy import copy_model
from forgetnet.model.core import Core
from forgetnet.model.inputs import check_labelled, to_records
from forgetnet.model.requests import ModelMemory, Pending, Queue
from forgetnet.model.roster import LABEL
from forgetnet.model.settings import checked, stack_for
from forgetnet.model.stack import Stack
from forgetnet.opening import Key, Parts, is_filed, is_sealed, open_parts
from forgetnet.reader import Reader, now
from forgetnet.store import Floats

__all__ = ["ForgetNet"]

_FOLDER = "experts"
_UNSEALED = (
    "older copies of what experts learnt: unlike the rows they learnt from, that isn't sealed with "
    "keys of the subjects"
)


class ForgetNet(Answering, Scopes, Keeps, Sweeps, Backs, Maps, Relates):
    """A model that forgets exactly; make or open one with :meth:`ForgetNet.open`."""

    def __init__(
        self,
        parts: Parts,
        stack: Stack,
        trainer: Trainer,
        *,
        clock: Callable[[], datetime] = now,
        models: Sequence[Attachable] = (),
        progress: bool = True,
    ) -> None:
        core = Core(
            parts.store,
            stack,
            parts.home.path(_FOLDER),
            salt=derive_salt(parts.home.secret),
            trainer=trainer,
            lock=parts.lock,
            progress=progress,
        )
        core.open()
        self._own_key = True
        self._sweeper: Sweeper | None = None
        super().__init__(parts, core, Reader(parts, clock), progress=progress)
        remarks = [f"chosen, and not undone: {told}" for told in stack.chosen]
        remarks += [_UNSEALED] if parts.sealed and core.parts else []
        self._memory = ModelMemory(
            parts, clock=clock, components=core.components, models=models, remarks=remarks
        )
        self._memory.settle()
        self._queue = Queue(self._memory, core.hurry, core.stop)
        core.working = self._queue.working
        core.hidden = lambda: parts.marks.hidden(parts.store)

    @classmethod
    def open(
        cls,
        path_or_url: str | Path = "memory://",
        *,
        encoder: str | Encoder | None = None,
        task: Task | None = None,
        experts: Sequence[Expert | NeighbourExpert] | None = None,
        weights: Mapping[str, float] | None = None,
        cap: int | None = None,
        router: Router | None = None,
        chosen: Sequence[str] = (),
        trainer: Trainer | None = None,
        key: Key = None,
        adopt: bool = False,
        models: Attachable | Sequence[Attachable] = (),
        sweep_every: float | None = None,
        suppress: Suppress | None = None,
        encryption: Literal["subject"] | None = None,
        vectors: Literal["ram", "disk"] = "ram",
        clock: Callable[[], datetime] = now,
        progress: bool = True,
    ) -> ForgetNet:
        """Open the model at a path or URL; a new one is made where there is none.

        A forget or a training that a crash cut short is finished first. Settings of a model that
        exists are taken from its folder; experts that hold code must be given again.

        Args:
            path_or_url: folder of the model, or ``memory://``, the default.
            encoder, key, models, sweep_every, suppress, encryption, vectors: as in
                :meth:`forgetnet.Memory.open`; for rows an encoder may be a ``TableEncoder``; the
                key also keys leaves and seeds; what experts learn isn't encrypted.
            task: ``classification``, the default, or ``regression``.
            experts: by default a ridge trunk of all records, a network a leaf, and the memory.
            weights: of the parts by name (``memory`` for the rows), constants or chosen on public
                data; probabilities are averaged with them.
            cap: most records of several subjects in a leaf; 512 by default.
            router: sends records to leaves; by subject by default.
            chosen: what was chosen on which public data and stays, by sentence, for receipts.
            trainer: where leaves are trained; in this process by default.
            adopt: make a model of a memory that holds records already, for good.
            clock: returns the present time, aware.
            progress: show a bar on long work, when the output is a terminal.

        Raises:
            InvalidRecord: the settings make no sense.
            StoreError: the folder holds another model, or can't be written.
        """
        models, clock = checked(path_or_url, models, clock, adopt=adopt, progress=progress)
        every = check_every(sweep_every)
        kind = {"sealed": is_sealed(encryption), "filed": is_filed(vectors)}
        parts = open_parts(str(path_or_url), encoder, key, readonly=False, **kind)
        done = False
        try:
            _refuse_memory(parts, adopt=adopt)
            told: dict[str, Any] = {"weights": weights, "cap": cap, "router": router}
            stack = stack_for(parts.home.path(_FOLDER), task, experts, chosen=chosen, **told)
            parts.suppression.turn(suppress)
            _delete_pending(parts)
            more: dict[str, Any] = {"clock": clock, "models": models, "progress": progress}
            net = cls(parts, stack, trainer or Local(), **more)
            net._own_key = key is None
            net._sweeper = None if every is None else Sweeper(net, every)
            done = True
        finally:
            if not done:
                for model in models:
                    model.detach()
                parts.store.close()
        return net

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> ForgetNet:
        """Open a model that exists; see :meth:`open` for what may be given.

        Raises:
            StoreCorrupt: there is none at the path.
            StoreError: no file can have the path.
        """
        root = root_of(str(path_of(path, "path", StoreError)))
        if not (root / _FOLDER / "manifest.json").exists():
            raise StoreCorrupt(f"{path} holds no model; make one with ForgetNet.open")
        return cls.open(path, **settings)

    @property
    def public_key(self) -> bytes:
        """The public key that verifies this model's receipts, as PEM."""
        return self._memory.public_key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, *, wait: bool = True) -> None:
        """Close the model and let go of its lock.

        Args:
            wait: finish what was accepted first; otherwise the next opening does.
        """
        check_switches(StoreError, wait=wait)
        if self._sweeper is not None:
            self._sweeper.ask()
        self._queue.close(wait=wait)
        self._core.close()
        if self._sweeper is not None:  # what it may be at has been finished, or left
            self._sweeper.stop()
        self._memory.close()

    # -- learning

    def fit(
        self,
        X: Any,
        y: Sequence[Any] | npt.NDArray[Any] | None = None,
        *,
        subjects: Sequence[str | None] | str | None = None,
        ids: Sequence[str] | None = None,
        topics: Sequence[str | None] | str | None = None,
    ) -> Self:
        """Learn a first set of records; see :meth:`partial_fit` for the arguments.

        Raises:
            InvalidRecord: the model holds records already, or none of these has a label; nothing
                was stored.
        """
        if self._core.store.count():
            raise InvalidRecord(
                "this model holds records already; add to them with partial_fit, or open another"
            )
        check_labelled(X, y)
        self.partial_fit(X, y, subjects=subjects, ids=ids, topics=topics)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Sequence[Any] | npt.NDArray[Any] | None = None,
        *,
        subjects: Sequence[str | None] | str | None = None,
        ids: Sequence[str] | None = None,
        topics: Sequence[str | None] | str | None = None,
    ) -> list[str]:
        """Store records durably, learn from those with a label, and return their ids in order.

        The result is the model of the set of all live records, in whatever order they came.

        Args:
            X: n texts, records, rows of a table, or (n, d) vectors of the encoder's length.
            y: n labels, one for all, or (n,) or (n, t) numbers for a regression; records may
                bring theirs in ``metadata["label"]``. A record without one, or with None, is
                stored and searched, not learnt.
            subjects: whose data each is; by default each is its own subject.
            ids: names; random ones by default.
            topics: paths such as ``health/allergies``.

        Raises:
            InvalidRecord: something can't be learnt as given, or an id is taken; nothing was
                stored, unless the message says so: an expert may refuse what a leaf holds.
            StoreError: the records are stored, and experts could not be; opening the model again
                goes on from there.
        """
        raw = to_records(X, y, self.encoder, subjects=subjects, ids=ids, topics=topics)
        with self._queue.quiet():
            with self._parts.lock:
                self._core.roster.check([r.metadata[LABEL] for r in raw if LABEL in r.metadata])
                stored = self._memory.add(raw, progress=self._progress)
                found = self._core.store.get(stored)
                self._core.take_in([found[i] for i in stored])
            self._core.learn()
        return stored

    # -- forgetting

    def plan(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        subject: str | None = None,
        filter: Filter | None = None,
        topic: str | None = None,
        mentions: bool = True,
        scope: Proposes | None = None,
    ) -> Plan:
        """Return what a forget would take, from which part, and at what cost; change nothing.

        Raises:
            InvalidScope: as :meth:`forget`.
        """
        wanted = scope_of(ids, subject, filter, topic, mentions=mentions, proposed=scope)
        return self._planned(wanted)

    def _query_vector(self, query: str | Floats | Sequence[float]) -> Floats:
        return self._memory.vector_of(query)

    def _planned(self, scope: Scope) -> Plan:
        return self._memory.plan_of(scope)

    def _erased(self, scope: Scope, *, reason: str, level: str) -> Receipt:
        return self._queue.submit(scope, reason=reason, level=level).receipt()

    def request(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        subject: str | None = None,
        filter: Filter | None = None,
        topic: str | None = None,
        mentions: bool = True,
        scope: Proposes | None = None,
        reason: str | None = None,
        verify: Literal["auto", "touched", "full"] = "auto",
    ) -> Pending:
        """Accept a forget, and finish it in the background.

        When this returns, the request is durable and nothing answers with the records: they are
        unreachable in the memory, leaves that learnt from them are masked, and sums are left out
        until they are subtracted. What waits together is finished together, each leaf once.

        Args:
            ids, subject, filter, topic, mentions, scope, reason, verify: as in :meth:`forget`.

        Raises:
            InvalidScope: as :meth:`forget`; nothing was changed.
        """
        wanted = scope_of(ids, subject, filter, topic, mentions=mentions, proposed=scope)
        told, level = reason_of(reason), text_of(verify, "verify=", InvalidScope)
        return self._queue.submit(wanted, reason=told, level=level)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[Office]:
        with self._queue.quiet(), self._memory.keeping() as office:
            yield office

    def sweep(self) -> Receipt:
        """Forget every record that has expired; until then it teaches."""
        return self._erased(self._memory.expired(), reason="", level="auto")

    def overdue(self) -> bool:
        """Tell whether anything has expired that a sweep would erase; what is held isn't."""
        with self._keeping() as office:
            return is_due(office)

    # -- coming and going

    def digest(self) -> str:
        """Hash everything that answers: equal to the twin's that never learnt the rest."""
        with self._queue.quiet(), self._parts.lock:
            return self._core.digest(self.encoder.digest)

    def save(self, path: str | Path) -> None:
        """Write the model to a new folder: records, experts, and the key unless it was given.

        Both are then separate models: what one forgets, the other still knows.

        Raises:
            StoreError: the folder is not empty, or can't be written.
        """
        root = root_of(str(path_of(path, "path", StoreError)))
        with self._queue.quiet(), self._parts.lock:
            copy_model(self._parts, self._core, root, key=self._own_key)


def _refuse_memory(parts: Parts, *, adopt: bool) -> None:
    """Refuse to make a model of a memory by the way: it could never be a memory again.

    Raises:
        StoreError: with how to do it on purpose.
    """
    experts = parts.home.path(_FOLDER)
    made = adopt or experts is None or experts.exists()
    if not made and parts.store.count():
        raise StoreError(
            f"{parts.home.root} is a memory without experts; name another folder for the model, or "
            "make a model of it, for good, with ForgetNet.open(..., adopt=True)"
        )


def _delete_pending(parts: Parts) -> None:
    """Delete what a forget that was cut short was about, before anything answers."""
    folder = parts.home.path("journal")
    for entry in Journal(folder).pending():
        parts.suppression.note(parts.store.get(entry.plan.ids).values())
        parts.store.delete(entry.plan.ids)
