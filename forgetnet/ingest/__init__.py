"""Real input: what people have, read into records one by one.

``read`` takes JSON Lines, CSV, TSV, Parquet, folders of text and Markdown, and the exports of
chats, plain or gzipped, in memory bounded by the largest single value. What can't be read is
reported by its line and never stops the rest. Knows nothing of memories and stores.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import (
    chatgpt,
    jsonl,
    locomo,
    messages,
    parquet,
    slack,
    table,
    telegram,
    text,
    whatsapp,
)
from forgetnet.ingest.fields import Fields, map_rows
from forgetnet.ingest.sniff import FORMATS, detect
from forgetnet.ingest.source import Fault, OnBytes, Row, Source, guarded
from forgetnet.record import Record

__all__ = ["FORMATS", "SPLITS", "Fault", "count_hint", "detect", "read", "read_rows"]

SPLITS = text.SPLITS
_TEXTS = {"folder": text.folder_rows, "text": text.file_rows}
_MESSAGES = {"json": messages.rows, "jsonl": jsonl.rows}
_ROWS: Mapping[str, Callable[[Source], Iterator[Row | Fault]]] = {
    "chatgpt": chatgpt.rows,
    "csv": table.rows,
    "parquet": parquet.rows,
    "slack": slack.rows,
    "telegram": telegram.rows,
    "tsv": table.tab_rows,
}
_GUESSED = ("csv", "json", "jsonl", "parquet", "tsv")
_FOLDERS = ("folder", "slack")


def read(
    path: str | Path,
    *,
    format: str | None = None,
    text_field: str | None = None,
    subject_field: str | None = None,
    topic_field: str | None = None,
    id_field: str | None = None,
    created_field: str | None = None,
    mentions_field: str | None = None,
    vector_field: str | None = None,
    metadata_fields: Sequence[str] | None = None,
    encoding: str = "utf-8",
    split: str = "file",
    day_first: bool | None = None,
    qualify_speakers: bool = True,
    on_bytes: OnBytes | None = None,
) -> Iterator[Record | Fault]:
    """Read records from a file or folder, one by one, and faults for what is no record.

    Args:
        path: a file, plain or gzipped, or a folder.
        format: one of ``FORMATS``; None to tell it from the file.
        text_field: the field that holds the text; None to go by the usual names. ``a.b`` is the
            field ``b`` of the object ``a``; so for the other fields.
        subject_field: whose it is.
        topic_field: a topic path; levels too deep are joined into the last.
        id_field: the id; without one, records come without and get a random one when added.
        created_field: the time; without a zone it is taken for UTC.
        mentions_field: a list of names, or names with ``;`` between them.
        vector_field: a list of numbers: the content embedding.
        metadata_fields: what to keep beside; None for every other field, () for none.
        encoding: of the text.
        split: ``file``, ``paragraph`` or ``heading``: one record for each, of text files.
        day_first: of dates in a WhatsApp export; None to tell it from the file.
        qualify_speakers: subjects of LoCoMo are ``sample:speaker``; False for the bare name.
        on_bytes: called with the number of bytes read since the last call; they add up to
            :func:`count_hint`.

    Raises:
        InvalidRecord: at once if there is nothing at ``path`` or an option is wrong; with the
            first record if no field looks like the text or a named field isn't there.
    """
    path = Path(path)
    _check(encoding, split)
    kind = _kind(path, format, encoding)
    fields = Fields(
        text=text_field,
        subject=subject_field,
        topic=topic_field,
        id=id_field,
        created=created_field,
        mentions=mentions_field,
        vector=vector_field,
        metadata=None if metadata_fields is None else tuple(metadata_fields),
        guess=kind in _GUESSED,
    )
    source = Source(path, encoding, on_bytes)
    if kind == "locomo":
        rows = locomo.rows(source, qualify=qualify_speakers)
    elif kind == "whatsapp":
        rows = whatsapp.rows(source, day_first=day_first)
    elif kind in _TEXTS:
        rows = _TEXTS[kind](source, split)
    elif kind in _MESSAGES:
        rows = _MESSAGES[kind](source, fields)
    else:
        rows = _ROWS[kind](source)
    return map_rows(guarded(rows), fields)


def read_rows(
    path: str | Path, *, format: str | None = None, encoding: str = "utf-8"
) -> Iterator[Row | Fault]:
    """Read the rows of a table as they stand, one by one, and faults for what is none.

    Args:
        path: CSV, TSV, JSON Lines or Parquet, plain or gzipped; cells of the first two are strings.
        format: one of these; None to tell it from the file.
        encoding: of the text.

    Raises:
        InvalidRecord: there is nothing at ``path``, or it is no table.
    """
    path = Path(path)
    _check(encoding, SPLITS[0])
    kind = _kind(path, format, encoding)
    source = Source(path, encoding)
    if kind == "jsonl":
        return guarded(jsonl.rows(source, Fields()))
    if kind not in ("csv", "parquet", "tsv"):
        raise InvalidRecord(f"{path} is no table; give CSV, TSV, JSON Lines or Parquet")
    return guarded(_ROWS[kind](source))


def _check(encoding: str, split: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InvalidRecord(f"unknown encoding {encoding!r}; utf-8 and cp1252 are two") from None
    if split not in SPLITS:
        raise InvalidRecord(f"unknown split {split!r}; there are {', '.join(SPLITS)}")


def _kind(path: Path, format: str | None, encoding: str) -> str:
    """Settle the format: the one asked for where it fits the path, or the one detected."""
    kind = detect(path, encoding=encoding) if format is None else format
    if kind == "export":  # its vectors belong to an encoder, which only a memory can compare
        raise InvalidRecord(f"{path} is an export of a memory; read it with Memory.import_")
    if kind not in FORMATS:
        raise InvalidRecord(f"unknown format {kind!r}; there are {', '.join(FORMATS)}")
    if not path.exists():
        raise InvalidRecord(f"there is no file or folder {path}")
    if path.is_dir() is not (kind in _FOLDERS):
        needed = "file" if path.is_dir() else "folder"
        raise InvalidRecord(f"the format {kind!r} is read from a {needed}, which {path} isn't")
    return kind


def count_hint(path: str | Path, *, format: str | None = None) -> int | None:
    """Return how many bytes :func:`read` will read, for a progress bar; None if unknown.

    Raises:
        InvalidRecord: there is nothing at ``path``.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise InvalidRecord(f"there is no file or folder {path}")
        return Source(path).size()
    kind = _kind(path, format, "utf-8")
    files = slack.files_below(path) if kind == "slack" else text.files_below(path)
    return sum(file.stat().st_size for file in files)
