"""Asking by words for what should be gone, where a search by words could still find it.

An index of words is in the memory of a process that searches by words, and nowhere else: where
there is none yet, the look asks only if it is to look fully. Knows nothing of vectors and files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from forgetnet.errors import StoreError
from forgetnet.forget.surfaces import Check
from forgetnet.record import Record
from forgetnet.store import Store, TextQuery

__all__ = ["SPOKEN", "Spoken"]

_SPOKEN, _RESPOKEN = "searched by its own words", "reopened, searched by words"
SPOKEN = frozenset((_SPOKEN, _RESPOKEN))
"""Every word that receipts say of such a look."""
_NEAREST = 10
_LONG = 1_000
# What is in no word: every character of ASCII but letters and digits.
_BETWEEN = re.compile(r"[\0-/:-@\[-`{-\x7f]+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """What some of the records say, and how many of them a search by that found before.

    Attributes:
        texts: what is asked for, in plain; none after a crash.
        found: records that came up, while they were still there.
    """

    texts: tuple[str, ...] = field(default=(), repr=False)
    found: int = 0

    @classmethod
    def before(cls, store: Store, records: Sequence[Record], probes: int, *, full: bool) -> Spoken:
        """Ask for some of the records by their words, while they are there."""
        if not (store.worded or full):
            return cls()
        spoken = [(r.id, r.text) for r in records if r.text is not None and _has_word(r.text)]
        some = spoken[:probes]
        try:
            found = sum(bool(store.words(TextQuery(t, 1, where={"id": i}))) for i, t in some)
        except StoreError:  # nobody can ask by words here: they can't be indexed
            return cls()
        return cls(tuple(text for _, text in some), found)

    def after(self, store: Store, gone: Collection[str], scope: str, *, fresh: bool) -> list[Check]:
        """Ask again, of the store that did the deletion or of one opened afresh."""
        if not self.texts:
            return []
        answers = [i for text in self.texts for i, _ in store.words(TextQuery(text, _NEAREST))]
        return [
            Check(
                check=_RESPOKEN if fresh else _SPOKEN,
                hits=sum(i in gone for i in answers),
                control_expected=len(self.texts),
                control_found=self.found,
                scope=scope,
            )
        ]


def _has_word(text: str) -> bool:
    """Tell whether a text holds what is a word by any reading, and not too long to be indexed."""
    return any(len(word) <= _LONG and word.isascii() for word in _BETWEEN.split(text) if word)
