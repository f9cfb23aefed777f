"""What the measurements have in common: lines of the table, and the folder that a run works in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from material import DIM

from forgetnet import Memory

ENCODER = f"vectors:{DIM}"
KEY = bytes(range(32))
K = 10


@dataclass(frozen=True)
class Row:
    """One line of the table; ``ok`` is None where nothing was promised."""

    what: str
    ours: str
    beside: str = ""
    ratio: str = ""
    target: str = ""
    ok: bool | None = None

    def cells(self) -> list[str]:
        """Return the line's cells."""
        verdict = {None: "", True: "met", False: "**missed**"}[self.ok]
        return [self.what, self.ours, self.beside, self.ratio, self.target, verdict]


def at_least(what: str, ours: str, beside: str, ratio: float, least: float) -> Row:
    """Return a line whose ratio is to be so large."""
    return Row(what, ours, beside, f"{ratio:.2f}", f"at least {least:g}", ratio >= least)


def at_most(what: str, ours: str, beside: str, ratio: float, most: float) -> Row:
    """Return a line whose ratio is to be so small."""
    return Row(what, ours, beside, f"{ratio:.2f}", f"at most {most:g}", ratio <= most)


@dataclass(frozen=True)
class Bench:
    """What a run works with: an empty folder, numbers of rows, and whether it is a quick one."""

    folder: Path
    sizes: list[int]
    quick: bool

    def memory(self, name: str) -> Memory:
        """Open the memory in the folder of that name."""
        return Memory.open(self.folder / name, encoder=ENCODER, key=KEY)

    def fresh(self, name: str) -> Path:
        """Return an empty folder of that name."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def some(self, many: int, few: int) -> int:
        """Return how often to repeat."""
        return few if self.quick else many
