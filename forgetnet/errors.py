"""Every error that ForgetNet raises.

    ForgetNetError
    +-- InvalidRecord        a record, vector, topic or id that can't be stored as given
    +-- InvalidScope         an empty or malformed scope or filter, or witnesses that disagree
    +-- EncoderMismatch      the store holds vectors of another encoder
    +-- StoreError           the store can't do what was asked
    |   +-- StoreLocked      another process is writing
    |   +-- StoreCorrupt     bytes on disk are not what was written, or not a store at all
    |   +-- Unsupported      this engine or this installation lacks the feature
    +-- Held                 a legal hold forbids it
    +-- ForgetIncomplete     forget stopped midway; carries the receipt so far
    +-- ReceiptInvalid       a receipt or its signature doesn't check out

A message says what happened, to what (ids, never text) and what to do.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "EncoderMismatch",
    "ForgetIncomplete",
    "ForgetNetError",
    "Held",
    "InvalidRecord",
    "InvalidScope",
    "ReceiptInvalid",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "Unsupported",
    "not_installed",
]


class ForgetNetError(Exception):
    """Root of the tree: catch this to catch everything ForgetNet raises on purpose."""


class InvalidRecord(ForgetNetError, ValueError):
    """A record can't be stored as given; nothing of its batch was stored."""


class InvalidScope(ForgetNetError, ValueError):
    """A scope is empty, malformed, or its two witnesses disagree; nothing was deleted."""


class EncoderMismatch(ForgetNetError):
    """The store was made with another encoder, so its vectors can't be compared."""


class StoreError(ForgetNetError):
    """The store can't do what was asked."""


class StoreLocked(StoreError):
    """Another process holds the writer's lock."""


class StoreCorrupt(StoreError):
    """Bytes on disk are not what was written, or the path isn't a store."""


class Unsupported(StoreError):
    """This engine or this installation lacks the feature."""


class Held(ForgetNetError):
    """A legal hold forbids it; the message names the hold."""


class ForgetIncomplete(ForgetNetError):
    """A forget stopped midway; ``receipt`` says what is done, and reopening resumes it.

    The openings of that receipt open the one that is made in the end, too; nothing else does.
    """

    def __init__(self, message: str, receipt: Any = None) -> None:
        super().__init__(message)
        self.receipt = receipt


class ReceiptInvalid(ForgetNetError):
    """A receipt was altered, or was signed by another key."""


def not_installed(what: str, extra: str) -> Unsupported:
    """Return the error that says which extra of this distribution brings what is missing."""
    return Unsupported(
        f"{what} isn't installed; install the extra: pip install 'forget-by-design[{extra}]' (in a "
        f"clone: pip install -e '.[{extra}]')"
    )
