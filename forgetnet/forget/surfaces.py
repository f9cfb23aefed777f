"""Where copies can lie, what was done there, how it was looked for again, and what follows.

A surface is one place that may hold bytes of a record: rows, vectors, an index, old versions, a
journal, exports. This module holds the one rule of the house that a receipt must not break: the
word ``erased`` needs a look that could have found something and found nothing. It does not look
itself, and can't know surfaces that nobody listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from forgetnet.errors import ReceiptInvalid
from forgetnet.forget.strict import fields, name, natural, one_of, plain, rows

__all__ = ["WITHHELD", "Check", "Surface", "SurfaceStatus", "Withhold", "judge", "overall"]

WITHHELD = "withheld: it could have named what was forgotten"
"""Stands where a sentence was not safe to sign."""

_SCOPES = ("touched", "full")
_WORDS, _SENTENCE = 80, 300
_SHORT, _PREFIX = 4, 16


class SurfaceStatus(StrEnum):
    """Four different words, never mixed up."""

    ERASED = "erased"
    """It held something of the scope; it was looked for again, and is gone."""
    NOT_FOUND = "not_found"
    """It was looked at and held nothing of the scope."""
    UNSUPPORTED = "unsupported"
    """It can't be erased or looked at from here."""
    FAILED = "failed"
    """Erasing or looking failed, or the look had no power, or there was none."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One look at a surface after the purge.

    Attributes:
        check: what was done, in a few constant words such as ``decoded byte scan``.
        hits: occurrences of the scope that were found after the purge.
        control_expected: things the same look had to find while they were still there.
        control_found: how many of these it found; fewer means that it is blind.
        opaque: files that it couldn't decode.
        files: files read.
        bytes_read: bytes read.
        scope: ``touched`` if only what the purge touched was read, ``full`` for everything.
    """

    check: str
    hits: int
    control_expected: int = 0
    control_found: int = 0
    opaque: int = 0
    files: int = 0
    bytes_read: int = 0
    scope: str = "touched"

    def __post_init__(self) -> None:
        plain(self.check, _WORDS, "the name of a check")
        one_of(self.scope, _SCOPES, "the scope of a check")
        for number in (self.hits, self.opaque, self.files, self.bytes_read):
            natural(number, "a count of a check")
        for number in (self.control_expected, self.control_found):
            natural(number, "the control of a check")

    def reasons(self) -> list[str]:
        """Say why this look shows no absence; empty if it passed."""
        found = []
        if self.hits:
            found.append(f"{self.check}: {self.hits} hits after the purge")
        if self.control_found < self.control_expected:
            found.append(
                f"{self.check}: found {self.control_found} of {self.control_expected} controls"
            )
        if self.opaque:
            found.append(f"{self.check}: {self.opaque} files could not be decoded")
        return found

    def to_plain(self) -> dict[str, Any]:
        """Return the check as plain JSON."""
        return {
            "check": self.check,
            "control": {"expected": self.control_expected, "found": self.control_found},
            "hits": self.hits,
            "opaque": self.opaque,
            "files": self.files,
            "bytes": self.bytes_read,
            "scope": self.scope,
        }

    @classmethod
    def from_plain(cls, value: Any) -> Check:
        """Read a check strictly; raises ``ReceiptInvalid``."""
        names = ["check", "control", "hits", "opaque", "files", "bytes", "scope"]
        told = fields(value, names, "a check")
        control = fields(told["control"], ["expected", "found"], "the control of a check")
        return cls(
            check=told["check"],
            hits=told["hits"],
            control_expected=control["expected"],
            control_found=control["found"],
            opaque=told["opaque"],
            files=told["files"],
            bytes_read=told["bytes"],
            scope=told["scope"],
        )


@dataclass(frozen=True)
class Surface:
    """One place, what was done there, and the looks that followed.

    Making one that claims more than its checks show raises ``ReceiptInvalid``; ``judge`` picks
    the right status instead.

    Attributes:
        name: short and constant: ``rows``, ``vectors``, ``old versions``, ``backups``.
        status: one of the four words.
        count: records of the scope that it held.
        method: how it forgets, in a few constant words: ``rewrite the piece``.
        verification: the looks, none for a surface that is unsupported.
        detail: a sentence of the code's own, never an error's message: what isn't plain ASCII or
            names what was forgotten is withheld from the receipt.
    """

    name: str
    status: SurfaceStatus
    count: int
    method: str
    verification: tuple[Check, ...] = ()
    detail: str = ""

    def __post_init__(self) -> None:
        name(self.name, "the name of a surface")
        one_of(self.status, list(SurfaceStatus), f"the status of surface {self.name}")
        object.__setattr__(self, "status", SurfaceStatus(self.status))
        object.__setattr__(self, "verification", tuple(self.verification))
        natural(self.count, f"the count of surface {self.name}")
        plain(self.method, _WORDS, f"the method of surface {self.name}")
        if unproven := self.unproven():
            raise ReceiptInvalid(
                f"surface {self.name} can't be called {self.status}: {'; '.join(unproven)}"
            )

    def unproven(self) -> list[str]:
        """Say what is missing for the status that it claims; empty if nothing is."""
        if self.status in {SurfaceStatus.UNSUPPORTED, SurfaceStatus.FAILED}:
            return []
        reasons = self.doubts()
        if self.status is SurfaceStatus.NOT_FOUND and self.count:
            reasons.append(f"it held {self.count}")
        if self.status is SurfaceStatus.ERASED and not self.count:
            reasons.append("it held nothing")
        return reasons

    def doubts(self) -> list[str]:
        """Say why its looks don't show that nothing is left; empty if they do.

        They do if there is one, all passed, and, where something was held, one had a control.
        """
        doubts = [reason for check in self.verification for reason in check.reasons()]
        if not self.verification:
            doubts.append("nobody looked")
        elif self.count and not any(check.control_expected for check in self.verification):
            doubts.append("no look had a control")
        return doubts

    def to_plain(self) -> dict[str, Any]:
        """Return the surface as plain JSON."""
        return {
            "name": self.name,
            "status": self.status.value,
            "count": self.count,
            "method": self.method,
            "verification": [check.to_plain() for check in self.verification],
            "detail": self.detail,
        }

    @classmethod
    def from_plain(cls, value: Any) -> Surface:
        """Read a surface strictly; raises ``ReceiptInvalid``, also if it claims too much."""
        names = ["name", "status", "count", "method", "verification", "detail"]
        told = fields(value, names, "a surface")
        checks = rows(told["verification"], "the verification of a surface")
        detail = plain(told["detail"], _SENTENCE, "the detail of a surface")
        return cls(
            told["name"],
            told["status"],
            told["count"],
            told["method"],
            tuple(Check.from_plain(check) for check in checks),
            detail,
        )


def judge(
    name: str,
    *,
    count: int,
    method: str,
    checks: Iterable[Check] = (),
    supported: bool = True,
    broken: bool = False,
    detail: str = "",
) -> Surface:
    """Return the surface with the best status that its checks bear.

    ``supported=False`` says that the place can't be reached from here, ``broken`` that erasing or
    looking stopped with an error. Without a single look, with a hit, a missed control, an opaque
    file, or (where something was held) without any control, the status is ``failed``.
    """
    looks = tuple(checks)
    failed = Surface(name, SurfaceStatus.FAILED, count, method, looks, detail)
    if broken:
        return failed
    if not supported:
        return replace(failed, status=SurfaceStatus.UNSUPPORTED)
    if failed.doubts():
        return failed
    return replace(failed, status=SurfaceStatus.ERASED if count else SurfaceStatus.NOT_FOUND)


def overall(surfaces: Sequence[Surface], matched: int) -> tuple[SurfaceStatus, list[str]]:
    """Return one word for the whole forget of ``matched`` records, and why it isn't better.

    - ``failed``: a surface failed, or is listed twice, or none is listed, or a look did not pass
      (but one that finds what an unsupported surface is said to hold), or the surfaces that were
      erased account for fewer records than matched.
    - ``unsupported``: else, a surface known to hold the records can't be erased, or records
      matched and no surface could be erased at all.
    - ``not_found``: else, nothing matched.
    - ``erased``: else. Unsupported surfaces that are not known to hold any of the records (say,
      backups) don't change it; the receipt lists them.
    """
    if not surfaces:
        return SurfaceStatus.FAILED, ["no surface was looked at"]
    names = [surface.name for surface in surfaces]
    reasons = [f"{name}: listed twice" for name in sorted(set(names)) if names.count(name) > 1]
    for surface in surfaces:
        unreached = surface.status is SurfaceStatus.UNSUPPORTED
        if unreached and (surface.count or not surface.verification):
            continue  # nobody looked, or what a look finds is what the status says
        doubts = surface.doubts()
        if surface.status is SurfaceStatus.FAILED and not doubts:
            doubts = ["failed"]
        reasons += [f"{surface.name}: {doubt}" for doubt in doubts]
    if reasons:
        return SurfaceStatus.FAILED, reasons
    erased = sum(s.count for s in surfaces if s.status is SurfaceStatus.ERASED)
    beyond = [s for s in surfaces if s.status is SurfaceStatus.UNSUPPORTED]
    known = [s for s in beyond if s.count]
    if known or (matched and not erased and beyond):
        return SurfaceStatus.UNSUPPORTED, [f"{s.name}: unsupported" for s in known or beyond]
    if not matched:
        return SurfaceStatus.NOT_FOUND, []
    if erased < matched:
        return SurfaceStatus.FAILED, [f"{matched} records matched, {erased} are accounted for"]
    return SurfaceStatus.ERASED, []


class Withhold:
    """Keeps sentences that could name what was forgotten out of a receipt.

    ``secrets`` are ids, a subject, a topic: whatever the scope named. A sentence passes if it is
    plain ASCII and holds none of them, compared without case: longer ones by their first 16
    characters, so that one cut short is seen too, and those under 4 characters as whole words.
    It is a net below careful code, not a substitute: it can't see an encoded or translated name.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        folded = {secret[:_PREFIX].casefold() for secret in secrets if secret}
        self._words = {secret for secret in folded if len(secret) < _SHORT and secret.isalnum()}
        self._parts = folded - self._words

    def sentence(self, text: str) -> str:
        """Return the sentence, cut to 300 characters, or ``WITHHELD``."""
        words = set(re.findall(r"[^\W_]+", text.casefold()))
        if words & self._words or self._names(text):
            return WITHHELD
        try:
            return plain(text[:_SENTENCE], _SENTENCE, "a sentence")
        except ReceiptInvalid:
            return WITHHELD

    def surface(self, surface: Surface) -> Surface:
        """Return the surface with its detail, method and names of checks made safe.

        The last two are constants of the code: only names of 4 characters and more count there.
        """
        checks = tuple(
            replace(check, check=WITHHELD) if self._names(check.check) else check
            for check in surface.verification
        )
        return replace(
            surface,
            method=WITHHELD if self._names(surface.method) else surface.method,
            verification=checks,
            detail=self.sentence(surface.detail),
        )

    def _names(self, text: str) -> bool:
        folded = text.casefold()
        return any(part in folded for part in self._parts)
