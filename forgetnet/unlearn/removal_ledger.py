"""What a certified head has spent of its certificate, in a file that outlives the process.

Each entry names the head and the set of examples that it belongs to, so that no charge is ever
counted for another head. Knows nothing of how a charge is found.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.files import make_dir, write_durable

__all__ = ["Entry", "RemovalLedger", "allowance"]


def allowance(noise: float, epsilon: float, delta: float) -> float:
    """Return how large the norm of the gradient left behind may be: sigma epsilon / c.

    With c = sqrt(2 ln(1.5 / delta)) (Guo et al. 2020, theorem 3).
    """
    return noise * epsilon / math.sqrt(2.0 * math.log(1.5 / delta))


@dataclass(frozen=True)
class Entry:
    """One state of a head.

    Attributes:
        head: digest of its weights.
        data: digest of the set of examples that it may know of.
        charge: bound on the norm of its gradient there.
        removed: examples removed so far.
    """

    head: str
    data: str
    charge: float
    removed: int


class RemovalLedger:
    """A file of entries, the newest last.

    Args:
        path: of the file; made by :meth:`open_new`.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def open_new(self, noise: float, ridge: float, first: Entry) -> None:
        """Begin anew with a head that was just solved for."""
        self._write({"noise": noise, "ridge": ridge, "entries": [asdict(first)]})

    def _read(self) -> tuple[float, float, list[Entry]]:
        try:
            record = json.loads(self._path.read_bytes())
            entries = [Entry(**entry) for entry in record["entries"]]
            return float(record["noise"]), float(record["ridge"]), entries
        except FileNotFoundError:
            raise InvalidRecord(f"{self._path} isn't there; fit() the head first") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"{self._path} can't be read as a ledger") from error

    def _write(self, record: dict[str, object]) -> None:
        try:
            make_dir(self._path.parent)
            write_durable(self._path, json.dumps(record).encode())
        except OSError as error:
            raise StoreError(f"can't write to {self._path}: {error.strerror}") from error

    def settings(self) -> tuple[float, float]:
        """Return noise and ridge, as the head was solved with.

        Raises:
            InvalidRecord: there is no such file.
            StoreCorrupt: it can't be read.
        """
        noise, ridge, _ = self._read()
        return noise, ridge

    def find(self, head: str, data: str) -> Entry:
        """Return the newest entry of a head and its examples.

        Raises:
            InvalidRecord: there is none: another head, or other examples than it was solved for.
        """
        mine = [entry for entry in self._read()[2] if entry.head == head]
        if not mine:
            raise InvalidRecord(f"{self._path} is the ledger of another head; fit() this one first")
        fitting = [entry for entry in mine if entry.data == data]
        if not fitting:
            raise InvalidRecord(
                "forget and retain together aren't the examples that this head was solved for"
            )
        return fitting[-1]

    def append(self, entry: Entry) -> None:
        """Add an entry durably."""
        noise, ridge, entries = self._read()
        told = [asdict(one) for one in (*entries, entry)]
        self._write({"noise": noise, "ridge": ridge, "entries": told})
