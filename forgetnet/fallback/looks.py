"""Looking at the files of shared weights after a forget, by other means than those that let go.

Knows nothing of how weights were changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from forgetnet.component import Finding
from forgetnet.fallback.ladder import Ladder
from forgetnet.fallback.rack import Held, Rack

__all__ = ["look"]

REBUILT = "trained once more from the live records, and compared"
LISTED = "ids that its weights learnt from compared with the live records"
SHREDDED = "looked for its old weights, records and checkpoints"
READ_BACK = "weights read back from their file"
ATTACKED = "a membership attack on its weights, with two controls"


def look(
    rack: Rack,
    held: Held,
    ids: Collection[str],
    note: Mapping[str, Any],
    *,
    digests: tuple[str, str | None],
    ladder: Ladder,
) -> list[Finding]:
    """Return what is left of some records.

    Args:
        rack: the files.
        held: what they say now.
        ids: of the records.
        note: what was noted before they went.
        digests: of the weights as read back from their file, and of those trained once more; None
            where that wasn't asked for, or they weren't trained anew.
        ladder: says which verdicts are good enough.
    """
    hits = len(held.saw.intersection(ids))
    if not note["held"]:
        return [Finding(LISTED, hits)]
    findings = [Finding(LISTED, hits, int(note["held"]), int(note["found"]))]
    changed = held.digest != note["digest"]
    old = str(note["weights"]) if changed else ""
    findings.append(Finding(SHREDDED, rack.remains(old), 1, int(bool(note["weights"]))))
    stored, again = digests
    if held.weights:
        findings.append(Finding(READ_BACK, int(not stored), 1, 1))
        if again is not None:  # weights may owe nothing to a record, and then this has no control
            findings.append(Finding(REBUILT, int(again != stored), int(changed), int(changed)))
    standing = held.standing
    if standing.guarantee == "audited" and not standing.withheld and held.attempts:
        seen = held.attempts[-1]["verdict"] in ladder.accept
        findings.append(Finding(ATTACKED, int(not seen)))
    return findings
