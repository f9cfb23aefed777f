"""The files of a model that learnt from a memory: weights, whom they saw, and who is leaving.

A change writes new weights, swaps the manifest, and shreds the old ones; so after a crash there is
the old state or the new one. Knows nothing of unlearning.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from forgetnet.component import EXACT, Standing
from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.exchange import decode_line, encode_line
from forgetnet.files import make_dir, shred, shred_tree, write_durable
from forgetnet.record import Record
from forgetnet.store import Floats

__all__ = ["Held", "Leaver", "Rack", "Racked"]

FORMAT = 1
_MANIFEST, _LEAVING, _RUNS = "manifest.json", "leaving-*.jsonl", "unlearning-runs"
_TORN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_WEIGHTS = re.compile(r"[0-9a-f]{32}\.safetensors")

Leaver = tuple[Record, Floats]
"""A record that is to be unlearnt, and its (d,) content vector."""


@dataclass(frozen=True)
class Held:
    """What a model stands on.

    Attributes:
        saw: the records that its weights learnt from: id, and a digest of what it said.
        owed: ids of those that are gone and that no method could unlearn yet.
        start: digest of the weights before any record.
        weights: name of their file; empty where there are none.
        digest: SHA-256 of its bytes.
        standing: what its forgetting is worth.
        attempts: what came of the last forget, as plain JSON.
        retrieval: what the comparison with and without the memory found then.
        account: of private training, as plain JSON, and how many records were forgotten since.
    """

    saw: Mapping[str, str] = field(default_factory=dict)
    owed: frozenset[str] = frozenset()
    start: str = ""
    weights: str = ""
    digest: str = ""
    standing: Standing = EXACT
    attempts: tuple[Mapping[str, Any], ...] = ()
    retrieval: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, Any] = field(default_factory=dict)


class Rack:
    """The folder of one model; None keeps all in memory.

    Nothing is written before :meth:`bind`; only who has the memory's lock may call that.

    Args:
        folder: a new or empty one, or this model's.
        name: of the model; another one's folder is refused.

    Raises:
        StoreCorrupt: the folder can't be read.
        StoreError: it belongs to another model, holds other things, or is a file.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self.folder = folder
        self._name = name
        self._tensors: dict[str, Tensor] = {}
        self._leavers: dict[str, Leaver] = {}
        self.identity = secrets.token_hex(16) if folder is None else ""
        self.held = Held()
        if folder is not None and (folder / _MANIFEST).exists():
            self.held = self.read()
        elif folder is not None and folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; name a folder, a new one for a new model")
        elif folder is not None and folder.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder} holds other things than a model; name a new folder")

    def bind(self) -> None:
        """Read the folder again, and make it the model's own if it is new.

        Raises:
            StoreCorrupt: it can't be read.
            StoreError: it can't be written.
        """
        if self.folder is None:
            return
        if (self.folder / _MANIFEST).exists():
            self.held = self.read()
            self._sweep()
            return
        try:
            make_dir(self.folder)
        except OSError as error:
            raise StoreError(f"can't make {self.folder}: {error.strerror}") from error
        self.identity = secrets.token_hex(16)
        self.commit(Held(), None)

    def read(self) -> Held:
        """Read the manifest from its file.

        Raises:
            StoreCorrupt: it can't be read.
            StoreError: it is another model's.
        """
        if self.folder is None:
            return self.held
        path = self.folder / _MANIFEST
        try:
            body: dict[str, Any] = json.loads(path.read_bytes())
            if body["format"] != FORMAT or (body["weights"] and not _is_weights(body["weights"])):
                raise ValueError
            if body["name"] != self._name:
                raise StoreError(
                    f"{self.folder} holds the model {body['name'][:80]!r}, not {self._name!r}; "
                    "name its own folder"
                )
            self.identity = str(body["identity"])
            return Held(
                dict(body["saw"]),
                frozenset(body["owed"]),
                body["start"],
                body["weights"],
                body["digest"],
                Standing(**body["standing"]),
                tuple(body["attempts"]),
                body["retrieval"],
                body["account"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"{path} can't be read; restore it from a backup") from error

    def load(self) -> dict[str, Tensor]:
        """Return the stored weights.

        Raises:
            StoreCorrupt: the bytes aren't those that were written.
        """
        if self.folder is None:
            return self._tensors
        path = self.folder / self.held.weights
        try:
            body = path.read_bytes()
            if hashlib.sha256(body).hexdigest() != self.held.digest:
                raise StoreCorrupt(f"{path} was changed since it was written; restore it")
            return load(body)
        except (OSError, SafetensorError) as error:
            raise StoreCorrupt(f"{path} can't be read; restore it from a backup") from error

    def commit(self, held: Held, tensors: Mapping[str, Tensor] | None) -> None:
        """Make a state durable, and shred the weights before it.

        Args:
            held: what it stands on; ``weights`` and ``digest`` are found here.
            tensors: the new weights; None where the old ones stay, an empty mapping for none.

        Raises:
            StoreError: the folder can't be written; the state before holds.
        """
        if tensors is None:
            held = replace(held, weights=self.held.weights, digest=self.held.digest)
        elif self.folder is None:
            self._tensors = dict(tensors)
            held = replace(held, weights="memory" if tensors else "", digest=_digest(tensors))
        else:
            held = replace(held, weights="", digest="")
        if self.folder is not None:
            try:
                self._write(self.folder, held, tensors)
            except OSError as error:
                raise StoreError(f"can't write to {self.folder}: {error.strerror}") from error
        else:
            self.held = held

    def _write(self, folder: Path, held: Held, tensors: Mapping[str, Tensor] | None) -> None:
        if tensors:
            body = save({name: t.contiguous() for name, t in tensors.items()})
            name = f"{secrets.token_hex(16)}.safetensors"
            write_durable(folder / name, body)
            held = replace(held, weights=name, digest=hashlib.sha256(body).hexdigest())
        told = {
            "format": FORMAT,
            "name": self._name,
            "identity": self.identity,
            "saw": dict(held.saw),
            "owed": sorted(held.owed),
            "start": held.start,
            "weights": held.weights,
            "digest": held.digest,
            "standing": {n: getattr(held.standing, n) for n in Standing.__dataclass_fields__},
            "attempts": list(held.attempts),
            "retrieval": dict(held.retrieval),
            "account": dict(held.account),
        }
        write_durable(folder / _MANIFEST, json.dumps(told, sort_keys=True).encode())
        self.held = held
        self._sweep()

    def _sweep(self) -> None:
        """Shred weights that the manifest doesn't name, and what torn writes left."""
        if self.folder is None:
            return
        for path in sorted(self.folder.iterdir()):
            stale = _is_weights(path.name) and path.name != self.held.weights
            if stale or _TORN.fullmatch(path.name):
                shred(path)

    def forget_near(self, ids: Collection[str]) -> None:
        """Leave records that are going out of what the last forget found beside others."""
        near = [i for i in self.held.retrieval.get("near", ()) if i not in ids]
        if len(near) < len(self.held.retrieval.get("near", ())):
            self.commit(replace(self.held, retrieval={**self.held.retrieval, "near": near}), None)

    # -- who is leaving

    def leavers(self) -> dict[str, Leaver]:
        """Return the records that are to be unlearnt, by id.

        Raises:
            StoreCorrupt: their file can't be read.
        """
        if self.folder is None:
            return dict(self._leavers)
        found: dict[str, Leaver] = {}
        for path in self._leaving():
            try:
                lines = path.read_text().splitlines()
                for record, content in map(decode_line, lines):
                    if content is not None:
                        found[record.id] = (record, content)
            except (OSError, ValueError, InvalidRecord) as error:
                raise StoreCorrupt(
                    f"{path} can't be read; remove it to go on without it"
                ) from error
        return found

    def _leaving(self) -> list[Path]:
        """Return the files with records; there are two only where a change was cut short."""
        return [] if self.folder is None else sorted(self.folder.glob(_LEAVING))

    def see_off(self, leavers: Iterable[Leaver]) -> None:
        """Keep records until they are unlearnt, durably; all others are shredded.

        Raises:
            StoreError: the folder can't be written.
        """
        kept = {record.id: (record, content) for record, content in leavers}
        if self.folder is None:
            self._leavers = kept
            return
        old = self._leaving()
        lines = "".join(f"{encode_line(*kept[i])}\n" for i in sorted(kept))
        try:
            if kept:
                name = _LEAVING.replace("*", secrets.token_hex(16))
                write_durable(self.folder / name, lines.encode())
            for path in old:
                shred(path)
        except OSError as error:
            raise StoreError(f"can't write to {self.folder}: {error.strerror}") from error

    def run_folder(self, ids: Collection[str]) -> Path | None:
        """Return the folder for the checkpoints of one forget set; others are shredded."""
        if self.folder is None:
            return None
        name = hashlib.sha256("\0".join(sorted(ids)).encode()).hexdigest()[:32]
        runs = self.folder / _RUNS
        if runs.is_dir():
            for other in runs.iterdir():
                if other.name != name:
                    shred_tree(other)
        return runs / name

    def end_runs(self) -> None:
        """Shred all checkpoints."""
        if self.folder is not None and (self.folder / _RUNS).is_dir():
            shred_tree(self.folder / _RUNS)

    def there(self, weights: str) -> bool:
        """Tell whether a file of weights is there."""
        return self.folder is not None and bool(weights) and (self.folder / weights).exists()

    def remains(self, weights: str) -> int:
        """Count what is left of a forget: its old weights, its records, its checkpoints."""
        if self.folder is None:
            return len(self._leavers)
        return int(self.there(weights)) + len(self._leaving()) + int((self.folder / _RUNS).exists())


class Racked:
    """Something whose state lies on a rack, and what may be asked of that."""

    _rack: Rack

    @property
    def identity(self) -> str:
        """A random name of this very model; empty before it is attached."""
        return self._rack.identity

    @property
    def folder(self) -> Path | None:
        """Where its files are."""
        return self._rack.folder

    @property
    def taught(self) -> bool:
        """Whether its weights learnt from records."""
        return bool(self._rack.held.saw)

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """What the last forget tried, and what the audit said."""
        return self._rack.held.attempts

    @property
    def retrieval(self) -> Mapping[str, Any]:
        """What the last forget found with the memory and without; see ``Retrieval``."""
        return self._rack.held.retrieval


def _is_weights(name: str) -> bool:
    return bool(_WEIGHTS.fullmatch(name))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    if not tensors:
        return ""
    return hashlib.sha256(save({n: t.contiguous() for n, t in tensors.items()})).hexdigest()
