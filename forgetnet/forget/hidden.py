"""What a scope named, kept so that a later look can ask for it without knowing it.

Holds salted hashes and, for a topic, the half-space of its places, which is keyed: never a name.
Whoever has the keys can test a guess, so it lives as long as the journal and no longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forgetnet.audit.trace import Hasher
from forgetnet.errors import StoreCorrupt
from forgetnet.forget.plan import Scope
from forgetnet.retrieve import cone_of
from forgetnet.store import Cone, Store

__all__ = ["Hidden"]


@dataclass(frozen=True, slots=True)
class Hidden:
    """The subject or the topic of a scope, as hashes under the salt of the traces.

    Attributes:
        salt: 32 random bytes.
        subject: hash of the subject; empty if the scope names none.
        topic: hash of the topic's path; empty if the scope names none.
        cone: the topic's half-space.
    """

    salt: bytes = field(repr=False)
    subject: bytes = field(default=b"", repr=False)
    topic: bytes = field(default=b"", repr=False)
    cone: Cone | None = field(default=None, repr=False)

    @classmethod
    def of(cls, scope: Scope, *, hashing: bytes, salt: bytes) -> Hidden:
        """Hide what a scope names; ``salt`` keys the memory's topic codes."""
        name = Hasher(hashing).name
        return cls(
            hashing,
            b"" if scope.subject is None else name(scope.subject),
            b"" if scope.topic is None else name(scope.topic),
            None if scope.topic is None else cone_of(scope.topic, salt),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON, but for the salt, which stands with the traces."""
        cone = None
        if self.cone is not None:
            query, apex = self.cone.query.astype("<f8"), self.cone.apex.astype("<f4")
            cone = [query.tobytes().hex(), self.cone.threshold.hex(), apex.tobytes().hex()]
        return {"subject": self.subject.hex(), "topic": self.topic.hex(), "cone": cone}

    @classmethod
    def from_plain(cls, value: Any, *, hashing: bytes) -> Hidden:
        """Read what ``to_plain`` wrote.

        Raises:
            StoreCorrupt: it is something else.
        """
        try:
            cone = None
            if value["cone"] is not None:
                query, threshold, apex = value["cone"]
                cone = Cone(
                    np.frombuffer(bytes.fromhex(query), "<f8"),
                    float.fromhex(threshold),
                    np.frombuffer(bytes.fromhex(apex), "<f4"),
                )
            subject, topic = (bytes.fromhex(value[name]) for name in ("subject", "topic"))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                "the scope of a forget that was under way can't be read; forget the records again"
            ) from error
        return cls(hashing, subject, topic, cone)

    def owned(self, store: Store) -> set[str]:
        """Return the ids of the subject's live records."""
        if not self.subject:
            return set()
        name = Hasher(self.salt).name
        named = (record for record in store.scan() if record.subject is not None)
        return {r.id for r in named if name(r.subject or "") == self.subject}

    def filed(self, store: Store) -> set[str]:
        """Return the ids of the live records filed under the topic, by their paths."""
        if not self.topic:
            return set()
        name = Hasher(self.salt).name
        topics = {r.id: r.topic.split("/") for r in store.scan() if r.topic is not None}
        return {
            i
            for i, path in topics.items()
            if any(name("/".join(path[:depth])) == self.topic for depth in range(1, len(path) + 1))
        }
