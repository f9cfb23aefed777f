"""ForgetNet: a memory and models for AI that can forget by design, and show it."""

from typing import TYPE_CHECKING, Any

from forgetnet.aio import AsyncMemory
from forgetnet.encode import (
    Encoder,
    HashEncoder,
    SentenceTransformerEncoder,
    TableEncoder,
    VectorsOnly,
)
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

if TYPE_CHECKING:
    # not in __all__: they need scikit-learn, and `import *` must not
    from forgetnet.estimators import ForgetNetClassifier as ForgetNetClassifier
    from forgetnet.estimators import ForgetNetRegressor as ForgetNetRegressor
    from forgetnet.experts import (
        NeighbourExpert,
        PrototypeExpert,
        PublicCorpus,
        RidgeExpert,
        RidgeTrunk,
        SklearnExpert,
        SubjectRouter,
        TopicRouter,
        TorchExpert,
    )
    from forgetnet.model import ForgetNet
    from forgetnet.restoring import Restored, restore

__all__ = [
    "AsyncMemory",
    "Deleted",
    "Encoder",
    "EncoderMismatch",
    "ForgetIncomplete",
    "ForgetNet",
    "ForgetNetError",
    "HashEncoder",
    "Held",
    "Hit",
    "InvalidRecord",
    "InvalidScope",
    "Memory",
    "NeighbourExpert",
    "Plan",
    "PrototypeExpert",
    "PublicCorpus",
    "Receipt",
    "ReceiptInvalid",
    "Record",
    "Restored",
    "RidgeExpert",
    "RidgeTrunk",
    "SentenceTransformerEncoder",
    "SklearnExpert",
    "Stats",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "SubjectRouter",
    "TableEncoder",
    "TopicRouter",
    "TorchExpert",
    "Unsupported",
    "VectorsOnly",
    "open_store",
    "restore",
]

_LEARNING = {
    "NeighbourExpert", "PrototypeExpert", "PublicCorpus", "RidgeExpert", "RidgeTrunk",
    "SklearnExpert", "SubjectRouter", "TopicRouter", "TorchExpert",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load models and experts when they are first asked for: they need torch, memories don't."""
    if name == "ForgetNet":
        from forgetnet.model import ForgetNet

        return ForgetNet
    if name in {"ForgetNetClassifier", "ForgetNetRegressor"}:
        from forgetnet import estimators

        return getattr(estimators, name)
    if name in {"Restored", "restore"}:
        from forgetnet import restoring

        return getattr(restoring, name)
    if name in _LEARNING:
        from forgetnet import experts

        return getattr(experts, name)
    raise AttributeError(f"module 'forgetnet' has no attribute {name!r}")
