"""The learnt half of a model: its parts, kept in line with the records of a store, and answering.

Knows nothing of memories, keys or receipts; a forget asks each of its components in turn.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forgetnet.component import Component
from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.exact import quantise
from forgetnet.experts.neighbour import Neighbour
from forgetnet.experts.pinned import environment, pinned
from forgetnet.experts.shelf import Shelf
from forgetnet.experts.train import Trainer
from forgetnet.model.leaves import LeafPart
from forgetnet.model.parts import RowsPart, Shared, SumPart
from forgetnet.model.roster import Roster
from forgetnet.model.serve import Answers, Mixture, Serving
from forgetnet.model.stack import Stack
from forgetnet.record import Record, canonical_json
from forgetnet.store import Floats, Query, Store

__all__ = ["Core"]

_ROWS = 256
_MORE = 16
_TRIES = 4
_LOOK_S = 0.05


class Core:
    """Roster, states and predictors of a model.

    Args:
        store: the records.
        stack: what the model is made of.
        root: folder for the experts' files; None in memory.
        salt: keys the shard map and the seeds.
        trainer: trains the leaves.
        lock: held while anything changes.
        readonly: change nothing on disk.
        progress: show bars on long work.

    Raises:
        InvalidRecord: the trainer is none.
        StoreError: the folder belongs to a model of other settings.
    """

    def __init__(
        self,
        store: Store,
        stack: Stack,
        root: Path | None,
        *,
        salt: bytes,
        trainer: Trainer,
        lock: threading.RLock,
        readonly: bool = False,
        progress: bool = True,
    ) -> None:
        check_kind("trainer", trainer, Trainer, "Local()")
        self.stack = stack
        self.store = store
        self.shelf = Shelf(root, readonly=readonly)
        stored = self.shelf.header.get("digest")
        if stored is not None and stored != stack.digest():
            raise StoreError(
                f"the model in {root} was made with other experts, weights or settings; open it "
                "with those, or with none to take them from the folder"
            )
        self.roster = Roster(store, salt, stack.task, stack.router)
        self.shared = Shared(
            self.roster,
            self.shelf,
            trainer,
            salt,
            lock,
            left=self._left,
            changed=self.publish,
            environment=_environment(),
            progress=progress,
        )
        self.sums = [SumPart(expert, self.shared) for expert in stack.sums]
        self.leaves = [LeafPart(expert, stack.cap, self.shared) for expert in stack.leaves]
        self.serving = Serving()
        self.working: Callable[[], object] = bool
        self.hidden: Callable[[], frozenset[str]] = frozenset
        self._published = threading.Condition(lock)
        self._closed = False

    @property
    def parts(self) -> Sequence[SumPart | LeafPart]:
        """The learnt parts, additive ones first."""
        return [*self.sums, *self.leaves]

    @property
    def components(self) -> list[Component]:
        """The parts, as a forget knows them; where there is none, the rows that teach."""
        return list(self.parts) or [RowsPart(self.shared)]

    def open(self) -> None:
        """Bring every part in line with the records that are there."""
        stored = self.shelf.header.get("environment")
        if stored is not None and stored != self.shared.environment:
            for leaf in self.leaves:
                leaf.distrust()
        for part in self.parts:
            part.open()
        self._seal()
        self.publish()

    def close(self) -> None:
        """Answer no more."""
        with self.shared.lock:
            self._closed = True
            self._published.notify_all()

    def _seal(self) -> None:
        """Store the settings beside the states, and what the bits of the states depend on."""
        header = self.header()
        if self.shelf.header != header:
            self.shelf.commit({}, header=header)

    def header(self) -> dict[str, Any]:
        """Return what the manifest says of the model."""
        return {
            "digest": self.stack.digest(),
            "settings": self.stack.to_plain(),
            "environment": self.shared.environment,
        }

    def hurry(self, yes: bool) -> None:  # noqa: FBT001 # a callback
        """Say whether answers are waited for while parts learn: then quick ones are worth it."""
        self.shared.bridging = yes

    def stop(self, yes: bool) -> None:  # noqa: FBT001 # a callback
        """Have training end after the leaf that it is at."""
        for part in self.leaves:
            part.stop.set() if yes else part.stop.clear()

    def publish(self) -> None:
        """Swap in what answers from now on."""
        with self._published:
            self.serving = self._state()
            self._published.notify_all()

    def _state(self) -> Serving:
        classes = self.roster.classes
        width = len(classes) if self.stack.task == "classification" else self.roster.width
        return Serving(
            classes,
            width if len(self.roster) else 0,
            self.stack.weights,
            {part.name: part.predictor for part in self.sums if part.predictor is not None},
            {part.name: dict(part.predictors) for part in self.leaves},
            {
                part.name: max(len(part.waiting), int(part.behind)) + len(part.refused)
                for part in self.leaves
            },
            self.stack.router,
        )

    def digest(self, encoder: str) -> str:
        """Hash everything that answers: equal for equal settings and equal sets of records."""
        parts = {part.name: part.digest() for part in self.parts}
        body = [self.stack.digest(), encoder, self.roster.digest(), parts]
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()

    # -- learning

    def take_in(self, records: Sequence[Record]) -> None:
        """Add records that the store holds now to the sums, and mask their leaves."""
        with self.shared.lock:
            ids = self.roster.take_in(records)
            if not ids:
                return
            view, late = self.roster.view(ids), list(self.sums)
            for leaf in self.leaves:
                leaf.mask(ids)
            try:
                while late:
                    late[0].absorb(view)
                    late.pop(0)
            finally:
                for part in late:
                    part.drop()
                self.publish()

    def learn(self) -> None:
        """Bring the leaves in line with the records; what answers meanwhile goes on.

        Raises:
            InvalidRecord: an expert can't learn from a leaf, which the memory answers for; all
                else is done.
        """
        for part in self.leaves:
            part.bring()
        for part in self.leaves:
            if part.refused:
                why = next(iter(part.refused.values()))[1]
                raise InvalidRecord(
                    f"the records are stored, but {part.name} can't learn from "
                    f"{len(part.refused)} leaves, and others answer for it there: {why}"
                )

    def _left(self, ids: Collection[str]) -> None:
        """Answer without records that the store no longer holds, from now on."""
        with self.shared.lock:
            if self.shared.leaving is None or self.shared.leaving[0] != frozenset(ids):
                return  # done already, or the roster never knew them
            view = self.shared.leaving[1]
            for part in self.sums:
                part.mask(view)
            for leaf in self.leaves:
                leaf.mask(view.ids)
            self.roster.let_go(view)
            self.shared.leaving = None
            self.publish()

    # -- answering

    def answer(self, vectors: Floats) -> tuple[Serving, Mixture, list[list[Neighbour]]]:
        """Answer (n, d) unit vectors; n must be small, for every share is kept.

        Serving and rows are of one moment, so that an answer never mixes two states.

        Raises:
            InvalidRecord: nothing has been learnt yet.
            StoreError: the model was closed, or all that could answer is missing.
        """
        with self.shared.lock:
            serving = self._ready()
            hidden = self.hidden() if self.stack.memory else frozenset()
            near = [self._near(vector, hidden) for vector in vectors] if self.stack.memory else []
        remembered: Answers | None = None
        if self.stack.memory is not None and any(near):
            remembered = self.stack.memory.answer(near, serving.classes)
        return serving, serving.mix(quantise(vectors), remembered), near

    def knows_hidden(self) -> bool:
        """Tell whether any part learnt from what is restricted, or owed under a hold."""
        with self.shared.lock:
            return not self.hidden().isdisjoint(self.roster.targets)

    def _ready(self) -> Serving:
        """Return what serves, as soon as there is something; the lock is held."""
        while True:
            if self._closed:
                raise StoreError("the model was closed; open it again")
            if not len(self.roster):
                raise InvalidRecord(
                    "the model has learnt nothing; give it labelled records with fit"
                )
            if self.serving.can_answer(memory=self.stack.memory is not None):
                return self.serving
            if not self.working():
                raise StoreError(
                    "nothing is there to answer, since training was cut short; open the model again"
                )
            self._published.wait(_LOOK_S)

    def answers(self, vectors: Floats) -> tuple[Serving, Answers]:
        """Answer (n, d) unit vectors, however many, all from one state."""
        for _ in range(_TRIES):
            found = self._blocks(vectors)
            if found is not None:
                return found
        with self.shared.lock:  # changes follow too closely on each other: keep them out
            found = self._blocks(vectors)
            if found is None:
                raise StoreError("the state of the model changed while its lock was held")
            return found

    def _blocks(self, vectors: Floats) -> tuple[Serving, Answers] | None:
        """Answer block by block; None if what serves has changed on the way."""
        with self.shared.lock:
            first = self._ready()
        blocks = []
        for start in range(0, len(vectors), _ROWS):
            serving, mixture, _ = self.answer(vectors[start : start + _ROWS])
            if serving is not first:
                return None
            blocks.append(mixture.answers)
        return first, np.concatenate(blocks) if blocks else np.zeros((0, first.width))

    def _near(self, vector: Floats, hidden: frozenset[str]) -> list[Neighbour]:
        """Return exactly the nearest of the records that teach, however many there are."""
        if self.stack.memory is None:
            return []
        with self.shared.lock:
            taught, all_of = self.roster.targets, self.store.count()
            wanted, more = min(self.stack.memory.k, len(taught)), 0
            while True:  # records without a label, and those that are about to go, are passed over
                query = Query(vector, wanted + more, without=hidden, recall_target=1.0)
                found = self.store.search(query)
                kept = [(i, d) for i, d in found if i in taught][:wanted]
                if len(kept) == wanted or wanted + more >= all_of:
                    return [Neighbour(i, 1.0 - d, taught[i]) for i, d in kept]
                more = min(4 * more + _MORE, all_of)


def _environment() -> str:
    """Name what the bits of trained states depend on, as training itself would."""
    with pinned():
        return environment()
