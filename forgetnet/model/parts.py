"""What the learnt parts of a model share, and the additive ones as components.

A part is brought in line with the records that are live, whatever happened before: that is what a
fit, a forget and the recovery from a crash have in common. A state is used only if the digest of
its inputs is that of the records as they are, so a stale one does no harm.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forgetnet.component import EXACT, Cost, Finding, Influence
from forgetnet.experts.expert import AdditiveExpert, Expert, Predictor, State, View
from forgetnet.experts.shelf import Place, Shelf, Slot
from forgetnet.experts.train import Trainer
from forgetnet.model.roster import Roster

__all__ = [
    "COUNTED",
    "REBUILT",
    "SHREDDED",
    "RowsPart",
    "Shared",
    "SumPart",
    "look_for_files",
    "seed_of",
]

REBUILT = "learnt once more from the live records, and compared"
COUNTED = "inputs compared with the live records"
SHREDDED = "looked for the files that held it"


@dataclass(slots=True)
class Shared:
    """What the parts of one model share.

    Attributes:
        roster: the live records that teach.
        shelf: the stored states.
        trainer: trains the leaves.
        salt: keys the seeds.
        lock: held while anything here changes.
        leaving: ids that are about to go, and what they taught.
        left: called once ids have gone from the store.
        changed: called when what a part serves has changed.
        environment: what the bits of trained states depend on, here.
        bridging: whether others wait for answers meanwhile, so that a quick one is worth its time.
        progress: show a bar on long work, when the output is a terminal.
    """

    roster: Roster
    shelf: Shelf
    trainer: Trainer
    salt: bytes = field(repr=False)
    lock: threading.RLock
    leaving: tuple[frozenset[str], View] | None = field(default=None, repr=False)
    left: Callable[[Collection[str]], object] = len
    changed: Callable[[], object] = bool
    environment: str = ""
    bridging: bool = False
    progress: bool = True

    def see_off(self, ids: Collection[str]) -> View:
        """Return what the records of ``ids`` teach, and keep it until they have gone."""
        key = frozenset(ids)
        if self.leaving is None or self.leaving[0] != key:
            taught = [i for i in ids if i in self.roster.targets]
            self.leaving = (key, self.roster.view(taught))
        return self.leaving[1]


def seed_of(salt: bytes, expert: Expert, leaf: str) -> int:
    """Return the seed of a leaf: 63 bits of a keyed hash, so that no leaf moves another's."""
    name = f"seed\0{expert.name}\0{leaf}".encode()
    return int.from_bytes(hashlib.sha256(salt + name).digest()[:8], "big") >> 1


def look_for_files(shared: Shared, note: Mapping[str, Any]) -> list[Finding]:
    """Look for the files that held what was let go of, by their names; none in memory."""
    root = shared.shelf.root
    names = [str(name) for name in note["files"]]
    if root is None or not names:
        return []
    there = {path.name for path in root.iterdir()} if root.is_dir() else set()
    left = sum(name in there for name in names)
    return [Finding(SHREDDED, left, len(names), int(note["present"]), files=len(there))]


class RowsPart:
    """The rows that teach a model of its memory alone, as a component: they are the store's own.

    Args:
        shared: what it shares with other parts.
    """

    influence = Influence.LOCAL
    standing = EXACT
    name = "memory"
    behind = False

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def digest(self) -> str:
        """Hash the set of rows that teach."""
        return self._shared.roster.digest()

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` that teach."""
        return sum(i in self._shared.roster.targets for i in ids)

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict: the rows go with the store's."""
        return Cost("answer without the rows", self.holds(ids))

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Note how many they are."""
        return {"held": len(self._shared.see_off(ids)), "found": self.holds(ids)}

    def hide(self, ids: Collection[str]) -> None:
        """Answer without them."""
        self._shared.left(ids)

    def forget(self, ids: Collection[str]) -> None:
        """Do nothing: the rows went with the store's."""

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: rows are counted at once."""

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Count the records of ``ids`` that teach."""
        return [Finding(COUNTED, self.holds(ids), int(note["held"]), int(note["found"]))]


class SumPart:
    """An additive expert over all live records, as a component of a model.

    Args:
        expert: what is summed.
        shared: what it shares with the other parts.
    """

    influence = Influence.ADDITIVE
    standing = EXACT

    def __init__(self, expert: AdditiveExpert, shared: Shared) -> None:
        self.expert = expert
        self.predictor: Predictor | None = None
        self._shared = shared
        self._state: State | None = None
        self._behind: list[View] = []
        self._last: Predictor | None = None
        self._again = ("", "")

    @property
    def name(self) -> str:
        """The expert's name."""
        return self.expert.name

    @property
    def _place(self) -> Place:
        return (self.expert.name, "")

    @property
    def _slot(self) -> Slot | None:
        row = self._shared.shelf.slots.get(self._place)
        return row[-1] if row else None

    def digest(self) -> str:
        """Hash the state."""
        return self._shared.shelf.digest(self.name)

    # -- learning

    def open(self) -> None:
        """Take up the stored state if it is that of the live records; else learn them anew."""
        slot = self._slot
        if slot is not None and slot.inputs == self._shared.roster.digest():
            self._state = self._shared.shelf.load(self._place)
            self._ready()
        else:
            self.rebuild()

    def rebuild(self) -> None:
        """Learn the live records from nothing."""
        with self._shared.lock:
            self._behind = []
            self._state = self._learnt()
            self._commit()

    def _learnt(self) -> State | None:
        state = None
        for view in self._shared.roster.views():
            state = self._joined(state, view)
        return state

    def _joined(self, state: State | None, view: View) -> State:
        if state is None:
            return self.expert.fit(view, seed_of(self._shared.salt, self.expert, ""))
        return self.expert.absorb(state, view)

    def absorb(self, view: View) -> None:
        """Learn records that the roster has just taken in."""
        with self._shared.lock:
            if self._behind or (self._state is None and len(self._shared.roster) > len(view)):
                self.rebuild()
                return
            state, self._state = self._state, None  # used up, should anything go wrong
            self._state = self._joined(state, view)
            self._commit()

    def drop(self) -> None:
        """Give up the state, which lacks records; it is learnt anew when next asked for."""
        self._state = self._last = self.predictor = None

    def _commit(self) -> None:
        """Store the state, shred the one before, and make it answer."""
        shelf, roster = self._shared.shelf, self._shared.roster
        if self._state is None or not len(roster):
            self._state = None
            shelf.commit({}, [self._place])
        else:
            slot = Slot(roster.digest(), len(roster), "")
            shelf.commit({self._place: [(slot, self._state)]})
        self._ready()

    def _ready(self) -> None:
        self._last = None
        self.predictor = None if self._state is None else self.expert.prepare(self._state)
        self._shared.changed()

    # -- letting go

    @property
    def behind(self) -> bool:
        """Whether the sums are over other records than the live ones."""
        slot, roster = self._slot, self._shared.roster
        return bool(self._behind) or (slot.inputs != roster.digest() if slot else bool(len(roster)))

    def holds(self, ids: Collection[str]) -> int:
        """Count the records of ``ids`` in the sums."""
        return sum(i in self._shared.roster.targets for i in ids)

    def cost(self, ids: Collection[str]) -> Cost:
        """Predict: the records' own products are subtracted, and the sums solved once more."""
        held = self.holds(ids)
        files = self._shared.shelf.files([self._place]) if held else []
        size = sum(path.stat().st_size for path in files)
        share = held / max(1, len(self._shared.roster))
        action = "subtract the records' own sums, solve again"
        return Cost(action, held, held, len(files), size, share)

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Keep the records that are to be subtracted; note what the state is now."""
        held = len(self._shared.see_off(ids))
        slot = self._slot
        files = self._shared.shelf.files([self._place]) if held else []
        return {
            "held": held,
            "inputs": slot.inputs if slot else "",
            "digest": slot.digest if slot else "",
            "files": [path.name for path in files],
            "present": sum(path.exists() for path in files),
        }

    def hide(self, ids: Collection[str]) -> None:
        """Answer no more until the records are subtracted."""
        self._shared.left(ids)

    def mask(self, view: View) -> None:
        """Answer no more, and remember what is to be subtracted."""
        if len(view):
            self._behind.append(view)
            self._last, self.predictor = self._last or self.predictor, None

    def forget(self, ids: Collection[str]) -> None:
        """Subtract what was added, shred the sums before, and solve again."""
        with self._shared.lock:
            if not self.behind and (self.predictor is not None or not len(self._shared.roster)):
                self._shared.shelf.sweep()  # which may be all that went wrong before
                return
            behind = self._behind
            state, self._state = self._state, None  # used up, should anything go wrong
            if state is None or not behind:
                self.rebuild()  # after a crash the records are gone: learn the others once more
                return
            if self._shared.bridging and self._last is not None and len(behind) == 1:
                self.predictor = self.expert.bridge(self._last, behind[0])
                self._shared.changed()
            while behind:
                state = self.expert.expel(state, behind.pop())
            self._state = state
            self._commit()

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Sum the live records up once more, and keep the digest of what comes out."""
        roster = self._shared.roster
        before = roster.digest()
        if not any(note.get("held") for note in notes) or self._again[0] == before:
            return
        state = None
        for view in roster.views(self._shared.lock):
            state = self._joined(state, view)
        if roster.digest() == before:  # else some have gone meanwhile
            self._again = (before, _digest(state))

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Compare what the sums are over with what is live; in full, sum it up once more."""
        if not note["held"]:
            return [Finding(COUNTED, self.holds(ids))]
        roster, slot = self._shared.roster, self._slot
        inputs = slot.inputs if slot else ""
        unlike = len(roster) > 0 and inputs != roster.digest()
        told = int(note["inputs"] != inputs)
        findings = [Finding(COUNTED, self.holds(ids) + int(unlike), 1, told)]
        findings += look_for_files(self._shared, note)
        if full:
            if self._again[0] != roster.digest():
                self._again = (roster.digest(), _digest(self._learnt()))
            digest = self._again[1]
            wrong = int(digest != (slot.digest if slot else ""))
            findings.append(Finding(REBUILT, wrong, 1, int(digest != note["digest"])))
        return findings


def _digest(state: State | None) -> str:
    return "" if state is None else state.digest()
