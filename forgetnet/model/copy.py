"""Writing a model to a new folder: records, marks, states and key, each as it is.

So is the list of what was forgotten, if there is one. Rows that are sealed are so in the copy, with
keys of its own.
"""

from __future__ import annotations

from pathlib import Path

from forgetnet.errors import StoreError
from forgetnet.experts.expert import State
from forgetnet.experts.shelf import Place, Shelf, Slot
from forgetnet.files import make_dir, write_durable
from forgetnet.forget.keys import derive_salt
from forgetnet.geometry import codes
from forgetnet.model.core import Core
from forgetnet.opening import Parts, open_parts
from forgetnet.record import id_hash, split_topic

__all__ = ["copy_model"]

_BLOCK = 8192


def copy_model(parts: Parts, core: Core, root: Path, *, key: bool) -> None:
    """Write a model's records and states to a folder that is new or empty, and its key if asked.

    Args:
        parts: of the model's memory.
        core: its experts.
        root: the folder, absolute.
        key: whether the key goes with it.

    Raises:
        StoreError: it holds something, or can't be written.
    """
    if root.exists() and any(root.iterdir() if root.is_dir() else [root]):
        raise StoreError(f"{root} holds something already; name a new folder to save to")
    try:
        make_dir(root, 0o700)
        if key:
            write_durable(root / "key", parts.home.secret.hex().encode() + b"\n")
    except OSError as error:
        raise StoreError(f"can't write to {root}: {error.strerror}") from error
    secret, sealed = parts.home.secret, parts.sealed
    copied = open_parts(str(root), parts.encoder, secret, readonly=False, sealed=sealed)
    try:
        copied.suppression.take_over(parts.suppression)
        for mark in parts.marks.all():
            copied.marks.put(mark)
        _records(parts, copied)
        _states(core, Shelf(root / "experts"))
    finally:
        copied.store.close()


def _records(parts: Parts, copied: Parts) -> None:
    salt = derive_salt(parts.home.secret)
    found = sorted(parts.store.scan(), key=lambda record: id_hash(record.id))
    for start in range(0, len(found), _BLOCK):
        some = found[start : start + _BLOCK]
        content, _ = parts.store.vectors([record.id for record in some])
        place = codes.places([split_topic(record.topic) for record in some], salt)
        copied.store.add(some, content, place)


def _states(core: Core, shelf: Shelf) -> None:
    put: dict[Place, list[tuple[Slot, State | None]]] = {
        place: [(slot, core.shelf.load(place, stage)) for stage, slot in enumerate(row)]
        for place, row in core.shelf.slots.items()
    }
    shelf.commit(put, header=core.header())
