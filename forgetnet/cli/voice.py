"""How a command speaks: answers on stdout, progress and errors on stderr, or one JSON object.

Colours and bars are for terminals only. What was remembered may hold anything, so characters that
steer a terminal are replaced before they reach one. Knows nothing of memories.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Voice", "brief", "visible"]

_STEERING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """Replace the characters that steer a terminal or turn its direction; keep line breaks."""
    return "".join(
        _REPLACEMENT
        if character in _STEERING
        or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        else character
        for character in text
    )


def brief(text: str | None, length: int) -> str:
    """Return the text in one line of at most ``length`` characters."""
    line = " ".join(visible((text or "")[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


class Voice:
    """Where a command's words go.

    Args:
        as_json: one JSON object on stdout instead of words.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @cached_property
    def out(self) -> Console:
        """The console on stdout."""
        from rich.console import Console

        return Console(highlight=False, markup=False, emoji=False)

    @cached_property
    def err(self) -> Console:
        """The console on stderr."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, emoji=False)

    def answer(self, facts: Mapping[str, Any], *shown: RenderableType) -> None:
        """Say what came out: the facts as JSON, or else what is shown.

        Plain strings are broken into lines for terminals only: elsewhere they stay as they are.
        """
        if self.as_json:
            encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
            told = json.dumps(dict(facts), ensure_ascii=encoding != "utf8", allow_nan=False)
            sys.stdout.write(told + "\n")
            sys.stdout.flush()
            return
        for part in shown:
            self.out.print(part, soft_wrap=isinstance(part, str) and not self.out.is_terminal)

    def note(self, text: str) -> None:
        """Say something by the way, on stderr."""
        self.err.print(visible(text), soft_wrap=True)

    def refuse(self, kind: str, message: str) -> None:
        """Say in one line why nothing came out."""
        if self.as_json:
            self.answer({"error": kind, "message": message})
        else:
            self.note(f"forgetnet: {' '.join(message.split())}")
