"""The verb ``backup``: a memory or a model as one file, with what a restore must forget first.

Knows nothing of how a restore is done.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from datetime import UTC
from pathlib import Path
from secrets import token_hex
from typing import Any

from forgetnet.archive import SUFFIX, write_archive
from forgetnet.errors import StoreError
from forgetnet.files import make_dir
from forgetnet.forget.backups import keys_beside, tombstones_in
from forgetnet.forget.keys import key_id
from forgetnet.forget.office import Office
from forgetnet.given import check_switches, path_of, root_of

__all__ = ["Backs"]


class Backs:
    """Something that can be backed up."""

    @abstractmethod
    def _keeping(self) -> AbstractContextManager[Office]:
        """Give out the office, with nothing under way and nothing else let in."""

    def backup(self, place: str | Path, *, progress: bool = True) -> Path:
        """Write everything into one new file in the folder ``place``, and return its path.

        From the first backup on every forget notes keyed hashes of what it erased, in the memory
        and beside its backups, in every place within reach; :func:`forgetnet.restore` forgets
        these first. The file holds the memory's key, if that lies in its folder: who has the file
        can read everything in it, and can sign receipts.

        Args:
            place: a folder for backups, made where it isn't there; several memories may share it.
            progress: show a bar on long work, when the output is a terminal.

        Raises:
            StoreError: the place can't be written, lies in the memory's own folder, or the memory
                has no folder or is open for reading; nothing was written.
        """
        check_switches(StoreError, progress=progress)
        where = root_of(str(path_of(place, "place", StoreError)))
        with self._keeping() as office:
            root = _folder(office, where)
            try:
                make_dir(where, 0o700)
                log = office.backups.start([where])
                log.mirror(where / log.path.name)
                office.backups.copy_keys(where)
                made = office.clock().astimezone(UTC)
                name = f"{root.name}-{made:%Y%m%dT%H%M%SZ}-{token_hex(4)}{SUFFIX}"
                facts = _facts(office, where, made.isoformat())
                facts["keys"] = keys_beside(where, log.path).name
                facts["sealed"] = (root / "store" / "keys").exists()
                write_archive(root, where / name, facts, progress=progress)
            except OSError as error:
                raise StoreError(
                    f"can't write a backup to {where}: {error.strerror}; free some space or name "
                    "another folder"
                ) from error
        return where / name


def _folder(office: Office, where: Path) -> Path:
    if office.root is None:
        raise StoreError("a memory without a folder has no backups; export it instead")
    if office.readonly:
        raise StoreError(f"{office.root} was opened with readonly=True; open it for writing")
    if where == office.root or office.root in where.parents:
        raise StoreError(
            f"{where} lies in the memory's own folder, where a backup would be forgotten data; "
            "name a folder elsewhere, best on another disk"
        )
    return office.root


def _facts(office: Office, where: Path, made: str) -> dict[str, Any]:
    return {
        "made": made,
        "key": key_id(office.signer.public_key()),
        "records": office.store.count(),
        "digest": office.store.digest(),
        "seen": {
            name: len(found)
            for name, found in tombstones_in(where).items()
            if office.backups.is_ours(name)
        },
        "places": [str(place) for place in office.backups.places],
    }
