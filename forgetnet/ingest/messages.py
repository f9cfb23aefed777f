"""JSON documents of messages: a list of them, or conversations that hold such lists.

Knows the names that lists of messages go by, and no chat program in particular.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forgetnet.ingest.fields import Fields, has_text
from forgetnet.ingest.jsonstream import ITEM, Place, Step, walk
from forgetnet.ingest.source import MAX_CHARS, Fault, Row, Source

__all__ = ["expand", "rows"]

_NESTED = (
    *("messages", "chat_messages", "conversations", "conversation", "turns", "memories"),
    *("records", "results", "items", "entries", "data"),
)
_TITLE = ("topic", "title", "name")  # of a conversation; the first becomes the topic
_INHERITED = (  # what a conversation says of each of its messages
    *("subject", "user_id", "user", "created_at", "created", "timestamp", "create_time"),
    *("date", "datetime"),
)


def _inherited(conversation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the messages of a conversation take over from it."""
    said: dict[str, Any] = {n: conversation[n] for n in _INHERITED if conversation.get(n)}
    for name in _TITLE:
        if isinstance(conversation.get(name), str) and conversation[name]:
            said["topic"] = conversation[name]
            break
    for name in ("id", "uuid", "conversation_id"):
        if isinstance(conversation.get(name), str | int):
            said["conversation"] = conversation[name]
            break
    return said


def expand(values: dict[str, Any], fields: Fields) -> Iterator[dict[str, Any]]:
    """Give the messages of a conversation as rows, or the row itself where it isn't one.

    A conversation is an object without text that holds a list of objects under a name such as
    ``messages``. Its title becomes the topic, its id the metadata ``conversation``, its owner and
    time those of each message that has none.
    """
    nested = None
    if not has_text(values, fields):
        for name in _NESTED:
            items = values.get(name)
            if isinstance(items, list) and items and all(isinstance(i, dict) for i in items):
                nested = items
                break
    if nested is None:
        yield values
        return
    said = _inherited(values)
    for message in nested:
        yield {**said, **message}


def rows(source: Source, fields: Fields) -> Iterator[Row | Fault]:
    """Read a JSON document of messages, conversations, or one record.

    Memory is bounded by the largest conversation of a list, or by the largest message of a single
    conversation.
    """
    top: dict[str, Any] = {}  # a document that is one object, less its messages
    kept = count = 0
    listed = False

    def choose(path: Place, opens: str) -> Step:
        one_by_one = len(path) == 1 and path[0] in _NESTED and opens == "["
        return Step.ENTER if not path or (one_by_one and not has_text(top, fields)) else Step.TAKE

    with source.text() as text:
        for path, line, value in walk(text, choose):
            if isinstance(value, Fault):
                yield value
            elif path[-1:] == (ITEM,) and isinstance(value, dict):
                listed = True
                for values in expand(value, fields):
                    count += 1
                    yield Row(line, {**_inherited(top), **values}, label=f"message {count}")
            elif path == (ITEM,) and isinstance(value, str):
                count += 1
                yield Row(line, {"text": value}, label=f"message {count}")
            elif path in ((), (ITEM,)):
                yield Fault(line, f"not a JSON object, but {type(value).__name__}")
            else:
                kept += len(str(value))
                if kept > MAX_CHARS:
                    yield Fault(line, "a JSON object too large for one record")
                    return
                if len(path) == 1:
                    top[path[0]] = value
                else:
                    top.setdefault(path[0], []).append(value)
    if top and (has_text(top, fields) or not listed):
        for values in expand(top, fields):
            yield Row(1, values)
