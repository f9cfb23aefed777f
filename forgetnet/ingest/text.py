"""Text and Markdown: a file or a folder of them, whole or in pieces.

Knows nothing of records. The folders become the topic; what is hidden and what is a link is left
alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from forgetnet.errors import InvalidRecord
from forgetnet.ingest.fields import fit_topic
from forgetnet.ingest.source import MAX_CHARS, Fault, Row, Source, guarded, lines, undecodable

__all__ = ["SPLITS", "SUFFIXES", "file_rows", "files_below", "folder_rows"]

SPLITS = ("file", "paragraph", "heading")
SUFFIXES = (".txt", ".text", ".md", ".markdown")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(?P<title>.*?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(```|~~~)")


def files_below(root: Path) -> Iterator[Path]:
    """Give the text files below a folder in the order of their names, gzip included."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            plain = name.lower().removesuffix(".gz")
            path = Path(folder) / name
            if plain.endswith(SUFFIXES) and not name.startswith(".") and not path.is_symlink():
                yield path


class _Piece:
    """The lines gathered so far of one piece of a file."""

    def __init__(self) -> None:
        self.line = 0
        self.heading: str | None = None
        self.reason: str | None = None
        self._parts: list[str] = []
        self._size = 0

    def add(self, number: int, line: str | None) -> None:
        """Gather a line, None for one that is too long; a piece keeps its first fault."""
        if line is not None and not line.strip() and not self._parts:
            return
        self.line = self.line or number
        self._size += MAX_CHARS if line is None else len(line)
        if self.reason is None and self._size >= MAX_CHARS:
            self.reason = f"longer than {MAX_CHARS} characters"
        elif self.reason is None and line is not None and undecodable(line):
            self.line = number
            self.reason = "holds bytes that the encoding doesn't know; give the right encoding"
        if self.reason is not None:
            self._parts = [""]
        elif line is not None:
            self._parts.append(line)

    def row(self, file: str) -> Row | Fault | None:
        """Return the piece; None for an empty one."""
        if self.reason is not None:
            return Fault(self.line, self.reason, file)
        text = "".join(self._parts).strip()
        if not text:
            return None
        values = {"text": text, "line": self.line, "heading": self.heading}
        return Row(self.line, values, file)


def _pieces(text: TextIO, split: str, file: str) -> Iterator[Row | Fault]:
    piece, fenced, any_piece = _Piece(), False, False
    for number, line in lines(text):
        fenced ^= line is not None and bool(_FENCE.match(line))
        heading = None
        if split == "heading" and line is not None and not fenced:
            heading = _HEADING.match(line.rstrip("\n"))
        if heading or (split == "paragraph" and line is not None and not line.strip()):
            if row := piece.row(file):
                any_piece = True
                yield row
            piece = _Piece()
        if heading:
            piece.heading = heading["title"]
        piece.add(number, line)
    if row := piece.row(file):
        yield row
    elif not any_piece:
        yield Fault(1, "the text is empty", file)


def file_rows(source: Source, split: str) -> Iterator[Row | Fault]:
    """Read one text file, whole or a row for each paragraph or each section of its headings."""
    with source.text(newline=None) as text:
        for row in _pieces(text, split, ""):
            if isinstance(row, Row):
                row.values["file"] = source.path.name
            yield row


def folder_rows(source: Source, split: str) -> Iterator[Row | Fault]:
    """Read the text files below a folder; the folders down to a file are its topic."""
    for path in files_below(source.path):
        below = path.relative_to(source.path)
        file = below.as_posix().encode(errors="replace").decode()
        topic = fit_topic(file.split("/")[:-1])
        try:
            with replace(source, path=path).text(newline=None) as text:
                for row in guarded(_pieces(text, split, file), file):
                    if isinstance(row, Row):
                        row.values.update(topic=topic, file=file)
                    yield row
        except InvalidRecord as error:  # one file that can't be opened
            yield Fault(1, str(error), file)
