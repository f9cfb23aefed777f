"""A memory's folder as one file, with the hash of every part, and back again.

A plain tar: the files as they are, then ``backup.json`` with their hashes and what else is known
of them. Knows nothing of records, nor of what was forgotten since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

from forgetnet.encode.contract import progress_bar
from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import claim, shred, shred_abandoned, sync_dir, sync_inside
from forgetnet.home import PARTS

__all__ = ["FORMAT", "SUFFIX", "Archive", "read_archive", "unpack", "write_archive"]

FORMAT = 1
SUFFIX = ".forgetnet.tar"
_MANIFEST = "backup.json"
_LEFT_OUT = {"store/lock", "store/pulse", "store/reserve", "store/keys"}
_TOPS = PARTS - {"journal", "backups"}
_CHUNK = 1 << 20
# What reading an archive raises where its bytes are no archive.
_BROKEN = (
    OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, RecursionError
)  # fmt: skip

Step = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive says of itself.

    Attributes:
        path: the file.
        facts: what its writer knew, as JSON values.
        hashes: SHA-256 of every file, by its path.
    """

    path: Path
    facts: Mapping[str, Any]
    hashes: Mapping[str, str]


class _Hashed:
    """A stream that is hashed as it is read, and counted by a bar."""

    def __init__(self, stream: IO[bytes], step: Step) -> None:
        self._stream = stream
        self._step = step
        self.total = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.total.update(data)
        self._step(len(data))
        return data


def _parts(root: Path) -> Iterator[tuple[str, Path]]:
    """Return the files that belong into an archive, in the order of their names.

    What lies in the folder and is none of the memory's would stop every forget after a restore;
    nothing of a memory at rest has a hidden name.

    Raises:
        StoreError: what belongs there lies elsewhere.
    """
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        hidden = name.startswith(".") or "/." in name
        if name.partition("/")[0] not in _TOPS or name in _LEFT_OUT or hidden:
            continue
        if path.is_symlink():
            if name == "key":  # which then isn't in the folder
                continue
            raise StoreError(
                f"{path} is a symbolic link, and a backup would lack what it points to; put that "
                "in its place. Nothing was written"
            )
        if path.is_file():
            yield name, path


def write_archive(root: Path, target: Path, facts: Mapping[str, Any], *, progress: bool) -> None:
    """Write the folder ``root`` into the new file ``target``, durably, in one step.

    Nothing below ``root`` may change meanwhile.

    What an earlier call left beside it that was killed is shredded.

    Raises:
        OSError: the disk is full, or a file can't be read; nothing is left behind.
        StoreError: a part of the folder is a symbolic link.
    """
    shred_abandoned(target.parent.glob(f".*{SUFFIX}.*.tmp"))
    parts = list(_parts(root))
    size = sum(path.stat().st_size for _, path in parts)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    hashes: dict[str, str] = {}
    done = False
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(fd, "wb") as file,
            progress_bar(size, shown=progress, told="Backing up") as step,
        ):
            claim(fd)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name, path in parts:
                    hashes[name] = _add(tar, name, path, step)
                body = {"format": FORMAT, "facts": dict(facts), "files": hashes}
                data = json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"
                tar.addfile(_entry(_MANIFEST, len(data)), BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
        done = True
    finally:
        if not done:
            with contextlib.suppress(OSError):
                shred(temporary)
    sync_dir(target.parent)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Return a header that says nothing of this machine: no owner, no time."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _add(tar: tarfile.TarFile, name: str, path: Path, step: Step) -> str:
    with path.open("rb") as file:
        stream = _Hashed(file, step)
        tar.addfile(_entry(name, os.fstat(file.fileno()).st_size), stream)
        return stream.total.hexdigest()


def read_archive(path: Path) -> Archive:
    """Read what an archive says of itself.

    Raises:
        StoreCorrupt: it is no archive of a memory, or one of a newer format.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            member = tar.extractfile(_MANIFEST)
            body = json.loads(b"" if member is None else member.read())
        found, facts, hashes = body["format"], body["facts"], body["files"]
        sound = found == FORMAT and isinstance(facts, dict) and all(map(_is_safe, hashes.keys()))
        sound = sound and all(isinstance(one, str) for one in hashes.values())
    except _BROKEN as error:
        raise StoreCorrupt(f"{path} is not a whole backup of a memory; name another") from error
    if not sound:
        raise StoreCorrupt(
            f"{path} is a backup of format {found!r}, and this version reads {FORMAT}; install a "
            "newer forget-by-design"
        )
    return Archive(path, facts, hashes)


def _is_safe(name: str) -> bool:
    """Tell whether a name stays below the folder that it is unpacked into."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name


def unpack(archive: Archive, to: Path, *, progress: bool) -> None:
    """Write the files of an archive into the empty folder ``to``, durably, each checked.

    Raises:
        OSError: the folder can't be written.
        StoreCorrupt: a byte isn't what was backed up.
    """
    try:
        with (
            tarfile.open(archive.path, "r:") as tar,
            progress_bar(archive.path.stat().st_size, shown=progress, told="Restoring") as step,
        ):
            there = {m.name: m for m in tar.getmembers() if m.isreg() and m.name != _MANIFEST}
            if there.keys() != archive.hashes.keys():
                raise StoreCorrupt(f"{archive.path} has other files than it says")
            for name, member in there.items():
                if _write(tar, member, to / name, step) != archive.hashes[name]:
                    raise StoreCorrupt(f"{archive.path}: the bytes of {name} were changed")
        for name in ("journal", "receipts", "store/pieces", "store/tails"):
            (to / name).mkdir(parents=True, exist_ok=True)
        sync_inside(to)
    except tarfile.TarError as error:
        raise StoreCorrupt(f"{archive.path} is not a whole backup of a memory") from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, step: Step) -> str:
    source = tar.extractfile(member)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    total = hashlib.sha256()
    with os.fdopen(fd, "wb") as file:
        while source is not None and (data := source.read(_CHUNK)):
            total.update(data)
            file.write(data)
            step(len(data))
    return total.hexdigest()
