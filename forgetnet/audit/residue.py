"""Looking for what forgotten records left in a memory's files, by other code than deleted them.

Written against ``docs/format.md``: every file is decoded by its own format, and one that can't be
makes the verdict fail. Before the deletion the same scan is its own control: it must find
everything, or it is blind and its later silence shows nothing.

It can't see below the files (free blocks, spare cells of a drive), other folders, a text that was
reworded, cut to less than it was or encoded in ways not listed in ``trace.spellings``, or a vector
that was rounded. Values under 8 bytes are compared with whole cells only, never raw.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forgetnet.audit.decode import decode
from forgetnet.audit.documents import WORDS, Loose
from forgetnet.audit.look import Look, Mark
from forgetnet.audit.needles import Needles
from forgetnet.audit.trace import Kind, Trace, Traces, trace
from forgetnet.errors import InvalidScope, StoreCorrupt

__all__ = ["Findings", "Kind", "Needles", "Trace", "Traces", "scan", "trace"]

_CHUNK = 4 << 20


@dataclass(frozen=True)
class Findings:
    """What a scan saw.

    Attributes:
        traces: distinct traces found, by kind.
        hits: cells, and files searched raw, in which a trace was found, by kind.
        explained: cells equal to a trace that belong to live survivors, by kind.
        files, bytes_read, rows_seen: how much was looked at.
        opaque: files that could not be decoded, or not wholly, relative to the root.
        missing: paths that are not there.
        searched_raw: whether there were needles.
        short: values that were not searched raw.
        keys: hashes of the row keys seen beside each id's hash; see ``Traces.learn``.
    """

    traces: dict[Kind, int]
    hits: dict[Kind, int]
    explained: dict[Kind, int]
    files: int
    bytes_read: int
    rows_seen: int
    opaque: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    searched_raw: bool = False
    short: int = 0
    keys: dict[bytes, frozenset[bytes]] = field(default_factory=dict, repr=False)
    decoded: frozenset[Mark] = field(default=frozenset(), repr=False)

    def doubts(self) -> list[str]:
        """Say why this doesn't show that nothing is left; empty if it does."""
        found = [
            f"{self.traces[kind]} were found by {kind}, in {self.hits[kind]} places"
            for kind in Kind
            if self.hits[kind]
        ]
        if self.opaque:
            found.append(f"{len(self.opaque)} files could not be decoded")
        if not self.files:
            found.append("no file was read")
        return found

    def absent(self) -> bool:
        """Tell whether files were read, all were understood, and none held a trace."""
        return not self.doubts()

    def complete(self, expected: Traces) -> bool:
        """Tell whether every kind of every trace was found by decoding: the control."""
        return bool(len(expected)) and expected.marks() <= self.decoded


class _Files:
    """The files of one scan: reads each raw, then decoded."""

    def __init__(self, look: Look, needles: Needles | None) -> None:
        self._look = look
        self._matcher = None if needles is None else needles.matcher
        self.opaque: list[str] = []
        self.missing: list[str] = []
        self.files = self.bytes = 0

    def read(self, path: Path, name: str) -> None:
        """Look through one file, and its name."""
        self._look.begin()
        self._look.loose(Loose(blobs=[os.fsencode(name)]))
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise StoreCorrupt("links and devices are not followed")
            before = self.bytes
            self._look.stands(self._raw(path))
            if self.bytes > before:
                self._decode(path)
        except FileNotFoundError:
            self.missing.append(name)
            return
        except (OSError, StoreCorrupt):
            self.opaque.append(name)
        self.files += 1
        self._look.end()

    def _decode(self, path: Path) -> None:
        has_rows, parts = decode(path)
        if has_rows:
            self._look.leave_short()
        for part in parts:
            if isinstance(part, Loose):
                self._look.loose(part)
            else:
                self._look.batch(part)

    def _raw(self, path: Path) -> set[int]:
        """Search a file's bytes, in pieces that overlap by the longest needle."""
        found: set[int] = set()
        kept = b""
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                self.bytes += len(chunk)
                if self._matcher is not None:
                    data = kept + chunk
                    found |= self._matcher.find(data, found)
                    kept = data[-self._matcher.longest :]
        return found


def _listed(paths: Sequence[Path], root: Path) -> Iterator[tuple[Path, str]]:
    """List the files below some paths, with their names relative to the root, each once."""
    seen = set()
    for path in paths:
        absolute = path if path.is_absolute() else Path.cwd() / path
        if not absolute.is_relative_to(root):
            raise InvalidScope("a path to scan lies outside the memory; name its root")
        found = [absolute]
        if absolute.is_dir() and not absolute.is_symlink():
            found = []
            for folder, names, files in os.walk(absolute):
                links = [name for name in names if (Path(folder) / name).is_symlink()]
                found += [Path(folder) / name for name in (*files, *links)]
        for file in sorted(found):
            if file not in seen:
                seen.add(file)
                yield file, file.relative_to(root).as_posix()


def scan(
    paths: Sequence[Path],
    traces: Traces,
    needles: Needles | None = None,
    *,
    root: Path,
    survivors: Callable[[str], bool] | None = None,
    words: Collection[str] = (),
    raw: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Look for traces in files and folders, decoding each file by its format.

    A row counts as residue if its id or key is a forgotten one, or if another of its cells equals
    a forgotten text, subject or vector and no live survivor explains it. Rows of nobody are also
    searched for needles. In a file of rows a needle of 16 bytes or more that stands in its raw
    bytes, and in no survivor's row of the file, is residue; in any other file every needle is.

    Args:
        paths: files and folders below ``root``.
        traces: hashes of what was forgotten.
        needles: its plain bytes, while they are still known.
        root: the folder of the memory.
        survivors: tells whether an id is live; None before the deletion, as the control.
        words: strings besides the format's own that the memory writes whatever its records are,
            such as the phrases of its receipts; what is part of one can't be told apart from it.
        raw: search bytes for the needles, too; without it they only sort out what no trace is.
        progress: called after each file with the number of files done, and of all.

    Raises:
        InvalidScope: a path lies outside the root.
    """
    root = root if root.is_absolute() else Path.cwd() / root
    known = WORDS | frozenset(words) | {f"fixed_size_list:float:{traces.dim}"}
    look = Look(traces, needles, survivors, known, raw=raw)
    files = _Files(look, needles if raw else None)
    listed = list(_listed(paths, root))
    for done, (path, name) in enumerate(listed, 1):
        files.read(path, name)
        if progress is not None:
            progress(done, len(listed))
    tally = look.tally
    kinds = [kind for kind, _ in tally.found]
    return Findings(
        traces={kind: kinds.count(kind) for kind in Kind},
        hits=tally.hits,
        explained=tally.explained,
        files=files.files,
        bytes_read=files.bytes,
        rows_seen=tally.rows,
        opaque=tuple(files.opaque),
        missing=tuple(files.missing),
        searched_raw=raw and needles is not None,
        short=0 if needles is None else needles.short,
        keys=tally.keys,
        decoded=frozenset(tally.decoded),
    )
