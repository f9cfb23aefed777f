"""What a receipt shows and what it doesn't, for people who read no JSON.

It turns an ``Erasure`` into a sentence and a table, and never says more than that holds. Whether
the signature is genuine is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence

from forgetnet.forget.statement import Erasure
from forgetnet.forget.surfaces import Surface, SurfaceStatus

__all__ = ["sentence", "table"]


def sentence(erasure: Erasure) -> str:
    """Return one plain sentence: what the signer states, and what that leaves open."""
    not_covered = f"not covered: {_listed(erasure.exclusions)}" if erasure.exclusions else ""
    if erasure.status is SurfaceStatus.ERASED:
        said = _erased(erasure)
    elif erasure.status is SurfaceStatus.NOT_FOUND:
        said = "The signer states that nothing matched the request, so that nothing was erased"
    else:
        said = _unshown(erasure)
    proposed = "" if erasure.proposal is None else erasure.proposal.sentence
    return "; ".join(part for part in (said, proposed, _kept(erasure), not_covered) if part) + "."


def table(erasure: Erasure) -> str:
    """Return a line per surface: name, status, count, and what the looks found."""
    rows = [("surface", "status", "held", "looked for again")]
    rows += [(s.name, s.status.value, str(s.count), _looks(s)) for s in erasure.surfaces]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )


def _erased(erasure: Erasure) -> str:
    erased = [s.name for s in erasure.surfaces if s.status is SurfaceStatus.ERASED]
    other = [s.name for s in erasure.surfaces if s.status is SurfaceStatus.UNSUPPORTED]
    was = "was" if erasure.total == 1 else "were"
    unreached = f", while {_listed(other)} can't be checked from here" if other else ""
    return (
        f"The signer states that {_records(erasure)} {was} erased from {_listed(erased)}, and that "
        f"looking again, in ways that had found their controls before, found nothing{unreached}"
    )


def _unshown(erasure: Erasure) -> str:
    gone = [s.name for s in erasure.surfaces if s.status is SurfaceStatus.ERASED and s.count]
    if erasure.status is SurfaceStatus.UNSUPPORTED and gone:
        beyond = [s for s in erasure.surfaces if s.status is SurfaceStatus.UNSUPPORTED and s.count]
        told = [f"{s.name} ({s.detail})" if s.detail else s.name for s in beyond]
        was = "was" if erasure.total == 1 else "were"
        return (
            f"The signer states that {_records(erasure)} {was} erased from {_listed(gone)}, and "
            f"that this can't be said of {_listed(told)}"
        )
    return (
        f"This shows no erasure: {_records(erasure)} matched, and the request ended as "
        f"{erasure.status} ({_listed(erasure.reasons)})"
    )


def _kept(erasure: Erasure) -> str:
    kept = erasure.counts["mentions_kept"]
    return f"kept on request though the subject is mentioned: {kept}" if kept else ""


def _records(erasure: Erasure) -> str:
    counts, total = erasure.counts, erasure.total
    return (
        f"{total} {'record' if total == 1 else 'records'} ({counts['direct']} asked for, "
        f"{counts['derived']} derived, {counts['mentions']} by mention)"
    )


def _looks(surface: Surface) -> str:
    if not surface.verification:
        return "no look" if surface.status is not SurfaceStatus.UNSUPPORTED else "-"
    return "; ".join(
        f"{check.check} ({check.scope}): {check.hits} hits, "
        f"control {check.control_found}/{check.control_expected}, "
        f"{check.files} files, {check.bytes_read} bytes"
        for check in surface.verification
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
