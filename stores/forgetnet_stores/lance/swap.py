"""A swap: rows that come into memory, those whose place they take, and the way back.

Memory changes while the disk is busy, so a disk that fails finds it changed already. Writes no
file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from forgetnet_stores.lance.columns import Rows, gather, to_arrow
from forgetnet_stores.lance.state import State

__all__ = ["Swap"]


class Swap:
    """One batch on its way into memory.

    Attributes:
        rows: what comes.
        old: live ids that go.
        groups: what comes, by leaf, present or still to come.
    """

    def __init__(self, state: State, rows: Rows, old: Sequence[str]) -> None:
        self.rows = rows
        self.old = old
        self._state = state
        self.groups = state.group(rows.records)
        self._ids = [record.id for record in rows.records]
        before = [state.table.records[i] for i in old]
        self._before = Rows(state.table.tags(old), before, *state.table.vectors(old))
        self._homes = state.group(before)
        self._begun = self._settled = False

    @property
    def touched(self) -> list[str]:
        """Leaves that something comes to or goes from."""
        return [*self.groups, *self._homes]

    def tables(self) -> dict[str, pa.Table]:
        """Return what comes to each leaf, as it is to be written: made once, cut, then sealed.

        Raises:
            OSError: a key couldn't be written; memory is what it was.
        """
        whole = to_arrow(self.rows)
        if len(self.groups) == 1:
            found = dict.fromkeys(self.groups, whole)
        else:  # taken, not sliced: a slice's last bytes, written out, may be its neighbour's
            found = {p: gather(whole, np.array(g.positions)) for p, g in self.groups.items()}
        if (ring := self._state.ring) is None:
            return found
        try:
            return {prefix: ring.seal(table) for prefix, table in found.items()}
        except OSError:
            self.undo()
            raise

    def begin(self) -> None:
        """Let the old go, and count in what comes; its leaves are there."""
        self._begun = True
        self._state.leave(self.old)
        self._state.count_in(self.rows.records, self.groups)

    def settle(self) -> None:
        """Put what comes into memory."""
        if not self._begun:
            self.begin()
        self._settled = True
        self._state.add(self.rows)

    def undo(self) -> None:
        """Make memory what it was."""
        self._state.note_leavers(self.rows.records)
        if not self._begun:
            return
        if not self._settled:
            self.settle()
        self._state.leave(self._ids)
        self._state.join(self._before, self._homes)
