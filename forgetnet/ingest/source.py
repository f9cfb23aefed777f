"""Opening what is imported: bytes counted, gzip unpacked, text decoded without giving up.

Knows no format. Bytes that don't decode become lone surrogates (``surrogateescape``), which whole
text never holds, so that a reader can report the one line they stand in and go on.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from forgetnet.errors import InvalidRecord

__all__ = [
    "DAMAGED",
    "MAX_CHARS",
    "Fault",
    "OnBytes",
    "Row",
    "Source",
    "guarded",
    "lines",
    "undecodable",
]

MAX_CHARS = 64 * 2**20  # of one line, cell, file or JSON value: what bounds the memory
_BUFFER = 1 << 16
_GZIP = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# what a damaged file raises while it is read
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError)

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One line, row or message that could not be read; everything else goes in.

    Attributes:
        line: where it starts, counted from 1; the row's number in a Parquet file.
        reason: what is wrong, never with its text.
        file: which file of a folder, relative to it; empty for a single file.
    """

    line: int
    reason: str
    file: str = ""

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.file else f"line {self.line}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row before its fields are given a meaning.

    Attributes:
        line: where it starts, counted from 1.
        values: its fields by name; the reader of a row may take them out.
        file: which file of a folder; empty for a single file.
        label: what to call it in a fault beside its line, as ``message 17``.
    """

    line: int
    values: dict[str, Any] = field(repr=False)
    file: str = ""
    label: str = ""

    def fault(self, reason: str) -> Fault:
        """Report that this row could not be read."""
        return Fault(self.line, f"{self.label}: {reason}" if self.label else reason, self.file)


class _Counted(io.RawIOBase):
    """A file that reports how many of its bytes were read, as stored on disk."""

    def __init__(self, path: Path, on_bytes: OnBytes | None) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int | None:
        count = self._file.readinto(buffer)
        if self._on_bytes is not None and count:
            self._on_bytes(count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, given as far as it goes: a cut file loses only its last block."""

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__()
        self._file = gzip.GzipFile(fileobj=packed)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        data = self._file.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True, slots=True)
class Source:
    """A file to import: where it is, how its text is encoded, who hears of its progress.

    Attributes:
        path: the file; gzip is known by its first two bytes, whatever the name.
        encoding: of its text; a byte order mark of UTF-16 wins over the default.
        on_bytes: called with the number of bytes just read from disk, gzip not unpacked.
    """

    path: Path
    encoding: str = "utf-8"
    on_bytes: OnBytes | None = None

    @contextmanager
    def bytes(self) -> Iterator[io.BufferedReader[Any]]:
        """Open the file's bytes, unpacked.

        Raises:
            InvalidRecord: the file can't be opened.
        """
        try:
            raw = io.BufferedReader(_Counted(self.path, self.on_bytes), _BUFFER)
        except OSError as error:
            raise InvalidRecord(f"can't read {self.path}: {error.strerror}") from None
        with raw:
            if raw.peek(2)[:2] == _GZIP:
                with io.BufferedReader(_Unpacked(raw), _BUFFER) as unpacked:
                    yield unpacked
            else:
                yield raw

    @contextmanager
    def text(self, newline: str | None = "\n") -> Iterator[TextIO]:
        r"""Open the file's text; ``newline`` as in :func:`open`: only ``\n`` if left out.

        Raises:
            InvalidRecord: the file can't be opened.
        """
        with self.bytes() as binary:
            encoding = self.encoding
            if codecs.lookup(encoding).name == "utf-8":
                encoding = "utf-16" if binary.peek(2)[:2] in _UTF16 else "utf-8-sig"
            with io.TextIOWrapper(binary, encoding, "surrogateescape", newline) as text:
                yield text

    def size(self) -> int | None:
        """Return the file's bytes on disk; None where that isn't known, as for a pipe."""
        return self.path.stat().st_size if self.path.is_file() else None


def undecodable(text: str) -> bool:
    """Tell whether decoded ``text`` holds bytes that its encoding doesn't know."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def lines(text: TextIO) -> Iterator[tuple[int, str | None]]:
    """Number the lines from 1, each with its end; None for one longer than ``MAX_CHARS``."""
    number = 0
    while line := text.readline(MAX_CHARS):
        number += 1
        if len(line) < MAX_CHARS or line.endswith("\n"):
            yield number, line
            continue
        while line and not line.endswith("\n"):
            line = text.readline(_BUFFER)
        yield number, None


def guarded(rows: Iterable[Row | Fault], file: str = "") -> Iterator[Row | Fault]:
    """Give the rows of a file; where its bytes end too early or are damaged, a last fault."""
    last = 0
    try:
        for row in rows:
            last = row.line
            yield row
    except DAMAGED as error:
        broken = "text in another encoding" if isinstance(error, UnicodeError) else "damaged gzip"
        yield Fault(last + 1, f"{broken} from here on; the rest was not read", file)
