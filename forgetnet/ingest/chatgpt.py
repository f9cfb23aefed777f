"""ChatGPT's data export: ``conversations.json``, a list of trees of messages.

Knows nothing of records. Every branch is read, also those that a regenerated answer left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forgetnet.ingest.fields import fit_topic
from forgetnet.ingest.jsonstream import Place, Step, walk
from forgetnet.ingest.source import Fault, Row, Source

__all__ = ["rows"]


def _choose(path: Place, opens: str) -> Step:
    return Step.ENTER if not path and opens == "[" else Step.TAKE


def _said(content: Mapping[str, Any]) -> str:
    """Join the texts of a message: its parts, or the text of code, quotes and results."""
    parts = content.get("parts")
    if isinstance(parts, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    else:
        texts = [content.get(name) for name in ("text", "result", "content", "user_instructions")]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _message(message: Mapping[str, Any], conversation: Mapping[str, Any]) -> dict[str, Any]:
    author = message.get("author")
    author = author if isinstance(author, dict) else {}
    content = message.get("content")
    content = content if isinstance(content, dict) else {}
    title = conversation.get("title")
    kind = content.get("content_type")
    about = message.get("metadata")
    return {
        "id": message.get("id"),
        "text": _said(content),
        "subject": author.get("role"),
        "topic": fit_topic([title.replace("/", "+")]) if isinstance(title, str) else None,
        "created_at": message.get("create_time"),
        "name": author.get("name"),
        "conversation": conversation.get("conversation_id") or conversation.get("id"),
        "kind": None if kind == "text" else kind,
        "model": about.get("model_slug") if isinstance(about, dict) else None,
    }


def rows(source: Source) -> Iterator[Row | Fault]:
    """Give every message; the role is its subject, the title of the conversation its topic.

    Messages without text that no person wrote (roots, system and tool messages) are passed by.
    Memory is bounded by the largest conversation.
    """
    count = 0
    with source.text() as text:
        for _, line, conversation in walk(text, _choose):
            if isinstance(conversation, Fault):
                yield conversation
                continue
            nodes = conversation.get("mapping") if isinstance(conversation, dict) else None
            if not isinstance(nodes, dict):
                yield Fault(line, "not a conversation: it has no mapping of messages")
                continue
            for node in nodes.values():
                message = node.get("message") if isinstance(node, dict) else None
                if not isinstance(message, dict):
                    continue
                count += 1
                values = _message(message, conversation)
                if values["text"].strip() or values["subject"] not in ("system", "tool"):
                    yield Row(line, values, label=f"message {count}")
