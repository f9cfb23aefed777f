"""The roster: which live records teach a model, what they teach, and where each belongs.

It follows the store, and is a function of the set of live records: loaded anew it is the same.
Knows nothing of experts.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from forgetnet.errors import InvalidRecord
from forgetnet.exact import quantise
from forgetnet.experts.expert import Label, Target, Task, View, class_order, make_view
from forgetnet.experts.router import Router, SubjectRouter
from forgetnet.record import Record, canonical_json, id_hash
from forgetnet.shards import leaves, shard_key
from forgetnet.store import Store

__all__ = ["LABEL", "Roster", "check_target"]

LABEL = "label"
"""The name under which a record's metadata hold what it teaches."""
_LARGEST, _WHOLE = 2**40, 2**53
_MODULUS = 2**256
_BLOCK = 8192
_FREE = nullcontext()


def check_target(value: object, task: Task) -> Target:
    """Return what a record teaches as a plain value: a label, or numbers.

    Raises:
        InvalidRecord: it is of another type, or not finite.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, np.ndarray):
        plain = plain.tolist()
    many = plain if isinstance(plain, list | tuple) else (plain,)
    numbers = all(isinstance(v, int | float) and abs(v) < math.inf for v in many)
    if task == "regression":
        if not numbers or not many or any(isinstance(v, bool) or abs(v) >= _LARGEST for v in many):
            raise InvalidRecord(
                "the target of a regression is a number below 2^40, or several; give it in a "
                "larger unit"
            )
        return tuple(float(v) for v in many)
    if numbers and isinstance(plain, float):
        return plain + 0.0  # one zero only
    if isinstance(plain, str):
        return plain
    if isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) < _WHOLE:
        return plain  # experts know no truth values
    raise InvalidRecord(
        f"a label is a string or a finite number, whole ones below 2^53, and this one is a "
        f"{type(value).__name__}; give truth values as 0 and 1, and leave a missing label out"
    )


def _kind(target: Target) -> object:
    """Return what all targets of a model must have in common."""
    if isinstance(target, tuple):
        return len(target)
    return type(target)


class Roster:
    """The records of a store that have a label, by key and leaf.

    Args:
        store: what it follows.
        salt: keys the shard map.
        task: decides what a label may be.
        router: sends records to leaves.
    """

    def __init__(
        self, store: Store, salt: bytes, task: Task, router: Router | None = None
    ) -> None:
        self._store = store
        self._salt = salt
        self.task: Task = task
        self.router: Router = router or SubjectRouter()
        self.targets: dict[str, Target] = {}
        self._keys: dict[str, str] = {}
        self._routed: dict[str, str] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._sorted: list[str] | None = None
        self._classes: dict[Target, int] = {}
        self._sum = 0
        self.take_in(store.scan())

    def __len__(self) -> int:
        return len(self.targets)

    # -- following the store

    def take_in(self, records: Iterable[Record]) -> list[str]:
        """Add records that the store holds now; return the ids of those that teach.

        Raises:
            InvalidRecord: a label is none, or of another kind than the others'.
        """
        fresh = {record.id: record for record in records if LABEL in record.metadata}
        told = self.check([record.metadata[LABEL] for record in fresh.values()])
        known: dict[str, str] = {}
        for (i, record), target in zip(fresh.items(), told, strict=True):
            owner = i if record.subject is None else record.subject
            if owner not in known:
                known[owner] = shard_key(self._salt, owner)
            self.targets[i] = target
            self._keys[i] = known[owner]
            self._classes[target] = self._classes.get(target, 0) + 1
        self._route(list(fresh))
        ids = list(fresh)
        for start in range(0, len(ids), _BLOCK):
            view = self.view(ids[start : start + _BLOCK])
            self._sum = (self._sum + _sum(view, self._salt)) % _MODULUS
        return ids

    def check(self, labels: Sequence[object]) -> list[Target]:
        """Return labels as plain values, if they could be taken in beside the present ones.

        Raises:
            InvalidRecord: one is none, or they are of several kinds.
        """
        told = [check_target(label, self.task) for label in labels]
        kinds = {_kind(target) for target in told}
        kinds |= {_kind(target) for target in list(self._classes)[:1]}
        if len(kinds) > 1:
            raise InvalidRecord(
                "labels are of several kinds; give strings only, or whole numbers only, or "
                "fractions only, or targets of one length"
            )
        return told

    def let_go(self, view: View) -> None:
        """Remove records that the store no longer holds; those that are gone already are fine.

        Args:
            view: the records, from when the store held them.
        """
        still = [n for n, i in enumerate(view.ids) if i in self.targets]
        gone = view.take(still)
        self._sum = (self._sum - _sum(gone, self._salt)) % _MODULUS
        owners = set(gone.keys)
        for i in gone.ids:
            target = self.targets.pop(i)
            self._classes[target] -= 1
            if not self._classes[target]:
                del self._classes[target]
            del self._keys[i]
            self._unplace(i)
        if not isinstance(self.router, SubjectRouter):
            # Where a subject belongs may depend on all of its records.
            self._route([i for i, key in self._keys.items() if key in owners])

    def _route(self, ids: Sequence[str]) -> None:
        if isinstance(self.router, SubjectRouter):
            for i in ids:
                self._place(i, self._keys[i])
            return
        owners = {self._keys[i] for i in ids}
        whole = [i for i, key in self._keys.items() if key in owners]
        keys = [self._keys[i] for i in whole]
        if whole:
            codes = quantise(self._store.vectors(whole)[0])
            for i, key in zip(whole, self.router.keys(keys, codes), strict=True):
                self._place(i, key)

    def _place(self, record_id: str, key: str) -> None:
        if self._routed.get(record_id) != key:
            self._unplace(record_id)
            self._routed[record_id] = key
            if key not in self._members:
                self._sorted = None
            self._members.setdefault(key, {})[record_id] = None

    def _unplace(self, record_id: str) -> None:
        key = self._routed.pop(record_id, None)
        if key is not None:
            del self._members[key][record_id]
            if not self._members[key]:
                del self._members[key]
                self._sorted = None

    # -- asking

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels that live records have, in canonical order; none for a regression."""
        return () if self.task == "regression" else class_order(list(self._classes))  # type: ignore[arg-type] # labels, by the task

    @property
    def width(self) -> int:
        """How many numbers a target of a regression has."""
        return max((len(t) for t in list(self._classes)[:1] if isinstance(t, tuple)), default=1)

    def digest(self) -> str:
        """Hash the set of records that teach: a sum of their hashes, so that it can be undone."""
        return f"{len(self):x}-{self._sum:064x}"

    def leaves(self, cap: int) -> list[str]:
        """Return the leaves of the trie with at most ``cap`` records, or one key, each."""
        return leaves({key: len(members) for key, members in self._members.items()}, cap)

    def without(self, ids: Collection[str]) -> dict[str, list[str]]:
        """Return who would be left without some records, by place in the trie."""
        gone = {i for i in ids if i in self._routed}
        moved: dict[str, str] = {}
        if not isinstance(self.router, SubjectRouter):
            owners = {self._keys[i] for i in gone}
            rest = [i for i, key in self._keys.items() if key in owners and i not in gone]
            if rest:
                codes = quantise(self._store.vectors(rest)[0])
                keys = self.router.keys([self._keys[i] for i in rest], codes)
                moved = dict(zip(rest, keys, strict=True))
        found: dict[str, list[str]] = {}
        for i, key in self._routed.items():
            if i not in gone:
                found.setdefault(moved.get(i, key), []).append(i)
        return found

    def key_of(self, record_id: str) -> str:
        """Return the subject key of a record that teaches."""
        return self._keys[record_id]

    def members(self, leaf: str) -> list[str]:
        """Return the ids in a leaf."""
        if self._sorted is None:
            self._sorted = sorted(self._members)
        low = bisect_left(self._sorted, leaf)
        high = bisect_left(self._sorted, leaf + "2")
        return [i for key in self._sorted[low:high] for i in self._members[key]]

    def leaf_of(self, record_id: str, present: Collection[str]) -> str | None:
        """Return which of some leaves a record belongs to."""
        key = self._routed.get(record_id)
        if key is None:
            return None
        return next((key[:n] for n in range(len(key) + 1) if key[:n] in present), None)

    def view(self, ids: Sequence[str]) -> View:
        """Return records to learn from, in canonical order."""
        codes = quantise(self._store.vectors(ids)[0])
        told = [self.targets[i] for i in ids]
        keys = [self._keys[i] for i in ids]
        if self.task == "regression":
            return make_view(
                ids, codes, np.array(told, np.float64).reshape(len(ids), self.width), keys
            )
        return make_view(ids, codes, told, keys)  # type: ignore[arg-type] # labels, by the task

    def views(self, lock: AbstractContextManager[object] = _FREE) -> Iterator[View]:
        """Iterate over all records to learn from, a bounded number at a time.

        Args:
            lock: held while records are read; those that have gone by then are left out.
        """
        ids = sorted(self.targets, key=id_hash)
        for start in range(0, len(ids), _BLOCK):
            with lock:
                view = self.view([i for i in ids[start : start + _BLOCK] if i in self.targets])
            if len(view):
                yield view


def _sum(view: View, salt: bytes) -> int:
    """Sum a hash of each record: an additive hash of the set, from which records can be taken."""
    total = 0
    told = view.targets.tolist() if isinstance(view.targets, np.ndarray) else view.targets
    for known, code, target in zip(view.hashes, view.codes, told, strict=True):
        body = known + code.tobytes() + canonical_json(target).encode()
        total += int.from_bytes(hashlib.sha256(salt + body).digest(), "big")
    return total
