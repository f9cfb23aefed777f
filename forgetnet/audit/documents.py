"""JSON, JSON lines and protobuf, taken apart into the strings and numbers that stand in them.

A string that is itself JSON or Base64, as the payload of a receipt, is opened too. Knows nothing
of folders, nor of what is looked for.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.errors import StoreCorrupt

__all__ = ["WORDS", "Loose", "document", "lance_manifest", "lines", "protobuf", "settings"]

_DEEPEST = 64
_LONGEST_LINE = 64 << 20
_LEAST_KEY = 8
_LEAST_RUN = 8
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_QUOTED = re.compile(r"'((?:[^']|'')*)'|\"((?:[^\"\\]|\\.)*)\"")

WORDS = frozenset([
    "forgetnet.json", "receipt.pub", "journal", "receipts", "ledger.jsonl", "manifest.json",
    "store", "pieces", "tails", "_versions", "_transactions", "_deletions", ".manifest",
    "latest_version_hint.json", "format", "encoder", "digest", "dim", "key", "cap", "sequence",
    "leaves", "tail", "check", "name", "rows", "bytes", "entry", "root", "version", "lance",
    "id", "text", "subject", "topic", "mentions", "derived_from", "metadata", "created_at",
    "expires_at", "content", "place", "dead", "item", "string", "uint64", "list",
    "timestamp:us:UTC", "fixed_size_list:float:17", "/lance.encodings.ColumnEncoding",
    "/lance.encodings21.PageLayout", "/lance.encodings.ArrayEncoding",
    "payload", "payloadType", "signatures", "keyid", "sig", "application/vnd.in-toto+json",
    "https://in-toto.io/Statement/v1", "_type", "predicate", "predicateType", "sha256",
    "experts", "model", "states", "part", "leaf", "inputs", "records", "file", "settings", "task",
    "classification", "regression", "kind", "weights", "router", "chosen", "environment", "meta",
    "ridge", "torch", "sklearn", "prototype", "memory", "classes", "gram", "sums", "counts",
    "marks", "hold", "restriction", "owed", "reason", "created", "ids",
    "backups", "places", "places.json", "hash",
    "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----",
])  # fmt: skip
"""What the files of any memory say of themselves; a value that equals one can't be told apart."""


@dataclass(slots=True)
class Loose:
    """What stands in a file outside rows.

    Attributes:
        strings: every string.
        vectors: every list of at least 8 numbers.
        integers: every number of more than 32 bits.
        blobs: bytes that are no string.
        own: strings that the memory writes there by itself, whatever its records.
    """

    strings: list[str] = field(default_factory=list)
    vectors: list[npt.NDArray[np.float32]] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    own: frozenset[str] = frozenset()

    def literals(self) -> Iterator[str]:
        """Iterate over the quoted parts of the strings, as in ``subject = 'x'``."""
        for string in self.strings:
            for single, double in _QUOTED.findall(string):
                yield single.replace("''", "'") or double


class _Pairs(list[Any]):
    """An object's names and values in turn: a name that comes twice loses nothing."""


def _pairs(pairs: list[tuple[str, Any]]) -> _Pairs:
    return _Pairs(part for pair in pairs for part in pair)


def _loads(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=_pairs)


def _walk(value: Any, loose: Loose) -> None:
    todo = [(value, 0)]
    while todo:
        node, depth = todo.pop()
        if depth > _DEEPEST:
            raise StoreCorrupt("a document is nested too deeply to be read")
        if isinstance(node, str):
            loose.strings.append(node)
            todo += [(inner, depth + 1) for inner in _inner(node, loose)]
        elif isinstance(node, _Pairs):
            # Short names are the format's own, or a leaf's bits: by chance equal to anything.
            names = [name for name in node[::2] if len(name.encode(errors="replace")) >= _LEAST_KEY]
            todo += [(part, depth + 1) for part in (*names, *node[1::2])]
        elif isinstance(node, list):
            if len(node) >= _LEAST_RUN and all(type(n) in (int, float) for n in node):
                _numbers(node, loose)
            else:
                todo += [(part, depth + 1) for part in node]
        elif type(node) is int and node >= 1 << 32:
            loose.integers.append(node)


def _numbers(node: list[Any], loose: Loose) -> None:
    loose.integers += [n for n in node if type(n) is int and n >= 1 << 32]
    with np.errstate(over="ignore"):
        loose.vectors.append(np.array([float(n) for n in node], np.float64).astype("<f4"))


def _inner(string: str, loose: Loose) -> Iterator[Any]:
    """Open a string that is JSON, or Base64 of something."""
    if string[:1] in {"{", "[", '"'}:
        try:
            yield _loads(string)
        except (ValueError, RecursionError):
            return
    elif _BASE64.fullmatch(string):
        filled = string.rstrip("=") + "=" * (-len(string.rstrip("=")) % 4)
        try:
            data = base64.b64decode(filled.translate(str.maketrans("-_", "+/")), validate=True)
        except binascii.Error:
            return
        loose.blobs.append(data)
        if data[:1] in {b"{", b"[", b'"'}:
            try:
                yield _loads(data)
            except (ValueError, RecursionError):
                return


def document(data: bytes) -> Loose:
    """Take a JSON document apart; UTF-8, UTF-16 and UTF-32 are told by their first bytes.

    Raises:
        StoreCorrupt, ValueError, RecursionError: it isn't one.
    """
    loose = Loose()
    _walk(_loads(data), loose)
    return loose


def settings(data: bytes) -> Loose:
    """Take a memory's settings apart: the encoder's name in them is no record's."""
    loose = document(data)
    told = json.loads(data)
    encoder = told.get("encoder") if isinstance(told, dict) else None
    loose.own = frozenset([encoder] if isinstance(encoder, str) else ())
    return loose


def lines(path: Path) -> Iterator[Loose]:
    """Iterate over a file of JSON lines, taken apart.

    Raises:
        StoreCorrupt, ValueError, RecursionError: a line isn't JSON.
    """
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))
    with path.open(encoding=encoding, newline="\n") as file:
        while line := file.readline(_LONGEST_LINE):
            if len(line) >= _LONGEST_LINE:
                raise StoreCorrupt("a line is longer than this verifier reads at once")
            if line.strip(" \t\r\n"):
                loose = Loose()
                _walk(_loads(line), loose)
                yield loose


# -- protobuf


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise StoreCorrupt("a number of a message is too long")


def _message(data: bytes, integers: list[int]) -> list[bytes] | None:
    """Return the payloads of a message's fields, or None if it isn't a message."""
    position, found, numbers = 0, [], []
    try:
        while position < len(data):
            tag, position = _varint(data, position)
            if tag >> 3 == 0:
                return None
            if tag & 7 == 0:
                value, position = _varint(data, position)
                numbers.append(value)
            elif tag & 7 == 2:
                length, position = _varint(data, position)
                found.append(data[position : position + length])
                position += length
            elif tag & 7 in {1, 5}:
                width = 8 if tag & 7 == 1 else 4
                numbers.append(int.from_bytes(data[position : position + width], "little"))
                position += width
            else:
                return None
    except (IndexError, StoreCorrupt):
        return None
    if position > len(data):
        return None
    integers += [n for n in numbers if n >= 1 << 32]
    return found


def protobuf(data: bytes) -> Loose:
    """Take a protobuf message apart, without its schema: every field that may be a string.

    Raises:
        StoreCorrupt: it isn't a message.
    """
    loose = Loose()
    todo = [(data, 0)]
    while todo:
        part, depth = todo.pop()
        fields = _message(part, loose.integers)
        if depth == 0 and fields is None:
            raise StoreCorrupt("a file holds no protobuf message")
        if fields and depth <= _DEEPEST:
            todo += [(field_, depth + 1) for field_ in fields]
        if depth:
            try:
                text = part.decode()
            except UnicodeDecodeError:
                loose.blobs.append(part)
            else:
                # Short ones are chance, and numbers that look like letters.
                if len(part) >= _LEAST_KEY or "'" in text or '"' in text:
                    loose.strings.append(text)
    return loose


def lance_manifest(data: bytes) -> Loose:
    """Take a Lance manifest apart: messages behind their lengths, then where the last begins.

    Raises:
        StoreCorrupt: it has another shape.
    """
    if len(data) < 16 or data[-4:] != b"LANC":
        raise StoreCorrupt("a manifest of Lance has no end")
    last = int.from_bytes(data[-16:-8], "little")
    loose, position, start = Loose(), 0, -1
    while position < len(data) - 16:
        start = position
        position += 4 + int.from_bytes(data[position : position + 4], "little")
        part = protobuf(data[start + 4 : position])
        loose.strings += part.strings
        loose.blobs += part.blobs
        loose.integers += part.integers
    if position != len(data) - 16 or start != last:
        raise StoreCorrupt("a manifest of Lance holds bytes that none of its messages name")
    return loose
