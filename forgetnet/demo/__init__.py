"""The demo's data: three months of chat in an invented workshop, and the story told on it.

Every person, place and message is made up, and written for ForgetNet. Two files lie beside this
module: ``messages.jsonl``, one message a line, oldest first, and ``story.json``, which names the
person to forget, questions that this person answers best, and questions that other people answer.
Knows nothing of memories, encoders or terminals: it only reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from forgetnet.errors import StoreCorrupt

__all__ = ["Story", "load_messages", "load_story"]


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo asks, whom it forgets, and what must not change by it.

    Attributes:
        forget: the subject to forget.
        questions: answered best by that person; after the forgetting, by somebody else.
        unchanged: answered by other people, before and after alike.
    """

    forget: str
    questions: tuple[str, ...]
    unchanged: tuple[str, ...]


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _broken(place: str) -> StoreCorrupt:
    return StoreCorrupt(f"the demo's {place} is not what was shipped; install ForgetNet again")


def load_messages() -> list[dict[str, Any]]:
    """Read the demo's messages, oldest first.

    Returns:
        One dictionary a message: ``id``, ``subject``, ``text``, ``topic``, ``created_at`` (ISO
        8601, UTC) and ``metadata`` (``channel``, ``lang``; ``author`` where an assistant wrote
        it) always; ``mentions`` (subjects) and ``derived_from`` (ids) where there are any.

    Raises:
        StoreCorrupt: a line of the shipped file is not a JSON object.
    """
    messages = []
    for number, line in enumerate(_read("messages.jsonl").split("\n"), 1):
        if not line:
            continue
        try:
            message = json.loads(line)
        except ValueError as error:
            raise _broken(f"messages.jsonl, line {number},") from error
        if not isinstance(message, dict):
            raise _broken(f"messages.jsonl, line {number},")
        messages.append(message)
    return messages


def load_story() -> Story:
    """Read whom the demo forgets and what it asks.

    Raises:
        StoreCorrupt: the shipped file lacks a part of the story.
    """
    try:
        told = json.loads(_read("story.json"))
        return Story(
            forget=str(told["forget"]),
            questions=tuple(map(str, told["questions"])),
            unchanged=tuple(map(str, told["unchanged"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _broken("story.json") from error
