"""ForgetNet: a memory for AI that can forget by design, and show it."""

from forgetnet.aio import AsyncMemory
from forgetnet.encode import Encoder, HashEncoder, SentenceTransformerEncoder, VectorsOnly
from forgetnet.errors import (
    EncoderMismatch,
    ForgetIncomplete,
    ForgetNetError,
    Held,
    InvalidRecord,
    InvalidScope,
    ReceiptInvalid,
    StoreCorrupt,
    StoreError,
    StoreLocked,
    Unsupported,
)
from forgetnet.forget.plan import Plan
from forgetnet.forget.receipt import Receipt
from forgetnet.memory import Memory
from forgetnet.record import Deleted, Hit, Record, Stats
from forgetnet.store import open_store

__all__ = [
    "AsyncMemory",
    "Deleted",
    "Encoder",
    "EncoderMismatch",
    "ForgetIncomplete",
    "ForgetNetError",
    "HashEncoder",
    "Held",
    "Hit",
    "InvalidRecord",
    "InvalidScope",
    "Memory",
    "Plan",
    "Receipt",
    "ReceiptInvalid",
    "Record",
    "SentenceTransformerEncoder",
    "Stats",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "Unsupported",
    "VectorsOnly",
    "open_store",
]
