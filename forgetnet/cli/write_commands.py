"""Commands that add, change and delete: add, update, delete, purge."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgetnet.cli.options import (
    AsJson,
    DerivedFrom,
    EncoderName,
    Expires,
    KeyFile,
    Mentions,
    Metadata,
    Store,
    Subject,
    Topic,
    metadata_of,
    moment_of,
)
from forgetnet.cli.session import is_missing, opened, plain_record
from forgetnet.cli.voice import Voice, visible

if TYPE_CHECKING:
    from forgetnet.encode import Encoder

__all__ = ["Part", "add", "delete", "purge", "update"]


class Part(StrEnum):
    """A field of a record that may be empty."""

    SUBJECT = "subject"
    TOPIC = "topic"
    METADATA = "metadata"
    MENTIONS = "mentions"
    DERIVED_FROM = "derived_from"
    EXPIRES_AT = "expires_at"


_NOTHING: Mapping[str, Any] = MappingProxyType(
    {part.value: None for part in Part} | {"metadata": {}, "mentions": (), "derived_from": ()}
)


def _texts(given: list[str]) -> list[str]:
    """Return the texts; ``-`` stands for all of stdin."""
    return [sys.stdin.read() if text == "-" else text for text in given]


def _rehearsed(what: Mapping[str, Any], store: str, encoder: str | None) -> str | Encoder | None:
    """Return the encoder; where a new memory would be made, add to one that leaves no files first.

    So texts that are refused make no memory.
    """
    if not is_missing(store):
        return encoder
    from forgetnet.encode import resolve_encoder

    chosen = resolve_encoder(encoder)
    with opened("memory://", chosen, None) as trial:
        trial.add(**what)
    return chosen


def add(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts; - for stdin.")],
    *,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="A name for each text; random by default."),
    ] = None,
    subject: Subject = None,
    topic: Topic = None,
    metadata: Metadata = None,
    mentions: Mentions = None,
    derived_from: DerivedFrom = None,
    expires_at: Expires = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Store texts, all or none; make the memory if there is none."""
    what: dict[str, Any] = {
        "items": _texts(texts),
        "ids": ids or None,
        "subject": subject,
        "topic": topic,
        "metadata": metadata_of(metadata),
        "mentions": mentions or (),
        "derived_from": derived_from or (),
        "expires_at": moment_of(expires_at),
    }
    with opened(store, _rehearsed(what, store, encoder), key, create=True) as memory:
        added = memory.add(**what)
    Voice(as_json=as_json).answer({"ids": added}, visible("\n".join(added)))


def update(
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of a record.")],
    *,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="The new text; - for stdin.")
    ] = None,
    subject: Subject = None,
    topic: Topic = None,
    metadata: Metadata = None,
    mentions: Mentions = None,
    derived_from: DerivedFrom = None,
    expires_at: Expires = None,
    clear: Annotated[
        list[Part] | None, typer.Option("--clear", help="Empty this field; may be repeated.")
    ] = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Change fields of a record; the old version is unreachable at once.

    Its bytes go with the next purge or forget. What isn't named stays as it is.
    """
    changes: dict[str, Any] = {
        "text": None if text is None else _texts([text])[0],
        "subject": subject,
        "topic": topic,
        "metadata": metadata_of(metadata),
        "mentions": mentions or None,
        "derived_from": derived_from or None,
        "expires_at": moment_of(expires_at),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {name: _NOTHING[name] for name in clear or ()}
    if not changes:
        raise typer.BadParameter("say what to change, as --text or --topic")
    with opened(store, encoder, key) as memory:
        record = memory.update(id, **changes)
    from forgetnet.cli.render import record_of

    Voice(as_json=as_json).answer({"record": plain_record(record)}, *record_of(record))


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of records.")],
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make records unreachable, at once; use forget to erase them.

    Their bytes stay in the files until the next purge or forget.
    """
    with opened(store, encoder, key) as memory:
        result = memory.delete(ids)
    from forgetnet.cli.render import count_of

    said = f"Deleted {count_of(len(result.deleted), 'record')}"
    said += f"; {len(result.not_found)} not found." if result.not_found else "."
    Voice(as_json=as_json).answer(
        {"deleted": list(result.deleted), "not_found": list(result.not_found)}, said
    )


def purge(
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove the bytes of everything deleted or replaced.

    Nothing is looked for again and no receipt is made; forget does both.
    """
    with opened(store, encoder, key) as memory:
        pieces = memory.purge()
    from forgetnet.cli.render import count_of

    Voice(as_json=as_json).answer({"pieces": pieces}, f"Rewrote {count_of(pieces, 'piece')}.")
