"""The isolated parts of a model as components: one expert a leaf, dropped and trained anew.

A leaf that lost a record is masked at once; its files go before its training begins, so that
nothing that saw the record is left while it lasts. A result counts only if the leaf's records are
still those that it was trained on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgetnet.component import EXACT, Cost, Finding, Influence
from forgetnet.encode.contract import progress_bar
from forgetnet.errors import ForgetIncomplete, StoreCorrupt, Unsupported
from forgetnet.experts.expert import Expert, Predictor, State, View
from forgetnet.experts.router import SubjectRouter
from forgetnet.experts.shelf import Place, Slot
from forgetnet.experts.slices import first_stale, prefixes, slice_of
from forgetnet.experts.train import Job, Trained, carry_out, stages_of
from forgetnet.model.parts import COUNTED, REBUILT, Shared, look_for_files, seed_of
from forgetnet.shards import leaves

__all__ = ["LeafPart"]

_TRIES = 100


@dataclass(frozen=True, slots=True)
class _Task:
    """One leaf to train: which stages stay, and what is to be done."""

    leaf: str
    kept: tuple[Slot, ...]
    inputs: tuple[tuple[str, int], ...]
    job: Job


class LeafPart:
    """An expert with one state for each leaf, as a component of a model.

    Args:
        expert: what is trained.
        cap: most records of several subjects in a leaf.
        shared: what it shares with the other parts.
    """

    influence = Influence.ISOLATED
    standing = EXACT

    def __init__(self, expert: Expert, cap: int, shared: Shared) -> None:
        self.expert = expert
        self.predictors: dict[str, Predictor] = {}
        self.waiting: set[str] = set()
        self.refused: dict[str, tuple[str, str]] = {}  # what it can't learn from, and why
        self.slices = stages_of(expert)
        self._cap = cap
        self._shared = shared
        self._again: dict[str, str] = {}
        self._suspect: set[str] | None = None
        self.stop = threading.Event()

    @property
    def name(self) -> str:
        """The expert's name."""
        return self.expert.name

    def digest(self) -> str:
        """Hash the states of all leaves."""
        return self._shared.shelf.digest(self.name)

    def _present(self) -> set[str]:
        return {leaf for part, leaf in self._shared.shelf.slots if part == self.name}

    def _inputs(self) -> set[str]:
        """Return the digests of the records that stored states were trained on."""
        slots = self._shared.shelf.slots.items()
        return {slot.inputs for (part, _), row in slots if part == self.name for slot in row}

    # -- learning

    def open(self) -> None:
        """Take up the states of leaves whose records are as they were; train the others."""
        self._suspect = None
        self.bring()

    def mask(self, ids: Collection[str]) -> None:
        """Mask the leaves of records that come or go, while the roster knows them."""
        touched = self._leaves_of(ids)
        if not isinstance(self._shared.roster.router, SubjectRouter):
            self._suspect = None  # one record may move others
        elif self._suspect is not None:
            self._suspect |= touched
        for leaf in touched:
            self.predictors.pop(leaf, None)
        self.waiting |= touched

    def bring(self) -> None:
        """Bring every leaf in line with the live records; training holds no lock.

        A leaf that the expert refuses to learn from has no state, as in the twin, and hinders no
        forget.

        Raises:
            StoreError: a state can't be stored; what is missing is trained at the next opening.
            Unsupported: leaves were trained where the same training gives other bits than here.
        """
        for _ in range(_TRIES):  # records may come and go meanwhile
            with self._shared.lock:
                tasks = self._stale()
            if not tasks:
                return
            with progress_bar(len(tasks), shown=self._shared.progress and len(tasks) > 1) as step:

                def finished(
                    number: int,
                    trained: Trained,
                    tasks: Sequence[_Task] = tasks,
                    step: Callable[[int], None] = step,
                ) -> None:
                    with self._shared.lock:
                        self._take(tasks[number], trained)
                    step(1)

                self._shared.trainer.run([task.job for task in tasks], finished, self.stop)
            if self.stop.is_set():
                raise ForgetIncomplete("training was stopped; the next opening goes on with it")
        raise ForgetIncomplete("records change faster than leaves are trained; try again later")

    def _stale(self) -> list[_Task]:
        """Drop what no longer holds, durably, and return what is to be trained."""
        roster, shelf = self._shared.roster, self._shared.shelf
        wanted, present = roster.leaves(self._cap), self._present()
        doubted = present if self._suspect is None else self._suspect
        tasks, put = [], {}
        for leaf in wanted:
            if leaf in present and leaf not in doubted and leaf in self.predictors:
                continue
            view = roster.view(roster.members(leaf))
            if self.refused.get(leaf, ("",))[0] == view.digest():
                continue
            row = shelf.slots.get((self.name, leaf), ())
            first = first_stale([slot.inputs for slot in row], view, self.slices)
            if first == self.slices:
                if leaf not in self.predictors:
                    state = shelf.load((self.name, leaf))
                    self.predictors[leaf] = self.expert.prepare(state)
                continue
            task = self._task(leaf, view, row[:first])
            tasks.append(task)
            if task.kept:
                put[self.name, leaf] = [(slot, None) for slot in task.kept]
        gone = [(self.name, leaf) for leaf in present - set(wanted)]
        gone += [(self.name, task.leaf) for task in tasks if not task.kept]
        for leaf in {leaf for _, leaf in gone} | {task.leaf for task in tasks}:
            self.predictors.pop(leaf, None)
        self.waiting = {task.leaf for task in tasks}
        kept = set(wanted) - self.waiting
        self.refused = {leaf: why for leaf, why in self.refused.items() if leaf in kept}
        self._suspect = set()
        self._shared.changed()
        if put or gone:
            shelf.commit(put, gone)
        return tasks

    def _task(self, leaf: str, view: View, kept: tuple[Slot, ...]) -> _Task:
        start: State | None = None
        if kept:
            try:
                start = self._shared.shelf.load((self.name, leaf), len(kept) - 1)
            except StoreCorrupt:  # nothing goes on from a changed checkpoint
                kept = ()
        seed = seed_of(self._shared.salt, self.expert, leaf)
        inputs = tuple((part.digest(), len(part)) for part in prefixes(view, self.slices))
        return _Task(leaf, kept, inputs, Job(self.expert, view, seed, len(kept), start))

    def _take(self, task: _Task, trained: Trained) -> None:
        """Take up a result, unless the leaf has changed since."""
        if trained.environment != self._shared.environment:
            raise Unsupported(
                f"a leaf was trained in ({trained.environment}), and the same training gives other "
                f"bits here ({self._shared.environment}); train on machines like this one"
            )
        roster = self._shared.roster
        members = roster.members(task.leaf)
        if task.leaf not in self.waiting or not members:
            return
        if roster.view(members).digest() != task.inputs[-1][0]:
            return
        if trained.refused:  # earlier stages would tell that there once were others
            self._shared.shelf.commit({}, [(self.name, task.leaf)])
            self.refused[task.leaf] = (task.inputs[-1][0], trained.refused)
            self.waiting.discard(task.leaf)
            self._shared.changed()
            return
        made = zip(task.inputs[len(task.kept) :], trained.states, strict=True)
        row: list[tuple[Slot, State | None]] = [(slot, None) for slot in task.kept]
        row += [(Slot(inputs, count, ""), state) for (inputs, count), state in made]
        self._shared.shelf.commit({(self.name, task.leaf): row})
        self.predictors[task.leaf] = self.expert.prepare(trained.states[-1])
        self.waiting.discard(task.leaf)
        self._shared.changed()

    # -- letting go

    @property
    def behind(self) -> bool:
        """Whether a leaf is masked, or perhaps no longer right."""
        return bool(self.waiting) or self._suspect is None or bool(self._suspect)

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` that some leaf was trained on."""
        return sum(i in self._shared.roster.targets for i in ids)

    def _leaves_of(self, ids: Collection[str]) -> set[str]:
        known = self._present() | self.waiting | set(self.refused)  # some are in no file
        found = (self._shared.roster.leaf_of(i, known) for i in ids)
        return {leaf for leaf in found if leaf is not None}

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict which leaves go, and how much training their successors take.

        A record's training counts once for each slice from its own on, in all leaves that must
        be trained anew, against the same sum over all leaves.
        """
        roster, slots = self._shared.roster, self._shared.shelf.slots
        places: list[Place] = [(self.name, leaf) for leaf in self._leaves_of(ids)]
        files = self._shared.shelf.files(places) if places else []
        by = roster.without(ids)
        whole = work = trained = 0
        for leaf in leaves({key: len(some) for key, some in by.items()}, self._cap):
            rest = [i for key, some in by.items() if key.startswith(leaf) for i in some]
            work_of = [self._stages(i) for i in rest]
            whole += sum(map(sum, work_of))
            changed = set(rest) ^ set(roster.members(leaf))
            stored = (self.name, leaf) in slots
            if stored and not changed:
                continue
            first = min(map(self._slice, changed)) if stored else 0
            work += sum(sum(stages[first:]) for stages in work_of)
            trained += len(rest)
        return Cost(
            "drop the leaves' experts, train them without",
            self.holds(ids),
            trained,
            len(files),
            sum(path.stat().st_size for path in files),
            work / max(1, whole),
        )

    def _slice(self, record_id: str) -> int:
        return slice_of(self._shared.roster.key_of(record_id), self.slices)

    def _stages(self, record_id: str) -> list[int]:
        """Return for each stage whether it trains on the record."""
        own = self._slice(record_id)
        return [int(stage >= own) for stage in range(self.slices)]

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Note which leaves learnt from the records, and their files."""
        view = self._shared.see_off(ids)
        places: list[Place] = [(self.name, leaf) for leaf in self._leaves_of(view.ids)]
        slots = self._shared.shelf.slots
        rows = {place: slots.get(place, ()) for place in places}
        stale = {slot.file for p, row in rows.items() for slot in row[self._first(p, view) :]}
        stale.discard("")
        files = [path for path in self._shared.shelf.files(places) if path.name in stale]
        old = [row[-1].inputs for row in rows.values() if row]
        return {
            "held": len(view),
            "found": self.holds(ids) + sum(digest in self._inputs() for digest in old),
            "leaves": {leaf: [slot.inputs for slot in row] for (_, leaf), row in rows.items()},
            "digests": {leaf: row[-1].digest for (_, leaf), row in rows.items() if row},
            "files": [path.name for path in files],
            "present": sum(path.exists() for path in files),
        }

    def _first(self, place: Place, view: View) -> int:
        """Return the first stage of a leaf that saw one of the records."""
        leaf = place[1]
        own = [
            slice_of(key, self.slices)
            for i, key in zip(view.ids, view.keys, strict=True)
            if self._shared.roster.leaf_of(i, {leaf}) is not None
        ]
        return min(own, default=0)

    def hide(self, ids: Collection[str]) -> None:
        """Mask the leaves that learnt from the records."""
        self._shared.left(ids)

    def forget(self, ids: Collection[str]) -> None:
        """Drop the leaves that learnt from the records, and train their successors."""
        self.bring()

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Train the leaves that were touched once more, and keep the digests of what comes out."""
        touched = {leaf for note in notes if note.get("held") for leaf in note["leaves"]}
        roster = self._shared.roster
        with self._shared.lock:
            near = [n for n in self._present() if any(_related(n, leaf) for leaf in touched)]
            views = {leaf: roster.view(roster.members(leaf)) for leaf in near}
            self._again = {}
        for leaf, view in views.items():
            if len(view):
                self._anew(leaf, view)

    def _anew(self, leaf: str, view: View) -> str:
        """Return the digest of a leaf's state, trained once more if it hasn't been."""
        key = f"{leaf} {view.digest()}"
        if key not in self._again:
            seed = seed_of(self._shared.salt, self.expert, leaf)
            states = carry_out(Job(self.expert, view, seed)).states
            self._again[key] = states[-1].digest() if states else ""
        return self._again[key]

    def distrust(self) -> None:
        """Drop all states: they were made where the same training gives other bits."""
        places: list[Place] = [(self.name, leaf) for leaf in self._present()]
        if places:
            self._shared.shelf.commit({}, places)

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Compare what leaves were trained on with what is live; in full, train them once more."""
        if not note["held"]:
            return [Finding(COUNTED, self.holds(ids))]
        roster, slots = self._shared.roster, self._shared.shelf.slots
        old = [digest for row in note["leaves"].values() for digest in row[-1:]]
        present = self._present()
        near = [name for name in present if any(_related(name, leaf) for leaf in note["leaves"])]
        hits = self.holds(ids) + sum(self._unlike(leaf) for leaf in near)
        expected = int(note["held"]) + len(old)
        findings = [Finding(COUNTED, hits + len(self.waiting), expected, int(note["found"]))]
        findings += look_for_files(self._shared, note)
        if full:
            wrong = told = 0
            for leaf in sorted(near):
                anew = self._anew(leaf, roster.view(roster.members(leaf)))
                wrong += anew != slots[self.name, leaf][-1].digest
                told += anew not in note["digests"].values()
            # A leaf may owe nothing to a record, as where all are of one class: no control then.
            findings.append(Finding(REBUILT, wrong, told, told))
        return findings

    def _unlike(self, leaf: str) -> bool:
        """Tell whether a leaf's states were trained on other records than it has."""
        roster, slots = self._shared.roster, self._shared.shelf.slots
        told = [slot.inputs for slot in slots[self.name, leaf]]
        view = roster.view(roster.members(leaf))
        return not len(view) or first_stale(told, view, self.slices) < self.slices


def _related(leaf: str, other: str) -> bool:
    """Tell whether one leaf lies within the other."""
    return leaf.startswith(other) or other.startswith(leaf)
