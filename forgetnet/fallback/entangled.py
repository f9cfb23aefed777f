"""Shared weights that learnt from a memory, as a component of its forgets.

The last resort: where influence can't be kept apart, a ladder of unlearners is climbed and an audit
decides, and the receipt never calls erased what was only audited. Nothing answers from the weights
between a request and its end. Knows nothing of plans or receipts.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.component import EXACT, Cost, Finding, Influence, Standing
from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.fallback.ladder import Ladder, by_account, predict
from forgetnet.fallback.looks import look
from forgetnet.fallback.means import Bout, Means, Outcome, digests, without
from forgetnet.fallback.rack import Held, Leaver, Rack, Racked
from forgetnet.fallback.rows import Rows, live_rows, with_context
from forgetnet.fallback.standings import DROPPED, TRAINED
from forgetnet.record import canonical_json, id_hash
from forgetnet.retrieve import near_duplicates
from forgetnet.store import Store
from forgetnet.unlearn.private import PrivateTraining
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.retrain import Build, Retrain, Train
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import snapshot_of

__all__ = ["Entangled"]

_PROBED = 64
_TRIES = 8
_CPU = torch.device("cpu")


class Entangled(Racked):
    """A module whose weights learnt from a memory's records.

    Attach it with ``Memory.open(path, models=[...])``; then every forget of that memory unlearns
    here, too.

    Args:
        name: short and constant; part of plans and receipts.
        folder: for its files, outside of the memory's; None keeps them in memory.
        build: makes a new module as it was before any record; a fixed start is loaded here, which
            must not have seen them either.
        train: trains it in place on examples, from a seed.
        examples: makes what ``train`` and the task take of rows.
        ladder: what a forget tries, and when that is good enough.
        task: what kind of data it is; told from the data by default.
        holdout: examples that the module never sees, for audits; without, none can be done.
        neighbours: how many records the memory puts beside each as context; 0 for none.
        seed: of the training.

    Raises:
        InvalidRecord: something of another kind than this was given.
        StoreCorrupt: the folder can't be read.
        StoreError: it belongs to another model, or is a file.
    """

    influence = Influence.ENTANGLED

    def __init__(
        self,
        name: str,
        folder: str | Path | None,
        *,
        build: Build,
        train: Train,
        examples: Callable[[Rows], Any],
        ladder: Ladder,
        task: Task | None = None,
        holdout: Any = None,
        neighbours: int = 0,
        seed: int = 0,
    ) -> None:
        check_kind("name", name, str)
        check_kind("folder", folder, str | Path | None)
        check_kind("neighbours", neighbours, int)
        self.name = name
        self._rack = Rack(None if folder is None else Path(folder).expanduser().resolve(), name)
        means = Means(build, train, examples, ladder, task, holdout, seed)
        self._means = means.with_ladder(ladder)
        self._neighbours = neighbours
        self._store: Store | None = None
        self._lock = threading.RLock()
        self._owed: set[str] = set()
        self._tried: frozenset[str] = frozenset()
        self._module: nn.Module | None = None
        self._full: dict[str, float] = {}
        self._anew: tuple[str, Retrain] | None = None
        self._again: dict[str, str] = {}

    # -- attached to a memory

    def attach(self, store: Store, lock: threading.RLock) -> None:
        """Follow a store; see :class:`forgetnet.component.Attachable`.

        Raises:
            StoreError: it is attached to a memory already, or its folder can't be written.
        """
        if self._store is not None:
            raise StoreError(f"the model {self.name} is attached already; close that memory first")
        self._rack.bind()
        self._store, self._lock = store, lock
        held = self._rack.held
        self._owed = _stale(store, held.saw) | held.owed
        self._tried = frozenset(held.owed)
        self._module = None

    def settled(self) -> None:
        """Catch up with what went while it was not attached."""
        self.forget(())

    def detach(self) -> None:
        """Let go of the memory."""
        self._store, self._lock, self._module = None, threading.RLock(), None

    # -- learning and answering

    def fit(self, ids: Sequence[str] | None = None) -> None:
        """Train fresh weights on live records, by default all; the old ones answer until then.

        Raises:
            InvalidRecord: there are none, some aren't live, or ``build=`` makes no new module.
            StoreError: records or weights changed meanwhile; fit again.
        """
        with self._lock:
            store, before, owed = self._attached(), self._rack.held, set(self._owed)
            live = {record.id for record in store.scan()} if ids is None else set(ids)
            self._check_live(live)
            rows = live_rows(store, live)
        start, module = self._means.train_on(rows)
        with self._lock:
            saw = digests(rows)
            same = self._rack.held is before and self._owed == owed
            if not same or _stale(store, saw):
                raise StoreError("records or weights changed while it was trained; call fit again")
            self._replace(Held(saw, start=start), module)

    def adopt(
        self,
        ids: Sequence[str],
        module: nn.Module,
        *,
        private: PrivateTraining | None = None,
        fresh: bool = False,
    ) -> None:
        """Take over weights that were trained elsewhere on live records.

        Args:
            ids: all that they learnt from.
            module: holds them; it stays yours.
            private: the account, if they were trained by ``train_private``.
            fresh: they never saw what this model has forgotten; else what its forgetting was
                worth stays.

        Raises:
            InvalidRecord: some ids aren't live, the weights don't fit ``build=``, or the records
                ``examples=``.
            StoreError: the model still owes a forget, and these weights aren't ``fresh``.
        """
        with self._lock:
            store, before = self._attached(), self._rack.held
            self._check_live(set(ids))
            if self._owed and not fresh:
                raise StoreError(
                    f"the model {self.name} owes a forget; call retry with a ladder that ends in "
                    "Retrain, or adopt weights with fresh=True that never saw those records"
                )
            start = self._means.check(module)
            account = {} if private is None else {**private.to_plain(), "forgotten": 0}
            standing = EXACT if fresh or not before.saw else before.standing
            rows = live_rows(store, set(ids))
            self._means.made(rows)  # complains now, not when a forget needs it
            held = Held(digests(rows), start=start, standing=standing, account=account)
            self._replace(held, module)

    def _check_live(self, ids: set[str]) -> None:
        if not ids or (missing := ids - self._attached().get(sorted(ids)).keys()):
            what = f"{len(missing)} of the records aren't live" if ids else "no record is live"
            raise InvalidRecord(f"{what}; say which of the memory's records teach the weights")

    def _replace(self, held: Held, module: nn.Module) -> None:
        self._rack.commit(held, snapshot_of(module))
        self._rack.see_off(())
        self._module, self._owed, self._tried = None, set(), frozenset()

    @property
    def module(self) -> nn.Module:
        """The module, to answer with; ask anew for each answer, and keep no reference.

        Raises:
            StoreError: there are no weights, or they still hold what is to be forgotten.
        """
        with self._lock:
            if self._owed or self.standing.withheld:
                raise StoreError(
                    f"the model {self.name} still holds {len(self._owed)} records that are to be "
                    "forgotten, and answers nothing until then; call retry with a ladder that ends "
                    "in Retrain, or fit it anew"
                )
            if self._module is None:
                if not self._rack.held.weights:
                    raise StoreError(f"the model {self.name} has learnt nothing; call fit")
                self._module = self._loaded()
            return self._module

    def _loaded(self) -> nn.Module:
        return self._means.loaded(self._rack.load())

    def _attached(self) -> Store:
        if self._store is None:
            raise StoreError(
                f"the model {self.name} is attached to no memory; open one with models=[...]"
            )
        return self._store

    # -- as a component

    @property
    def behind(self) -> bool:
        """Whether records are to be unlearnt that no attempt was made for yet."""
        return bool(self._owed - self._tried)

    @property
    def standing(self) -> Standing:
        """What its forgetting is worth."""
        return self._rack.held.standing

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` that its weights learnt from."""
        return len(self._rack.held.saw.keys() & set(ids))

    def digest(self) -> str:
        """Hash the weights, whom they saw, and what their forgetting is worth."""
        held = self._rack.held
        body = [state_digest(self._loaded()) if held.weights else "", sorted(held.saw)]
        body.append(held.standing.guarantee)
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict what the first rung that fits takes; others follow, if the audit wants it."""
        with self._lock:
            held, store = self._rack.held, self._attached()
            leaving = held.saw.keys() & set(ids)
            rest = held.saw.keys() - leaving - self._owed
            if not leaving or not held.weights:
                return Cost("unlearn in shared weights, then audit", len(leaving))
            if not rest:
                return Cost("drop the weights: nothing is left to learn from", len(leaving))
            spared = by_account(self._means.ladder, held.account, len(leaving))
            if spared is not None and spared.accepted:
                action = f"leave as they are, trained privately: {spared.reasons[0]}"
                return Cost(action, len(leaving), guarantee="certified")
            rows = live_rows(store, leaving & store.get(sorted(leaving)).keys())
            given = self._loaded(), self._means.made(rows), self._means.task
            return predict(self._means.ladder, given, partial(self._kept, rest), rest)

    def _kept(self, rest: Collection[str]) -> Any:
        return self._means.made(live_rows(self._attached(), rest))

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Keep the records that are to be unlearnt; note what is known of them now."""
        held = self._rack.held
        leaving = held.saw.keys() & set(ids)
        note: dict[str, Any] = {"held": len(leaving), "found": len(leaving)}
        note |= {"digest": held.digest, "weights": held.weights}
        note["present"] = self._rack.there(held.weights)
        if leaving and held.weights:
            store = self._attached()
            rows = live_rows(store, leaving)
            others = [v for i, v in self._rack.leavers().items() if i in self._owed - leaving]
            self._rack.see_off([*others, *rows.leavers()])
            some = with_context(store, rows.leavers()[:_PROBED], self._neighbours)
            losses = self._means.losses(self._loaded(), some)
            self._full |= {r.id: v for r, v in zip(some.records, losses, strict=True)}
        return note

    def hide(self, ids: Collection[str]) -> None:
        """Answer nothing from now on if any of ``ids`` taught the weights."""
        with self._lock:
            self._owed |= self._rack.held.saw.keys() & set(ids)
            self._module = None if self._owed else self._module

    def retry(self, ladder: Ladder | None = None) -> Standing:
        """Climb a ladder, by default the same, for what could not be unlearnt before."""
        with self._lock:
            self._attached()
            self._means = self._means if ladder is None else self._means.with_ladder(ladder)
            self._tried = frozenset()
        self.forget(())
        return self.standing

    def forget(self, ids: Collection[str]) -> None:
        """Climb the ladder for all that is owed; withhold or drop the weights if none will do.

        Raises:
            StoreError: weights were replaced again and again meanwhile.
        """
        for _ in range(_TRIES):
            with self._lock:
                self.hide(ids)
                self._rack.forget_near(ids)
                before, owed = self._rack.held, frozenset(self._owed)
                if not owed - self._tried:
                    self._tidy()
                    return
                known = {i: v for i, v in self._rack.leavers().items() if i in owed}
                rest = before.saw.keys() - owed
                if not before.weights or not rest:  # nothing to unlearn, or all of it
                    standing = before.standing if rest else DROPPED
                    self._done(without(before, owed, standing), owed, None if rest else {})
                    return
                kept = live_rows(self._attached(), rest)
            leavers = [known[i] for i in sorted(known, key=id_hash)]
            outcome = self._unlearnt(before, owed, leavers, kept)
            with self._lock:
                if self._rack.held is before:  # else somebody replaced the weights: look again
                    self._done(outcome.held, owed, outcome.tensors)
                    self._anew = outcome.anew
                    return
        raise StoreError(f"the weights of {self.name} change faster than they unlearn; try later")

    def _done(
        self, held: Held, owed: frozenset[str], tensors: Mapping[str, Tensor] | None
    ) -> None:
        """Make a state durable; what it still owes was tried."""
        self._tried = owed
        self._rack.commit(held, tensors)
        self._module = None
        self._owed -= owed - held.owed
        self._full = {i: v for i, v in self._full.items() if i in self._owed - owed}
        self._tidy()

    def _tidy(self) -> None:
        """Shred the records of all whose turn isn't to come, and checkpoints."""
        later = self._owed - self._tried
        self._rack.see_off(v for i, v in self._rack.leavers().items() if i in later)
        self._rack.end_runs()

    def _unlearnt(
        self, before: Held, owed: frozenset[str], leavers: Sequence[Leaver], kept: Rows
    ) -> Outcome:
        """Return what comes of unlearning; nothing is changed by it."""
        store = self._attached()
        with self._lock:
            some = [v for v in leavers if v[0].id in self._full] or leavers[:_PROBED]
            on, off = (with_context(store, some, k) for k in (self._neighbours, 0))
            near, _ = near_duplicates(store, off.vectors, owed)
        full = [self._full[record.id] for record, _ in some if record.id in self._full]
        bout = Bout(before, owed, leavers, kept, (on, off), full, near)
        return self._means.unlearn(bout, self._rack.load(), self._rack.run_folder(owed))

    # -- looking

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Train once more what was trained anew, and keep the digest of what comes out."""
        if self._anew is None or not any(note["held"] for note in notes):
            return
        made, rung = self._anew
        if made not in self._again:
            with self._lock:
                data = self._kept(self._rack.held.saw.keys())
            anew = rung.unlearn(self._loaded(), None, data, task=self._means.task).model
            self._again = {made: state_digest(anew)}

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Look at the files, not at what is in memory; in full, train once more and compare."""
        held, digest = self._rack.read(), ""
        if held.weights and note["held"]:
            with suppress(StoreCorrupt):  # then the look has no digest, and says so
                digest = state_digest(self._loaded())
        trained = full and self._anew is not None and held.standing == TRAINED
        again = self._again.get(self._anew[0]) if trained and self._anew else None
        return look(self._rack, held, ids, note, digests=(digest, again))


def _stale(store: Store, saw: Mapping[str, str]) -> set[str]:
    """Return ids of records that are gone, or were put in anew with other words."""
    there = digests(live_rows(store, saw.keys() & store.get(sorted(saw)).keys()))
    return {i for i, digest in saw.items() if there.get(i) != digest}
