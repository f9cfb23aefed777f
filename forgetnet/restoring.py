"""Restoring a backup: what was forgotten since is forgotten before anybody can ask.

The folder gets its name only when that is done, so a restore that is cut short leaves none. Knows
nothing of how backups are written.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetnet.archive import Archive, read_archive, unpack
from forgetnet.errors import ForgetIncomplete, StoreCorrupt, StoreError
from forgetnet.files import (
    claim,
    copy_slots,
    make_dir,
    shred_abandoned,
    shred_tree,
    sync_dir,
    write_durable,
)
from forgetnet.forget.backups import tombstones_in
from forgetnet.forget.marks import Kind, Mark
from forgetnet.forget.office import Office
from forgetnet.forget.plan import Scope
from forgetnet.forget.receipt import Receipt
from forgetnet.forget.surfaces import SurfaceStatus
from forgetnet.given import check_switches, path_of, root_of
from forgetnet.memory import Memory

if TYPE_CHECKING:
    from forgetnet.model import ForgetNet
__all__ = ["Restored", "restore"]

_REASON = "a hold that was put on after the backup was made, and may have been lifted since"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        path: the folder of the memory or the model.
        records: how many are there.
        receipt: of what was forgotten again; None where nothing was.
        made: ISO time of the backup, UTC.
    """

    path: Path
    records: int
    receipt: Receipt | None = field(repr=False)
    made: str


def restore(
    backup: str | Path,
    to: str | Path,
    *,
    tombstones: str | Path | Sequence[str | Path] | None = None,
    progress: bool = True,
    **options: Any,
) -> Restored:
    """Make a memory or a model of a backup, without what was forgotten since it was made.

    It opens from ``to`` like any other, and its own backups go on in the same places.

    Args:
        backup: a file that ``backup`` wrote.
        to: folder to make, which isn't there yet.
        tombstones: folders with tombstones, beside that of the backup: other places, and the
            ``backups`` folder of the memory that was lost, if it is still there.
        progress: show a bar on long work, when the output is a terminal.
        options: for :meth:`forgetnet.Memory.open` or :meth:`forgetnet.ForgetNet.open`, as ``key=``
            where the key isn't in the backup, or ``experts=`` that hold code.

    Raises:
        ForgetIncomplete: what was forgotten since can't be forgotten again; nothing was restored.
        StoreCorrupt: the backup's bytes were changed, or it isn't one; nothing was restored.
        StoreError: ``to`` is there already or can't be written, or nothing tells what was
            forgotten since; nothing was restored.
    """
    check_switches(StoreError, progress=progress)
    archive = read_archive(path_of(backup, "backup", StoreError))
    target = root_of(str(path_of(to, "to", StoreError)))
    if target.exists():
        raise StoreError(f"{target} is there already; restore to a new folder")
    many = [tombstones] if isinstance(tombstones, str | Path) else list(tombstones or [])
    places = [archive.path.resolve().parent, *(path_of(p, "tombstones", StoreError) for p in many)]
    since = _since(archive, places)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.restoring")
    try:
        make_dir(target.parent)
        shred_abandoned(target.parent.glob(f".{glob.escape(target.name)}.*.restoring"))
        with _removed(temporary) as kept:
            unpack(archive, temporary, progress=progress)
            _bring_keys(archive, temporary, places)
            receipt, records = _forget_again(archive, temporary, since, places[0], options)
            temporary.rename(target)
            kept.append(target)
        sync_dir(target.parent)
    except OSError as error:
        what = "it is there, but may not last" if target.exists() else "nothing was restored"
        raise StoreError(f"can't restore to {target}: {error.strerror}; {what}") from error
    return Restored(target, records, receipt, str(archive.facts.get("made", "")))


@contextlib.contextmanager
def _removed(temporary: Path) -> Iterator[list[Path]]:
    """Make a folder and claim it; shred it at the end, unless something was put into the list."""
    kept: list[Path] = []
    temporary.mkdir(mode=0o700)
    fd = os.open(temporary, os.O_RDONLY)
    try:
        claim(fd)
        yield kept
    finally:
        if not kept:
            with contextlib.suppress(OSError):
                shred_tree(temporary)
        os.close(fd)


def _since(archive: Archive, places: Sequence[Path]) -> set[str]:
    """Return the hashes of what was forgotten after the backup was made.

    Raises:
        StoreError: no place tells of the memory's tombstones.
    """
    seen = archive.facts.get("seen")
    if not isinstance(seen, dict) or not seen or not _is_told(archive.facts, seen):
        raise StoreCorrupt(f"{archive.path} doesn't say what was forgotten before it; name another")
    found: dict[str, list[str]] = {}
    for place in places:
        if not place.is_dir():
            raise StoreError(f"{place} is no folder; name one that holds tombstones")
        for name, hashes in tombstones_in(place).items():
            found[name] = max(hashes, found.get(name, []), key=len)
    for name, count in seen.items():
        if name not in found or len(found[name]) < count:
            raise StoreError(
                f"tombstones-{name}.jsonl, which lay beside the backup and says what was forgotten "
                f"since, is missing or too short in {', '.join(map(str, places))}; bring it there, "
                "or name where it is with tombstones="
            )
    return {one for name, hashes in found.items() for one in hashes[seen.get(name, 0) :]}


def _is_told(facts: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Tell whether an archive's facts are of the kinds that they should be."""
    keys, places = facts.get("keys", ""), facts.get("places", [])
    return (
        all(type(n) is int for n in (facts.get("records"), *seen.values()))
        and isinstance(keys, str)
        and bool(keys or not facts.get("sealed"))
        and isinstance(places, list)
        and all(isinstance(place, str) for place in places)
    )


def _opened(folder: Path, options: Mapping[str, Any]) -> Memory | ForgetNet:
    if not (folder / "experts" / "manifest.json").exists():
        return Memory.open(folder, **options)
    from forgetnet.model import ForgetNet  # it needs torch, and a memory doesn't

    return ForgetNet.open(folder, **options)


def _bring_keys(archive: Archive, folder: Path, places: Sequence[Path]) -> None:
    """Take the subjects' keys from beside the backup; those of the forgotten are gone from there.

    Raises:
        StoreError: they aren't there.
    """
    if not archive.facts.get("sealed"):
        return
    name = Path(archive.facts["keys"]).name
    found = next((place / name for place in places if (place / name).exists()), None)
    if found is None:
        raise StoreError(
            f"{name}, which lay beside the backup and holds the keys of its rows, is missing in "
            f"{', '.join(map(str, places))}; bring it there, or name where it is with tombstones="
        )
    copy_slots(found, folder / "store" / "keys")
    write_durable(folder / "store" / "restoring", b"")


def _tidy(archive: Archive, folder: Path, office: Office) -> int:
    """Purge what was deleted before the backup, and the rows whose keys are gone; count these."""
    lost = 0
    if archive.facts.get("sealed"):
        (folder / "store" / "restoring").unlink()
        lost = archive.facts["records"] - office.store.count()
    office.store.purge()
    return lost


def _forget_again(
    archive: Archive, folder: Path, since: set[str], place: Path, options: Mapping[str, Any]
) -> tuple[Receipt | None, int]:
    """Open what was unpacked, check that it is what was backed up, and forget."""
    with _opened(folder, options) as opened:
        with opened._keeping() as office:  # noqa: SLF001 # one house
            lost = _tidy(archive, folder, office)
            if not lost and office.store.digest() != archive.facts.get("digest"):
                raise StoreCorrupt(f"{archive.path} doesn't hold the records that it says")
            ids = tuple(r.id for r in office.store.scan() if office.backups.hash(r.id) in since)
            _end_lifted(office, ids)
        receipt = None
        if ids:
            scope = Scope(ids, again=True)
            receipt = opened._erased(scope, reason="", level="full")  # noqa: SLF001 # one house
            if receipt.status is SurfaceStatus.FAILED:
                raise ForgetIncomplete(
                    "what was forgotten since may still be in what was unpacked, as the receipt "
                    "says; nothing was restored",
                    receipt,
                )
        with opened._keeping() as office:  # noqa: SLF001 # one house
            _owe_again(office, since)
            places = [Path(told) for told in archive.facts.get("places", ())]
            office.backups.start([place, *(told for told in places if told.is_dir())])
            records = office.store.count()
    return receipt, records


def _end_lifted(office: Office, ids: Sequence[str]) -> None:
    """End the holds of subjects of whom nothing is left without ``ids``.

    These were erased after the backup was made, so the holds had been lifted; and the look must not
    find the name of somebody who is gone.
    """
    gone = set(ids)
    for mark in office.marks.all(Kind.HOLD):
        if mark.subject is not None and (on := mark.on(office.store)) and on <= gone:
            office.marks.end(mark.name)


def _owe_again(office: Office, since: set[str]) -> None:
    """Keep hidden what was to be forgotten after the backup was made, and was held then.

    A hold that the backup doesn't know is put back, since erasing can't be.
    """
    hashed = office.backups.hash_owed
    owed = {r.id: r for r in office.store.scan() if hashed(r.id) in since}
    if not owed:
        return
    made = office.clock().astimezone(UTC).isoformat()
    held = office.marks.held(owed.values())
    if free := tuple(sorted(owed.keys() - held)):
        office.marks.put(Mark("", Kind.HOLD, free, reason=_REASON, created=made))
    office.marks.owe(secrets.token_hex(8), owed, made)
