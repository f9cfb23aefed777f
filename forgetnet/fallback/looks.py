"""Looking at the files of shared weights after a forget, by other means than those that let go.

Knows nothing of how weights were changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from forgetnet.audit.verdict import Verdict
from forgetnet.component import Finding
from forgetnet.fallback.rack import Held, Rack

__all__ = ["look"]

REBUILT = "trained once more from the live records, and compared"
LISTED = "ids that its weights learnt from compared with the live records"
SHREDDED = "looked for its old weights, records and checkpoints"
READ_BACK = "weights read back from their file"
ATTACKED = "a membership attack on its weights, with its controls"


def look(
    rack: Rack,
    held: Held,
    ids: Collection[str],
    note: Mapping[str, Any],
    *,
    digests: tuple[str, str | None],
) -> list[Finding]:
    """Return what is left of some records.

    Args:
        rack: the files.
        held: what they say now.
        ids: of the records.
        note: what was noted before they went.
        digests: of the weights as read back from their file, and of those trained once more; None
            where that wasn't asked for, or they weren't trained anew.
    """
    gone = set(ids)
    hits = len(gone & held.saw.keys()) + len(gone.intersection(held.retrieval.get("near", ())))
    if not note["held"]:
        return [Finding(LISTED, hits)]
    findings = [Finding(LISTED, hits, int(note["held"]), int(note.get("found", 0)))]
    changed = held.digest != note.get("digest", "")
    old = str(note.get("weights", "")) if changed else ""
    was_there = int(bool(old) and bool(note.get("present")))
    findings.append(Finding(SHREDDED, rack.remains(old), was_there, was_there))
    stored, again = digests
    if held.weights:
        findings.append(Finding(READ_BACK, int(not stored)))
        if again is not None:  # weights may owe nothing to a record, and then this has no control
            findings.append(Finding(REBUILT, int(again != stored), int(changed), int(changed)))
    last = held.attempts[-1] if held.attempts else {}
    if last.get("accepted") and last["verdict"] == Verdict.CONSISTENT.value:
        findings.append(Finding(ATTACKED, 0))
    return findings
