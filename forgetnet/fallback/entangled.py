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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forgetnet.component import Cost, Finding, Influence, Standing
from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.experts.pinned import drawn, mix, pinned
from forgetnet.fallback.ladder import Case, Ladder, by_account, climb, untouched
from forgetnet.fallback.looks import look
from forgetnet.fallback.probe import Probe, Retrieval
from forgetnet.fallback.rack import Held, Leaver, Rack
from forgetnet.fallback.rows import Rows, live_rows, with_context
from forgetnet.fallback.standings import DROPPED, TRAINED, WITHHELD, standing_after
from forgetnet.record import canonical_json, id_hash
from forgetnet.retrieve import near_duplicates
from forgetnet.store import Store
from forgetnet.unlearn.changing import write_state
from forgetnet.unlearn.private import PrivateTraining
from forgetnet.unlearn.result import UnlearnResult, state_digest
from forgetnet.unlearn.retrain import Build, Retrain, Train, fresh_model
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import snapshot_of

__all__ = ["Entangled"]

_PROBED = 64
_CPU = torch.device("cpu")


class Entangled:
    """A module whose weights learnt from a memory's records.

    Attach it with ``Memory.open(path, models=[...])``; then every forget of that memory unlearns
    here, too.

    Args:
        name: short and constant; part of plans and receipts.
        folder: for its files, outside of the memory's; None keeps them in memory.
        build: makes the module as it was before any record; a fixed start is loaded here.
        train: trains it in place on examples, from a seed.
        examples: makes what ``train`` and the task take of rows.
        ladder: what a forget tries, and when that is good enough.
        task: what kind of data it is; told from the data by default.
        holdout: examples that the module never sees, for audits; without, none can be done.
        neighbours: how many records the memory puts beside each as context; 0 for none.
        seed: of the training.

    Raises:
        StoreCorrupt: the folder can't be read.
        StoreError: it belongs to another model.
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
        self.name = name
        self._rack = Rack(None if folder is None else Path(folder).expanduser().resolve(), name)
        self._build, self._train, self._examples = build, train, examples
        self._ladder = ladder.for_model(build, train, seed)
        self._task, self._holdout = task, holdout
        self._neighbours, self._seed = neighbours, seed
        self._store: Store | None = None
        self._lock = threading.RLock()
        self._owed: set[str] = set()
        self._tried: frozenset[str] = frozenset()
        self._module: nn.Module | None = None
        self._full: float | None = None
        self._again: dict[str, str] = {}

    def attach(self, store: Store, lock: threading.RLock) -> None:
        """Follow a store; see :class:`forgetnet.component.Attachable`.

        Raises:
            StoreError: it is attached to another store already.
        """
        if self._store is not None and self._store is not store:
            raise StoreError(f"the model {self.name} is attached to another memory; make a new one")
        self._store, self._lock = store, lock
        saw = self._rack.held.saw
        self._owed = set(saw) - set(store.get(sorted(saw)))

    # -- learning and answering

    def fit(self, ids: Sequence[str] | None = None) -> None:
        """Train fresh weights on live records, by default all.

        Raises:
            InvalidRecord: there are none, or some aren't live.
        """
        with self._lock:
            store = self._attached()
            live = {record.id for record in store.scan()} if ids is None else set(ids)
            if not live or (missing := live - set(store.get(sorted(live)))):
                what = f"{len(missing)} of the records aren't live" if live else "no record is live"
                raise InvalidRecord(f"{what}; add them to the memory first")
            rows = live_rows(store, live)
            # Whom the weights will have seen is durable before they do.
            self._rack.commit(Held(frozenset(live)), {})
            self._module, self._owed = None, set()
            with pinned():
                module = fresh_model(self._build, self._seed, _CPU)
                module.train()
                with drawn(mix(self._seed, "train")):
                    self._train(module, self._examples(rows), self._seed)
            self._rack.commit(Held(frozenset(live)), snapshot_of(module))

    def adopt(
        self, ids: Sequence[str], module: nn.Module, *, private: PrivateTraining | None = None
    ) -> None:
        """Take over weights that were trained elsewhere on live records.

        Args:
            ids: all that they learnt from.
            module: holds them; it stays yours.
            private: the account, if they were trained by ``train_private``.

        Raises:
            InvalidRecord: some ids aren't live.
        """
        with self._lock:
            if not ids or (missing := set(ids) - set(self._attached().get(list(ids)))):
                what = f"{len(missing)} of them aren't live" if ids else "there are none"
                raise InvalidRecord(f"say which live records the weights learnt from; {what}")
            account = {} if private is None else {**private.to_plain(), "forgotten": 0}
            self._rack.commit(Held(frozenset(ids), account=account), snapshot_of(module))
            self._module, self._owed = None, set()

    @property
    def module(self) -> nn.Module:
        """The module, to answer with; nobody may answer with it while a forget is under way.

        Raises:
            StoreError: there are no weights, or they still hold what is to be forgotten.
        """
        with self._lock:
            if self._owed or self.standing.withheld:
                raise StoreError(
                    f"the model {self.name} still holds {len(self._owed)} records that are to be "
                    "forgotten, and answers nothing until then; give it a ladder that ends in "
                    "Retrain and forget again, or fit it anew"
                )
            if self._module is None:
                if not self._rack.held.weights:
                    raise StoreError(f"the model {self.name} has learnt nothing; call fit")
                self._module = self._loaded()
            return self._module

    def _loaded(self) -> nn.Module:
        module = fresh_model(self._build, self._seed, _CPU)
        write_state(module, self._rack.load())
        module.eval()
        return module

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """What the last forget tried, and what the audit said."""
        return self._rack.held.attempts

    @property
    def retrieval(self) -> Mapping[str, Any]:
        """What the last forget found with the memory and without; see ``Retrieval``."""
        return self._rack.held.retrieval

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
        return len(self._rack.held.saw.intersection(ids))

    def digest(self) -> str:
        """Hash the weights, whom they saw, and what their forgetting is worth."""
        held = self._rack.held
        weights = state_digest(self._loaded()) if held.weights else ""
        body = [weights, sorted(held.saw), held.standing.guarantee]
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict what the first rung takes; the others may follow, if the audit wants it."""
        held = self._rack.held
        leaving = held.saw.intersection(ids)
        if not leaving or not held.weights or not self._ladder.rungs:
            return Cost("unlearn in shared weights, then audit", len(leaving), guarantee="audited")
        with self._lock:
            live = set(self._attached().get(sorted(held.saw)))
            forget = self._examples(live_rows(self._attached(), leaving & live))
            rest = live - leaving
            retain = self._examples(live_rows(self._attached(), rest)) if rest else None
        first = self._ladder.rungs[0]
        names = ", then ".join(dict.fromkeys(rung.name for rung in self._ladder.rungs))
        size = sum(t.numel() * t.element_size() for t in self._rack.load().values())
        action = f"unlearn in shared weights by {names}, until an audit is content"
        if (spared := by_account(self._ladder, held.account, len(leaving))) and spared.accepted:
            action = f"leave as they are, trained privately: {spared.reasons[0]}"
            return Cost(action, len(leaving), guarantee="certified")
        if isinstance(first, Retrain):
            return Cost(action, len(leaving), len(rest), 1, size, share=1.0)
        predicted = first.estimate(self._loaded(), forget, retain, task=self._task)
        return Cost(
            action,
            len(leaving),
            files=1,
            bytes=size,
            passes=predicted.forwards + predicted.backwards,
            guarantee="audited" if first.guarantee == "approximate" else first.guarantee,
        )

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Keep the records that are to be unlearnt; note what is known of them now."""
        held = self._rack.held
        leaving = held.saw.intersection(ids)
        note: dict[str, Any] = {"held": len(leaving), "found": len(leaving)}
        note |= {"weights": held.weights, "digest": held.digest}
        if leaving and held.weights:
            rows = live_rows(self._attached(), leaving, self._neighbours)
            others = [v for i, v in self._rack.leavers().items() if i in self._owed - leaving]
            self._rack.see_off([*others, *rows.leavers()])
            some = self._examples(rows.first(_PROBED))
            self._full = self._probe(None).loss(self._loaded(), some)
        return note

    def hide(self, ids: Collection[str]) -> None:
        """Answer nothing from now on if any of ``ids`` taught the weights."""
        with self._lock:
            self._owed |= self._rack.held.saw.intersection(ids)
            self._module = None if self._owed else self._module

    def retry(self) -> Standing:
        """Climb the ladder once more for what could not be unlearnt, or caught up with, before."""
        with self._lock:
            self._attached()
            self._tried = frozenset()
        self.forget(())
        return self.standing

    def forget(self, ids: Collection[str]) -> None:
        """Climb the ladder for all that is owed; withhold or drop the weights if none will do."""
        with self._lock:
            self.hide(ids)
            owed = frozenset(self._owed)
            known = {i: leaver for i, leaver in self._rack.leavers().items() if i in owed}
            before = self._rack.held
            rest = before.saw - owed
            if not owed or not before.weights or not rest:  # nothing to unlearn, or all of it
                standing = before.standing if rest else DROPPED
                self._done(owed, replace(before, saw=rest, standing=standing), None if rest else {})
                return
            kept = live_rows(self._attached(), rest)
        leavers = [known[i] for i in sorted(known, key=id_hash)]
        held, tensors = self._unlearnt(owed, leavers, kept)
        with self._lock:
            self._tried = owed
            self._done(frozenset() if held.standing.withheld else owed, held, tensors)

    def _done(
        self, owed: Collection[str], held: Held, tensors: Mapping[str, Tensor] | None
    ) -> None:
        """Make a state durable that owes nothing of ``owed`` any more."""
        if held != self._rack.held or tensors is not None:
            self._rack.commit(held, tensors)
            self._module = None
        self._owed -= set(owed)
        # What wasn't tried yet came in meanwhile, and its turn is next.
        later = self._owed - self._tried
        self._rack.see_off(v for i, v in self._rack.leavers().items() if i in later)
        self._rack.end_runs()

    def _unlearnt(
        self, owed: frozenset[str], leavers: Sequence[Leaver], kept: Rows
    ) -> tuple[Held, Mapping[str, Tensor] | None]:
        """Return what the model stands on afterwards, and its weights if they are new."""
        original, before = self._loaded(), self._rack.held
        retain = self._examples(kept)
        whole = len(leavers) == len(owed)  # else a crash took the rest: only retraining is left
        forget = self._examples(with_context(self._attached(), leavers, 0)) if whole else None
        probe = self._probe(forget)
        case = Case(
            original,
            forget,
            retain,
            self._task,
            self._holdout,
            probe,
            self._rack.run_folder(owed),
        )
        attempts = [untouched(self._ladder, case)] if whole else []
        compared = self._compared(probe, leavers).to_plain() if whole else {}
        if spared := by_account(self._ladder, before.account, len(owed)):
            attempts = [spared, *attempts] if not spared.accepted else [spared]
        result: UnlearnResult | None = None
        if not attempts or not attempts[-1].accepted:
            result, tried = climb(self._ladder, case)
            attempts += tried
        told = tuple(attempt.to_plain() for attempt in attempts)
        after = replace(before, saw=before.saw - owed, attempts=told, retrieval=compared)
        last = attempts[-1]
        if last.accepted:
            standing = standing_after(last, before.standing)
            if result is not None:
                return replace(after, standing=standing, account={}), snapshot_of(result.model)
            since = before.account.get("forgotten", 0) + len(owed)
            account = {**before.account, "forgotten": since} if before.account else {}
            return replace(after, standing=standing, account=account), None
        if self._ladder.otherwise == "drop":
            return replace(after, saw=frozenset(), standing=DROPPED, account={}), {}
        return replace(after, saw=before.saw, standing=WITHHELD), None

    def _probe(self, forget: Any) -> Probe:
        never = fresh_model(self._build, self._seed, _CPU)
        never.eval()
        return Probe(
            forget,
            self._holdout,
            task=self._task,
            original=self._loaded(),
            never=never,
            margin=self._ladder.margin,
        )

    def _compared(self, probe: Probe, leavers: Sequence[Leaver]) -> Retrieval:
        """Compare what is told with the memory and without; the records have left it."""
        some = leavers[:_PROBED]
        with self._lock:
            on = with_context(self._attached(), some, self._neighbours)
            vectors = np.stack([vector for _, vector in some])
            near, _ = near_duplicates(self._attached(), vectors, [r.id for r, _ in leavers])
        off = self._examples(with_context(self._attached(), some, 0))
        return probe.compare(self._full, self._examples(on), off, near)

    # -- looking

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Train once more what was trained anew, and keep the digest of what comes out."""
        rung = next((r for r in self._ladder.rungs if isinstance(r, Retrain)), None)
        held = self._rack.held
        if rung is None or held.standing != TRAINED or not any(note["held"] for note in notes):
            return
        if held.digest not in self._again:
            with self._lock:
                retain = self._examples(live_rows(self._attached(), held.saw))
            anew = rung.unlearn(self._loaded(), None, retain, task=self._task).model
            self._again = {held.digest: state_digest(anew)}

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Look at the files, not at what is in memory; in full, train once more and compare."""
        held, digest = self._rack.read(), ""
        if held.weights and note["held"]:
            with suppress(StoreCorrupt):  # then the look has no digest, and says so
                digest = state_digest(self._loaded())
        again = self._again.get(held.digest) if full else None
        return look(self._rack, held, ids, note, digests=(digest, again), ladder=self._ladder)
