"""The plan of a forget: what would go, why, where it lies, and what that costs.

Resolves a scope into ids and changes nothing. A topic needs two witnesses, the path of each
record and the cone of its place; where they differ, each record's own place is computed anew and
decides whether the geometry was too close (then the path holds) or a byte is wrong (then nothing
is deleted).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from forgetnet.component import Cost, Influence
from forgetnet.errors import InvalidRecord, InvalidScope
from forgetnet.filters import Filter, under
from forgetnet.forget.proposal import Frozen, Proposal, check_unchanged
from forgetnet.geometry import codes
from forgetnet.lineage import descendants
from forgetnet.record import canonical_json, split_topic
from forgetnet.retrieve import cone_of
from forgetnet.store import Store

__all__ = ["Plan", "Scope", "Step", "broken_places", "resolve"]


@dataclass(frozen=True, slots=True)
class Scope:
    """What to forget: exactly one of ids, a subject, a filter, a topic, or what has expired.

    Attributes:
        mentions: also the records that mention the subject.
        again: what is named was forgotten once already, so no hold keeps that.
        frozen: the proposal that the ids come from, and what they looked like then.
    """

    ids: tuple[str, ...] | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    filter: Filter | None = field(default=None, repr=False)
    topic: str | None = field(default=None, repr=False)
    expired: Filter | None = field(default=None, repr=False)
    mentions: bool = True
    again: bool = False
    frozen: Frozen | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Name the one that is given.

        Raises:
            InvalidScope: none is, or more than one, or it is empty.
        """
        given = {
            "ids": self.ids,
            "subject": self.subject,
            "filter": self.filter,
            "topic": self.topic,
            "expired": self.expired,
        }
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise InvalidScope(
                "say what to forget by exactly one of ids=, subject=, filter= or topic=; an empty "
                "scope never means everything"
            )
        if named[0] in {"subject", "topic"} and not isinstance(given[named[0]], str):
            raise InvalidScope(f"{named[0]}= must be a string")
        if self.ids is not None and not all(isinstance(i, str) for i in self.ids):
            raise InvalidScope("ids= must be strings")
        if not given[named[0]] or (self.ids is not None and not all(self.ids)):
            raise InvalidScope(f"{named[0]}= is empty; an empty scope never means everything")
        return named[0]

    @property
    def value(self) -> str:
        """Write what is named as one string, to be committed to."""
        if self.subject is not None or self.topic is not None:
            return self.subject or self.topic or ""
        if self.ids is not None:
            return canonical_json(sorted(self.ids))
        return json.dumps(self.filter, default=str, skipkeys=True) if self.filter else ""


@dataclass(frozen=True, slots=True)
class Step:
    """What the plan would do to one component, and what it costs.

    Attributes:
        component: its name.
        influence: how it holds what it saw.
        action: what would be done.
        records: of the scope that it holds.
        files, bytes: that would be written anew.
        retrained: records that would be learnt from once more.
        share: of a full training, from 0 to 1.
        passes: examples that would go through a model, forward and backward.
        guarantee: what it would be worth: ``exact``, ``certified`` or ``audited``.
    """

    component: str
    influence: Influence
    action: str
    records: int
    files: int = 0
    bytes: int = 0
    retrained: int = 0
    share: float = 0.0
    passes: int = 0
    guarantee: str = "exact"

    @classmethod
    def of(cls, name: str, influence: Influence, cost: Cost) -> Step:
        """Return the step that a component's prediction makes."""
        sizes = (cost.files, cost.bytes, cost.retrained, cost.share, cost.passes, cost.guarantee)
        return cls(name, influence, cost.action, cost.records, *sizes)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a forget would take; nothing has been changed yet.

    Attributes:
        kind: ``ids``, ``subject``, ``filter``, ``topic`` or ``expired``.
        direct: ids that match the scope.
        mentions: ids of others' records that mention the subject.
        derived: ids of records derived from the former.
        not_found: ids that were asked for and aren't stored.
        mentions_kept: others' records that mention the subject and stay, as told.
        near_miss: records that lie in the topic's cone by an accident of the geometry only.
        near: ids of records that stay, and lie so near to one that goes that they may tell the
            same; the nearest first.
        compared: records that go whose neighbours were looked at for that, at most 64.
        held: ids of those that match and stay, for they are under a legal hold.
        holds: names of these holds.
        steps: by component, with its cost.
        proposal: what a scope by meaning said of itself; None where ids came by no proposal.
    """

    kind: str
    direct: tuple[str, ...] = field(repr=False)
    mentions: tuple[str, ...] = field(default=(), repr=False)
    derived: tuple[str, ...] = field(default=(), repr=False)
    not_found: tuple[str, ...] = field(default=(), repr=False)
    mentions_kept: int = 0
    near_miss: int = 0
    near: tuple[str, ...] = field(default=(), repr=False)
    compared: int = 0
    held: tuple[str, ...] = field(default=(), repr=False)
    holds: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    proposal: Proposal | None = field(default=None, repr=False)

    @property
    def matched(self) -> tuple[str, ...]:
        """All the records that were asked for, by whatever way."""
        return (*self.direct, *self.mentions, *self.derived)

    @property
    def ids(self) -> tuple[str, ...]:
        """All the records that would go: what matches and isn't held."""
        held = frozenset(self.held)
        return tuple(i for i in self.matched if i not in held) if held else self.matched

    @property
    def counts(self) -> Mapping[str, int]:
        """How many match, by reason, and how many were not found."""
        return {
            "direct": len(self.direct),
            "mentions": len(self.mentions),
            "derived": len(self.derived),
            "not_found": len(self.not_found),
        }


def broken_places(store: Store, ids: Sequence[str], salt: bytes) -> list[str]:
    """Return those of ``ids`` whose stored place is not the one that their topic gives."""
    if not ids:
        return []
    records = store.get(ids)
    live = [i for i in ids if i in records]
    _, place = store.vectors(live)
    whole = codes.intact_mask(place, [split_topic(records[i].topic) for i in live], salt)
    return [i for i, good in zip(live, whole, strict=True) if not good]


def _by_topic(store: Store, topic: str, salt: bytes) -> tuple[list[str], int]:
    """Ask both witnesses for a topic's subtree; return the ids, and the cone's near misses."""
    path = {record.id for record in store.scan(under(topic))}
    cone = store.cone(cone_of(topic, salt))
    if broken := broken_places(store, sorted(path | cone), salt):
        shown = ", ".join(repr(i[:80]) for i in broken[:5])
        raise InvalidScope(
            f"the two witnesses of this topic disagree: the place of {len(broken)} records is not "
            f"the one that their topic path gives ({shown}); a byte of the path or of the place "
            "was changed. Nothing was deleted; restore these records, or forget them by ids="
        )
    return sorted(path), len(cone - path)


def _direct(store: Store, scope: Scope, salt: bytes) -> tuple[list[str], list[str], int]:
    """Return the ids that match, those not found, and near misses of the cone."""
    if scope.ids is not None:
        wanted = list(dict.fromkeys(scope.ids))
        known = store.get(wanted)
        return [i for i in wanted if i in known], [i for i in wanted if i not in known], 0
    if scope.topic is not None:
        try:
            split_topic(scope.topic)
        except InvalidRecord as error:
            raise InvalidScope(str(error)) from None
        found, near_miss = _by_topic(store, scope.topic, salt)
        return found, [], near_miss
    where = scope.filter if scope.filter is not None else scope.expired
    if scope.subject is not None:
        where = {"subject": scope.subject}
    return sorted(record.id for record in store.scan(where)), [], 0


def resolve(store: Store, scope: Scope, salt: bytes) -> Plan:
    """Work out what a scope takes, and what that costs.

    Raises:
        InvalidScope: the scope is empty or malformed, its witnesses disagree, or a proposal's
            records have changed since.
    """
    kind = scope.kind
    if scope.frozen is not None:
        check_unchanged(store, scope.ids or (), scope.frozen, salt)
    direct, not_found, near_miss = _direct(store, scope, salt)
    mentioning: list[str] = []
    if scope.subject is not None:
        own = set(direct)
        where = {"mentions": {"$contains": scope.subject}}
        mentioning = sorted(r.id for r in store.scan(where) if r.id not in own)
    mentions = mentioning if scope.mentions else []
    # An id that is gone already may have been the source of what is still there.
    derived = descendants(store, [*direct, *mentions, *not_found])
    plan = Plan(
        kind,
        tuple(direct),
        tuple(mentions),
        tuple(derived),
        tuple(not_found),
        len(mentioning) - len(mentions),
        near_miss,
        proposal=None if scope.frozen is None else scope.frozen.proposal,
    )
    return replace(plan, steps=_steps(store, plan))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())


def _steps(store: Store, plan: Plan) -> tuple[Step, ...]:
    total = len(plan.ids)
    files = store.files(plan.ids) if total else []
    size = sum(_size(path) for path in files)
    return (
        Step("store", Influence.LOCAL, "delete, then rewrite the pieces", total, len(files), size),
        Step("index", Influence.LOCAL, "remove the vectors from memory", total),
        Step("encoder", Influence.FROZEN, "nothing: it never saw the data", 0),
    )
