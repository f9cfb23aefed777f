"""A Slack export, unpacked: a folder for each channel, a file of messages for each day.

Knows nothing of records. ``users.json`` gives the ids their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from forgetnet.errors import InvalidRecord
from forgetnet.ingest.jsonstream import Place, Step, walk
from forgetnet.ingest.source import Fault, Row, Source, guarded

__all__ = ["files_below", "is_export", "rows"]

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.json(\.gz)?")
_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|[^>]*)?>")
_KEPT = ("ts", "thread_ts", "subtype")


def _days(root: Path) -> Iterator[tuple[str, Path]]:
    for channel in sorted(root.iterdir()):
        if channel.is_dir() and not channel.name.startswith("."):
            for path in sorted(channel.iterdir()):
                if _DAY.fullmatch(path.name) and path.is_file():
                    yield channel.name, path


def is_export(root: Path) -> bool:
    """Tell whether a folder looks like a Slack export."""
    return next(_days(root), None) is not None


def files_below(root: Path) -> Iterator[Path]:
    """Give the files of an export that are read, in that order."""
    if (root / "users.json").is_file():
        yield root / "users.json"
    for _, path in _days(root):
        yield path


def _choose(path: Place, opens: str) -> Step:
    return Step.ENTER if not path and opens == "[" else Step.TAKE


def _users(source: Source) -> dict[str, str]:
    """Read the handle of each user id; two people never share a handle."""
    names = {}
    with source.text() as text:
        for _, _, user in walk(text, _choose):
            if isinstance(user, dict) and isinstance(user.get("id"), str):
                name = user.get("name") or user.get("real_name")
                names[user["id"]] = name if isinstance(name, str) else user["id"]
    return names


def _message(
    message: Mapping[str, Any], channel: str, file: str, users: Mapping[str, str]
) -> dict[str, Any]:
    text, user = message.get("text"), message.get("user") or message.get("bot_id")
    subject = message.get("username")
    if isinstance(user, str):
        subject = users.get(user) or subject or user
    mentioned = _MENTION.findall(text) if isinstance(text, str) else []
    ts = message.get("ts")
    return {
        "id": f"{channel}/{ts}" if isinstance(ts, str) and ts else None,
        "text": text,
        "subject": subject,
        "topic": channel,
        "created_at": ts,
        "mentions": [name for m in mentioned if (name := users.get(m, m)) != subject],
        "user": user,
        "file": file,
        **{name: message[name] for name in _KEPT if name in message},
    }


def _day(
    source: Source, channel: str, file: str, users: Mapping[str, str]
) -> Iterator[Row | Fault]:
    count = 0
    with source.text() as text:
        for _, line, message in walk(text, _choose):
            count += 1
            label = f"message {count}"
            if isinstance(message, Fault):
                yield replace(message, file=file)
            elif isinstance(message, dict):
                yield Row(line, _message(message, channel, file, users), file, label)
            else:
                yield Fault(line, f"{label}: not a JSON object", file)


def rows(source: Source) -> Iterator[Row | Fault]:
    """Give every message: the author's handle is its subject, the channel its topic.

    Handles of those whom a message addresses (``<@U123>``) become its mentions.
    """
    listed = source.path / "users.json"
    users = _users(replace(source, path=listed)) if listed.is_file() else {}
    for channel, path in _days(source.path):
        file = f"{channel}/{path.name}"
        try:
            yield from guarded(_day(replace(source, path=path), channel, file, users), file)
        except InvalidRecord as error:  # one file that can't be opened
            yield Fault(1, str(error), file)
