"""What backups must know: which records were forgotten after they were made.

The memory keeps a log of tombstones from its first backup on, and a copy of it beside the backups,
in every place that it was told of. A restore reads all copies in a place and forgets first. Knows
nothing of how a backup is written or read.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import copy_slots, make_dir, write_durable
from forgetnet.forget.hashlog import HashLog, keyed_hash, read_hashes

__all__ = ["Backups", "keys_beside", "tombstones_in"]

_NAME = re.compile(r"tombstones-([0-9a-f]{16})\.jsonl")
_HOLDS = "backups made before it, from which a restore forgets these records before it answers"
_LATE = (
    "a place of backups that could not be reached: a restore from there does not know of this "
    "forget until the next one, or the next backup, has reached it"
)


class Backups:
    """The tombstones of one memory, and the places that hold backups of it.

    Args:
        folder: ``backups`` in the memory's folder; None in memory, of which there are none.
        key: keys the hashes of ids.
        sealed: file of the keys of subjects, where there is one; no backup holds them.
    """

    def __init__(self, folder: Path | None, key: bytes, sealed: Path | None = None) -> None:
        self._folder = folder
        self._sealed = sealed
        self._key = key
        self._log: HashLog | None = None
        self._missed = False
        # Several memories may share a place; logs of one key begin alike, a restored one's too.
        self._like = keyed_hash(key, "tombstones")[:8]

    def hash(self, name: str) -> str:
        """Return the keyed hash of an id, as tombstones hold it."""
        return keyed_hash(self._key, name)

    def hash_owed(self, name: str) -> str:
        """Return the hash that tombstones hold of an id that is to be forgotten and was held."""
        return self.hash(self.hash(name))

    def is_ours(self, log: str) -> bool:
        """Tell by the name of a log whether a memory of this key keeps it."""
        return log.startswith(self._like)

    @property
    def log(self) -> HashLog | None:
        """The memory's own log; None before its first backup."""
        if self._folder is None or not self._folder.is_dir():
            return None
        found = [path for path in sorted(self._folder.iterdir()) if _NAME.fullmatch(path.name)]
        if not found:
            return None
        if self._log is None or self._log.path != found[0]:
            self._log = HashLog(found[0], self._key)
        return self._log

    @property
    def places(self) -> list[Path]:
        """The folders that hold backups of this memory."""
        if self._folder is None:
            return []
        try:
            told = json.loads((self._folder / "places.json").read_bytes())["places"]
            return [Path(place) for place in told]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(
                f"{self._folder / 'places.json'} can't be read, so where backups are isn't known; "
                "restore it"
            ) from error

    def start(self, places: Iterable[Path]) -> HashLog:
        """Keep tombstones from now on, and copies of them in these places too.

        Raises:
            OSError: a folder can't be written.
            StoreError: the memory has no folder.
        """
        if self._folder is None:
            raise StoreError("a memory without a folder has no backups; export it instead")
        known = self.places
        make_dir(self._folder, 0o700)
        log = self.log
        if log is None:
            name = f"tombstones-{self._like}{secrets.token_hex(4)}.jsonl"
            log = HashLog(self._folder / name, self._key)
        log.start()
        merged = list(dict.fromkeys([*known, *(place.resolve() for place in places)]))
        if merged != known:
            body = json.dumps({"places": [str(place) for place in merged]}, indent=1)
            write_durable(self._folder / "places.json", body.encode() + b"\n")
        return log

    def note(self, ids: Iterable[str], owed: Iterable[str] = ()) -> None:
        """Make it durable that records are forgotten, here and in every place within reach.

        Args:
            ids: of records that go.
            owed: of records that were to go, and stay under a hold.

        Raises:
            OSError: the memory's own log can't be written.
        """
        log = self.log
        if log is None:
            return
        log.add([*ids, *map(self.hash, owed)])
        self._missed = sum(self._reach(log, p) for p in self.places) < len(self.places)

    def copy_keys(self, place: Path) -> None:
        """Bring the copy of the subjects' keys beside the backups in a place up to date.

        Raises:
            OSError: it can't be written.
        """
        log = self.log
        if log is not None and self._sealed is not None and self._sealed.exists():
            copy_slots(self._sealed, keys_beside(place, log.path))

    def purged(self) -> None:
        """Zero the keys that went in every copy within reach."""
        if self._sealed is None or not self._sealed.exists():
            return
        for place in self.places:
            done = False
            with contextlib.suppress(OSError):
                if place.is_dir():
                    self.copy_keys(place)
                    done = True
            self._missed = self._missed or not done

    def _reach(self, log: HashLog, place: Path) -> bool:
        with contextlib.suppress(OSError, StoreCorrupt):
            if place.is_dir():
                log.mirror(place / log.path.name)
                return True
        return False

    def told(self) -> tuple[str, ...]:
        """Say what receipts say of backups."""
        if self.log is None:
            return ()
        return (_HOLDS, _LATE) if self._missed else (_HOLDS,)


def keys_beside(place: Path, log: Path) -> Path:
    """Return the copy of subjects' keys that belongs to a log of tombstones."""
    return place / f"{log.stem.replace('tombstones', 'keys')}.slots"


def tombstones_in(place: Path) -> dict[str, list[str]]:
    """Return the hashes of every log of tombstones in a folder, by the log's name.

    Raises:
        StoreCorrupt: one can't be read.
    """
    found = {}
    for path in sorted(place.iterdir()):
        if match := _NAME.fullmatch(path.name):
            found[match[1]] = read_hashes(path.read_bytes(), path.name)
    return found
