"""Telegram's export: ``result.json`` of one chat or of all.

Knows nothing of records. Messages are read one by one, however long the chat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forgetnet.ingest.fields import fit_topic
from forgetnet.ingest.jsonstream import ITEM, Place, Step, walk
from forgetnet.ingest.source import Fault, Row, Source

__all__ = ["rows"]

_SCALARS = ("name", "id", "type")
_KEPT = ("from_id", "reply_to_message_id", "forwarded_from", "edited")


def _choose(path: Place, _opens: str) -> Step:
    chat = path[3:] if path[:1] in (("chats",), ("left_chats",)) else path
    if not chat or chat == ("messages",):  # the chat, and what holds it
        return Step.ENTER
    wanted = chat in {("messages", ITEM), *((name,) for name in _SCALARS)}
    return Step.TAKE if wanted else Step.SKIP


def _said(value: object) -> object:
    """Join the parts of a text: plain strings, and links, mentions and the like."""
    if not isinstance(value, list):
        return value
    texts = [part.get("text") if isinstance(part, dict) else part for part in value]
    return "".join(text for text in texts if isinstance(text, str))


def _message(message: Mapping[str, Any], chat: Mapping[str, Any]) -> dict[str, Any]:
    chat_name, chat_id, number = chat.get("name"), chat.get("id"), message.get("id")
    title = chat_name if isinstance(chat_name, str) and chat_name else chat.get("type")
    return {
        "id": number if chat_id is None else f"{chat_id}/{number}",
        "text": _said(message.get("text")),
        "subject": message.get("from") or message.get("from_id"),
        "topic": fit_topic([title.replace("/", "+")]) if isinstance(title, str) else None,
        "created_at": message.get("date_unixtime") or message.get("date"),
        "chat": chat_id,
        **{name: message[name] for name in _KEPT if name in message},
    }


def rows(source: Source) -> Iterator[Row | Fault]:
    """Give every message: who sent it is its subject, the chat its topic.

    Notices of the service (who joined, who called) hold no text and are passed by.
    """
    count = 0
    chat: dict[str, Any] = {}
    with source.text() as text:
        for path, line, value in walk(text, _choose):
            if isinstance(value, Fault):
                yield value
            elif path[-2:] == ("messages", ITEM):
                count += 1
                label = f"message {count}"
                if not isinstance(value, dict):
                    yield Fault(line, f"{label}: not a JSON object")
                elif value.get("type") != "service":
                    yield Row(line, _message(value, chat), label=label)
            elif path and path[-1] in _SCALARS:
                if path[-1] in chat:  # the next chat begins
                    chat = {}
                chat[path[-1]] = value
