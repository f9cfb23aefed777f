"""Whether a memory's folder is what ``docs/format.md`` says, and nothing else lies about in it.

Reads the manifest, the folders, the digests and the frames; compares no cell with anything. Knows
nothing of what was forgotten.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from forgetnet.audit.decode import Frame, Guard, frames, reader_of
from forgetnet.audit.documents import lance_manifest
from forgetnet.errors import StoreCorrupt

__all__ = ["check_layout", "leaf_names", "strays"]

_HOME = {
    "forgetnet.json", "key", "receipt.pub", "journal", "receipts", "ledger.jsonl", "store",
    "experts", "marks", "backups", "suppressed.jsonl",
}  # fmt: skip
_STORE = {"manifest.json", "pieces", "tails", "lock", "pulse", "reserve", "keys"}
_MANIFEST = {"format", "dim", "cap", "sequence", "leaves", "check"}
_NUMBERS = ("rows", "bytes", "tail")
_NAME = re.compile(r"[\w-]{1,64}")
_NAMES = {
    "marks": re.compile(r"[0-9a-f]{16}\.json"),
    "backups": re.compile(r"places\.json|tombstones-[0-9a-f]{16}\.jsonl"),
}
_BITS = re.compile(r"[01]{0,256}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COLUMNS = [
    "key", "id", "text", "subject", "topic", "mentions", "derived_from", "metadata",
    "created_at", "expires_at", "content", "place",
]  # fmt: skip

_SEALED = [
    "key", "id", "subject", "topic", "mentions", "derived_from", "created_at", "expires_at",
    "place", "sealed",
]  # fmt: skip
_ROWS = (_COLUMNS, _SEALED)

Leaf = Mapping[str, Any]


def _store_of(root: Path) -> Path:
    return root / "store" if (root / "store").is_dir() else root


def _manifest(store: Path) -> dict[str, Any]:
    """Read the manifest strictly; raises ``StoreCorrupt``."""
    with Guard():
        told = json.loads((store / "manifest.json").read_bytes())
    if not isinstance(told, dict) or set(told) != _MANIFEST or told["format"] != 1:
        raise StoreCorrupt("manifest.json is not a manifest of format 1")
    check = told.pop("check")
    plain = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    if hashlib.sha256(plain).hexdigest() != check or not isinstance(told["leaves"], dict):
        raise StoreCorrupt("manifest.json does not fit its own checksum")
    if not all(type(told[name]) is int for name in ("dim", "cap", "sequence")):
        raise StoreCorrupt("manifest.json has a number that is none")
    for bits, leaf in told["leaves"].items():
        fits = isinstance(leaf, dict) and set(leaf) == {"name", "digest", *_NUMBERS}
        if not fits or not _BITS.fullmatch(bits) or not _is_leaf(leaf):
            raise StoreCorrupt("manifest.json has a leaf that is none")
    manifest: dict[str, Any] = told
    return manifest


def _is_leaf(leaf: Leaf) -> bool:
    numbers = all(type(leaf[name]) is int and leaf[name] >= 0 for name in _NUMBERS)
    strings = all(isinstance(leaf[name], str) for name in ("name", "digest"))
    if not numbers or not strings or not _NAME.fullmatch(leaf["name"]):
        return False
    return not leaf["rows"] or bool(_DIGEST.fullmatch(leaf["digest"]))


def strays(root: Path) -> list[str]:
    """List what lies in the folder of a memory, at its top, and is no part of one."""
    return [name for name in _names(root) if name not in _HOME]


def leaf_names(root: Path) -> set[str]:
    """Return the names of the leaves' files; those that a purge made are new among them.

    Raises:
        StoreCorrupt: the manifest can't be read.
    """
    return {leaf["name"] for leaf in _manifest(_store_of(root))["leaves"].values()}


def check_layout(
    root: Path, *, pieces: Collection[str] | None = None, under_way: bool = False
) -> list[str]:
    """Say in what a folder differs from the format of a memory; empty if in nothing.

    Args:
        root: the folder of a memory, or of its store alone.
        pieces: names of the leaves whose bytes are read and compared with the manifest; None for
            all. What lies about is looked for everywhere.
        under_way: a forget is, so its journal may be there.
    """
    store = _store_of(root)
    reasons: list[str] = []
    try:
        manifest = _manifest(store)
        reasons += _strays(store, _STORE)
        if store != root:
            reasons += _strays(root, _HOME)
            reasons += _experts(root / "experts")
            for name, pattern in _NAMES.items():
                reasons += _plain_files(root / name, pattern)
            if not under_way and (root / "journal").is_dir():
                open_ = _names(root / "journal")
                reasons += [f"journal/{name}: a forget is under way" for name in open_]
        reasons += _unnamed(store, manifest["leaves"])
        above = None
        for bits, leaf in sorted(manifest["leaves"].items()):
            if above is not None and bits.startswith(above):
                reasons.append(f"leaf {bits!r}: it lies below another")
            above = bits
            deep = pieces is None or leaf["name"] in pieces
            reasons += _piece(store, leaf, manifest["dim"], deep=deep)
        reasons += _tails(store, manifest, pieces)
    except StoreCorrupt as error:
        reasons.append(str(error))
    except OSError as error:
        reasons.append(f"the folder can't be read: {error.strerror}")
    return reasons


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _strays(folder: Path, known: set[str]) -> list[str]:
    return [f"{name}: not a part of a memory" for name in _names(folder) if name not in known]


def _experts(folder: Path) -> list[str]:
    """Name the files of experts that the manifest doesn't name, and those that are missing."""
    if not folder.exists():
        return []
    with Guard():
        told = json.loads((folder / "manifest.json").read_bytes())
        if set(told) != {"format", "model", "states"} or told["format"] != 1:
            raise StoreCorrupt("experts/manifest.json is not a manifest of format 1")
        named = {str(row["file"]) for row in told["states"]}
    there = set(_names(folder)) - {"manifest.json"}
    reasons = [f"experts/{name}: the manifest does not name it" for name in sorted(there - named)]
    reasons += [f"experts/{name}: missing" for name in sorted(named - there)]
    links = (name for name in sorted(there & named) if (folder / name).is_symlink())
    return reasons + [f"experts/{name}: not a part of a memory" for name in links]


def _plain_files(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Name what lies in a folder of plain files and doesn't belong there."""
    if not folder.exists():
        return []
    found = sorted(folder.iterdir())
    bad = [p.name for p in found if p.is_symlink() or p.is_dir() or not pattern.fullmatch(p.name)]
    return [f"{folder.name}/{name}: not a part of a memory" for name in bad]


def _unnamed(store: Path, leaves: Mapping[str, Leaf]) -> list[str]:
    """Name the pieces and tails that no leaf names."""
    names = [leaf["name"] for leaf in leaves.values()]
    counts = Counter(names).items()
    reasons = [f"{name}: two leaves have this name" for name, count in counts if count > 1]
    pieces = {f"{leaf['name']}.lance" for leaf in leaves.values() if leaf["rows"]}
    tails = {f"{name}.tail" for name in names}
    for folder, known in (("pieces", pieces), ("tails", tails)):
        found = _names(store / folder)
        reasons += [f"{folder}/{name}: no leaf names it" for name in found if name not in known]
    return reasons


def _parts(piece: Path) -> dict[str, os.DirEntry[str]]:
    """Find a piece's files, in the order of their names."""
    found, todo = dict[str, os.DirEntry[str]](), [("", str(piece))]
    while todo:
        above, folder = todo.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{above}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    todo.append((f"{name}/", entry.path))
                else:
                    found[name] = entry
    return dict(sorted(found.items()))


def _piece(store: Path, leaf: Leaf, dim: int, *, deep: bool) -> Iterator[str]:
    """Say what is wrong with a leaf's piece."""
    if not leaf["rows"]:
        return
    shown = f"pieces/{leaf['name']}.lance"
    piece = store / shown
    if piece.is_symlink() or not piece.is_dir():
        yield f"{shown}: missing"
        return
    parts = _parts(piece)
    versions = sum(bool(re.fullmatch(r"_versions/[^/]+\.manifest", name)) for name in parts)
    if versions != 1:
        yield f"{shown}: it has {versions} versions instead of one"
    plain = r"(data/[^/]+\.lance|_versions/[^/]+\.manifest|_versions/latest_version_hint\.json"
    plain += r"|_transactions/[^/]+\.txn)"
    for name, part in parts.items():
        if part.is_symlink() or not re.fullmatch(plain, name):
            yield f"{shown}/{name}: not a part of a piece"
    if sum(part.stat(follow_symlinks=False).st_size for part in parts.values()) != leaf["bytes"]:
        yield f"{shown}: its size is not that of the manifest"
    if deep:
        paths = [(name, Path(part.path)) for name, part in parts.items()]
        yield from _bytes(shown, paths, leaf, dim)


def _named(parts: list[tuple[str, Path]]) -> set[str]:
    """Return the strings of a piece's versions, among them the names of its data files."""
    named: set[str] = set()
    for _, path in parts:
        if path.suffix == ".manifest":
            with Guard():
                named.update(lance_manifest(path.read_bytes()).strings)
    return named


def _bytes(shown: str, parts: list[tuple[str, Path]], leaf: Leaf, dim: int) -> Iterator[str]:
    total = hashlib.sha256()
    for name, path in parts:
        total.update(b"%s\0%d\0" % (os.fsencode(name), path.stat().st_size))
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                total.update(data)
    if total.hexdigest() != leaf["digest"]:
        yield f"{shown}: its digest is not that of the manifest"
    rows = 0
    named = _named(parts)
    for name, path in parts:
        if name.startswith("data/"):
            if path.name not in named:
                yield f"{shown}/{name}: its version does not name it"
            try:
                with Guard():
                    reader = reader_of(path)
                    rows += reader.num_rows()
                    schema = reader.metadata().schema
                    sealed = schema.names == _SEALED
                    kind = None if sealed else schema.field("content").type
                    width = dim if sealed else getattr(kind, "list_size", None)
            except StoreCorrupt:
                yield f"{shown}/{name}: it can't be decoded"
                return
            if schema.names not in _ROWS or width != dim:
                yield f"{shown}/{name}: its columns are not those of a piece"
    if rows != leaf["rows"]:
        yield f"{shown}: it has {rows} rows and the manifest says {leaf['rows']}"


def _tails(
    store: Path, manifest: Mapping[str, Any], pieces: Collection[str] | None
) -> Iterator[str]:
    """Say what is wrong with the tails, and with the batches that have parts in them."""
    batches: dict[int, set[int]] = {}
    parts: dict[int, int] = {}
    for leaf in manifest["leaves"].values():
        shown = f"tails/{leaf['name']}.tail"
        path = store / shown
        size = path.lstat().st_size if path.exists() else 0
        if size < leaf["tail"]:
            yield f"{shown}: shorter than the manifest says"
        if not size or (pieces is not None and leaf["name"] not in pieces):
            continue
        try:
            for frame in frames(path):
                batches.setdefault(frame.sequence, set()).add(frame.part)
                parts[frame.sequence] = frame.parts
                if not _is_frame(frame):
                    yield f"{shown}: a frame has other columns than rows or the dead"
        except StoreCorrupt:
            yield f"{shown}: it can't be decoded"
    for sequence, found in sorted(batches.items()):
        late = pieces is None and sequence > manifest["sequence"]
        if late and found != set(range(parts[sequence])):
            yield f"batch {sequence}: parts of it are missing"


def _is_frame(frame: Frame) -> bool:
    return frame.part < frame.parts and frame.schema.names in (*_ROWS, ["dead"])
