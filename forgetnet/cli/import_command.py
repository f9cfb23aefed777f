"""The command ``import``: what people have, streamed into a memory batch by batch.

Holds one batch at a time. What can't be read or stored is reported and never stops the rest.
Knows no file format.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgetnet.cli.frame import REFUSED
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store
from forgetnet.cli.session import is_missing, opened
from forgetnet.cli.voice import Voice
from forgetnet.errors import InvalidRecord

if TYPE_CHECKING:
    from forgetnet.ingest import Fault
    from forgetnet.memory import Memory
    from forgetnet.record import Record

__all__ = ["Intake", "import_"]

_SHOWN = 20
_CHARS = 1 << 24  # of text in one batch: few long texts make a batch of their own
_HEADER = 1024  # bytes within which the first line of an export ends


@dataclass(slots=True)
class Intake:
    """Pours records into a memory.

    Attributes:
        batch_size: records embedded and stored at a time.
        common: defaults for records that name none: ``subject``, ``topic``.
        tell: called with a line for each of the first 20 refusals.
        imported, refused: how many, so far.
        faults: the first 20 refusals as JSON.
    """

    batch_size: int
    common: dict[str, Any]
    tell: Callable[[str], None]
    imported: int = 0
    refused: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)

    def first(self, items: Iterator[Record | Fault]) -> Record | None:
        """Report faults up to the first record, and return that; None if there is none."""
        from forgetnet.record import Record

        for item in items:
            if isinstance(item, Record):
                return item
            self._fault(item)
        return None

    def pour(self, memory: Memory, items: Iterable[Record | Fault]) -> None:
        """Store every record, and report every fault."""
        from forgetnet.record import Record

        batch: list[Record] = []
        length = 0
        for item in items:
            if not isinstance(item, Record):
                self._fault(item)
                continue
            batch.append(item)
            length += len(item.text or "")
            if len(batch) >= self.batch_size or length >= _CHARS:
                self._store(memory, self._fresh(memory, batch))
                batch, length = [], 0
        self._store(memory, self._fresh(memory, batch))

    def _fresh(self, memory: Memory, batch: list[Record]) -> list[Record]:
        """Leave out, and report, records whose id is taken: no need to embed them."""
        seen: set[str] = set()
        fresh = []
        for record in batch:
            if record.id and (record.id in seen or memory.get(record.id) is not None):
                self._refuse(f"record {record.id[:80]!r}: the id is taken", id=record.id)
                continue
            seen.add(record.id)
            fresh.append(record)
        return fresh

    def _store(self, memory: Memory, batch: list[Record]) -> None:
        """Store a batch; where one record is in the way, halve it until that one is found."""
        if not batch:
            return
        try:
            memory.add(batch, progress=False, **self.common)
        except InvalidRecord as error:
            if len(batch) == 1:
                self._refuse(str(error), id=batch[0].id or None)
                return
            middle = len(batch) // 2
            self._store(memory, batch[:middle])
            self._store(memory, batch[middle:])
            return
        self.imported += len(batch)

    def _fault(self, fault: Fault) -> None:
        self._refuse(str(fault), line=fault.line, file=fault.file or None)

    def _refuse(self, reason: str, **place: Any) -> None:
        self.refused += 1
        if self.refused <= _SHOWN:
            self.faults.append({**place, "reason": reason})
            self.tell(reason)


@contextmanager
def _bar(voice: Voice, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes on stderr where that is a terminal."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TimeRemainingColumn(),
    )
    hidden = not voice.err.is_terminal
    with progress.Progress(*columns, console=voice.err, disable=hidden, transient=True) as bar:
        task = bar.add_task("importing", total=total)
        yield lambda count: bar.advance(task, count)


def _is_export(path: Path) -> bool:
    """Tell whether a file begins as one of our own exports does."""
    from forgetnet.ingest.source import Source

    if not path.is_file():
        return False
    with suppress(OSError, EOFError, zlib.error, ValueError):
        with Source(path).bytes() as file:
            head = json.loads(file.readline(_HEADER))
        return isinstance(head, dict) and isinstance(head.get("forgetnet"), int)
    return False


def _named(name: str, meaning: str) -> Any:
    return typer.Option(f"--{name}-field", metavar="FIELD", help=f"Field of {meaning}.")


_FORMAT = typer.Option(
    "--format",
    metavar="NAME",
    help="chatgpt, csv, folder, json, jsonl, locomo, parquet, slack, telegram, text, tsv or "
    "whatsapp; told from the file if left out.",
)
_METADATA = typer.Option(
    "--metadata-field", metavar="FIELD", help="Keep only this as metadata; may be repeated."
)
_SUBJECT = typer.Option("--subject", metavar="NAME", help="Whose those are that name nobody.")
_TOPIC = typer.Option("--topic", metavar="PATH", help="Where those are filed that name none.")
_ENCODING = typer.Option("--encoding", metavar="NAME", help="Encoding of the text.")
_SPLIT = typer.Option(
    "--split", metavar="HOW", help="One record per file, paragraph or heading of a text."
)
_DAY_FIRST = typer.Option(
    "--day-first/--month-first", help="Dates of a WhatsApp export; told from it if left out."
)
_BARE_SPEAKERS = typer.Option(
    "--bare-speakers", help="Subjects of LoCoMo by name, without the conversation."
)
_BATCH_SIZE = typer.Option(
    "--batch-size", metavar="N", min=1, help="Records embedded and stored at a time."
)


def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="File or folder.")],
    *,
    format: Annotated[str | None, _FORMAT] = None,
    text_field: Annotated[str | None, _named("text", "the text")] = None,
    subject_field: Annotated[str | None, _named("subject", "whose it is")] = None,
    topic_field: Annotated[str | None, _named("topic", "the topic path")] = None,
    id_field: Annotated[str | None, _named("id", "the id")] = None,
    created_field: Annotated[str | None, _named("created", "the time")] = None,
    mentions_field: Annotated[str | None, _named("mentions", "others whom it is about")] = None,
    vector_field: Annotated[str | None, _named("vector", "the embedding")] = None,
    metadata_field: Annotated[list[str] | None, _METADATA] = None,
    subject: Annotated[str | None, _SUBJECT] = None,
    topic: Annotated[str | None, _TOPIC] = None,
    encoding: Annotated[str, _ENCODING] = "utf-8",
    split: Annotated[str, _SPLIT] = "file",
    day_first: Annotated[bool | None, _DAY_FIRST] = None,
    bare_speakers: Annotated[bool, _BARE_SPEAKERS] = False,
    batch_size: Annotated[int, _BATCH_SIZE] = 1024,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Store what is in a file or folder; make the memory if there is none.

    Takes JSONL, CSV, TSV, Parquet, text, Markdown, exports of chats, and what export wrote. What
    can't be read is reported with its line, the rest goes in; then the exit code is 1.
    """
    from forgetnet.exchange import read_memory
    from forgetnet.ingest import count_hint, read

    voice = Voice(as_json=as_json)
    began = time.perf_counter()
    options: dict[str, Any] = {
        "format": format,
        "text_field": text_field,
        "subject_field": subject_field,
        "topic_field": topic_field,
        "id_field": id_field,
        "created_field": created_field,
        "mentions_field": mentions_field,
        "vector_field": vector_field,
        "metadata_fields": metadata_field or None,
        "encoding": encoding,
        "split": split,
        "day_first": day_first,
        "qualify_speakers": not bare_speakers,
    }
    own = format is None and _is_export(source)
    total = count_hint(source, format=format)
    intake = Intake(batch_size, {"subject": subject, "topic": topic}, voice.note)
    if own:
        with _checked(source, store, encoder, key) as memory:
            intake.pour(memory, chain.from_iterable(read_memory(source, memory.encoder)))
    else:
        with _bar(voice, total) as advance:
            items = read(source, on_bytes=advance, **options)
            # What can't be read makes no memory: there is one from the first record on.
            if (first := intake.first(items)) is not None:
                with opened(store, encoder, key, create=True) as memory:
                    intake.pour(memory, chain([first], items))
    _summary(voice, source, intake, total, time.perf_counter() - began)


@contextmanager
def _checked(source: Path, store: str, encoder: str | None, key: Path | None) -> Iterator[Memory]:
    """Open the memory for an export that was read to its end; a broken one makes none."""
    from forgetnet.encode import resolve_encoder
    from forgetnet.exchange import check_memory

    chosen = resolve_encoder(encoder) if is_missing(store) else None
    if chosen is not None:
        check_memory(source, chosen)
    with opened(store, encoder if chosen is None else chosen, key, create=True) as memory:
        if chosen is None:
            check_memory(source, memory.encoder)
        yield memory


def _summary(voice: Voice, source: Path, intake: Intake, total: int | None, seconds: float) -> None:
    from forgetnet.cli.render import count_of, size_of

    if intake.refused > _SHOWN:
        voice.note(f"... and {intake.refused - _SHOWN:,} more.")
    said = f"Imported {count_of(intake.imported, 'record')}"
    said += f" ({size_of(total)})" if total else ""
    said += f" in {seconds:.1f} s"
    said += f"; {intake.refused:,} refused." if intake.refused else "."
    voice.answer(
        {
            "source": str(source),
            "imported": intake.imported,
            "refused": intake.refused,
            "faults": intake.faults,
            "bytes": total,
            "seconds": round(seconds, 3),
        },
        said,
    )
    if intake.refused:
        raise typer.Exit(REFUSED)
