"""Receipts: the signed statement of what a forget did and how that was checked.

A receipt is an in-toto Statement v1 in a DSSE envelope, signed with Ed25519. It holds counts,
statuses, digests and salted commitments: no text, no plain id, no subject, no topic, no filter,
no reason. The salts (*openings*) stay outside, with whoever may show which record is meant.

It proves who states what, and that nothing of it was changed since. It can't know copies on
surfaces that nobody listed, and can't make a dishonest signer honest.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.dsse import Envelope, open_envelope, seal
from forgetnet.forget.explain import sentence, table
from forgetnet.forget.keys import PublicKey, derive_salt, derive_signer, load_public, public_pem
from forgetnet.forget.openings import (
    Commitments,
    Kind,
    Openings,
    commitment,
    salt_bytes,
    write_file,
)
from forgetnet.forget.proposal import Proposal
from forgetnet.forget.statement import EXCLUSIONS, Component, Erasure, coarse, environment_pin
from forgetnet.forget.surfaces import Check, Surface, SurfaceStatus, Withhold, judge, overall
from forgetnet.given import path_of
from forgetnet.ledger import Ledger

__all__ = [
    "EXCLUSIONS",
    "Check",
    "Component",
    "Facts",
    "Openings",
    "PublicKey",
    "Receipt",
    "Surface",
    "SurfaceStatus",
    "Verdict",
    "build",
    "derive_salt",
    "derive_signer",
    "environment_pin",
    "judge",
    "public_pem",
]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the executor knows at the end of a forget; ``build`` makes a receipt of it.

    An id that is given twice counts once, as the first of: direct, derived, mentions. Nothing
    of ``scope_value``, ``reason`` or the ids gets into the receipt in plain.

    Attributes:
        scope: kind of the scope: ``ids``, ``subject``, ``filter``, ``topic`` or ``expired``.
        scope_value: what it named (subject, topic, filter as JSON), committed to with a salt.
        reason: the caller's own words, committed to with a salt.
        direct, derived, mentions: ids of the forgotten records, by why they were.
        not_found: ids that were asked for and unknown.
        mentions_kept: records kept on request though they mention the subject.
        surfaces: what was done and checked where; ``judge`` makes them.
        components: what each part guarantees.
        started, finished: aware times, cut to the hour.
        state_digest: SHA-256 of the store's state afterwards, in hex.
        encoder_digest: digest of the encoder, in hex.
        environment: versions by name; ``environment_pin`` collects them.
        ledger_size, ledger_root: of the ledger before this receipt is appended.
        exclusions: what is not covered besides ``EXCLUSIONS``, in plain words.
        proposal: what a scope by meaning said of itself, if the ids come from one.
    """

    scope: str
    started: datetime
    finished: datetime
    surfaces: Sequence[Surface]
    state_digest: str
    encoder_digest: str
    environment: Mapping[str, str]
    ledger_size: int
    ledger_root: bytes
    components: Sequence[Component] = ()
    direct: Sequence[str] = field(default=(), repr=False)
    derived: Sequence[str] = field(default=(), repr=False)
    mentions: Sequence[str] = field(default=(), repr=False)
    not_found: Sequence[str] = field(default=(), repr=False)
    mentions_kept: int = 0
    scope_value: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    exclusions: Sequence[str] = ()
    proposal: Proposal | None = None


@dataclass(frozen=True)
class Verdict:
    """What checking a receipt came to, its signature being genuine.

    Attributes:
        status: one word for the whole; recomputed from the surfaces.
        keyid: name of the key that signed.
        reasons: why the status isn't better; empty for ``erased`` and ``not_found``.
        sentence: what was shown and what wasn't, in one plain sentence.
        ledger_index: where the receipt stands in the ledger; None if no ledger was asked.
    """

    status: SurfaceStatus
    keyid: str
    reasons: tuple[str, ...]
    sentence: str
    ledger_index: int | None = None

    @property
    def proven(self) -> bool:
        """Tell whether nothing of what was asked for is left: ``erased`` or ``not_found``."""
        return self.status in {SurfaceStatus.ERASED, SurfaceStatus.NOT_FOUND}


@dataclass(frozen=True)
class Receipt:
    """A statement in its signed envelope, and the openings if this process made it.

    A ``Receipt`` is always well formed, and its status the one that its surfaces bear: anything
    else raises ``ReceiptInvalid`` on reading. Whether it is *genuine* only ``verify`` tells.
    """

    envelope: Envelope
    openings: Openings | None = field(default=None, repr=False, compare=False)
    erasure: Erasure = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "erasure", Erasure.from_bytes(self.envelope.payload))

    def __repr__(self) -> str:
        """Show the id, the status and the key, and nothing of the rest."""
        told = f"id={self.id!r}, status={self.status.value!r}, keyid={self.envelope.keyid[:16]!r}"
        return f"Receipt({told})"

    @property
    def statement(self) -> dict[str, Any]:
        """Return the in-toto statement as plain JSON values, a fresh copy."""
        told: dict[str, Any] = json.loads(self.envelope.payload)
        return told

    @property
    def predicate(self) -> dict[str, Any]:
        """Return the predicate of the statement, a fresh copy."""
        predicate: dict[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def id(self) -> str:
        """Return the receipt's random id."""
        return self.erasure.receipt

    @property
    def status(self) -> SurfaceStatus:
        """Return one word for the whole forget; see ``surfaces.overall``."""
        return self.erasure.status

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """Return what was done and checked where."""
        return self.erasure.surfaces

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of records by kind."""
        return dict(self.erasure.counts)

    @property
    def entry(self) -> bytes:
        """Return what a ledger keeps of this receipt: the SHA-256 of its signed bytes."""
        return self.envelope.digest

    def check(self, public_key: PublicKey, *, ledger: Ledger | None = None) -> list[str]:
        """Say why this receipt is not genuine; empty if it is.

        Asks whether the key signed exactly this and, if a ledger is given, whether the receipt
        stands in it, behind the entries that it says were there. Raises ``ReceiptInvalid`` only
        if the key itself can't be read.
        """
        reasons = self.envelope.problems(load_public(public_key))
        if ledger is not None:
            reasons += self._missing_from(ledger)
        return reasons

    def verify(self, public_key: PublicKey, *, ledger: Ledger | None = None) -> Verdict:
        """Check the receipt against a public key (key, PEM or path), offline.

        Raises ``ReceiptInvalid`` if it isn't genuine. A genuine receipt of a forget that failed
        has a verdict that says so: look at ``proven``.
        """
        if reasons := self.check(public_key, ledger=ledger):
            raise ReceiptInvalid("; ".join(reasons))
        index = None if ledger is None else ledger.find(self.entry)
        told = f"The signature is genuine. {sentence(self.erasure)}"
        reasons_left = tuple(self.erasure.reasons)
        return Verdict(self.status, self.envelope.keyid, reasons_left, told, index)

    def covers(self, record_id: str, opening: bytes | str) -> bool:
        """Tell whether this opening shows that the receipt counts this record among the matched.

        ``opening`` is the record's salt, 32 bytes or hex. Whether the record is erased is the
        receipt's ``status``, and whether to believe it is ``verify``.
        """
        return self.opens("record", record_id, opening)

    def opens(self, kind: Kind, value: str, opening: bytes | str) -> bool:
        """Tell whether this value and salt open a commitment of that kind.

        ``kind`` is ``record``, ``missing`` (an id that wasn't found), ``scope``, ``reason`` or
        ``query`` (what a scope by meaning was asked for).
        Raises ``ReceiptInvalid`` if the opening isn't 32 bytes.
        """
        committed = {
            "record": self.erasure.matched,
            "missing": self.erasure.missing,
            "scope": (self.erasure.scope_commitment,),
            "reason": (self.erasure.reason_commitment,),
            "query": () if (made := self.erasure.proposal) is None else (made.query,),
        }[kind]
        return commitment(kind, value, salt_bytes(opening)) in committed

    def explain(self) -> str:
        """Return a plain sentence and a table: what the signer states, and what not.

        It reads the receipt and doesn't check the signature.
        """
        made = f"receipt {self.id[:8]}, {self.erasure.finished}, key {self.envelope.keyid[:16]}"
        return f"{sentence(self.erasure)}\n\n{table(self.erasure)}\n\n{made}"

    def to_json(self) -> str:
        """Return the envelope as DSSE's JSON; the openings are not in it."""
        return self.envelope.to_json()

    @classmethod
    def from_json(cls, data: bytes | str) -> Receipt:
        """Read a receipt strictly; raises ``ReceiptInvalid``. The signature is not checked."""
        return cls(open_envelope(data))

    def save(self, path: str | Path) -> None:
        """Write the receipt durably; the openings are not in it.

        Raises ``StoreError`` if the file can't be written.
        """
        write_file(path, self.to_json().encode("ascii"), "the receipt")

    @classmethod
    def load(cls, path: str | Path) -> Receipt:
        """Read a receipt from a file; raises ``ReceiptInvalid`` if there is none in it."""
        path = path_of(path, "the receipt", ReceiptInvalid)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ReceiptInvalid(f"can't read the receipt {path}: {error.strerror}") from error
        return cls.from_json(data)

    def save_openings(self, path: str | Path) -> None:
        """Write the openings durably, apart from the receipt, for their holder only.

        Raises ``ReceiptInvalid`` if the receipt was read back: openings are never in it; and
        ``StoreError`` if the file can't be written.
        """
        if self.openings is None:
            raise ReceiptInvalid("this receipt came without openings; only its maker has them")
        self.openings.save(path)

    def _missing_from(self, ledger: Ledger) -> list[str]:
        size = self.erasure.ledger_size
        index = ledger.find(self.entry)
        if index is None:
            return ["it isn't in the ledger"]
        if index < size or ledger.root(size).hex() != self.erasure.ledger_root:
            return ["the ledger before it is not the one that it was signed behind"]
        return []


def build(
    *,
    facts: Facts,
    signer: Ed25519PrivateKey,
    randomness: Callable[[int], bytes] = secrets.token_bytes,
    committed: Openings | Commitments | None = None,
) -> Receipt:
    """Make and sign the receipt of a forget; append its ``entry`` to the ledger afterwards.

    The overall status is what the surfaces bear, never a wish. Every commitment gets a fresh
    32-byte salt of ``randomness(32)``; they are in ``openings`` of the result and nowhere else.
    Raises ``ReceiptInvalid`` if the facts have no valid form.

    Args:
        facts: what is to be said.
        signer: the private key.
        randomness: returns so many random bytes.
        committed: openings to use again, so that whoever kept them can open this receipt too; or
            only the commitments, where the openings are lost: then the result has none.
    """
    direct = dict.fromkeys(facts.direct)
    derived = dict.fromkeys(id for id in facts.derived if id not in direct)
    known = direct | derived
    mentions = dict.fromkeys(id for id in facts.mentions if id not in known)
    known |= mentions
    missing = dict.fromkeys(id for id in facts.not_found if id not in known)

    receipt = randomness(16).hex()
    if committed is None:
        told = (known, missing, facts.scope_value, facts.reason)
        committed = Openings.draw(receipt, *told, randomness=randomness)
    openings = replace(committed, receipt=receipt) if isinstance(committed, Openings) else None
    commitments = committed.commit() if isinstance(committed, Openings) else committed
    guard = Withhold((*known, *missing, facts.scope_value, facts.reason))
    surfaces = tuple(guard.surface(surface) for surface in facts.surfaces)
    erasure = Erasure(
        receipt=receipt,
        status=overall(surfaces, len(known))[0],
        started=coarse(facts.started),
        finished=coarse(facts.finished),
        scope=facts.scope,
        scope_commitment=commitments.scope,
        reason_commitment=commitments.reason,
        counts={
            "direct": len(direct),
            "derived": len(derived),
            "mentions": len(mentions),
            "not_found": len(missing),
            "mentions_kept": facts.mentions_kept,
        },
        matched=commitments.matched,
        missing=commitments.missing,
        surfaces=surfaces,
        components=tuple(facts.components),
        encoder=facts.encoder_digest,
        environment=dict(sorted(facts.environment.items())),
        exclusions=(*EXCLUSIONS, *(guard.sentence(said) for said in facts.exclusions)),
        ledger_size=facts.ledger_size,
        ledger_root=facts.ledger_root.hex(),
        state=facts.state_digest,
        proposal=facts.proposal,
    )
    return Receipt(seal(erasure.to_bytes(), signer), openings)
