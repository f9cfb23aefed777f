"""A look through all files of a memory at rest, for what should not be in them.

The same independent reader as after a forget, with a control of its own: it has to find some of
the records that are there, or its silence shows nothing. Changes nothing.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forgetnet.audit import layout, residue, trace
from forgetnet.encode.contract import progress_bar
from forgetnet.forget.verify import SAID
from forgetnet.record import Record, id_hash
from forgetnet.store import Floats, Store

__all__ = ["Leftovers", "look_for"]

_CONTROLS = 3


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a look through all files came to.

    Attributes:
        found: places by what was found there: ``id``, ``text``, ``subject``, ``vector`` or so.
        explained: places that live records explain.
        reasons: why this doesn't show that nothing is left; empty if it does.
        unpurged: files with rows that were deleted and not purged yet.
        files, bytes_read, rows: how much was looked at.
    """

    found: dict[str, int]
    explained: dict[str, int]
    reasons: tuple[str, ...]
    unpurged: int
    files: int
    bytes_read: int
    rows: int

    @property
    def clean(self) -> bool:
        """Whether everything was read and understood, and nothing was found."""
        return not self.reasons


def look_for(
    store: Store,
    root: Path,
    names: tuple[Sequence[str], Sequence[str]],
    texts: Sequence[str],
    content: Floats | None,
    *,
    progress: bool = True,
) -> Leftovers:
    """Read every file below ``root`` and look for ids, subjects, texts and vectors.

    Args:
        store: the store of the memory, open.
        root: the memory's folder.
        names: ids and subjects.
        texts: n texts.
        content: (n, d) vectors of the texts; None where there are none.
        progress: show a bar on long work.
    """
    ids, subjects = names
    unnamed = [Record(text="", id=i) for i in ids]
    unnamed += [Record(text="", id=secrets.token_hex(16), subject=name) for name in subjects]
    told = [Record(text=text, id=secrets.token_hex(16)) for text in texts]
    salt = secrets.token_bytes(trace.SALT_BYTES)
    groups = [(told, content), (unnamed, None)]
    wanted = [group for group in groups if group[0]] or groups[:1]
    reasons = [*layout.check_layout(root)]
    reasons += [] if reasons else _blind(store, root)
    paths = [path for path in root.iterdir() if path.name != "key"]
    with progress_bar(_files(paths), shown=progress, told="Reading files") as step:
        looks = [
            residue.scan(
                paths,
                residue.trace(records, vectors, salt=salt),
                residue.Needles(records, vectors, salt=salt) if records else None,
                root=root,
                survivors=lambda i: bool(store.get([i])),
                words=SAID,
                progress=lambda _done, _all: step(1),
            )
            for records, vectors in wanted
        ]
    hits, explained = Counter[str](), Counter[str]()
    for look in looks:
        hits.update({str(kind): count for kind, count in look.hits.items() if count})
        explained.update({str(kind): count for kind, count in look.explained.items() if count})
    doubts = dict.fromkeys(doubt for look in looks for doubt in look.doubts())
    return Leftovers(
        dict(hits),
        dict(explained),
        (*reasons, *doubts),
        len(store.files([])),
        looks[0].files,
        looks[0].bytes_read,
        looks[0].rows_seen,
    )


def _files(paths: Sequence[Path]) -> int:
    return sum(1 if p.is_file() else sum(f.is_file() for f in p.rglob("*")) for p in paths)


def _blind(store: Store, root: Path) -> list[str]:
    """Look for some records that are there; say so if they aren't found."""
    some = sorted(store.scan(), key=lambda record: id_hash(record.id))[:_CONTROLS]
    if not some:
        return []
    content, _ = store.vectors([record.id for record in some])
    salt = secrets.token_bytes(trace.SALT_BYTES)
    traces = residue.trace(some, np.asarray(content), salt=salt)
    files = store.files([record.id for record in some])
    if residue.scan(files, traces, root=root).complete(traces):
        return []
    return ["the look is blind: it doesn't find records that are there"]
