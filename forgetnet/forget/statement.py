"""The erasure statement: what a receipt says, as typed values and as in-toto Statement v1.

It knows which fields there are, that counts and commitments fit each other, and that the overall
status is the one that the surfaces bear: a statement that claims more can neither be made nor
read. It knows no key and no opening.
"""

from __future__ import annotations

import functools
import json
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.proposal import Proposal
from forgetnet.forget.strict import (
    fields,
    hexadecimal,
    name,
    natural,
    one_of,
    plain,
    read,
    rows,
)
from forgetnet.forget.surfaces import Surface, SurfaceStatus, overall

__all__ = [
    "COUNTS",
    "EXCLUSIONS",
    "GUARANTEES",
    "INFLUENCES",
    "PREDICATE_TYPE",
    "SCOPES",
    "STATEMENT_TYPE",
    "SUBJECT",
    "Component",
    "Erasure",
    "coarse",
    "environment_pin",
    "vocabulary",
]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:forget-by-design:erasure:v1"
SUBJECT = "forgetnet store"

SCOPES = ("ids", "subject", "filter", "topic", "expired")
COUNTS = ("direct", "derived", "mentions", "not_found", "mentions_kept")
INFLUENCES = ("frozen", "local", "additive", "isolated", "entangled")
GUARANTEES = ("exact", "pending", "certified", "audited")

EXCLUSIONS = (
    "exports made earlier",
    "backups and file-system snapshots",
    "blocks below the file system, such as spare cells of a flash drive or swap",
    "copies outside the surfaces listed here",
    "answers already given",
    "what the texts of records outside the scope say",
)
"""What no receipt of ours covers."""

_DISTRIBUTIONS = (
    "faiss-cpu",
    "forget-by-design",
    "lancedb",
    "numpy",
    "sentence-transformers",
    "torch",
)
_HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00:00Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+ _-]{0,63}")
_PREDICATE = [
    "receipt", "status", "started", "finished", "scope", "reason", "counts", "commitments",
    "surfaces", "components", "encoder", "environment", "exclusions", "ledger",
]  # fmt: skip


@dataclass(frozen=True)
class Component:
    """How one part holds what it saw, and what its forgetting is worth.

    Attributes:
        name: short and constant: ``store``, ``index``, ``encoder``.
        influence: ``frozen``, ``local``, ``additive``, ``isolated`` or ``entangled``.
        guarantee: ``exact``; ``pending`` (exact once retrained, served without until then);
            ``certified``; or ``audited``.
    """

    name: str
    influence: str
    guarantee: str = "exact"

    def __post_init__(self) -> None:
        name(self.name, "the name of a component")
        one_of(self.influence, INFLUENCES, f"the influence of component {self.name}")
        one_of(self.guarantee, GUARANTEES, f"the guarantee of component {self.name}")

    def to_plain(self) -> dict[str, str]:
        """Return the component as plain JSON."""
        influence, guarantee = str(self.influence), str(self.guarantee)
        return {"name": self.name, "influence": influence, "guarantee": guarantee}


@dataclass(frozen=True)
class Erasure:
    """One erasure, as stated. Digests and commitments are lower-case hex.

    Making one that is inconsistent, or claims more than its surfaces bear, raises
    ``ReceiptInvalid``.

    Attributes:
        receipt: random id of 16 bytes.
        status: one word for the whole; see ``surfaces.overall``.
        started, finished: UTC, to the hour.
        scope: the kind of the scope, never what it named.
        scope_commitment, reason_commitment: salted commitments to these.
        counts: records by kind: matched directly, derived from these, mentioning the subject;
            ids not found; records kept on request though they mention the subject.
        matched, missing: a salted commitment per record and per unknown id, sorted.
        surfaces, components: what was done and checked where; what each part guarantees.
        encoder: digest of the encoder.
        environment: versions by name.
        exclusions: what is not covered, in plain words.
        ledger_size, ledger_root: of the ledger before this receipt was appended to it.
        state: SHA-256 of the store's state afterwards.
        proposal: what a scope by meaning said of itself; None where there was none.
    """

    receipt: str
    status: SurfaceStatus
    started: str
    finished: str
    scope: str
    scope_commitment: str
    reason_commitment: str
    counts: Mapping[str, int]
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    surfaces: tuple[Surface, ...]
    components: tuple[Component, ...]
    encoder: str
    environment: Mapping[str, str]
    exclusions: tuple[str, ...]
    ledger_size: int
    ledger_root: str
    state: str
    proposal: Proposal | None = None

    def __post_init__(self) -> None:
        one_of(self.status, list(SurfaceStatus), "the status")
        object.__setattr__(self, "status", SurfaceStatus(self.status))
        hexadecimal(self.receipt, 16, 16, "the receipt's id")
        for time in (self.started, self.finished):
            _hour(time)
        one_of(self.scope, SCOPES, "the kind of the scope")
        for number in fields(dict(self.counts), COUNTS, "the counts").values():
            natural(number, "a count")
        digests = [self.scope_commitment, self.reason_commitment, *self.matched, *self.missing]
        for digest in digests:
            hexadecimal(digest, 32, 32, "a commitment")
        for digest in (self.ledger_root, self.state):
            hexadecimal(digest, 32, 32, "a digest")
        hexadecimal(self.encoder, 16, 64, "the encoder's digest")
        natural(self.ledger_size, "the ledger's size")
        for package, installed in self.environment.items():
            name(package, "a name of the environment")
            _version(installed)
        for sentence in self.exclusions:
            plain(sentence, 300, "an exclusion")
        if self.proposal is not None and self.scope != "ids":
            raise ReceiptInvalid("a proposal is of ids, and the scope is of another kind")
        self._fit()

    def _fit(self) -> None:
        for told, count in ((self.matched, self.total), (self.missing, self.counts["not_found"])):
            if len(told) != count:
                raise ReceiptInvalid("the counts and the number of commitments differ")
            if list(told) != sorted(set(told)):
                raise ReceiptInvalid("the commitments are not sorted and different")
        status, reasons = overall(self.surfaces, self.total)
        if self.status is not status:
            because = f": {'; '.join(reasons)}" if reasons else ""
            raise ReceiptInvalid(
                f"the receipt says {self.status}, but its surfaces say {status}{because}"
            )

    @property
    def total(self) -> int:
        """Return the number of records that matched, of all kinds."""
        return self.counts["direct"] + self.counts["derived"] + self.counts["mentions"]

    @property
    def reasons(self) -> list[str]:
        """Say why the status isn't better; empty for ``erased`` and ``not_found``."""
        return overall(self.surfaces, self.total)[1]

    def to_bytes(self) -> bytes:
        """Return the in-toto Statement v1 as compact JSON in ASCII."""
        predicate = {
            "receipt": self.receipt,
            "status": self.status.value,
            "started": self.started,
            "finished": self.finished,
            "scope": {"kind": str(self.scope), "commitment": self.scope_commitment},
            "reason": {"commitment": self.reason_commitment},
            "counts": dict(self.counts),
            "commitments": {"matched": list(self.matched), "not_found": list(self.missing)},
            "surfaces": [surface.to_plain() for surface in self.surfaces],
            "components": [component.to_plain() for component in self.components],
            "encoder": self.encoder,
            "environment": dict(self.environment),
            "exclusions": list(self.exclusions),
            "ledger": {"size_before": self.ledger_size, "root_before": self.ledger_root},
            **({} if self.proposal is None else {"proposal": self.proposal.to_plain()}),
        }
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": SUBJECT, "digest": {"sha256": self.state}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
        return json.dumps(statement, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, payload: bytes) -> Erasure:
        """Read a statement strictly; raises ``ReceiptInvalid`` with the first thing wrong."""
        names = ["_type", "subject", "predicateType", "predicate"]
        statement = fields(read(payload, "the statement"), names, "the statement")
        one_of(statement["_type"], [STATEMENT_TYPE], "the statement's type")
        one_of(statement["predicateType"], [PREDICATE_TYPE], "the statement's predicateType")
        predicate = statement["predicate"]
        proposed = isinstance(predicate, dict) and "proposal" in predicate
        told = fields(predicate, [*_PREDICATE, *(["proposal"] * proposed)], "the predicate")
        scope = fields(told["scope"], ["kind", "commitment"], "the scope")
        reason = fields(told["reason"], ["commitment"], "the reason")
        commitments = fields(told["commitments"], ["matched", "not_found"], "the commitments")
        ledger = fields(told["ledger"], ["size_before", "root_before"], "the ledger's position")
        return cls(
            receipt=told["receipt"],
            status=told["status"],
            started=told["started"],
            finished=told["finished"],
            scope=scope["kind"],
            scope_commitment=scope["commitment"],
            reason_commitment=reason["commitment"],
            counts=fields(told["counts"], COUNTS, "the counts"),
            matched=tuple(rows(commitments["matched"], "the commitments")),
            missing=tuple(rows(commitments["not_found"], "the commitments")),
            surfaces=tuple(map(Surface.from_plain, rows(told["surfaces"], "the surfaces"))),
            components=tuple(map(_component, rows(told["components"], "the components"))),
            encoder=told["encoder"],
            environment=_environment(told["environment"]),
            exclusions=tuple(rows(told["exclusions"], "the exclusions")),
            ledger_size=ledger["size_before"],
            ledger_root=ledger["root_before"],
            state=_state(statement["subject"]),
            proposal=Proposal.from_plain(told["proposal"]) if proposed else None,
        )


def coarse(time: datetime) -> str:
    """Return an aware time as UTC, cut to the hour: ``2026-01-31T13:00:00Z``.

    Raises ``ReceiptInvalid`` if the time doesn't say its zone.
    """
    if time.tzinfo is None:
        raise ReceiptInvalid("a receipt's time needs a time zone; pass datetime.now(UTC)")
    hour = time.astimezone(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    return f"{hour.isoformat()}Z"


def environment_pin(distributions: Iterable[str] = _DISTRIBUTIONS) -> dict[str, str]:
    """Return the versions of Python and of installed distributions, ``absent`` if not there."""
    pinned = {distribution: _installed(distribution) for distribution in distributions}
    return {"python": platform.python_version(), **pinned}


@functools.cache
def _installed(distribution: str) -> str:
    """Return an installed version, looked up once a process: each look reads a file."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def _hour(value: Any) -> None:
    if not isinstance(value, str) or not _HOUR.fullmatch(value):
        raise ReceiptInvalid("a time of the receipt is not UTC to the hour")
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ReceiptInvalid("a time of the receipt is not on the calendar") from None


def _version(value: Any) -> None:
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise ReceiptInvalid("a version of the environment is not a version")


def _component(value: Any) -> Component:
    return Component(**fields(value, ["name", "influence", "guarantee"], "a component"))


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ReceiptInvalid("the environment is not an object")
    return value


def _state(value: Any) -> str:
    subjects = rows(value, "the subject of the statement")
    if len(subjects) != 1:
        raise ReceiptInvalid("the statement is not about one store")
    subject = fields(subjects[0], ["name", "digest"], "the subject of the statement")
    one_of(subject["name"], [SUBJECT], "the name of the statement's subject")
    digest = fields(subject["digest"], ["sha256"], "the digest of the statement's subject")
    return hexadecimal(digest["sha256"], 32, 32, "the digest of the statement's subject")


def vocabulary(statement: Any) -> frozenset[str]:
    """Return every string of a statement: what receipts say whatever they are about."""
    found, todo = set[str](), [statement]
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            found.add(part)
        elif isinstance(part, dict):
            found.update(part)
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)
    return frozenset(found)
