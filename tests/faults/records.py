"""What a record of changes to a disk says by itself, before any cut is simulated.

Knows nothing of memories but which of their files need not outlive a power failure.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults.simulate import Disk, Op, Recorder

__all__ = ["bare", "owed"]

_FLEETING = ("store/pulse", "store/lock")


def _folder(path: str) -> str:
    return Path(path).parent.as_posix()


def bare(recorder: Recorder) -> list[str]:
    """Name the files that were unlinked, or cut, while the disk still held bytes of theirs."""
    disk, found = Disk(recorder.first), []
    for op in recorder.ops:
        if op.kind == "unlink" and not op.path.endswith(".tmp"):
            disk.take(Op("syncdir", _folder(op.path)))  # its entry, if that was still to come
            if any(disk.content.get(disk.tree.get(op.path, 0), b"")):
                found.append(op.path)
        if op.kind == "truncate" and any(disk.content.get(op.file, b"")[op.at :]):
            found.append(op.path)
        if op.path:
            disk.take(op)
    return found


def owed(recorder: Recorder) -> list[str]:
    """Name what waited for a sync when something was acknowledged."""
    disk, found = Disk(recorder.first), []
    for op in recorder.ops:
        if op.kind == "done":
            there = {"."} | {path for path, file in disk.tree.items() if not file}
            some = [*disk.entries, *disk.writes]
            waiting = [w for w in some if not w.path.endswith(_FLEETING)]
            # What lies in a folder that is gone is gone with it.
            found += [
                f"{w.kind} {w.path}"
                for w in waiting
                if all(above.as_posix() in there for above in Path(w.path).parents)
            ]
        if op.path:
            disk.take(op)
    return found
