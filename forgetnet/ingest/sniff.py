"""Telling what a file or a folder holds, by its name and its first bytes.

Knows the formats by name; reads no more than it needs.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import cast

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import slack, text, whatsapp
from forgetnet.ingest.jsonstream import ITEM, Place, Step, parse, walk
from forgetnet.ingest.locomo import SESSION
from forgetnet.ingest.source import DAMAGED, Source

__all__ = ["FORMATS", "detect"]

FORMATS = (
    *(
        "chatgpt",
        "csv",
        "export",
        "folder",
        "json",
        "jsonl",
        "locomo",
        "parquet",
        "slack",
        "telegram",
    ),
    *("text", "tsv", "whatsapp"),
)
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_HEAD = 1 << 16
# how much of the looking an item is: one conversation says what all are, a message may be a notice
_LOOK = {(ITEM,): 1.0, ("chats", "list", ITEM): 1.0, ("messages", ITEM): 0.1}
_CHAT = {("messages", ITEM, name) for name in ("from_id", "actor_id", "date_unixtime")}


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def detect(path: str | Path, *, encoding: str = "utf-8") -> str:
    """Name the format of a file or a folder: one of ``FORMATS``.

    Raises:
        InvalidRecord: there is nothing at ``path``, or nothing that can be told apart.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise InvalidRecord(f"there is no file or folder {path}")
    if not path.is_file():
        raise InvalidRecord(f"{path} isn't a regular file; name its format with format=")
    source, suffix = Source(path, encoding), _suffix(path)
    if suffix not in text.SUFFIXES and _is_export(source):
        return "export"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix in text.SUFFIXES:
        return "whatsapp" if whatsapp.is_export(source) else "text"
    if suffix in (".zip", ".tar", ".tgz", ".7z"):
        raise InvalidRecord(f"{path} is an archive; unpack it and import what is inside")
    start = ""
    with suppress(*DAMAGED), source.bytes() as binary:
        if binary.read(4) == b"PAR1":
            return "parquet"
    with suppress(*DAMAGED), source.text() as head:
        start = head.read(_HEAD).lstrip()
    if suffix == ".json" or start[:1] in ("{", "["):
        return "jsonl" if _is_jsonl(start) else _json(source)
    raise InvalidRecord(f"can't tell what {path} holds; name its format with format= (--format)")


def _is_export(source: Source) -> bool:
    """Tell whether the first line is the header of our own export."""
    with suppress(*DAMAGED), source.text() as head:
        value = parse(head.readline(_HEAD), 1)
        return isinstance(value, dict) and isinstance(value.get("forgetnet"), int)
    return False


def _folder(path: Path) -> str:
    if slack.is_export(path):
        return "slack"
    if next(text.files_below(path), None) is None:
        raise InvalidRecord(
            f"{path} holds no {', '.join(text.SUFFIXES)} file, and is no Slack export; "
            "import other files one by one"
        )
    return "folder"


def _is_jsonl(start: str) -> bool:
    """Tell objects line by line from one document: a second line begins an object of its own."""
    first, _, rest = start.partition("\n")
    return first.rstrip().endswith("}") and first[:1] == "{" and rest.lstrip()[:1] == "{"


def _json(source: Source) -> str:
    """Tell the chat export from the names of the keys, down to the first messages."""
    seen: set[Place] = set()
    looked = 0.0

    def choose(path: Place, _opens: str) -> Step:
        nonlocal looked
        looked += _LOOK.get(path, 0)
        seen.add(path)
        below = path[1:] if path[:1] == (ITEM,) else path
        inside = below in ((), ("conversation",), ("messages",), ("messages", ITEM))
        return Step.ENTER if inside or path in (("chats",), ("chats", "list")) else Step.SKIP

    with suppress(*DAMAGED), source.text() as document:
        for _ in walk(document, choose):
            if looked > 1:
                break
    for top in ((), (ITEM,)):
        talk = cast(Place, (*top, "conversation"))
        inside = {path[len(talk)] for path in seen if path[:-1] == talk}
        if "speaker_a" in inside or any(SESSION.fullmatch(name) for name in inside):
            return "locomo"
    if (ITEM, "mapping") in seen:
        return "chatgpt"
    if ("chats", "list") in seen or _CHAT & seen:
        return "telegram"
    return "json"
