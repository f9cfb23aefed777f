"""The files of what experts learnt: one immutable file a state, and a manifest that names them.

A change writes new files, swaps the manifest, and shreds the files that it no longer names: after
a crash there is the old set or the new one, and what neither names is shredded at the next
opening. Knows nothing of records, nor of how a state was made. ``docs/format.md`` describes the
files.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.experts.expert import State
from forgetnet.files import shred, sync_dir, write_durable
from forgetnet.record import canonical_json

__all__ = ["FORMAT", "Place", "Shelf", "Slot"]

FORMAT = 1
_ANEW = "restore it, or remove it to have it learnt anew"
_FILE = re.compile(r"[0-9a-f]{32}\.safetensors")

Place = tuple[str, str]
"""Whose state it is: the name of a part, and the leaf of the shard map."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One stored state.

    Attributes:
        inputs: digest of the records that it is a function of.
        records: how many they are.
        digest: of the state itself.
        file: its name on disk; empty in memory.
    """

    inputs: str
    records: int
    digest: str
    file: str = ""


class Shelf:
    """The states of one model, by part and leaf, each a sequence of stages.

    Args:
        root: folder for the files; None keeps the states in memory.
        readonly: change nothing on disk.

    Raises:
        StoreCorrupt: the manifest can't be read.
    """

    def __init__(self, root: Path | None, *, readonly: bool = False) -> None:
        self.root = root
        self._states: dict[tuple[Place, int], State] = {}
        self.header: dict[str, Any] = {}
        self.slots: dict[Place, tuple[Slot, ...]] = {}
        if root is None or not (root / "manifest.json").exists():
            return
        self._read(root / "manifest.json")
        # What is missing is learnt anew: states are functions of the records.
        self.slots = {p: row for p, row in self.slots.items() if self._whole(row)}
        if not readonly:
            self.sweep()

    def _whole(self, row: Sequence[Slot]) -> bool:
        return self.root is not None and all((self.root / slot.file).exists() for slot in row)

    def _read(self, path: Path) -> None:
        try:
            body: dict[str, Any] = json.loads(path.read_bytes())
            if body["format"] > FORMAT:
                raise StoreCorrupt(
                    f"the experts in {path.parent} have format {body['format']} and this version "
                    f"reads up to {FORMAT}; install a newer forget-by-design"
                )
            self.header = {**body["model"]}
            for row in body["states"]:
                place = (row["part"], row["leaf"])
                slot = Slot(row["inputs"], row["records"], row["digest"], row["file"])
                if not _FILE.fullmatch(slot.file):
                    raise ValueError
                self.slots[place] = (*self.slots.get(place, ()), slot)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"{path} names no states of experts; restore it") from error

    def load(self, place: Place, stage: int = -1) -> State:
        """Return a stored state, by default that of the last stage.

        Raises:
            StoreCorrupt: the file's bytes aren't those that were written.
        """
        slot = self.slots[place][stage]
        number = range(len(self.slots[place]))[stage]
        if self.root is None:
            return self._states[place, number]
        path = self.root / slot.file
        try:
            state = State.from_bytes(path.read_bytes())
        except OSError as error:
            raise StoreCorrupt(f"{path} can't be read: {error.strerror}; {_ANEW}") from error
        except StoreCorrupt as error:
            raise StoreCorrupt(f"{path} is no whole state of an expert; {_ANEW}") from error
        if state.digest() != slot.digest:
            raise StoreCorrupt(f"{path} was changed since it was written; {_ANEW}")
        return state

    def commit(
        self,
        put: Mapping[Place, Sequence[tuple[Slot, State | None]]],
        drop: Collection[Place] = (),
        header: Mapping[str, Any] | None = None,
    ) -> None:
        """Replace the states of some places and drop others, all in one step, durably.

        Args:
            put: all the stages of a place; a slot without a state is one that stays as it is.
            drop: places that are to have none.
            header: what the manifest says of the model; None leaves it.

        Raises:
            StoreError: the files can't be written; what was there is still there.
        """
        fresh: dict[tuple[Place, int], State] = {}
        slots = {place: row for place, row in self.slots.items() if place not in drop}
        written: list[str] = []
        try:
            for place, stages in put.items():
                row = []
                for number, (slot, state) in enumerate(stages):
                    if state is None:
                        row.append(slot)
                        if self.root is None:
                            fresh[place, number] = self._states[place, number]
                        continue
                    fresh[place, number] = state
                    row.append(self._write(replace(slot, digest=state.digest()), state, written))
                slots[place] = tuple(row)
            new = dict(self.header if header is None else header)
            self._swap(slots, new, synced=bool(written))
        except OSError as error:
            if not self._names(written):
                for name in written:
                    _shred_quietly(self.root, name)
            raise StoreError(
                f"can't write the experts to {self.root}: {error.strerror}; nothing was changed"
            ) from error
        self._keep(slots, fresh)
        self.slots, self.header = slots, new
        self.sweep()

    def _names(self, written: Sequence[str]) -> bool:
        """Tell whether the manifest on disk may name these files: its folder could not be synced.

        Then they stay, as do those before: the next commit or opening shreds one or the other.
        """
        if self.root is None or not written:
            return False
        try:
            text = (self.root / "manifest.json").read_text()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return any(name in text for name in written)

    def _write(self, slot: Slot, state: State, written: list[str]) -> Slot:
        if self.root is None:
            return slot
        self.root.mkdir(mode=0o700, exist_ok=True)
        name = f"{secrets.token_hex(16)}.safetensors"
        written.append(name)
        write_durable(self.root / name, state.to_bytes())
        return replace(slot, file=name)

    def _swap(
        self, slots: Mapping[Place, Sequence[Slot]], header: Mapping[str, Any], *, synced: bool
    ) -> None:
        if self.root is None:
            return
        rows = [
            {
                "part": part,
                "leaf": leaf,
                "inputs": slot.inputs,
                "records": slot.records,
                "digest": slot.digest,
                "file": slot.file,
            }
            for (part, leaf), row in sorted(slots.items())
            for slot in row
        ]
        body = {"format": FORMAT, "model": dict(header), "states": rows}
        self.root.mkdir(mode=0o700, exist_ok=True)
        write_durable(self.root / "manifest.json", json.dumps(body, indent=1).encode() + b"\n")
        if not synced:
            sync_dir(self.root.parent)

    def _keep(
        self, slots: Mapping[Place, Sequence[Slot]], fresh: Mapping[tuple[Place, int], State]
    ) -> None:
        """Let go of states in memory that no slot names any more."""
        if self.root is not None:
            return
        kept = {**self._states, **fresh}
        self._states = {
            (place, n): kept[place, n] for place, row in slots.items() for n in range(len(row))
        }

    def sweep(self) -> None:
        """Shred the files that the manifest doesn't name.

        Raises:
            StoreError: one can't be shredded, so bytes of what was forgotten may be left.
        """
        if self.root is None or not self.root.is_dir():
            return
        named = {slot.file for row in self.slots.values() for slot in row} | {"manifest.json"}
        for path in sorted(self.root.iterdir()):
            if path.name not in named:
                try:
                    shred(path)
                except OSError as error:
                    raise StoreError(
                        f"can't shred {path}: {error.strerror}; remove it and open the model again"
                    ) from error

    def files(self, places: Collection[Place] | None = None) -> list[Path]:
        """List the files of some places; of all by default."""
        if self.root is None:
            return []
        return [
            self.root / slot.file
            for place, row in sorted(self.slots.items())
            if places is None or place in places
            for slot in row
        ]

    def digest(self, part: str) -> str:
        """Hash the states of one part by leaf and stage."""
        rows = [
            [leaf, [slot.digest for slot in row]]
            for (name, leaf), row in sorted(self.slots.items())
            if name == part
        ]
        return hashlib.sha256(canonical_json(rows).encode()).hexdigest()


def _shred_quietly(root: Path | None, name: str) -> None:
    """Shred what a failed write left; the next opening tries again where this can't."""
    if root is None:
        return
    try:
        shred(root / name)
    except OSError:
        return
